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
    test = comparison[comparison.index("## Test (") : comparison.index("## Other study sets")]
    shown = readme[readme.index("<!-- comparison -->") : readme.index("<!-- /comparison -->")]
    assert [line for line in test.splitlines()[1:] if line.strip()] == [
        line for line in shown.splitlines()[2:] if line.strip()
    ]


def test_every_path_and_command_that_the_readme_names_is_there(root: Path):
    readme = (root / "README.md").read_text()
    makefile = (root / "Makefile").read_text()
    for target in ("repro", "test"):
        assert f"make {target}" in readme and f"\n{target}:" in makefile
    for path in ("docs/proxy.md", "docs/architecture.md"):
        assert path in readme and (root / path).is_file()


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
