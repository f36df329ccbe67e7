"""The charts of the report's overview, as SVG in the page, each with its numbers in words."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from xraygen.evaluation import overview
from xraygen.evaluation.tables import number, percent
from xraygen.pages.inline_svg import SERIES, inline

_WIDTH = 4.6  # inches
_DASHES = ("-", "--", "-.", ":")
_COVERAGES = (4, 8, 12, 16, 20)  # points of a risk-coverage curve that the table has, of 20


class Chart(NamedTuple):
    """`svg`: a part of the page. `headers`, `rows`: the numbers, where the overview's first table
    does not have them.
    """

    caption: str
    svg: Markup
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def scores(comparison: dict, floor: str | None) -> list[Chart]:
    """Scores with their intervals, and the lines of the floor and of the curators' agreement."""
    return [
        _scores(panel, f"chart-scores-{place}")
        for place, panel in enumerate(overview.panels(comparison, floor))
    ]


def _scores(panel: overview.Panel, name: str) -> Chart:
    caption = f"{panel.title[0].upper()}{panel.title[1:]}, 95 % intervals"
    values = [
        f"{approach} {number(cell.get(panel.measure))}" for approach, cell in panel.cells.items()
    ]
    if panel.line:
        label, value = panel.line
        values.append(f"dashed line at the {label}, {number(value)}")
    drawing = _drawn(partial(_draw_scores, panel=panel), 0.9 + 0.24 * len(panel.cells))
    return Chart(caption, inline(drawing, name, caption, "; ".join(values)))


def _draw_scores(axis, panel: overview.Panel) -> None:
    overview.draw(axis, panel)
    axis.set_xlabel("")  # the caption has it
    axis.set_yticks(range(len(panel.cells)), panel.cells)
    axis.invert_yaxis()


def costs(comparison: dict, usage: Mapping[str, dict]) -> Chart | None:
    """Score against cost, of the approaches that have one; None where none has."""
    points = {
        name: (used[overview.COST], comparison["approaches"][name]["test"]["macro"])
        for name, used in usage.items()
        if used.get(overview.COST) is not None
    }
    points = {name: point for name, point in points.items() if point[1]["score"] is not None}
    if not points:
        return None
    caption = "Score on test against cost, US dollars for 1,000 reports"
    values = [
        f"{name} {number(cell['score'])} at {cost:.2f}" for name, (cost, cell) in points.items()
    ]
    drawing = _drawn(partial(_draw_costs, points=points), 3.2)
    return Chart(caption, inline(drawing, "chart-costs", caption, "; ".join(values)))


def _draw_costs(axis, points: Mapping[str, tuple[float, dict]]) -> None:
    for name, (cost, cell) in points.items():
        if cell["ci_low"] is not None:
            axis.plot([cost, cost], [cell["ci_low"], cell["ci_high"]], color=SERIES[0])
        axis.plot(cost, cell["score"], "o", color=SERIES[0], markersize=5)
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        axis.annotate(name, (cost, cell["score"]), **place)
    axis.set_xlim(left=0)
    axis.margins(x=0.25)
    axis.set_xlabel("US dollars for 1,000 reports")
    axis.set_ylabel("score")


def risk_coverage(confidence: Mapping[str, dict]) -> Chart | None:
    """The share of wrong regions among the most confident, and the point of each review threshold;
    None where no approach gives confidences. `confidence`: as in reports/comparison.json.
    """
    if not confidence:
        return None
    caption = "Wrong regions of test among the most confident (risk-coverage curves)"
    curves = {name: found["curve"] for name, found in confidence.items()}
    values = [
        f"{name} {percent(curve[-1][1])} of all, {percent(curve[len(curve) // 2 - 1][1])} of half"
        for name, curve in curves.items()
    ]
    drawing = _drawn(partial(_draw_risk_coverage, confidence=confidence), 3.6)
    return Chart(
        caption,
        inline(drawing, "chart-confidence", caption, "; ".join(values)),
        ["wrong among the most confident", *(f"{5 * step} %" for step in _COVERAGES)],
        [
            [name, *(percent(curve[step - 1][1]) for step in _COVERAGES)]
            for name, curve in curves.items()
        ],
    )


def _draw_risk_coverage(axis, confidence: Mapping[str, dict]) -> None:
    _draw_curves(axis, {name: found["curve"] for name, found in confidence.items()})
    for place, found in enumerate(confidence.values()):
        review = found["review"]
        if review["wrong_kept"] is not None:
            point = review["coverage"], review["wrong_kept"]
            axis.plot(*point, "o", color=SERIES[place % len(SERIES)], markersize=5)
    axis.set_xlim(0, 1)
    axis.set_xlabel("coverage: share of the regions kept")
    axis.set_ylabel("wrong of kept")


def losses(curves: Mapping[str, Sequence[Sequence[float]]]) -> Chart | None:
    """The loss of fine-tuning by step; `curves`: (step, loss) by split. None: there are none."""
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return None
    caption = "Loss of fine-tuning: cross entropy of a completion token, by step"
    values = [
        f"{name} {number(curve[0][1])} at first, {number(curve[-1][1])} at the end"
        for name, curve in curves.items()
    ]
    headers = ["loss", "first step", "last step", "lowest"]
    rows = [
        [name, number(curve[0][1]), number(curve[-1][1]), number(min(loss for _, loss in curve))]
        for name, curve in curves.items()
    ]
    drawing = _drawn(partial(_draw_losses, curves=curves), 3.2)
    return Chart(caption, inline(drawing, "chart-loss", caption, "; ".join(values)), headers, rows)


def _draw_losses(axis, curves: Mapping[str, Sequence[Sequence[float]]]) -> None:
    _draw_curves(axis, curves)
    axis.set_xlabel("step")
    axis.set_ylabel("loss")


def _draw_curves(axis, curves: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Curves that differ in colour and dashes, from 0 up, with a legend below."""
    for place, (name, curve) in enumerate(curves.items()):
        axis.plot(
            *zip(*curve, strict=True),
            linestyle=_DASHES[(place + place // len(SERIES)) % len(_DASHES)],
            marker="o" if len(curve) < 3 else "",
            color=SERIES[place % len(SERIES)],
            label=name,
        )
    axis.set_ylim(bottom=0)
    axis.figure.legend(loc="outside lower center", ncols=3, frameon=False)


def _drawn(draw: Callable[..., None], height: float) -> str:
    """The SVG file of what `draw` puts on an axis, `height` inches high."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    style = {
        "svg.hashsalt": "xraygen",
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.size": 10,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(style):
        figure, axis = pyplot.subplots(figsize=(_WIDTH, height), layout="constrained")
        draw(axis)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return buffer.getvalue()
