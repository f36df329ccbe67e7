"""The recipe of docs/iu-xray.md for versioned raw data, run as written in a git and DVC repository;
and data that DVC links.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import forked
import pytest
import yaml
from conftest import REGIONS
from test_cases_data import collection, kinds

from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.iu_xray.text_files import TEXT_FILES
from xraygen.sources.walk import dvc_cache

pytest.importorskip("dvc")

RAW = Path("data/raw/iu-xray")
FILES = [*TEXT_FILES, "images"]


class Project:
    """A repository with the project's code, graph and .gitignore, in which commands are run."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, command: str) -> str:
        """What a shell command prints; it has to succeed."""
        names = {
            f"GIT_{who}_{what}": "t@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env |= names | {"PATH": forked.path(), "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def raw_files(self) -> dict[str, bytes]:
        raw = self.folder / RAW
        return {
            str(path.relative_to(raw)): path.read_bytes()
            for path in sorted(raw.rglob("*"))
            if path.is_file()
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory, root) -> Project:
    """With the first stage of the graph, and an invented collection fetched, added and committed as
    docs/iu-xray.md says.
    """
    folder = tmp_path_factory.mktemp("project") / "clone"
    for name in ("plugins", "stages", "xraygen"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    notes = (f"{RAW}/README.md", "data/references/README.md")
    for name in (".gitignore", ".dvcignore", "params.yaml", *notes):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": stages["prepare"]}}))
    collection(folder.parent / "collection")
    run = Project(folder)
    run("git init -q && dvc init -q && git add . && git commit -qm code")
    run("python -m xraygen fetch iu-xray --from ../collection")
    (recipe,) = set(re.findall(r"`(dvc add [^`]+)`", (root / "docs/iu-xray.md").read_text()))
    run(recipe)
    run("git add data/raw && git commit -qm data")
    return run


@pytest.fixture(scope="module")
def experiment(project) -> dict:
    """metrics/data.json of an experiment that ran in a copy of the folder, and was then applied and
    committed.
    """
    project("dvc exp run --temp -n real -S data.source=iu-xray")
    project("dvc exp apply real && git add . && git commit -qm real")
    return json.loads(project("git show HEAD:metrics/data.json"))


def test_dvc_sees_the_raw_data_without_being_told_where_it_is(project):
    known = json.loads(project("dvc data status --unchanged --json"))["unchanged"]
    assert {f"{RAW}/{name}" for name in FILES} <= {name.rstrip("/") for name in known}
    tracked = [f"{RAW}/README.md", *(f"{RAW}/{name}.dvc" for name in FILES)]
    assert sorted(project("git ls-files data/raw").split()) == sorted(tracked)
    assert project("git status --short") == ""


def test_an_experiment_in_a_copy_of_the_folder_has_the_data(experiment):
    assert experiment["source"] == "iu-xray" and experiment["excluded"] == {}
    assert sum(split["images"] for split in experiment["splits"].values()) == 12


def test_a_push_and_a_pull_bring_the_data_into_a_fresh_clone(project, experiment, tmp_path):
    whole = project.raw_files()
    project(
        f"dvc remote add -f -d store {tmp_path / 'store'} && git add .dvc &&"
        " git commit -qm remote && dvc push"
    )
    project(f"git clone -q . {tmp_path / 'fresh'}")
    fresh = Project(tmp_path / "fresh")
    assert not (tmp_path / "fresh" / RAW / "images").exists()
    fresh("dvc pull")
    assert fresh.raw_files() == whole and len(whole) == 12 + 3 + 4 + 1


def test_no_command_of_dvc_deletes_the_data(project, experiment):
    whole = project.raw_files()
    project("dvc checkout && dvc gc -w -f")
    assert project.raw_files() == whole
    shutil.rmtree(project.folder / RAW / "images")
    project("dvc checkout")
    assert project.raw_files() == whole


def test_what_dvc_links_is_the_data(project, experiment):
    whole = iu_xray.read(project.folder / RAW, project.folder, REGIONS)
    project("dvc config --local cache.type symlink && dvc checkout --relink")
    paths = list((project.folder / RAW / "images").iterdir())
    assert len(paths) == 12 and all(path.is_symlink() for path in paths)
    assert iu_xray.read(project.folder / RAW, project.folder, REGIONS) == whole
    said = project("python -m xraygen fetch iu-xray --from ../collection 2>&1")
    assert "3 text files, 12 images" in said and all(path.is_symlink() for path in paths)


# Links into a cache


@pytest.fixture
def linked(tmp_path) -> Path:
    """A collection in the project tmp_path/p whose first picture is a link to tmp_path/store/a."""
    raw = tmp_path / "p" / "raw"
    collection(raw)
    first = min((raw / "images").iterdir())
    (tmp_path / "store").mkdir()
    first.rename(tmp_path / "store" / "a")
    first.symlink_to(tmp_path / "store" / "a")
    return tmp_path


def repository(folder: Path, **levels: str) -> Path:
    """A folder's .dvc as `dvc init --no-scm` makes it, with a cache directory in each of these
    files.
    """
    (folder / ".dvc").mkdir(parents=True, exist_ok=True)
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    for name, cache in levels.items():
        with (folder / ".dvc" / name.replace("_", ".")).open("a") as file:
            file.write(f"[cache]\n    dir = {cache}\n")
    return folder


def excluded(linked: Path) -> int:
    found = iu_xray.read(linked / "p" / "raw", linked / "p", REGIONS)
    return kinds(found).get("image_outside", 0)


@pytest.mark.parametrize("level", ["config", "config_local"])
@pytest.mark.parametrize("cache", ["{}/store", "../../store"])
def test_the_cache_is_where_it_is_configured(linked, level, cache):
    project = repository(linked / "p", **{level: cache.format(linked)})
    assert dvc_cache(project) == linked / "store"
    assert excluded(linked) == 0


def test_a_cache_behind_a_link_is_the_cache(linked):
    (linked / "shared").symlink_to(linked / "store")
    repository(linked / "p", config=str(linked / "shared"))
    assert excluded(linked) == 0


def test_links_elsewhere_are_refused_with_a_repository_and_without(linked):
    assert dvc_cache(linked / "p") is None and excluded(linked) == 1
    repository(linked / "p")
    assert dvc_cache(linked / "p") == linked / "p" / ".dvc" / "cache" and excluded(linked) == 1


def test_a_cache_that_leads_out_of_itself_is_refused(linked):
    (linked / "cache").mkdir()
    (linked / "cache" / "a").symlink_to(linked / "store" / "a")
    first = min((linked / "p" / "raw" / "images").iterdir())
    first.unlink()
    first.symlink_to(linked / "cache" / "a")
    repository(linked / "p", config=str(linked / "cache"))
    assert excluded(linked) == 1


def test_a_configuration_that_came_with_the_data_is_not_the_projects(linked):
    repository(linked / "p" / "raw", config=str(linked / "store"))
    repository(linked / "p")
    assert excluded(linked) == 1
