"""What goes wrong while a model is read: damage is one line, a bug keeps its traceback."""

import pytest

from xraygen.core.errors import UserError

pytest.importorskip("torch")

from xraygen.core.study import Case
from xraygen.engines.model import commit_of, load_processor, loading
from xraygen.prompting import encoding


def test_a_bug_keeps_its_traceback():
    for bug in (
        TypeError("unexpected keyword"),
        AttributeError("no attribute"),
        ZeroDivisionError("division"),
    ):
        with pytest.raises(type(bug)) as raised, loading("models/tiny-qwen2-vl"):
            raise bug
        assert raised.value is bug


def test_damage_is_one_line(tiny_vlm):
    said = "data did not match any variant\nat line 1"
    with (
        pytest.raises(
            UserError, match="^model x: cannot be loaded: data did not match any variant$"
        ),
        loading("x"),
    ):
        raise Exception(said)  # as tokenizers does
    with pytest.raises(UserError, match="^what the body says$"), loading("x"):
        raise UserError("what the body says")


def test_a_damaged_tokenizer_is_one_line(tiny_vlm, tmp_path):
    for path in tiny_vlm.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="^model .*: cannot be loaded: [^\n]+$"):
        load_processor(str(tmp_path))


def test_an_image_token_in_the_prompt_is_named(tiny_vlm, tmp_path):
    processor = load_processor(str(tiny_vlm))
    with pytest.raises(UserError, match="^study x: .*; take <.image_pad.> out of the prompt$"):
        encoding.encode(
            processor, [Case(id="x", report="Clear.")], tmp_path, "report", "See <|image_pad|>.", 1
        )


def test_a_folder_has_no_commit(tiny_vlm, monkeypatch):
    monkeypatch.setattr("transformers.utils.hub.resolve_revision", None)  # nobody is asked
    assert commit_of(str(tiny_vlm), None) is None and commit_of("models/not-there", "main") is None
