"""The clinical score of two texts: abnormal findings alone, weighted by clinical significance.

The formula is that of CRIMSON (arXiv 2603.06183). N: the sum of the weights of the reference's
findings; C: of the matched ones, each times w / (w + e), where e is .5 for each attribute that is
wrong; F: of those that only the candidate has. With S = (C - F) / N the score is S, or where S < 0
-(F - C) / (1 + F - C); where the reference has no finding with a weight, 1 if nothing is false.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from xraygen.core.study import Clinical
from xraygen.judges.proxy.clinical_matching import Differences, distinct, findings_of, match
from xraygen.judges.proxy.findings import Finding, read

TABLE = Path(__file__).with_name("significance.csv")
WEIGHTS = {
    "urgent": 1.0,
    "actionable_not_urgent": 0.5,
    "not_actionable_not_urgent": 0.25,
    "benign_expected": 0.0,
}
NOT_A_FINDING = "not_a_finding"


class Parameters(NamedTuple):
    """What a difference takes from a finding: `attribute` for a side, zone, severity or size,
    `name` for a less or more specific name.
    """

    attribute: float = 0.5
    name: float = 0.5


class Significance(NamedTuple):
    """Weights of a finding by severity: unsaid, mild, moderate, severe."""

    weights: tuple[float, float, float, float]


@cache
def significance() -> dict[str, tuple[float, ...] | None]:
    """Name -> weights of severity 0 unsaid, 1 mild, 2 moderate, 3 severe; None: not a finding."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["finding"]: _weights(row) for row in csv.DictReader(file)}


def _weights(row: dict[str, str]) -> tuple[float, ...] | None:
    usual = row["significance"]
    if usual == NOT_A_FINDING:
        return None
    return tuple(WEIGHTS[name] for name in (usual, row["mild"] or usual, usual, row["severe"] or usual))


def weight(finding: Finding) -> float:
    weights = significance()[finding.name]
    return weights[finding.severity] if weights else 0.0


def assess(reference: str, candidate: str, parameters: Parameters = Parameters()) -> Clinical:
    """The abnormal findings of a pair of texts, either of which may be empty."""
    matching = match(_abnormal(reference), _abnormal(candidate))
    matched = [one for one, _ in matching.matched]
    correct = sum(credit(weight(one), wrong, parameters) for one, wrong in matching.matched)
    return Clinical(
        score=clinical_score(
            sum(map(weight, matched + matching.missed)),
            correct,
            sum(map(weight, matching.invented)),
        ),
        matched=tuple(one.name for one in matched),
        missed=tuple(one.name for one in matching.missed),
        invented=tuple(one.name for one in matching.invented),
    )


def _abnormal(text: str) -> list[Finding]:
    table = significance()
    return distinct(f for f in findings_of(read(text)) if table[f.name] is not None)


def credit(weight: float, wrong: Differences, parameters: Parameters) -> float:
    """The part of its weight that a finding has although attributes of it are wrong."""
    if not weight:
        return 0.0
    attributes = wrong.place + wrong.severity + wrong.size
    return weight * weight / (weight + parameters.attribute * attributes + parameters.name * wrong.name)


def clinical_score(present: float, correct: float, false: float) -> float:
    """The score in [-1, 1] from the weights `present` in the reference, `correct` in the candidate
    and `false` there, rounded to 4 digits.
    """
    if false > correct:
        wrong = false - correct
        return round(-wrong / (1 + wrong), 4)
    return round((correct - false) / present, 4) if present else 1.0
