"""The service and its clients: those of docs/service.md, schemathesis and hostile ones, as
bench/serve_contract.py and bench/serve_hostile.py have them at length.
"""

import hashlib
import json
import os
import re
import subprocess
import sys

import click
import pytest
from conftest import ROOT

pytest.importorskip("uvicorn")

import uvloop
from PIL import Image
from service import made_project, started

from bench.contract import arguments, counted
from bench.hostile_client import run
from bench.hostile_files import MARKER
from bench.hostile_requests import FAMILIES, Maker
from xraygen.commands.serve import serve
from xraygen.service.problems import CODES

PAGE = (ROOT / "docs/service.md").read_text(encoding="utf-8")
KEY = "xrg_planted-key-of-this-test-0123456789abcdefgh"
COUNT = 5 * len(FAMILIES)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = made_project(tmp_path_factory.mktemp("project"))
    keys = {"XRAYGEN_API_KEYS": f"test:{hashlib.sha256(KEY.encode()).hexdigest()}"}
    # The router takes seconds for the longest texts, of which the hostile requests have many.
    with started(folder, "--max-text", "20000", key=KEY, variables=keys) as service:
        yield service


def examples(language: str, service) -> list[str]:
    """The page's code in a language, put to the service of the test."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [
        text.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}").replace(
            '("127.0.0.1", 8000)', f'("127.0.0.1", {service.port})'
        )
        for text in found
    ]


def output(command: list[str], folder) -> str:
    environment = os.environ | {"KEY": KEY}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_examples_with_curl(service, tmp_path):
    Image.new("L", (32, 32)).save(tmp_path / "film.png")
    cases = [{"id": str(k), "report": "Clear lungs."} for k in range(3)]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (script,) = examples("bash", service)
    printed = output(["bash", "-ec", script.replace("\n\ncurl", "\necho\ncurl")], tmp_path)
    report, form, pairs, *stream = map(json.loads, filter(None, printed.split("\n")))
    assert "review" in report["annotations"][0]["regions"]["heart"]
    assert form["annotations"][0]["id"] == "b" and "regions" in form["annotations"][0]
    assert pairs["judgements"][0]["score"] < 1
    assert [line["id"] for line in stream] == ["0", "1", "2"]


def test_the_first_example(service, tmp_path):
    command = re.search(r"^    (curl .*)$", PAGE, re.MULTILINE)[1]
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    command = command.replace("curl ", f"curl -H 'Authorization: Bearer {KEY}' ", 1)
    assert json.loads(output(["bash", "-ec", command], tmp_path))["annotations"][0]["regions"]


def test_the_examples_in_python(service, tmp_path):
    once, stream = examples("python", service)
    assert output([sys.executable, "-c", once], tmp_path).startswith("a {'bone': ")
    assert output([sys.executable, "-c", stream], tmp_path) == "1000 annotated\n"


def test_every_problem_and_option_is_in_a_table():
    rows = re.findall(r"^\| `([a-z][a-z-]+)` \| (\d{3}) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {code: (int(status), title) for code, status, title in rows} == CODES
    options = {option.opts[-1] for option in serve.get_params(click.Context(serve))}
    listed = re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(options - {"--help"})


def test_hostile_requests_fail_alone(service):
    maker = Maker(0, f"Authorization: Bearer {KEY}\r\n".encode(), heavy=False)
    outcome = uvloop.run(run(service.port, maker, COUNT, idle=60))
    assert outcome.examples == {}
    assert outcome.answers["idle", "open"] == 60
    assert outcome.valid > 8  # each of them, during the others
    statuses = {status for _, status in outcome.answers}
    assert {"200", "400", "405", "413", "415", "422", "431"} <= statuses
    assert service.process.poll() is None
    log = service.log()
    assert MARKER.decode() not in log and KEY not in log and "Traceback" not in log
    assert all(json.loads(line) for line in log.splitlines())


def test_the_service_keeps_what_openapi_promises(service, tmp_path):
    events = tmp_path / "events.ndjson"
    command, environment = arguments(service.url, events, KEY, "--max-examples", "4")
    command += ["--phases", "examples,fuzzing,stateful", "--max-time", "4", "--seed", "0"]
    ran = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert ran.returncode == 0, ran.stdout
    requests, failures = counted(events.read_text().split("\n"))
    assert requests > 20 and failures == {}
