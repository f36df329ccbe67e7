"""An examination as one table, and as JSON."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from xraygen.evaluation.examination.examine import (
    OWN,
    RADJUDGE,
    RADPREF,
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
        by_measure = [shown(row.figures[name]) for name in measures]
        n = max(figure.n for figure in row.figures.values())
        name = row.part if row.part != part else ""
        cells.append([name, row.check, n, *by_measure, shown(row.radiologists)])
        part = row.part
    return tabulate(
        cells,
        ["", "check", "n", *headers, "radiologists"],
        tablefmt="github",
        disable_numparse=True,
    )


def shown(figure: Figure | None) -> str:
    """A value with its interval, or a dash."""
    if figure is None or math.isnan(figure.value):
        return "–"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def notes(material: Material, measures: Mapping[str, Values]) -> list[str]:
    """What the table does not show, a line for each."""
    lines = []
    if "clinical" not in measures:
        lines.append("The judge gives no clinical score.")
    if count := unscored(measures):
        lines.append(f"{count:,} pairs have no score; an order that needs one does not hold.")
    if not material.rated or not material.radjudge:
        missing = " and ".join(
            name
            for name, there in ((RADPREF, material.rated), (RADJUDGE, material.radjudge))
            if not there
        )
        lines.append(f"Not examined: {missing}; --cases FOLDER has the files.")
    if not material.versions:
        lines.append("Not examined: damaged and reworded texts; --references FILE has some.")
    return [*lines, "docs/judges.md says what each row means."]


def content(judge: str, material: Material, measures: Mapping[str, Values]) -> dict:
    """The examination for a JSON file: all rows, and each case by name with what it was given. No
    text of the cases or references.
    """
    return {
        "judge": judge,
        "pairs": len(measures["score"]),
        "unscored": unscored(measures),
        "rows": {f"{row.part}: {row.check}": _plain(row) for row in rows_of(material, measures)},
        "cases": _cases(OWN, material.own, measures)
        | _cases(RADJUDGE, material.radjudge, measures),
    }


def unscored(measures: Mapping[str, Values]) -> int:
    """The number of pairs without a score."""
    return sum(math.isnan(score) for score in measures["score"].values())


def _plain(row: Row) -> dict:
    named = dict(row.figures)
    if row.radiologists:
        named["radiologists"] = row.radiologists
    return {
        name: {part: _known(value) for part, value in figure._asdict().items()}
        for name, figure in named.items()
    }


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _cases(part: str, cases: Sequence[OrderCase], measures: Mapping[str, Values]) -> dict:
    numbers: Counter[str] = Counter()
    described = {}
    for case in cases:
        numbers[case.category] += 1
        values = {
            name: {candidate: _known(of[pair]) for candidate, pair in case.pairs.items()}
            for name, of in measures.items()
        }
        described[f"{part}: {case.category} {numbers[case.category]}"] = {
            "expected": [" ".join(order) for order in case.expected],
            "holds": {name: case.holds(of) for name, of in measures.items()},
            "values": values,
        }
    return described
