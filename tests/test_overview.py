"""The first table of a comparison, and its figure."""

import copy
import xml.etree.ElementTree as ElementTree

import pytest

from xraygen.evaluation.overview import figure, table
from xraygen.evaluation.tables import number, signed


def cell(score: float, low: float = 0.1, high: float = 0.9) -> dict:
    return {"score": score, "ci_low": low, "ci_high": high}


def difference(value: float | None, holds: bool = False) -> dict:
    return {"score": {"macro": {"difference": value, "holds": holds}}}


def test_a_number_that_rounds_to_zero_has_no_minus():
    assert [number(-0.0004), signed(-0.0004), signed(-0.0006)] == ["0.000", "+0.000", "-0.001"]


COMPARISON = {
    "approaches": {
        "constant": {"test": {"macro": cell(0.5)}},
        "mine": {"test": {"macro": cell(0.75, 0.7, 0.8)}},
        "other": {"test": {"macro": cell(0.51)}},
    },
    "pairs": {
        "test": {
            "constant vs mine": difference(-0.25, holds=True),
            "constant vs other": difference(-0.01),
            "mine vs other": difference(0.24, holds=True),
        }
    },
    "repeated": {
        "studies": 12,
        "curators": {"macro": {"token_f1": 0.9, "ci_low": 0.85, "ci_high": 0.95}},
        "approaches": {
            name: {"macro": {"token_f1": 0.25, "ci_low": 0.2, "ci_high": 0.3}}
            for name in ("constant", "mine", "other")
        },
    },
}
USAGE = {"constant": {}, "mine": {"cost_usd_per_1000_reports": 1.234}, "other": {}}


def rows(text: str) -> dict[str, list[str]]:
    lines = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("|"))
    return {first.strip(): [part.strip() for part in rest] for first, *rest in lines}


def test_each_approach_has_its_score_its_lead_over_the_floor_and_its_cost():
    found = rows(table(COMPARISON, USAGE, "constant"))
    assert found["mine"] == ["0.750 [0.700, 0.800]", "**+0.250**", "0.250", "1.23"]
    assert found["other"][1:] == ["+0.010", "0.250", "–"], "not bold: it is not significant"
    assert found["constant"][1] == "–"
    assert found["*curators*"] == ["", "", "0.900 [0.850, 0.950]", ""]


def test_the_sign_is_that_of_the_approach_whichever_comes_first_in_params():
    turned = copy.deepcopy(COMPARISON)
    turned["pairs"]["test"]["mine vs constant"] = difference(0.25, holds=True)
    del turned["pairs"]["test"]["constant vs mine"]
    assert rows(table(turned, USAGE, "constant"))["mine"][1] == "**+0.250**"


def test_without_a_floor_or_repeated_reports_there_is_nothing_to_hold_against():
    alone = COMPARISON | {"repeated": None}
    found = rows(table(alone, USAGE, None))
    assert found["mine"] == ["0.750 [0.700, 0.800]", "–", "1.23"] and "*curators*" not in found
    assert "repeated" not in table(alone, USAGE, None).lower()
    ElementTree.fromstring(figure(alone, None))


@pytest.mark.parametrize("floor", ["constant", None])
def test_the_figure_is_the_same_bytes_each_time_and_has_every_name(floor):
    drawn = figure(COMPARISON, floor)
    assert drawn == figure(copy.deepcopy(COMPARISON), floor)
    texts = {element.text for element in ElementTree.fromstring(drawn).iter() if element.text}
    assert {"constant", "mine", "other", "curators"} <= texts and ("floor" in texts) == bool(floor)
