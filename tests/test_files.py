"""Nothing half-written stands anywhere, and a model is known by its content."""

import pytest

from xraygen.errors import UserError
from xraygen.files import identity, replacing, replacing_folder


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
    with pytest.raises(UserError, match="cannot be written"), replacing(tmp_path / "file" / "a.txt"):
        pass
    with pytest.raises(UserError, match="cannot be written"), replacing_folder(tmp_path / "file" / "a") as beside:
        beside.mkdir()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "model") as beside:
            beside.mkdir()
            (beside / content).write_text("")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "model") as beside:
        beside.mkdir()
        raise RuntimeError
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["model", "model/new"]


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
