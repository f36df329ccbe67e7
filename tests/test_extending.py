"""The example of docs/extending.md, run: classes outside the package, from params.yaml to the
comparison.
"""

import csv
import json
import re
import shutil

import pytest
import yaml
from conftest import ROOT
from test_graph import clone_of, dvc

from xraygen import params
from xraygen.core.errors import UserError
from xraygen.core.plugins import resolve
from xraygen.judges import BUILT_IN, Judge

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
CODE, NAMED = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.S)[1] for kind in ("python", "yaml"))
REGIONS = ("bone", "heart", "lung", "mediastinal", "others")


@pytest.mark.slow
def test_the_example_runs_from_its_source_to_the_comparison(root, tmp_path):
    clone = clone_of(root, tmp_path)
    (clone / "plugins/mine.py").write_text(CODE)
    content, named = yaml.safe_load((clone / "params.yaml").read_text()), yaml.safe_load(NAMED)
    content["data"] |= named["data"]
    content["evaluate"] |= named["evaluate"] | {"resamples": 50}
    content["approaches"] = {"constant": content["approaches"]["constant"]} | named["approaches"]
    (clone / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    shutil.rmtree(clone / "metrics")  # of the approaches that are gone
    (clone / "dvc.lock").unlink()  # which DVC would read and write at each stage
    raw = clone / "data/raw/plugins.mine:Tutorial"
    raw.mkdir(parents=True)
    with (raw / "reports.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ("id", "split", "report", *REGIONS))
        table.writeheader()
        for k in range(60):
            heart = "The heart is large" if k % 3 else "The heart is normal in size"
            lung = "A lung nodule" if k % 2 else "Each lung is clear"
            split = "test" if k < 20 else "train"
            row = {"id": f"T{k:02}", "split": split, "report": f"{heart}. {lung}. Two views"}
            table.writerow(row | {"heart": heart, "lung": lung})

    dvc(clone, "repro", "-q", "compare")

    scores = json.loads((clone / "metrics/scores/keywords.json").read_text())
    assert scores["judge"] == "plugins.mine:SharedWords"
    assert scores["test"]["macro"]["score"] == 1
    page = (clone / "reports/comparison.md").read_text()
    assert "The share of the reference's words that the candidate repeats." in page
    constant = json.loads((clone / "metrics/scores/constant.json").read_text())
    assert constant["test"]["lung"]["score"] < 1

    # An edit of the class runs what depends on it again, and nothing is stale before.
    assert dvc(clone, "status", "-q", "compare") == ""
    (clone / "plugins/mine.py").write_text(CODE.replace("/ len(left)", "/ len(left | right)"))
    assert "evaluate@keywords" in dvc(clone, "repro", "--dry", "compare")


@pytest.mark.parametrize(
    "name, said",
    [
        ("grene", "no 'grene'; there are proxy, green, crimson, or name a class"),
        ("no.such.module:Judge", "no.such.module:Judge: cannot be imported: No module named 'no'"),
        ("json:Judge", "json:Judge: cannot be imported"),
        ("json:loads", "json:loads: not a subclass of xraygen.judges.Judge"),
        ("xraygen.core.study:Study", "not a subclass of xraygen.judges.Judge"),
    ],
)
def test_a_name_that_is_no_class_is_one_line(root, tmp_path, name, said):
    with pytest.raises(UserError, match=f"params.yaml: evaluate.judge: .*{said}"):
        resolve(name, BUILT_IN, Judge, "params.yaml: evaluate.judge")
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["evaluate"]["judge"] = name
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"evaluate.judge: .*{said}") as caught:
        params.load(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "keys, value, said",
    [
        (("evaluate", "settings", "green", "modle"), "x", "evaluate.settings.green.modle"),
        (("data", "settings", "phantom", "size"), 7, "data.settings.phantom.size"),
        (("approaches", "router", "wordings"), "x", "approaches.router.wordings"),
        (
            ("approaches", "router", "annotator"),
            "ruoter",
            "approaches.router.annotator: no 'ruoter'",
        ),
        (("approaches", "router"), None, "approaches.router: has no `annotator`"),
        (("approaches", "router", "reads"), "../elsewhere", "approaches.router.reads"),
    ],
)
def test_a_wrong_setting_is_named_by_its_key(root, tmp_path, keys, value, said):
    content = yaml.safe_load((root / "params.yaml").read_text())
    section = content
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=said):
        params.load(tmp_path / "params.yaml")


def test_a_bug_in_a_class_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise ZeroDivisionError\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError):
        resolve("broken:Judge", BUILT_IN, Judge, "evaluate.judge")
