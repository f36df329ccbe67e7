"""The graph, end to end, in a temporary clone with few and small studies: what runs, what re-runs,
what is shown.
"""

import inspect
import json
import os
import shutil
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path
from typing import get_args

import forked
import pytest
import record_session
import yaml
from conftest import REGIONS
from pydantic import field_validator

from xraygen import judges, sources
from xraygen.annotators import load
from xraygen.annotators.base import Annotator
from xraygen.core.json_lines import read_jsonl, write_jsonl
from xraygen.core.plugins import resolve
from xraygen.core.study import Record, Study
from xraygen.params import Params

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "DVC_NO_ANALYTICS": "1",
}

# Sections whose settings are checked by the classes that names in params.yaml stand for.
NAMED = {
    "approaches": (load.BUILT_IN, Annotator),
    "evaluate.settings": (judges.BUILT_IN, judges.Judge),
    "data.settings": (sources.BUILT_IN, sources.Source),
}


def run(folder: Path, *command: str, status: int = 0, path: str | None = None) -> str:
    """What it prints. `path`: the variable PATH; None = that of ENVIRONMENT."""
    environment = ENVIRONMENT | ({"PATH": path} if path else {})
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def dvc(folder: Path, *arguments: str) -> str:
    """As `run`, with processes that have the libraries imported already: less than half the
    time.
    """
    return run(folder, "dvc", *arguments, path=forked.path())


def clone_of(root: Path, folder: Path) -> Path:
    """The working tree as a fresh clone of it would be: tracked and new files, nothing that git
    ignores.
    """
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


def small_project(root: Path, folder: Path) -> Path:
    """A clone of the working tree whose graph is small, not run yet."""
    clone_of(root, folder)
    edit(
        folder,
        data__settings__phantom__train=120,
        data__settings__phantom__test=12,
        data__settings__phantom__val=4,
        data__settings__phantom__size=112,
        evaluate__resamples=200,
        compare__resamples=500,
        finetune__max_steps=2,
        audit__sample=4,
    )
    # Each takes as long as `nearest`, which runs the same code.
    record_session.take_out(folder, ("brief", "examples", "rules"))
    # Nothing in it fits these settings, and DVC would read and write all of it at each stage.
    (folder / "dvc.lock").unlink()
    return folder


def python(folder: Path, module: str, *arguments: str) -> str:
    """As `dvc`: what the module prints."""
    return run(folder, "python", "-m", module, *arguments, path=forked.path())


@pytest.fixture(scope="module")
def clone(root, tmp_path_factory) -> Path:
    """A clone with a small graph that has run once, as users run it, and is committed."""
    folder = small_project(root, tmp_path_factory.mktemp("clone"))
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "ran")
    return folder


@pytest.fixture(scope="module")
def routers(clone, tmp_path_factory) -> Path:
    """The same with the two routers alone."""
    folder = tmp_path_factory.mktemp("routers") / "project"
    shutil.copytree(clone, folder, symlinks=True)
    record_session.leave_two_routers(folder)
    return folder


