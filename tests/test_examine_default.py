"""`xraygen examine` in a project: which references are taken without being named, what a dry run
says, and that mistakes are found before anything is read.
"""

import json
import re
import threading
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from conftest import ROOT, ChatServer

from xraygen.cli import main
from xraygen.evaluation.examination.orders import own_cases

REFERENCES = ["Moderate left pleural effusion.", "Mild edema. Small right nodule."]
OWN = len({pair for case in own_cases() for pair in case.pairs.values()})


@pytest.fixture
def server():
    """Refuses every question."""
    started = ChatServer(refuses=lambda body: (400, {"message": "no"}))
    serve = {"poll_interval": 0.05}
    threading.Thread(target=started.serve_forever, kwargs=serve, daemon=True).start()
    yield started
    started.shutdown()
    started.server_close()


@pytest.fixture
def project(tmp_path, monkeypatch, server) -> Path:
    """A folder with the prepared test set, whose judge crimson asks the server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["evaluate"]["settings"]["crimson"]["base_url"] = server.url
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    prepared = tmp_path / "data" / "prepared" / "test.jsonl"
    prepared.parent.mkdir(parents=True)
    prepared.write_text("".join(json.dumps({"reference": {"lung": t}}) + "\n" for t in REFERENCES))
    return prepared


def examined(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["examine", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_dry_run_counts_and_takes_prepared_references_only_if_named(project, server):
    status, printed, _ = examined("crimson", "--dry-run")
    assert status == 0 and printed.startswith(f"{OWN:,} pairs: ") and len(printed.split("\n")) == 2
    status, printed, _ = examined("crimson", "--dry-run", "--references", str(project))
    assert status == 0
    counted = re.match(r"([\d,]+) pairs: ", printed)
    assert counted and int(counted[1].replace(",", "")) > OWN
    assert server.asked == []


def test_a_model_is_sent_no_reference_that_was_not_named(project, server):
    pytest.importorskip("openai")
    status, _, said = examined("crimson")
    assert status == 2 and said.splitlines()[0] == f"{OWN:,} pairs are given to crimson"
    assert "answered none of" in said and server.asked
    assert not any(text in asked for text in REFERENCES for asked in server.asked)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("proxy", "--dry-run"), "--dry-run is for judges that ask a model; proxy asks no model."),
        (("crimson", "--dry-run", "--out", "o.json"), "Give --out or --dry-run, not both."),
    ],
)
def test_a_dry_run_without_sense_is_one_line(project, arguments, said):
    status, printed, errors = examined(*arguments)
    assert (status, printed) == (2, "") and said in errors and len(errors.splitlines()) == 1


def test_a_test_set_without_references_is_no_mistake_unless_it_is_named(project):
    project.write_text('{"reference": null}\n{"reference": {"lung": ""}}\n')
    status, printed, _ = examined("proxy")
    assert status == 0 and "Not examined: damaged and reworded texts" in printed
    status, _, errors = examined("proxy", "--references", str(project))
    assert status == 2 and "no row has a reference" in errors


def test_an_unknown_judge_is_named_before_anything_is_read(project):
    project.write_text("damaged\n")
    status, printed, errors = examined("nosuch", "--cases", "nowhere")
    assert (status, printed) == (2, "") and len(errors.splitlines()) == 1
    assert errors.startswith("error: JUDGE: no 'nosuch'; there are proxy, green, crimson")
