"""docs/service.md: its examples run against a real service, and its tables are complete."""

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

from PIL import Image
from service import made_project, started

from xraygen.commands.serve import serve
from xraygen.service.problems import CODES

PAGE = (ROOT / "docs/service.md").read_text(encoding="utf-8")
KEY = "xrg_key-of-the-documentation-test"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = made_project(tmp_path_factory.mktemp("project"))
    keys = {"XRAYGEN_API_KEYS": f"test:{hashlib.sha256(KEY.encode()).hexdigest()}"}
    with started(folder, key=KEY, variables=keys) as service:
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
    assert report["annotations"][0]["regions"]["heart"]["support"]
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
    options = {option.opts[0] for option in serve.get_params(click.Context(serve))}
    listed = re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(options - {"--help"})
