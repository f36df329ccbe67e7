"""The graph, end to end, in a temporary clone with few and small studies: what runs, what re-runs, what is shown."""

import json
import os
import shutil
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
import yaml

from xraygen.study import SCORED_REGIONS

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "DVC_NO_ANALYTICS": "1",
}


def run(folder: Path, *command: str, status: int = 0) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def clone_of(root: Path, folder: Path) -> Path:
    """The working tree as a fresh clone of it would be: tracked and new files, nothing that git ignores."""
    names = run(root, "git", "ls-files", "-co", "--exclude-standard").splitlines()
    for name in names:
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "clone")
    return folder


def edit(folder: Path, **changes) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for keys, value in changes.items():
        section = params
        *path, last = keys.split("__")
        for key in path:
            section = section[key.replace("_verbatim", "-verbatim")]
        section[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def clone(root, tmp_path_factory) -> Path:
    """A clone with a small graph that has run once and is committed."""
    folder = clone_of(root, tmp_path_factory.mktemp("clone"))
    edit(
        folder,
        phantom__train=120,
        phantom__test=30,
        phantom__val=10,
        phantom__size=112,
        evaluate__resamples=200,
        compare__resamples=500,
        finetune__steps=2,
    )
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "ran")
    return folder


@pytest.mark.slow
def test_the_graph_leaves_what_the_design_names(clone):
    for split, studies in {"train": 108, "dev": 12, "test": 30, "val": 10}.items():
        assert len((clone / f"data/prepared/{split}.jsonl").read_text().splitlines()) == studies
    for approach in ("router", "router-verbatim"):
        scores = json.loads((clone / f"metrics/scores/{approach}.json").read_text())
        for name in ("dev", "test", "test_novel"):
            assert all(scores[name][region].keys() == {"score"} for region in SCORED_REGIONS)
            assert scores[name]["macro"].keys() == {"score", "token_f1"}
            assert {"failed_annotations", "unscored_pairs"} < scores[name].keys()
        assert len((clone / f"data/judgements/{approach}/test.jsonl").read_text().splitlines()) == 30 * 4
    comparison = (clone / "reports/comparison.md").read_text()
    assert "*attainable*" in comparison and "| router-verbatim |" in comparison and "| constant " in comparison
    page = (clone / "reports/index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


@pytest.mark.slow
def test_a_second_run_does_nothing_and_leaves_git_clean(clone):
    assert ran(run(clone, "dvc", "repro")) == []
    assert run(clone, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_run_from_nothing_gives_the_same_bytes(clone, tmp_path):
    again = tmp_path / "again"
    run(clone, "git", "clone", "-q", str(clone), str(again))
    assert "prepare" in ran(run(again, "dvc", "repro"))
    assert run(again, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_one_setting_reruns_only_what_hangs_on_it_and_the_diff_shows_it(clone, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(clone, copy, symlinks=True)
    output = run(copy, "dvc", "exp", "run", "-S", "approaches.router.wording=verbatim", "-n", "verbatim")
    assert ran(output) == ["annotate@router", "evaluate@router", "compare", "release"]
    changed = json.loads(run(copy, "dvc", "metrics", "diff", "--json"))
    assert changed["metrics/scores/router.json"] and "metrics/scores/router-verbatim.json" not in changed
    assert "verbatim" in run(copy, "dvc", "exp", "show", "--csv")


@pytest.mark.slow
def test_a_new_approach_adds_its_own_stages(clone, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(clone, copy, symlinks=True)
    edit(copy, approaches__third={"annotator": "router", "model": "models/router", "wording": "learned"})
    assert ran(run(copy, "dvc", "repro")) == ["annotate@third", "evaluate@third", "compare", "release"]
    comparison = json.loads((copy / "reports/comparison.json").read_text())["pairs"]
    assert len(comparison["test"]) == 45 and {"router vs router-verbatim", "router vs third"} < set(comparison["test"])
    assert comparison["test"]["router vs third"]["score"]["macro"]["p"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, said",
    [
        ({"data__source": "iu-xrays"}, "params.yaml: data.source: "),
        ({"phantom__sizes": 28}, "params.yaml: phantom.sizes: "),
        ({"data": {"source": "phantom", "seed": 0, "dev_shar": 0.1, "sample": {}}}, "params.yaml: data.dev_shar: "),
        ({"data__dev_share": 2}, "params.yaml: data.dev_share: "),
    ],
)
def test_a_wrong_param_is_one_line(clone, tmp_path, change, said):
    shutil.copytree(clone, tmp_path / "copy", symlinks=True)
    edit(tmp_path / "copy", **change)
    done = subprocess.run(
        [sys.executable, "-m", "stages.prepare", "data/raw/phantom"],
        cwd=tmp_path / "copy",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1


def test_the_committed_lock_fits_the_committed_files(root, tmp_path):
    """A stage whose script, library code or params were changed without running it shows here."""
    clone = clone_of(root, tmp_path)
    stale = {}
    for stage, changes in json.loads(run(clone, "dvc", "status", "--json")).items():
        for change in changes if isinstance(changes, list) else []:
            for path, state in change.get("changed deps", {}).items():
                if state != "deleted" and not path.startswith("data/"):
                    stale[stage, path] = state
    assert stale == {}


def test_each_stage_depends_on_the_library_files_that_it_imports(root):
    """Lazily too. Left out: params.py, which only checks what DVC tracks by value, and what shapes no result."""
    shapes_nothing = {"xraygen/__init__.py", "xraygen/errors.py", "xraygen/progress.py"}
    missing = {}
    for name, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        deps = stage.get("do", stage)["deps"]
        finder = ModuleFinder(path=[str(root)], excludes=["xraygen.params"])
        finder.run_script(str(root / "stages" / f"{name}.py"))
        files = (Path(module.__file__).resolve() for module in finder.modules.values() if module.__file__)
        used = {file.relative_to(root).as_posix() for file in files if file.is_relative_to(root / "xraygen")} - shapes_nothing
        missing[name] = sorted(file for file in used if not any(file == dep or file.startswith(f"{dep}/") for dep in deps))
    assert missing == dict.fromkeys(missing, [])
