"""schemathesis against `xraygen serve`: what /openapi.json promises, with valid and invalid data.

    python -m bench.serve_contract [--minutes 3] [--seed 0] [-- OPTIONS OF xraygen serve]

All checks and all phases, including stateful, for that long each: against a service without keys,
and against one with keys, with the header. What fails is on stderr, with curl commands that
reproduce it. Prints one JSON line: seconds, requests and failures of both, by check. Exit status
1: something failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.contract import arguments, counted
from bench.running_service import Service, cpu_name, xraygen_serve
from xraygen.core.errors import one_line

KEY = "xrg_" + "k" * 43
PHASES = "examples,coverage,fuzzing,stateful"


def schemathesis(service: Service, seconds: float, seed: int, key: str | None = None) -> dict:
    """Seconds, requests, failures by check, and the exit status. Failures are on stderr."""
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder, "events.ndjson")
        options = ("--phases", PHASES, "--max-time", str(round(seconds)), "--seed", str(seed))
        command, environment = arguments(service.url, events, key, *options)
        start = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=folder, env=environment
        )
        took = time.perf_counter() - start
        requests, failures = counted(events.read_text().split("\n") if events.is_file() else [])
    if ran.returncode:
        print(ran.stdout[-20_000:] + ran.stderr[-2000:], file=sys.stderr)
    return {
        "seconds": round(took),
        "requests": requests,
        "failures": failures,
        "status": ran.returncode,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*")
    asked = parser.parse_args()
    seconds = 60 * asked.minutes
    keys = {"XRAYGEN_API_KEYS": f"bench:{hashlib.sha256(KEY.encode()).hexdigest()}"}
    with xraygen_serve(*asked.options) as service:
        without = schemathesis(service, seconds, asked.seed)
    with xraygen_serve(*asked.options, environment=keys) as service:
        with_key = schemathesis(service, seconds, asked.seed, KEY)
    print(json.dumps({"cpu": cpu_name(), "without_keys": without, "with_key": with_key}))
    return without["status"] or with_key["status"]


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
