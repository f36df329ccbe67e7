"""What git and `dvc metrics diff` see of a run: few numbers, four digits, few lines."""

import json
from pathlib import Path

import pytest
from conftest import REGIONS

from xraygen.annotators.release import metrics as release_metrics
from xraygen.core.json_lines import write_metrics
from xraygen.evaluation.evaluate import metrics

COLUMNS = ("macro", *REGIONS.scored)


def cells(score: float) -> dict:
    row = {
        "score": score,
        "ci_low": 0.1,
        "ci_high": 0.2,
        "n": 3,
        "unscored": 2,
        "as_published": 0.4,
        "token_f1": 0.7,
    }
    return {column: dict(row) for column in COLUMNS} | {
        "verdicts": {"judged": 9},
        "failed_annotations": 1,
    }


def leaves(value: object) -> int:
    return sum(map(leaves, value.values())) if isinstance(value, dict) else 1


def test_of_a_study_set_metrics_have_eight_numbers():
    shown = metrics(
        {
            "judge": "proxy",
            "about": "…",
            "dev": cells(0.5),
            "test": cells(0.6),
            "test_novel": cells(0.7),
        }
    )
    assert shown.keys() == {"judge", "dev", "test", "test_novel"}
    assert shown["test"] == {
        "macro": {"score": 0.6, "token_f1": 0.7},
        **{region: {"score": 0.6} for region in COLUMNS[1:]},
        "failed_annotations": 1,
        "unscored_pairs": 2,
    }
    assert leaves(shown) == 1 + 3 * 8


def test_of_the_release_no_intervals():
    facts = {
        "approach": "a",
        "score": 0.5,
        "ci_low": 0.4,
        "ci_high": 0.6,
        "margin_ci_low": 0.1,
        "p_holm": 0.03,
        "holds": True,
    }
    assert release_metrics(facts) == {"approach": "a", "score": 0.5, "holds": True}


def test_floats_have_four_digits_and_a_study_set_is_a_line(tmp_path: Path):
    content = metrics(
        {
            "judge": "proxy",
            "about": "…",
            "dev": cells(0.123456),
            "test": cells(2 / 3),
            "test_novel": cells(1.0),
        }
    )
    write_metrics(tmp_path / "scores.json", content)
    text = (tmp_path / "scores.json").read_text()
    assert len(text.splitlines()) == 6 and text.endswith("}\n")
    read = json.loads(text)
    assert read["dev"]["macro"]["score"] == 0.1235 and read["test"]["bone"]["score"] == 0.6667
    assert list(read) == list(content)


def test_what_is_short_is_one_line_and_what_is_long_is_divided(tmp_path: Path):
    write_metrics(tmp_path / "short.json", {"cases": 5, "cost_usd": 0.123449})
    assert (tmp_path / "short.json").read_text() == '{"cases": 5, "cost_usd": 0.1234}\n'
    long = {
        "parts": {f"part {number}": {"text": "x" * 100, "list": [0.33333]} for number in range(4)},
        "none": None,
        "empty": {},
    }
    write_metrics(tmp_path / "long.json", long)
    text = (tmp_path / "long.json").read_text()
    expected = {name: part | {"list": [0.3333]} for name, part in long["parts"].items()}
    assert len(text.splitlines()) == 10 and json.loads(text) == long | {"parts": expected}


def test_nan_is_an_error_and_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "scores.json"
    write_metrics(path, {"a": 1})
    with pytest.raises(ValueError):
        write_metrics(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
