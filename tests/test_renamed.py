"""Keys of params.yaml under their former names."""

import re
from pathlib import Path

import pytest
import yaml

from xraygen import params
from xraygen.annotators.base import Annotator, Settings
from xraygen.core.errors import UserError
from xraygen.renamed import REMOVED, RENAMED


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
    """Also next to the new one, where `-S old=value` puts it, and the new one is a real key."""
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
    assert problem(content, tmp_path) == f"{'.'.join([*sections, key])} is now {RENAMED[old]}"


@pytest.mark.parametrize("old", REMOVED)
def test_a_key_that_is_gone_is_named(content, tmp_path, old):
    *sections, key = old.replace("*", "vlm-base").split(".")
    section = content
    for name in sections:
        section = section[name]
    section[key] = 1
    assert problem(content, tmp_path) == f"{'.'.join([*sections, key])} is gone: delete it"


def test_all_former_names_are_answered_at_once(content, tmp_path):
    """An old file is brought up to date in one go, not with a run for each key."""
    content["finetune"] = {"rate": 1, "swaps": 2}
    content["approaches"] = {name: {"model": "m", "beams": 2} for name in ("a", "b")}
    del content["regions"]
    assert problem(content, tmp_path) == (
        "finetune.swaps is now word_swap_rate; finetune.rate is now learning_rate; "
        "approaches.a.model is now reads; approaches.b.model is now reads; "
        "approaches.a.beams is gone: delete it; approaches.b.beams is gone: delete it; "
        "regions: missing; docs/regions.md has the section to copy"
    )


def test_the_section_to_copy_is_in_the_docs(content, root):
    text = (root / "docs/regions.md").read_text()
    blocks = re.findall(r"```yaml\n(regions:\n.*?)```", text, re.DOTALL)
    assert {"regions": content["regions"]} in [yaml.safe_load(block) for block in blocks]


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
