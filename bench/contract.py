"""schemathesis as bench/serve_contract.py and the tests run it. schemathesis loads this module too,
for what it does not know: how a list of generated lines becomes a body of NDJSON.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: schemathesis.SerializationContext, value: object) -> bytes:
    """A line for each item; anything else as one line."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def arguments(
    url: str, events: Path, key: str | None, *options: str
) -> tuple[list[str], dict[str, str]]:
    """(arguments of Python, environment): all checks of the service at `url`, and a report to
    `events`.
    """
    made = ["-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "all"]
    made += ["--generation-database", "none", "--no-color"]
    made += ["--report", "ndjson", "--report-ndjson-path", str(events), *options]
    if key:
        made += ["--header", f"Authorization: Bearer {key}"]
    root = str(Path(__file__).parents[1])
    return made, os.environ | {"SCHEMATHESIS_HOOKS": "bench.contract", "PYTHONPATH": root}


def counted(events: Iterable[str]) -> tuple[int, dict[str, int]]:
    """(requests, failures by check), of such a report."""
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
