"""Nothing half-written stands anywhere, nothing is lost, and a model is known by its content."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from conftest import annotation

from xraygen.cli import main
from xraygen.core.errors import UserError
from xraygen.core.files import identity, is_being_written, replacing, replacing_folder
from xraygen.core.json_lines import write_jsonl
from xraygen.core.study import AnnotationRecord


def test_nothing_half_written_stands_at_the_path(tmp_path):
    path = tmp_path / "out" / "a.txt"
    with replacing(path) as file:
        file.write("whole")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write("ha")
        raise RuntimeError
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_an_unwritable_path_is_the_users_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot be written"),
        replacing(tmp_path / "file" / "a.txt"),
    ):
        pass
    with (
        pytest.raises(UserError, match="cannot be written"),
        replacing_folder(tmp_path / "file" / "a") as beside,
    ):
        beside.mkdir()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "model") as beside:
            beside.mkdir()
            (beside / content).write_text("")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "model") as beside:
        beside.mkdir()
        raise RuntimeError
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "model",
        "model/new",
    ]


def files_below(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_error_of_the_body_is_not_taken_for_one_of_writing(tmp_path):
    def annotations():
        yield AnnotationRecord(id="a", annotation=annotation())
        raise ConnectionResetError("the server went away")

    with pytest.raises(ConnectionResetError, match="the server went away"):
        write_jsonl(tmp_path / "out.jsonl", annotations())
    with pytest.raises(FileNotFoundError, match="gone.txt"), replacing(tmp_path / "out.txt"):
        (tmp_path / "gone.txt").read_text()
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("mode, content", [("w", "x" * 9999), ("wb", b"x" * 9999), ("w", "x" * 99)])
def test_a_full_disk_is_named_with_the_file(tmp_path, mode, content):
    (tmp_path / "out").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (50, limits[1])
    )  # what is written beyond is refused as by a full disk
    try:
        with (
            pytest.raises(UserError, match="out: cannot be written: File too large"),
            replacing(tmp_path / "out", mode) as file,
        ):
            file.write(content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "out").read_text() == "old" and files_below(tmp_path) == ["out"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    """With cache.type symlink an output of a stage is a link to a read-only file in DVC's cache."""
    (tmp_path / "cache").write_text("kept")
    (tmp_path / "cache").chmod(0o444)
    for link, target in (("out", "cache"), ("dangling", "nowhere")):
        (tmp_path / link).symlink_to(target)
        with replacing(tmp_path / link) as file:
            file.write("new")
        assert not (tmp_path / link).is_symlink() and (tmp_path / link).read_text() == "new"
    assert (tmp_path / "cache").read_text() == "kept" and (
        tmp_path / "cache"
    ).stat().st_mode & 0o777 == 0o444
    assert not (tmp_path / "nowhere").exists()


def test_a_link_that_the_user_names_is_followed(tmp_path):
    (tmp_path / "pairs.csv").write_text("reference,candidate\nClear lungs.,No effusion.\n")
    (tmp_path / "elsewhere").mkdir()
    for target in ("elsewhere/there.csv", "elsewhere/new.csv"):
        (tmp_path / "out.csv").unlink(missing_ok=True)
        (tmp_path / "out.csv").symlink_to(target)
        done = CliRunner().invoke(
            main, ["judge", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out.csv")]
        )
        assert done.exit_code == 0, done.output
        assert (tmp_path / "out.csv").is_symlink() and (tmp_path / target).read_text().startswith(
            "reference,candidate,score"
        )


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_put_there(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("")
    with (
        pytest.raises(UserError, match="model: cannot be written"),
        replacing_folder(tmp_path / "model"),
    ):
        pass  # nothing is made, so that there is nothing to rename
    assert files_below(tmp_path) == ["model", "model/old"]


KILLED_BETWEEN_THE_RENAMES = """
import os, signal, sys
from pathlib import Path
from xraygen.core.files import replacing_folder

rename, calls = Path.rename, []

def killed(self, target):
    calls.append(target)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = killed
with replacing_folder(Path(sys.argv[1])) as beside:
    beside.mkdir()
    (beside / "new").write_text("")
"""


@pytest.mark.parametrize("at", [1, 2])
def test_killed_at_a_rename_the_old_folder_is_still_there_or_comes_back(tmp_path, root, at):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("")
    command = [sys.executable, "-c", KILLED_BETWEEN_THE_RENAMES, str(tmp_path / "model"), str(at)]
    assert subprocess.run(command, cwd=root).returncode == -signal.SIGKILL
    names = [name.rpartition("/")[0] for name in files_below(tmp_path) if name.endswith("/old")]
    assert names == (["model"] if at == 1 else [".model.former.part"])
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "model") as beside:
        assert (tmp_path / "model" / "old").exists()
        raise RuntimeError
    assert (tmp_path / "model" / "old").exists() and not beside.exists()
    with replacing_folder(tmp_path / "model") as beside:
        beside.mkdir()
    assert (
        list((tmp_path / "model").iterdir()) == []
        and not (tmp_path / ".model.former.part").exists()
    )


def test_a_leftover_beside_a_folder_that_is_there_is_removed(tmp_path):
    for name in ("model", ".model.former.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    with replacing_folder(tmp_path / "model") as beside:
        beside.mkdir()
        (beside / "x").write_text("new")
    assert (tmp_path / "model" / "x").read_text() == "new" and files_below(tmp_path) == [
        "model",
        "model/x",
    ]


def test_a_file_that_is_being_written_is_told_from_one_that_was_left(tmp_path):
    with replacing(tmp_path / "a.csv"):
        (part,) = tmp_path.iterdir()
        assert is_being_written(part) and str(os.getpid()) in part.name
    for name in (
        ".a.csv.4194305.part",
        ".a.csv.99999999999999999999.part",
        ".a.csv.part",
    ):  # more than any process has
        assert not is_being_written(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "merges.txt",
        "vocab.txt",
        "vocab.json",
        "tokenizer.model",
        "spiece.model",
        "chat_template.json",
        "added_tokens.json",
    ]
    + [
        "special_tokens_map.json",
        "generation_config.json",
        "preprocessor_config.json",
        "training.json",
        "pytorch_model.bin",
    ]
    + ["additional_chat_templates/tools.jinja", "tekken.json", "tiktoken.model", "model.pt"],
)
def test_every_file_that_may_shape_an_answer_counts(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    seen = {identity(str(tmp_path))}
    for content in ("one", "other"):
        (tmp_path / name).write_text(content)
        seen.add(identity(str(tmp_path)))
    assert len(seen) == 3


@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE", ".gitattributes", ".cache/huggingface/x.lock", "loss.png"]
)
def test_what_shapes_nothing_does_not_count(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    before = identity(str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).write_text("x")
    assert identity(str(tmp_path)) == before


def test_a_model_is_known_by_names_and_contents_wherever_it_lies(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        for name in ("config.json", "model.safetensors", "chat_template.jinja", "README.md"):
            (tmp_path / folder / name).write_text(name)
    one, other = (str(tmp_path / folder) for folder in ("one", "other"))
    (tmp_path / "other" / "README.md").write_text("says something else")
    seen = {identity(one), identity(other)}
    assert len(seen) == 1 and identity("someone/a-model") == "someone/a-model"
    for name in ("config.json", "model.safetensors", "chat_template.jinja"):
        (tmp_path / "other" / name).write_text("changed")
        seen.add(identity(other))
    (tmp_path / "other" / "config.json").rename(tmp_path / "other" / "tokenizer.json")
    assert len(seen | {identity(other)}) == 5
