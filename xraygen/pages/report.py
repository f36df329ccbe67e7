"""reports/index.html and reports/studies: the comparison, and every test study."""

import base64
import io
from collections.abc import Mapping

import numpy as np

from xraygen.evaluation import confidence
from xraygen.evaluation.report import regions_of
from xraygen.pages import render
from xraygen.pages.studies import files

SCRIPTS = [
    "dom.js",
    "words.js",
    "address.js",
    "store.js",
    "filters.js",
    "list.js",
    "pictures.js",
    "study.js",
    "controls.js",
    "report.js",
]


def figure(scores: dict) -> str:
    """Scores on test by region with their intervals, as an SVG data URI, so that the page needs
    nothing from the web.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    columns = ["macro", *regions_of(scores)]
    with matplotlib.rc_context({"svg.hashsalt": "xraygen"}):
        fig, axis = pyplot.subplots(
            figsize=(8, 1.5 + 0.25 * len(scores) * len(columns)), layout="constrained"
        )
        for index, (approach, content) in enumerate(scores.items()):
            cells = [content["test"][column] for column in columns]
            score, low, high = np.array(
                [[cell[key] for cell in cells] for key in ("score", "ci_low", "ci_high")],
                dtype=float,
            )
            rows = np.arange(len(columns)) + 0.7 * index / len(scores)
            axis.errorbar(
                score,
                rows,
                xerr=np.abs([score - low, high - score]),
                fmt="o",
                capsize=3,
                label=approach,
            )
        axis.set_yticks(range(len(columns)), columns)
        axis.invert_yaxis()
        axis.set_xlabel("score on test, 95 % interval")
        axis.grid(axis="x", alpha=0.3)
        fig.legend(loc="outside upper center", ncols=3, frameon=False)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(fig)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def page(
    markdown: str, scores: dict, studies: int, confidences: Mapping[str, dict] | None = None
) -> str:
    """reports/index.html. `studies`: how many there are in reports/studies."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    body = Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
    return render(
        "report.html.jinja",
        styles=["page.css", "report.css"],
        scripts=SCRIPTS,
        data=files(studies),
        body=body,
        figure=figure(scores),
        curves=confidence.figure(confidences) if confidences else "",
    )
