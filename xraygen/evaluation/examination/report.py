"""An examination as one table, and as JSON."""

import math
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from xraygen.evaluation.examination.examine import (
    OWN,
    RADJUDGE,
    Material,
    Row,
    rows_of,
)
from xraygen.evaluation.examination.orders import OrderCase, Values
from xraygen.evaluation.examination.radpref import Figure


def table(rows: Sequence[Row], titles: Mapping[str, str] | None = None) -> str:
    """One row for each check, one column for each measure and one for the radiologists, with 95 %
    intervals, in Markdown. `titles`: other headings for measures.
    """
    measures = list(rows[0].figures)
    headers = [(titles or {}).get(name, name) for name in measures]
    cells = []
    part = ""
    for row in rows:
        shown = [_cell(row.figures[name]) for name in measures]
        n = max(figure.n for figure in row.figures.values())
        cells.append([row.part if row.part != part else "", row.check, n, *shown])
        cells[-1].append(_cell(row.radiologists))
        part = row.part
    return tabulate(
        cells,
        ["", "check", "n", *headers, "radiologists"],
        tablefmt="github",
        disable_numparse=True,
    )


def _cell(figure: Figure | None) -> str:
    if figure is None or math.isnan(figure.value):
        return "–"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def content(judge: str, material: Material, measures: Mapping[str, Values]) -> dict:
    """The examination for a JSON file: all rows, and each case by name with what it was given. No
    text of the cases or references.
    """
    rows = [
        {
            "part": row.part,
            "check": row.check,
            "measures": {name: _plain(figure) for name, figure in row.figures.items()},
            "radiologists": _plain(row.radiologists) if row.radiologists else None,
        }
        for row in rows_of(material, measures)
    ]
    return {
        "judge": judge,
        "pairs": len(measures["score"]),
        "unscored": unscored(measures),
        "rows": rows,
        "cases": [
            *_cases(OWN, material.own, measures),
            *_cases(RADJUDGE, material.radjudge, measures),
        ],
    }


def unscored(measures: Mapping[str, Values]) -> int:
    """The number of pairs without a score."""
    return sum(math.isnan(score) for score in measures["score"].values())


def _plain(figure: Figure) -> dict:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in figure._asdict().items()
    }


def _cases(part: str, cases: Sequence[OrderCase], measures: Mapping[str, Values]) -> list[dict]:
    numbers: dict[str, int] = {}
    listed = []
    for case in cases:
        numbers[case.category] = numbers.get(case.category, 0) + 1
        values = {
            name: {candidate: _known(of[pair]) for candidate, pair in case.pairs.items()}
            for name, of in measures.items()
        }
        listed.append(
            {
                "part": part,
                "case": f"{case.category} {numbers[case.category]}",
                "expected": [" ".join(order) for order in case.expected],
                "holds": {name: case.holds(of) for name, of in measures.items()},
                "values": values,
            }
        )
    return listed


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
