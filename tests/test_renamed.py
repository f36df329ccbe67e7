"""Keys of params.yaml under their former names."""

from pathlib import Path

import pytest
import yaml

from xraygen import params
from xraygen.annotators.base import Annotator, Settings
from xraygen.core.errors import UserError
from xraygen.renamed import RENAMED


class Mine(Annotator):
    class Settings(Settings):
        model: str

    def __call__(self, cases):
        return iter(())


@pytest.fixture
def content(root) -> dict:
    return yaml.safe_load((root / "params.yaml").read_text())


def problem(content: dict, folder: Path) -> str:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as error:
        params.load(path)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("old", RENAMED)
def test_a_former_name_is_answered_with_the_one_it_has_now(content, tmp_path, old):
    """Also beside the new one, where `-S old=value` puts it, and the new one is a real key."""
    *sections, key = old.replace("*", "vlm-base").split(".")
    new = RENAMED[old].split(".")
    section = content
    for name in sections:
        section = section[name]
    holder = section if len(new) == 1 else content
    for name in new:
        assert name in holder, f"{RENAMED[old]} is not in params.yaml"
        holder = holder[name]
    section[key] = 1
    assert problem(content, tmp_path) == f"{'.'.join([*sections, key])}: renamed to {RENAMED[old]}"


def test_a_key_that_never_was_is_still_an_unknown_one(content, tmp_path):
    content["finetune"]["speed"] = 1
    assert problem(content, tmp_path) == "finetune.speed: Extra inputs are not permitted"


def test_an_annotator_outside_the_package_names_its_settings_as_it_likes(content, tmp_path):
    content["approaches"]["mine"] = {
        "annotator": "test_renamed:Mine",
        "reads": "models/router",
        "model": "any",
    }
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    assert params.load(path).approaches["mine"].model == "any"