@pytest.mark.slow
def test_the_graph_leaves_what_the_design_names(clone):
    for split, studies in {"train": 108, "dev": 12, "test": 12, "val": 4}.items():
        assert len((clone / f"data/prepared/{split}.jsonl").read_text().splitlines()) == studies
    for approach in ("router", "router-verbatim"):
        scores = json.loads((clone / f"metrics/scores/{approach}.json").read_text())
        for name in ("dev", "test", "test_novel"):
            assert all(scores[name][region].keys() == {"score"} for region in REGIONS.scored)
            assert scores[name]["macro"].keys() == {"score", "clinical", "token_f1"}
            assert scores[name]["abnormal"].keys() == {"clinical", "recall", "precision"}
            assert {"failed_annotations", "unscored_pairs"} < scores[name].keys()
        assert (
            len((clone / f"data/judgements/{approach}/test.jsonl").read_text().splitlines())
            == 12 * 4
        )
    comparison = (clone / "reports/comparison.md").read_text()
    assert (
        "*attainable*" in comparison
        and "| router-verbatim |" in comparison
        and "| constant " in comparison
    )
    page = (clone / "reports/index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


@pytest.mark.slow
def test_a_second_run_does_nothing_and_leaves_git_clean(clone):
    assert ran(dvc(clone, "repro")) == []
    assert run(clone, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_run_from_nothing_gives_the_same_bytes(clone, tmp_path):
    """Also with other hash seeds, and in processes that have imported other libraries before."""
    again = tmp_path / "again"
    run(clone, "git", "clone", "-q", str(clone), str(again))
    assert "prepare" in ran(dvc(again, "repro"))
    assert run(again, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_one_setting_reruns_only_what_hangs_on_it_and_the_diff_shows_it(routers, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(routers, copy, symlinks=True)
    output = dvc(copy, "exp", "run", "-S", "approaches.router.wording=verbatim", "-n", "verbatim")
    assert ran(output) == [
        "annotate@router",
        "evaluate@router",
        "compare",
        "report",
        "release",
    ]
    changed = json.loads(dvc(copy, "metrics", "diff", "--json"))
    assert (
        changed["metrics/scores/router.json"]
        and "metrics/scores/router-verbatim.json" not in changed
    )
    assert "verbatim" in dvc(copy, "exp", "show", "--csv")


@pytest.mark.slow
def test_a_new_approach_adds_its_own_stages(routers, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(routers, copy, symlinks=True)
    edit(
        copy,
        approaches__third={"annotator": "router", "reads": "models/router", "wording": "learned"},
    )
    assert ran(dvc(copy, "repro")) == [
        "annotate@third",
        "evaluate@third",
        "compare",
        "report",
        "release",
    ]
    comparison = json.loads((copy / "reports/comparison.json").read_text())["pairs"]
    assert comparison["test"].keys() == {
        "router vs router-verbatim",
        "router vs third",
        "router-verbatim vs third",
    }
    assert comparison["test"]["router vs third"]["score"]["macro"]["p"] == 1


@pytest.mark.slow
def test_the_readme_shows_what_the_commands_print(routers, root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(routers, copy, symlinks=True)
    shown = record_session.session((root / "docs/experiments.md").read_text())
    assert record_session.timeless(record_session.record(copy)) == record_session.timeless(shown), (
        record_session.__doc__
    )


@pytest.mark.slow
def test_the_release_follows_the_model_of_the_winner_wherever_it_lies(routers, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(routers, copy, symlinks=True)
    shutil.copytree(copy / "models/router", copy / "models/mine")
    edit(copy, approaches__router__reads="models/mine")
    assert ran(dvc(copy, "repro")) == [
        "annotate@router",
        "compare",
        "report",
        "release",
    ]
    assert json.loads((copy / "metrics/release.json").read_text())["approach"] == "router"
    (copy / "models/mine/another").write_text(
        "A change that shows in no annotation of dev and test."
    )
    assert ran(dvc(copy, "repro")) == ["annotate@router", "release"]


@pytest.mark.slow
def test_splits_of_which_half_is_curated_are_evaluated_and_compared(routers, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(routers, copy, symlinks=True)
    for split in ("dev", "test"):
        studies = list(read_jsonl(copy / f"data/prepared/{split}.jsonl", Study))
        bare = [
            study.model_copy(update={"reference": None}) if k % 2 else study
            for k, study in enumerate(studies)
        ]
        write_jsonl(copy / f"data/prepared/{split}.jsonl", bare)
    for name in record_session.KEPT:
        python(copy, "stages.evaluate", name)
        assert len(
            (copy / f"data/judgements/{name}/test.jsonl").read_text().splitlines()
        ) == 6 * len(REGIONS.scored)
    python(copy, "stages.compare")
    assert "## Test (6 studies)" in (copy / "reports/comparison.md").read_text()
    python(copy, "stages.report")
    index = (copy / "reports/studies/index.js").read_text()
    assert index.count('"id":') == 12 and index.count('"score":[[null') == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, said",
    [
        ({"data__source": "iu-xrays"}, "params.yaml: data.source: "),
        ({"data__settings__phantom__sizes": 28}, "params.yaml: data.settings.phantom.sizes: "),
        (
            {"data": {"source": "phantom", "seed": 0, "dev_shar": 0.1, "sample": {}}},
            "params.yaml: data.dev_shar: ",
        ),
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
    for stage, changes in json.loads(dvc(clone, "status", "--json")).items():
        for change in changes if isinstance(changes, list) else []:
            for path, state in change.get("changed deps", {}).items():
                made = path == "models" or path.startswith("data/")  # by stages, so not in a clone
                if state != "deleted" and not made:
                    stale[stage, path] = state
    assert stale == {}


def test_each_stage_depends_on_the_library_files_that_it_imports(root):
    """Lazily too. Left out: what shapes no result, and params.py, of which the next test sees to it
    that it only composes.
    """
    shapes_nothing = {"xraygen/__init__.py", "xraygen/core/errors.py", "xraygen/core/progress.py"}
    missing = {}
    for name, stage in stages_of(root).items():
        finder = ModuleFinder(path=[str(root)], excludes=["xraygen.params"])
        finder.run_script(str(root / "stages" / f"{name}.py"))
        files = (
            Path(module.__file__).resolve() for module in finder.modules.values() if module.__file__
        )
        used = {
            file.relative_to(root).as_posix()
            for file in files
            if file.is_relative_to(root / "xraygen")
        } - shapes_nothing
        missing[name] = sorted(file for file in used if not depends(stage, file))
    assert missing == dict.fromkeys(missing, [])


def test_a_default_that_is_changed_in_code_reruns_the_stages_that_use_it(root):
    """DVC tracks params.yaml by value, which a setting that is left out has none of: its default is
    in a class. The file of every class behind the parameters of a stage is a dependency of that
    stage, unless the class adds nothing.
    """
    missing = []
    for name, stage in stages_of(root).items():
        for path in stage.get("params", []):
            for settings in settings_behind(path):
                # It reads names, `annotator` and `made_of`; the hash in metrics/usage, which it
                # compares with the latter, changes with the defaults.
                if path == "approaches" and name in ("compare", "report"):
                    continue
                file = Path(inspect.getfile(settings)).relative_to(root).as_posix()
                if not depends(stage, file) and not adds_nothing(settings):
                    missing.append((name, path, settings.__name__, file))
    assert missing == []


def test_what_adds_a_value_is_told_from_what_does_not():
    class Required(Record):
        n: int

    class Default(Record):
        n: int = 1

    class Nested(Record):
        inner: tuple[Required, ...] | dict[str, Default]

    class Checked(Record):
        n: int

        @field_validator("n")
        @classmethod
        def _positive(cls, n: int) -> int:
            return max(n, 0)

    assert [adds_nothing(settings) for settings in (Required, Default, Nested, Checked)] == [
        True,
        False,
        True,
        False,
    ]
    assert records_in(Nested) == [Nested, Required, Default]
    assert {"VlmSettings", "LlmSettings", "Neighbours"} <= {
        settings.__name__ for settings in settings_behind("approaches.${key}")
    }
    assert "GreenSettings" in [one.__name__ for one in settings_behind("evaluate.settings")]
    assert "PhantomSettings" in [one.__name__ for one in settings_behind("data")]


def stages_of(root: Path) -> dict[str, dict]:
    return {
        name: stage.get("do", stage)
        for name, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items()
    }


def depends(stage: dict, file: str) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in stage["deps"])


def settings_behind(path: str) -> list[type[Record]]:
    """The classes that the value at a path of params.yaml goes through, and those below it."""
    for section, (built_in, base) in NAMED.items():
        if path == section or path.startswith(f"{section}."):
            kinds = (resolve(name, built_in, base, section) for name in built_in)
            return list(dict.fromkeys(one for kind in kinds for one in records_in(kind.Settings)))
    below = [one for name in NAMED if name.startswith(f"{path}.") for one in settings_behind(name)]
    found, here = below, Params
    for key in path.split("."):
        if not (
            isinstance(here, type) and key in here.model_fields
        ):  # a name that users give: approaches.<name>
            break
        here = here.model_fields[key].annotation
        if isinstance(here, type) and issubclass(here, Record):
            found.append(here)
    return list(dict.fromkeys([*found, *records_in(here)]))


def records_in(annotation: object) -> list[type[Record]]:
    """The settings classes of a type annotation, each followed by those of its fields."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        below = [
            kind
            for field in annotation.model_fields.values()
            for kind in records_in(field.annotation)
        ]
        return list(dict.fromkeys([annotation, *below]))
    return list(dict.fromkeys(kind for part in get_args(annotation) for kind in records_in(part)))


def adds_nothing(settings: type[Record]) -> bool:
    """No value comes from the class: all fields are required, and no validator may replace one."""
    checks = settings.__pydantic_decorators__
    validators = [
        *checks.validators,
        *checks.field_validators,
        *checks.root_validators,
        *checks.model_validators,
    ]
    return not validators and all(field.is_required() for field in settings.model_fields.values())
