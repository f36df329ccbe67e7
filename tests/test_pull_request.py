"""The script behind .github/workflows/compare.yml, as the workflow calls it, in fresh clones of a
project with a branch for each kind of change and a DVC remote in a folder.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from compared_project import RAN, Repository, build
from conftest import ROOT

pytest.importorskip("dvc")

WORKFLOW = ROOT / ".github" / "workflows" / "compare.yml"
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
    repository = build(folder / "project", str(folder / "nowhere"))
    repository(f"dvc config --local remote.store.url {folder}/store && dvc push -q --all-branches")
    return repository


def compare(origin: Repository, branch: str, folder: Path, secret: str = "") -> Result:
    """What the workflow's steps write in a fresh clone, run by their own lines of shell."""
    clone = Repository(folder / "clone")
    origin(f"git clone -q --branch {branch} . {clone.folder}")
    (clone.folder / ".venv").symlink_to(sys.prefix)
    values = {
        "${{ github.event.pull_request.base.sha }}": origin("git rev-parse main").strip(),
        "${{ secrets.DVC_CONFIG_LOCAL }}": secret,
        "${{ steps.report.outputs.artifact-url }}": REPORT_URL if secret else "",
    }
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["compare"]
    files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    log = ""
    for step in job["steps"]:
        if "compare.py" in step.get("run", ""):
            env = {name: values[value] for name, value in (job["env"] | step["env"]).items()}
            done = clone.run(step["run"], **env, **files)
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
    """AssertionError: a stage ran, or what git or DVC keep has changed."""
    assert not (clone.folder / RAN).exists()
    assert clone("git status --porcelain") == ""
    assert not (clone.folder / ".dvc" / "config.local").exists()


@pytest.mark.parametrize("branch", ["better", "worse", "reworded", "added", "more-data"])
def test_verdict(origin, secret, tmp_path, branch):
    result = compare(origin, branch, tmp_path, secret)
    print(result.comment, result.log, result.gate)
    refuse_reproduction(result.clone)
    assert 0
