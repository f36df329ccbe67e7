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
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.running_service import ROOT, Service, cpu_name, xraygen_serve
from xraygen.core.errors import one_line

KEY = "xrg_" + "k" * 43
PHASES = "examples,coverage,fuzzing,stateful"
HOOKS = {"SCHEMATHESIS_HOOKS": "bench.contract_hooks", "PYTHONPATH": str(ROOT)}


def schemathesis(service: Service, seconds: float, seed: int, *options: str) -> dict:
    """Seconds, requests, failures by check, and the exit status. Failures are on stderr."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", service.url + "/openapi.json"]
    command += ["--checks", "all", "--phases", PHASES, "--max-time", str(round(seconds))]
    command += ["--seed", str(seed), "--generation-database", "none", "--no-color", *options]
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder, "events.ndjson")
        command += ["--report", "ndjson", "--report-ndjson-path", str(events)]
        start = time.perf_counter()
        ran = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=os.environ | HOOKS
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


def counted(events: Sequence[str]) -> tuple[int, dict[str, int]]:
    """(requests, failures by check), of a report in NDJSON."""
    requests = 0
    failures: Counter[str] = Counter()
    for line in filter(None, events):
        finished = json.loads(line).get("ScenarioFinished")
        if finished:
            recorder = finished["recorder"]
            requests += len(recorder.get("cases", ()))
            for checks in recorder.get("checks", {}).values():
                failures.update(one["name"] for one in checks if one["status"] == "failure")
    return requests, dict(failures)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    keys = {"XRAYGEN_API_KEYS": f"bench:{hashlib.sha256(KEY.encode()).hexdigest()}"}
    with xraygen_serve(*arguments.options) as service:
        without = schemathesis(service, seconds, arguments.seed)
    with xraygen_serve(*arguments.options, environment=keys) as service:
        header = f"Authorization: Bearer {KEY}"
        with_key = schemathesis(service, seconds, arguments.seed, "--header", header)
    print(json.dumps({"cpu": cpu_name(), "without_keys": without, "with_key": with_key}))
    return without["status"] or with_key["status"]


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
