"""The README shows what the committed run printed, and what the documents tell to run can be
run.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from xraygen import params


def test_the_readme_shows_the_committed_comparison(root: Path):
    readme, comparison = (
        (root / "README.md").read_text(),
        (root / "reports/comparison.md").read_text(),
    )
    overview = comparison.split("## Overview\n", 1)[1].split("`score` is the", 1)[0]
    shown = readme.split("<!-- comparison -->\n", 1)[1].split("<!-- /comparison -->", 1)[0]
    assert shown.strip() == overview.strip()


def test_what_the_documents_link_to_is_there(root: Path):
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_starts_with_the_command_that_it_is_about(root: Path):
    for page in sorted((root / "docs").glob("*.md")):
        title, blank, command = page.read_text().split("\n")[:3]
        assert title.startswith("# ") and not blank and command.startswith("    "), page.name


def test_the_readme_fits_a_screen_and_a_half(root: Path):
    readme = (root / "README.md").read_text()
    makefile = (root / "Makefile").read_text()
    assert len(readme.splitlines()) <= 80
    for target in ("repro", "test"):
        assert f"make {target}" in readme and f"\n{target}:" in makefile


@pytest.mark.parametrize("name", ["iu-xray-2-cores", "gpu-16-gb", "gpu-80-gb"])
def test_a_documented_parameter_set_is_a_valid_one(root: Path, tmp_path, name):
    hydra = pytest.importorskip("dvc.utils.hydra")
    text = (root / "docs/vlm.md").read_text()
    command = re.search(rf"<!-- {name} -->\n```\n(.*?)```", text, re.DOTALL)[1].replace("\\\n", " ")
    words = shlex.split(command)
    assert words[:3] == ["dvc", "exp", "run"]
    shutil.copy(root / "params.yaml", tmp_path)
    hydra.apply_overrides(
        tmp_path / "params.yaml",
        [value for flag, value in zip(words, words[1:], strict=False) if flag == "-S"],
    )
    before, after = params.load(root / "params.yaml"), params.load(tmp_path / "params.yaml")
    assert after.data.source == "iu-xray" and after.finetune != before.finetune
    for shown in ("inputs", "prompt", "max_views", "max_pixels"):
        assert getattr(after.approaches["vlm-finetuned"], shown) is None, (
            "read from the model's training.json"
        )
