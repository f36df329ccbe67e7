"""The script behind .github/workflows/compare.yml, as the workflow calls it, in fresh clones of a
project with a branch for each kind of change and a DVC remote in a folder.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from compared_project import RAN, Repository, build
from conftest import ROOT

pytest.importorskip("dvc")

WORKFLOW = ROOT / ".github" / "workflows" / "compare.yml"
SECRET = """\
['remote "store"']
    url = s3://lab/invented-key
    access_key_id = invented-key
"""  # of a kind of remote whose package is not installed
# The workflow installs the extra `pipeline` alone.
NOT_INSTALLED = ("torch", "transformers", "accelerate", "peft", "openai", "json_repair", "dvclive")
REPORT_URL = "https://github.example.org/report"


@dataclass
class Result:
    clone: Repository
    comment: str
    summary: str
    gate: str
    log: str


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Repository:
    """Its remote can be read only with the config that a secret holds."""
    folder = tmp_path_factory.mktemp("origin")
    for name in NOT_INSTALLED:
        (folder / "absent").mkdir(exist_ok=True)
        (folder / "absent" / f"{name}.py").write_text(f"raise ImportError('no {name}')")
    repository = build(folder / "project", str(folder / "nowhere"))
    repository(f"dvc config --local remote.store.url {folder}/store && dvc push -q --all-branches")
    return repository


def compare(origin: Repository, branch: str, folder: Path, secret: str, shell: str = "") -> Result:
    """What the workflow's steps write in a fresh clone, run by their own lines of shell. `shell`:
    what is run in the clone before.
    """
    clone = Repository(folder / "clone")
    origin(f"git clone -q --branch {branch} . {clone.folder}")
    clone(shell or "true")
    (clone.folder / ".venv").symlink_to(sys.prefix)
    values = {
        "${{ github.event.pull_request.base.sha }}": origin("git rev-parse main").strip(),
        "${{ secrets.DVC_CONFIG_LOCAL }}": secret,
    }
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["compare"]
    given = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    given["PYTHONPATH"] = os.pathsep.join((str(origin.folder.parent / "absent"), str(ROOT)))
    log = ""
    for step in job["steps"]:
        if step.get("id") == "report":
            there = (clone.folder / "reports" / "index.html").exists()
            values["${{ steps.report.outputs.artifact-url }}"] = REPORT_URL if there else ""
        if "compare.py" in step.get("run", ""):
            env = {name: values[value] for name, value in (job["env"] | step["env"]).items()}
            done = clone.run(step["run"], **env, **given)
            log += f"{done.stdout}{done.stderr}"
            assert done.returncode == 0, log
    return Result(
        clone,
        (clone.folder / "comparison" / "comment.md").read_text(encoding="utf-8"),
        (folder / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8"),
        (folder / "GITHUB_OUTPUT").read_text(encoding="utf-8"),
        log,
    )


@pytest.fixture(scope="module")
def secret(origin) -> str:
    return (origin.folder / ".dvc" / "config.local").read_text(encoding="utf-8")


def refuse_reproduction(clone: Repository) -> None:
    """AssertionError: a stage ran, or what git keeps has changed, dvc.lock among it."""
    assert not (clone.folder / RAN).exists()
    assert clone("git status --porcelain") == ""
    assert not (clone.folder / ".dvc" / "config.local").exists()


@pytest.mark.parametrize(
    ("branch", "verdict", "gate"),
    [
        ("better", "`brief` got significantly better on test", "passed"),
        ("worse", "`brief` got significantly worse on test", "failed"),
        ("reworded", "No approach changed significantly on test", "passed"),
        ("added", "`rules` (score 0.70", "passed"),
        ("more-data", "The test studies changed: 60 before, 80 now", "passed"),
    ],
)
def test_the_comment_has_the_verdict_from_pulled_judgements(
    origin, secret, tmp_path, branch, verdict, gate
):
    result = compare(origin, branch, tmp_path, secret)
    assert verdict in result.comment, result.comment
    assert "cannot be determined" not in result.comment
    assert ("rules" in result.comment) == (branch == "added")  # which came to main later
    assert re.search(r"The DVC remote `store` had (\d) of \1 files of judgements", result.comment)
    assert f"[HTML report]({REPORT_URL})" in result.comment
    assert (result.clone.folder / "reports" / "studies" / "index.js").exists()
    assert result.summary == result.comment
    assert result.gate == f"gate={gate}\n"
    refuse_reproduction(result.clone)


@pytest.mark.parametrize(
    ("shell", "secret", "sentence"),
    [
        ("", "", "The DVC remote `store` had 0 of 3 files of judgements."),
        ("echo > .dvc/config && git commit -qam local", "", "No DVC remote is configured."),
        ("", SECRET, "Pulling from the DVC remote failed."),
    ],
    ids=["fork", "no-remote", "unreadable"],
)
def test_without_the_remote_the_committed_metrics_are_compared(
    origin, tmp_path, shell, secret, sentence
):
    result = compare(origin, "worse", tmp_path, secret, shell)
    assert "cannot be determined" in result.comment, result.comment
    assert "-0.08" in result.comment
    assert f"{sentence} There is no HTML report to attach." in result.comment
    assert result.gate == "gate=passed\n"
    assert "invented-key" not in result.comment + result.log
    refuse_reproduction(result.clone)
