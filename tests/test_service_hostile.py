"""The service under hostile requests and under schemathesis, as bench/serve_hostile.py and
bench/serve_contract.py do it at length.
"""

import hashlib
import json
import subprocess
import sys

import pytest

pytest.importorskip("uvicorn")

import uvloop
from service import made_project, started

from bench.contract import arguments, counted
from bench.hostile_client import run
from bench.hostile_files import MARKER
from bench.hostile_requests import FAMILIES, Maker

KEY = "xrg_planted-key-of-the-hostile-test-0123456789"
COUNT = 5 * len(FAMILIES)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = made_project(tmp_path_factory.mktemp("project"))
    keys = {"XRAYGEN_API_KEYS": f"test:{hashlib.sha256(KEY.encode()).hexdigest()}"}
    with started(folder, key=KEY, variables=keys) as service:
        yield service


def test_hostile_requests_fail_alone(service):
    maker = Maker(0, f"Authorization: Bearer {KEY}\r\n".encode(), heavy=False)
    outcome = uvloop.run(run(service.port, maker, COUNT, idle=60))
    assert outcome.examples == {}
    assert outcome.answers["idle", "open"] == 60
    assert outcome.valid > 8  # each kind of valid request, during the others
    statuses = {status for _, status in outcome.answers}
    assert {"200", "400", "405", "413", "415", "422", "431"} <= statuses
    assert service.process.poll() is None
    log = service.log()
    assert MARKER.decode() not in log and KEY not in log and "Traceback" not in log
    assert all(json.loads(line) for line in log.splitlines())


def test_the_service_keeps_what_openapi_promises(service, tmp_path):
    events = tmp_path / "events.ndjson"
    command, environment = arguments(service.url, events, KEY, "--max-examples", "4")
    command += ["--phases", "examples,fuzzing,stateful", "--max-time", "6", "--no-shrink"]
    ran = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert ran.returncode == 0, ran.stdout
    requests, failures = counted(events.read_text().split("\n"))
    assert requests > 20 and failures == {}
