"""The script behind .github/workflows/compare.yml, as the workflow calls it, in fresh clones of a
project with a branch for each kind of change and a DVC remote in a folder.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

pytest.importorskip("dvc")

from revisions_project import Answer, Project, normal, right, slipping, studies

WORKFLOW = ROOT / ".github" / "workflows" / "compare.yml"
RAN = "a-stage-ran"
FAILS = f"touch {RAN} && false"
REPORT = {"cmd": FAILS, "outs": ["reports/index.html", "reports/studies"]}
# The workflow installs the extra `pipeline` alone.
NOT_INSTALLED = ("torch", "transformers", "accelerate", "peft", "openai", "json_repair", "dvclive")
REPORT_URL = "https://github.example.org/report"
DEFAULT = "[core]\n    remote = store\n"
PLACE = "['remote \"store\"']\n    url = {}\n"


def shifted(number, study):
    return slipping(4)(number + 1, study)


BRANCHES = {  # the answers of brief and, where there is one, of rules
    "better": (right,),
    "worse": (slipping(2),),
    "no-matter": (shifted,),
    "added": (slipping(4), slipping(6)),
    "more-data": (slipping(4),),
}


def save(project: Project, brief: Answer, rules: Answer | None = None) -> None:
    """Commit the results of these answers, as `dvc repro` would leave them."""
    project.approaches = {"floor": normal, "brief": brief}
    if rules:
        project.approaches["rules"] = rules
    project.settings = {"floor": {"annotator": "constant"}}
    project.write()
    (project.folder / "reports" / "studies").mkdir(exist_ok=True)
    (project.folder / "reports" / "index.html").write_text(f"<p>{len(project.studies)} studies")
    (project.folder / "reports" / "studies" / "index.js").write_text("xraygen.index({})")
    project.lock()
    project.git("add", "-A")
    project.git("commit", "-q", "--allow-empty", "-m", "results")


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Project:
    """The branches start at the first commit of main, which has a second one with another approach.
    That first commit has no DVC remote, and where that of the others is, only a secret config says.
    A stage that ran would fail and leave a file.
    """
    folder = tmp_path_factory.mktemp("origin")
    project = Project(folder / "project")
    stages = project.graph["stages"]
    for stage in (stages["evaluate"]["do"], stages["compare"]):
        stage["cmd"] = FAILS
    stages["report"] = REPORT
    project.reports = True
    project.compare["gate"] = "any"
    project.start()
    references = project.folder / "data/references/references.jsonl"
    references.parent.mkdir(parents=True)
    references.write_text("{}")
    tracked = "outs: [{path: references.jsonl, hash: md5}]"
    references.with_name("references.jsonl.dvc").write_text(tracked)
    ignored = ("data/judgements/", "data/references/*.jsonl", "reports/", "comparison/", ".venv")
    (project.folder / ".gitignore").write_text("".join(f"/{path}\n" for path in (*ignored, RAN)))
    shutil.copytree(ROOT / ".github", project.folder / ".github")
    save(project, slipping(4))
    for branch, answers in BRANCHES.items():
        project.git("checkout", "-q", "-b", branch, "main")
        (project.folder / ".dvc" / "config").write_text(DEFAULT + PLACE.format(folder / "nowhere"))
        project.studies = studies(60 if branch == "more-data" else 48)
        save(project, *answers)
    project.git("checkout", "-q", "main")
    project.studies = studies(48)
    save(project, *BRANCHES["added"])
    (project.folder / ".dvc" / "config.local").write_text(DEFAULT + PLACE.format(folder / "store"))
    with project.repo() as repo:
        repo.push(all_branches=True)
    return project


@dataclass
class Result:
    clone: Path
    comment: str
    summary: str
    gate: str
    log: str


def compare(origin: Project, branch: str, folder: Path, secret: str, config: str = "") -> Result:
    """What the workflow's steps write in a fresh clone, run by their own lines of shell. `config`:
    of DVC, in place of that in git.
    """
    clone = folder / "clone"
    origin.git("clone", "-q", "--branch", branch, ".", str(clone))
    if config:
        (clone / ".dvc" / "config").write_text(config)
    (clone / ".venv").symlink_to(sys.prefix)
    absent = folder / "absent"
    absent.mkdir()
    for name in NOT_INSTALLED:
        (absent / f"{name}.py").write_text(f"raise ImportError('no {name}')")
    given = os.environ | {"PYTHONPATH": f"{absent}{os.pathsep}{ROOT}"}
    given |= {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    values = {
        "${{ github.event.pull_request.base.sha }}": origin.git("rev-parse", "main").strip(),
        "${{ secrets.DVC_CONFIG_LOCAL }}": secret,
    }
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["compare"]
    log = ""
    for step in job["steps"]:
        if step.get("id") == "report":
            there = (clone / "reports" / "index.html").exists()
            values["${{ steps.report.outputs.artifact-url }}"] = REPORT_URL if there else ""
        if "compare.py" in step.get("run", ""):
            env = {name: values[value] for name, value in (job["env"] | step["env"]).items()}
            command = ["bash", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(
                command, cwd=clone, env=given | env, capture_output=True, text=True
            )
            log += f"{done.stdout}{done.stderr}"
            assert done.returncode == 0, log
    return Result(
        clone,
        (clone / "comparison" / "comment.md").read_text(encoding="utf-8"),
        (folder / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8"),
        (folder / "GITHUB_OUTPUT").read_text(encoding="utf-8"),
        log,
    )


def refuse_changes(clone: Path) -> None:
    """AssertionError: a stage ran, or dvc.lock or metrics changed, or the secret is still there."""
    assert not (clone / RAN).exists()
    status = ["git", "status", "--porcelain", "--", ".", ":!.dvc/config"]
    assert subprocess.check_output(status, cwd=clone, text=True) == ""
    assert not (clone / ".dvc" / "config.local").exists()


@pytest.mark.parametrize(
    ("branch", "verdict", "gate"),
    [
        ("better", "`brief` got significantly better on test", "passed"),
        ("worse", "`brief` got significantly worse on test", "failed"),
        ("no-matter", "No approach changed significantly on test", "passed"),
        ("added", "`rules` (score 0.9", "passed"),
        ("more-data", "The test studies changed: 48 before, 60 now", "passed"),
    ],
)
def test_the_comment_has_the_verdict_from_pulled_judgements(
    origin, tmp_path, branch, verdict, gate
):
    secret = PLACE.format(origin.folder.parent / "store")
    result = compare(origin, branch, tmp_path, secret)
    assert verdict in result.comment, result.comment
    assert "cannot be determined" not in result.comment
    assert ("rules" in result.comment) == (branch == "added")  # which came to main later
    assert re.search(r"The DVC remote `store` had (\d) of \1 files of judgements", result.comment)
    assert f"[HTML report]({REPORT_URL})" in result.comment
    assert (result.clone / "reports" / "studies" / "index.js").exists()
    assert (result.clone / "data" / "references" / "references.jsonl").exists()
    assert "out of date" not in result.comment
    assert f"`{origin.git('rev-parse', branch)[:7]}`" in result.comment
    assert result.summary == result.comment
    assert result.gate == f"gate={gate}\n"
    refuse_changes(result.clone)


@pytest.mark.parametrize(
    ("config", "secret", "sentence"),
    [
        ("", "", "The DVC remote `store` had 0 of 3 files of judgements."),
        ("[core]\n", "", "No DVC remote is configured."),
        ("", PLACE.format("s3://an/invented-bucket"), "Pulling from the DVC remote failed."),
    ],
    ids=["fork", "no remote", "unreadable"],
)
def test_without_the_remote_the_committed_metrics_are_compared(
    origin, tmp_path, config, secret, sentence
):
    """Unreadable, because it is of a kind whose package is not installed."""
    result = compare(origin, "worse", tmp_path, secret, config)
    assert "cannot be determined" in result.comment, result.comment
    assert re.search(r"0\.\d+ to 0\.\d+, -0\.\d+", result.comment)
    assert f"{sentence} There is no HTML report to attach." in result.comment
    assert result.gate == "gate=passed\n"
    assert "invented-bucket" not in result.comment + result.log
    refuse_changes(result.clone)


def test_a_remote_is_named_only_where_nothing_in_its_name_could_be_markup():
    shown = runpy.run_path(str(ROOT / ".github" / "compare.py"))["shown"]
    assert shown("lab-store_2.eu") == " `lab-store_2.eu`"
    for name in ("", "x` @octocat <b>hi</b>", "[a](http://evil.example)", "a\n", "x" * 41):
        assert shown(name) == ""


def test_no_value_of_the_secret_config_is_in_a_message():
    without_values = runpy.run_path(str(ROOT / ".github" / "compare.py"))["without_values"]
    secret = PLACE.format("https://reader:invented-key@lab.example.org/a=b") + "    jobs =\n"
    message = "403 from https://reader:invented-key@lab.example.org/a=b/files"
    assert without_values(message, secret) == "403 from ***/files"
    assert without_values(message, "") == message
