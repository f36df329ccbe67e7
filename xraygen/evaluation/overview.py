"""The first table and the figure of a comparison: score, floor, curators' agreement and cost."""

import io
import textwrap
from collections.abc import Mapping

from tabulate import tabulate

from xraygen.core.study import VERSUS

COST = "cost_usd_per_1000_reports"
ABOUT = (
    "*Score*: the judge's macro mean on test with its 95 % interval. *Above the floor*: how much of"
    " that a constant text does not get; bold where it is significant."
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
    repeated = comparison["repeated"]
    columns: dict[str, list[str]] = {
        "approach": [],
        "score": [],
        "above the floor": [],
        "repeated reports": [],
        "cost": [],
        "passed on": [],
    }
    has_cascade = any("passed_on" in used for used in usage.values())
    for name, content in comparison["approaches"].items():
        cost = usage[name].get(COST)
        columns["approach"].append(name)
        columns["score"].append(_with_interval(content["test"]["macro"], "score"))
        columns["above the floor"].append(_above(comparison["pairs"]["test"], name, floor))
        columns["cost"].append("–" if cost is None else f"{cost:.2f}")
        if has_cascade:
            columns["passed on"].append(_passed_on(usage[name]))
        if repeated:
            agreed = repeated["approaches"][name]["macro"]["token_f1"]
            columns["repeated reports"].append(_number(agreed))
    if repeated:
        columns["approach"].append("*curators*")
        agreed = _with_interval(repeated["curators"]["macro"], "token_f1")
        columns["repeated reports"].append(agreed)
    about = ABOUT + (ABOUT_REPEATED.format(**repeated) if repeated else "") + ABOUT_COST
    about += ABOUT_PASSED_ON if has_cascade else ""
    shown = {name: cells for name, cells in columns.items() if cells}
    made = tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True)
    return f"{made}\n\n{textwrap.fill(about, 100)}"


def _above(pairs: dict, name: str, floor: str | None) -> str:
    if floor is None or name == floor:
        return "–"
    ahead, behind = f"{name}{VERSUS}{floor}", f"{floor}{VERSUS}{name}"
    found = (pairs.get(ahead) or pairs[behind])["score"]["macro"]
    if found["difference"] is None:
        return "–"
    shown = f"{found['difference'] if ahead in pairs else -found['difference']:+.3f}"
    return f"**{shown}**" if found["holds"] else shown


def _passed_on(used: Mapping) -> str:
    return f"{used['passed_on'] / used['cases']:.1%}" if "passed_on" in used else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_interval(cell: dict, measure: str) -> str:
    return f"{_number(cell[measure])} [{_number(cell['ci_low'])}, {_number(cell['ci_high'])}]"


def figure(comparison: dict, floor: str | None) -> str:
    """Macro scores on test with their intervals, best first, above the floor's; and token F1 on
    repeated reports above the curators'. As the text of an SVG file.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    def score(name: str) -> float:
        return comparison["approaches"][name]["test"]["macro"]["score"] or 0

    names = sorted(comparison["approaches"], key=score, reverse=True)
    repeated = comparison["repeated"]
    panels = [
        ("score on test", "score", {n: comparison["approaches"][n]["test"]["macro"] for n in names})
    ]
    if repeated:
        cells = {name: repeated["approaches"][name]["macro"] for name in names}
        panels.append(("token F1 on repeated reports", "token_f1", cells))
    style = {"svg.hashsalt": "xraygen", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(style):
        size = (4 * len(panels) + 1, 0.8 + 0.26 * len(names))
        fig, axes = pyplot.subplots(
            1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained"
        )
        for axis, (title, measure, cells) in zip(axes[0], panels, strict=True):
            for place, name in enumerate(names):
                cell = cells[name]
                if cell[measure] is not None and cell["ci_low"] is not None:
                    axis.plot([cell["ci_low"], cell["ci_high"]], [place] * 2, color="#4c78a8")
                    axis.plot(cell[measure], place, "o", color="#4c78a8", markersize=5)
            axis.set_xlabel(f"{title}, 95 % interval")
            axis.set_xlim(0, 1.01)
            axis.grid(axis="x", alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0][0].set_yticks(range(len(names)), names)
        axes[0][0].invert_yaxis()
        if floor:
            _line(axes[0][0], score(floor), "floor")
        if repeated:
            _line(axes[0][1], repeated["curators"]["macro"]["token_f1"], "curators")
        buffer = io.StringIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(fig)
    return buffer.getvalue()


def _line(axis, value: float | None, label: str) -> None:
    if value is not None:
        axis.axvline(value, color="#888888", linestyle="--", linewidth=1)
        place = (value, 1.01)
        axis.annotate(label, place, xycoords=("data", "axes fraction"), ha="center", va="bottom")
