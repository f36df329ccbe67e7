"""Hostile requests against `xraygen serve`: it must neither fail nor grow nor tell.

    python -m bench.serve_hostile [--count 10000] [--seed 0] [-- OPTIONS OF xraygen serve]

The requests are those of bench/hostile_requests.py: bombs, broken files, wrong types, surrogates,
deep JSON, truncated multipart, malformed HTTP, slow clients, deaf ones and so on, 24 at a time,
with a key. Meanwhile --idle connections are held on which nothing happens, and valid requests are
sent one after the other, whose answers must be what they were before. Prints one JSON line, and
first, on stderr, what failed, with an example of each kind. Exit status 1: something failed.

`failures`: a status of 500, an error that is no problem+json, an error or header with the marker
that was planted in each request, a valid request answered wrongly, no answer within a minute; in
the log, a traceback, the marker, the key, or a line that is not JSON. `resident_mib`: of all
processes of the service together: at the start, at most, and at the end; `resident_mib_of_each`:
by process, at the start and at the end. `busy`: valid requests answered with 429 or 503.
`probe_ms`: how long valid requests took. `slowest_s`: the longest exchange of a family.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import threading
import time
from collections import defaultdict

import uvloop

from bench.hostile_client import Outcome, run
from bench.hostile_files import MARKER, bombs
from bench.hostile_requests import Maker
from bench.running_service import Service, cpu_name, xraygen_serve
from xraygen.core.errors import one_line

KEY = "xrg_" + "PlantedKeyPlantedKeyPlantedKeyPlanted-Key_1"


class Memory(threading.Thread):
    """The most that the service's processes have together, looked at four times a second."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.most = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.25):
            self.most = max(self.most, self.service.resident_mib())


def check_log(service: Service, outcome: Outcome) -> int:
    """Returns how many lines it has."""
    lines = service.log.read_bytes().splitlines()
    for line in lines:
        for what, kind in ((MARKER, "marker"), (KEY.encode(), "key"), (b"Traceback", "traceback")):
            if what.lower() in line.lower():
                outcome.fail(f"the log has a {kind}", f"{line[:300]!r}")
        try:
            json.loads(line)
        except ValueError:
            outcome.fail("a line of the log is not JSON", f"{line[:300]!r}")
    return len(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    bombs()  # takes seconds
    keys = f"bench:{hashlib.sha256(KEY.encode()).hexdigest()}"
    maker = Maker(arguments.seed, f"Authorization: Bearer {KEY}\r\n".encode(), heavy=True)
    environment = {"XRAYGEN_API_KEYS": keys}
    with xraygen_serve(*arguments.options, environment=environment) as service:
        before = service.resident_bytes()
        start = sum(before.values()) / 2**20
        memory = Memory(service)
        memory.start()
        began = time.perf_counter()
        outcome = uvloop.run(run(service.port, maker, arguments.count, arguments.idle))
        seconds = time.perf_counter() - began
        asyncio.run(asyncio.sleep(3))  # whoever gives memory back has had the time
        memory.stopped.set()
        after = service.resident_bytes()
        end = sum(after.values()) / 2**20
        lines = check_log(service, outcome)
        if service.process.poll() is not None:
            outcome.fail("the service has ended", f"status {service.process.returncode}")
    if max(memory.most, end) - start > 300:
        outcome.fail("memory has grown", f"by {max(memory.most, end) - start:.0f} MiB")
    for kind, example in outcome.examples.items():
        print(f"{outcome.failures[kind]} x {kind}: {example}", file=sys.stderr)
    answers: dict[str, dict[str, int]] = defaultdict(dict)
    for (family, status), number in sorted(outcome.answers.items()):
        answers[family][status] = number
    ranked = sorted(outcome.latencies) or [0.0]
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    result = {
        "cpu": cpu_name(),
        "requests": arguments.count,
        "seconds": round(seconds),
        "failures": dict(outcome.failures),
        "resident_mib": [round(start), round(memory.most), round(end)],
        "resident_mib_of_each": [
            [size >> 20 for _, size in sorted(found.items())] for found in (before, after)
        ],
        "valid": outcome.valid,
        "busy": outcome.busy,
        "probe_ms": {
            name: round(1000 * ranked[min(int(share * len(ranked)), len(ranked) - 1)])
            for name, share in at.items()
        },
        "log_lines": lines,
        "slowest_s": {name: round(took, 1) for name, took in sorted(outcome.slowest.items())},
        "answers": answers,
    }
    print(json.dumps(result))
    return bool(outcome.failures)


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
