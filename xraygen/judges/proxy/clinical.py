"""The clinical score of two texts: abnormal findings alone, weighted by clinical significance.

The formula is that of CRIMSON (arXiv 2603.06183). N: the sum of the weights w of the reference's
findings. C: of the matched ones, each times w / (w + e), with `Parameters.attribute` in e for each
attribute that is wrong. F: of those that only the candidate has. With S = (C - F) / N, the score is
S, or where S < 0 -(F - C) / (1 + F - C). Where N = 0 it is 1 if F = 0.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.study import Clinical
from xraygen.judges.proxy.clinical_matching import (
    Differences,
    distinct,
    match,
    with_malpositions,
)
from xraygen.judges.proxy.findings import Finding, read
from xraygen.judges.proxy.names import names

TABLE = Path(__file__).with_name("significance.csv")
WEIGHTS = {
    "urgent": 1.0,
    "actionable_not_urgent": 0.5,
    "not_actionable_not_urgent": 0.25,
    "benign_expected": 0.0,
}
NOT_A_FINDING = "not_a_finding"
COLUMNS = ("finding", "significance", "mild", "severe", "source")
Weights = tuple[float, float, float, float]  # of severity unsaid, mild, moderate, severe


class Parameters(NamedTuple):
    """What is added to e for an attribute that is wrong (place, severity, size), and for a less or
    more specific name. bench/radpref.py chooses `name` by cross-validation.
    """

    attribute: float = 0.5
    name: float = 0.25


DEFAULT = Parameters()


@cache
def significance() -> Mapping[str, Weights | None]:
    """The weights of each finding by name, from significance.csv; None: not a finding."""
    return read_table(TABLE)


def read_table(path: Path) -> dict[str, Weights | None]:
    """Raises UserError where the table is not one line with valid classes for each finding."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8: {error}") from None
    table: dict[str, Weights | None] = {}
    for number, row in enumerate(rows, 2):
        where = f"{path}, line {number}"
        if not set(COLUMNS) <= row.keys() or None in row.values():
            raise UserError(f"{where}: needs the columns {','.join(COLUMNS)}, between commas")
        if row["finding"] in table:
            raise UserError(f"{where}: {row['finding']} has a line already")
        table[row["finding"]] = _weights(row, where)
    unknown = sorted(table.keys() - set(names()))
    if unknown:
        raise UserError(f"{path}: not a finding that the reader knows: {', '.join(unknown)}")
    missing = sorted(set(names()) - table.keys())
    if missing:
        raise UserError(f"{path}: needs a line for {', '.join(missing)}")
    return table


def _weights(row: dict[str, str], where: str) -> Weights | None:
    usual = row["significance"]
    if usual == NOT_A_FINDING:
        return None
    mild, severe = row["mild"] or usual, row["severe"] or usual
    for given in (usual, mild, severe):
        if given not in WEIGHTS:
            classes = ", ".join(WEIGHTS)
            raise UserError(f"{where}: {given!r} is none of {classes}, {NOT_A_FINDING}")
    return WEIGHTS[usual], WEIGHTS[mild], WEIGHTS[usual], WEIGHTS[severe]


def assess(
    reference: str,
    candidate: str,
    parameters: Parameters = DEFAULT,
    table: Mapping[str, Weights | None] | None = None,
) -> Clinical:
    """The abnormal findings of a pair of texts, either of which may be empty. `table`: as
    `significance` gives it, which is the default.
    """
    table = table or significance()
    said, found = abnormal(reference, table), abnormal(candidate, table)

    def weight(finding: Finding) -> float:
        weights = table[finding.name]
        return weights[finding.severity] if weights else 0.0

    matched, missed, invented = match(said, found)
    present = sum(weight(finding) for finding in [one for one, _ in matched] + missed)
    return Clinical(
        score=clinical_score(
            present=present,
            correct=sum(credit(weight(one), wrong, parameters) for one, wrong in matched),
            false=sum(map(weight, invented)),
        ),
        present=present,
        matched=tuple(finding.name for finding, _ in matched),
        missed=tuple(finding.name for finding in missed),
        invented=tuple(finding.name for finding in invented),
    )


def abnormal(text: str, table: Mapping[str, Weights | None] | None = None) -> list[Finding]:
    """The findings that the text states as present, each once. `table`: as in `assess`."""
    table = table or significance()
    return distinct(
        [
            finding
            for finding in sentence
            if finding.positive and finding.asserted and table[finding.name] is not None
        ]
        for sentence in with_malpositions(
            statement.findings for statement in read(text, clinical=True)
        )
    )


def credit(weight: float, wrong: Differences, parameters: Parameters = DEFAULT) -> float:
    """What is left of the weight of a matched finding."""
    if not weight:
        return 0.0
    attributes = wrong.place + wrong.severity + wrong.size
    error = parameters.attribute * attributes + parameters.name * wrong.name
    return weight * weight / (weight + error)


def clinical_score(present: float, correct: float, false: float) -> float:
    """The score in [-1, 1] from the weights `present` in the reference, `correct` in the candidate
    and `false` there, rounded to 4 digits.
    """
    if false > correct:
        wrong = false - correct
        return round(-wrong / (1 + wrong), 4)
    return round((correct - false) / present, 4) if present else 1.0
