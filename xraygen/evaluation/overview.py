"""The first table and the figure of a comparison: score, floor, curators' agreement and cost."""

import io
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from xraygen.core.study import VERSUS
from xraygen.evaluation.abnormal_table import on_abnormal, told
from xraygen.evaluation.tables import number, percent, signed, with_interval
from xraygen.evaluation.tables import table as as_table

COST = "cost_usd_per_1000_reports"
ABOUT = (
    "*Score*: the judge's macro mean on test with its 95 % interval. *Above the floor*: how far it"
    " exceeds a constant text; bold where it is significant."
)
# The formula of the clinical score: CRIMSON, arXiv 2603.06183.
ABOUT_CLINICAL = (
    " *Clinical*: abnormal findings alone, weighted by clinical significance (after CRIMSON, arXiv"
    " 2603.06183): 1 = all reported and none invented, negative = more wrong than right. *Clinical"
    " on abnormal*: the mean over the {n:,} pairs of study and region whose reference has a"
    " significant finding; calling everything normal gets 0 there, and 1 elsewhere."
)
ABOUT_REPEATED = (
    " *Repeated reports*: token F1 on the {studies:,} test studies whose report other studies have"
    " too, next to what *curators* get there against each other."
)
ABOUT_COST = " *Cost*: US dollars for 1,000 reports; – where no server is asked."
ABOUT_PASSED_ON = (
    " *Passed on*: share of the cases that a cascade's first approach left to the next."
)


def table(comparison: dict, usage: Mapping[str, dict], floor: str | None) -> str:
    """`comparison`: the content of reports/comparison.json; `usage`: that of metrics/usage, by
    approach; `floor`: the approach that gives every case the same answer, if there is one.
    """
    approaches, pairs = comparison["approaches"], comparison["pairs"]["test"]
    repeated = comparison["repeated"]
    clinical = told(approaches)
    has_cascade = any("passed_on" in used for used in usage.values())
    rows = []
    for name, content in approaches.items():
        cells = content["test"]
        row = {
            "approach": name,
            "score": with_interval(cells["macro"], "score"),
            "above the floor": _above(pairs, "score", name, floor),
        }
        if clinical:
            row |= {
                "clinical": with_interval(cells["macro"], "clinical", "clinical_ci"),
                "clinical above the floor": _above(pairs, "clinical", name, floor),
                "clinical on abnormal": with_interval(
                    on_abnormal(cells), "clinical", "clinical_ci"
                ),
            }
        if repeated:
            row["repeated reports"] = number(repeated["approaches"][name]["macro"]["token_f1"])
        cost = usage[name].get(COST)
        row["cost"] = "–" if cost is None else f"{cost:.2f}"
        if has_cascade:
            row["passed on"] = _passed_on(usage[name])
        rows.append(row)
    headers = list(rows[0])
    if repeated:
        agreed = with_interval(repeated["curators"]["macro"], "token_f1")
        rows.append({"approach": "*curators*", "repeated reports": agreed})
    about = ABOUT
    if clinical:
        about += ABOUT_CLINICAL.format(n=_pairs(approaches))
    if repeated:
        about += ABOUT_REPEATED.format(**repeated)
    made = as_table([[row.get(header) for header in headers] for row in rows], headers)
    about += ABOUT_COST + (ABOUT_PASSED_ON if has_cascade else "")
    return f"{made}\n\n{textwrap.fill(about, 100)}"


def _pairs(approaches: dict) -> int:
    """The number of test pairs with an abnormal reference. A judge that reads both sides at once
    may see more of them next to one approach than to another; then the largest number.
    """
    return max(on_abnormal(content["test"]).get("n", 0) for content in approaches.values())


def _above(pairs: dict, measure: str, name: str, floor: str | None) -> str:
    if floor is None or name == floor:
        return "–"
    ahead, behind = f"{name}{VERSUS}{floor}", f"{floor}{VERSUS}{name}"
    found = (pairs.get(ahead) or pairs[behind])[measure]["macro"]
    if found["difference"] is None:
        return "–"
    shown = signed(found["difference"] if ahead in pairs else -found["difference"])
    return f"**{shown}**" if found["holds"] else shown


def _passed_on(used: Mapping) -> str:
    return percent(used["passed_on"] / used["cases"]) if "passed_on" in used else "–"


class Panel(NamedTuple):
    """A part of the figure: by approach the `cells` with a `measure`, whose interval is under
    `ends`, and what the dashed `line` is at.
    """

    title: str
    measure: str
    ends: str
    cells: dict[str, dict]
    line: tuple[str, float | None] | None


def figure(comparison: dict, floor: str | None) -> str:
    """Macro scores on test with their intervals, best first, and clinical scores on abnormal
    references, both above the floor's; and token F1 on repeated reports above the curators'. As
    the text of an SVG file.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    drawn = panels(comparison, floor)
    names = list(drawn[0].cells)
    style = {"svg.hashsalt": "xraygen", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(style):
        size = (3.5 * len(drawn) + 1, 0.8 + 0.26 * len(names))
        fig, axes = pyplot.subplots(
            1, len(drawn), figsize=size, sharey=True, squeeze=False, layout="constrained"
        )
        for axis, panel in zip(axes[0], drawn, strict=True):
            draw(axis, panel)
        axes[0][0].set_yticks(range(len(names)), names)
        axes[0][0].invert_yaxis()
        buffer = io.StringIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(fig)
    return buffer.getvalue()


def draw(axis, panel: Panel) -> None:
    """The intervals of a panel on a matplotlib axis, the first approach at 0."""
    lowest = 1.0
    for place, cell in enumerate(panel.cells.values()):
        value = cell.get(panel.measure)
        low, high = cell.get(f"{panel.ends}_low"), cell.get(f"{panel.ends}_high")
        if value is not None and low is not None:
            axis.plot([low, high], [place] * 2, color="#4c78a8")
            axis.plot(value, place, "o", color="#4c78a8", markersize=5)
            lowest = min(lowest, low)
    axis.set_xlabel(f"{panel.title}, 95 % interval")
    axis.set_xlim(min(0, lowest - 0.02), 1.01)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if panel.line:
        _line(axis, *panel.line)


def panels(comparison: dict, floor: str | None) -> list[Panel]:
    """The parts of the figure, whose approaches are in the same order, the best first."""
    on_test = {name: content["test"] for name, content in comparison["approaches"].items()}
    best_first = sorted(on_test, key=lambda name: -(on_test[name]["macro"]["score"] or 0))
    macro = {name: on_test[name]["macro"] for name in best_first}
    line = ("floor", macro[floor]["score"]) if floor else None
    found = [Panel("score on test", "score", "ci", macro, line)]
    if told(comparison["approaches"]):
        cells = {name: on_abnormal(on_test[name]) for name in best_first}
        line = ("floor", cells[floor].get("clinical")) if floor else None
        title = "clinical score on abnormal references"
        found.append(Panel(title, "clinical", "clinical_ci", cells, line))
    if repeated := comparison["repeated"]:
        cells = {name: repeated["approaches"][name]["macro"] for name in best_first}
        line = ("curators", repeated["curators"]["macro"]["token_f1"])
        found.append(Panel("token F1 on repeated reports", "token_f1", "ci", cells, line))
    return found


def _line(axis, label: str, value: float | None) -> None:
    if value is not None:
        axis.axvline(value, color="#888888", linestyle="--", linewidth=1)
        place = (value, 1.01)
        axis.annotate(label, place, xycoords=("data", "axes fraction"), ha="center", va="bottom")
