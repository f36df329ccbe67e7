"""reports/index.html and reports/studies: the comparison, and every test study."""

import base64
import io
from collections.abc import Iterable, Mapping

import numpy as np

from xraygen.core.study import AnnotationRecord, Judgement, Study
from xraygen.evaluation import confidence
from xraygen.evaluation.report import regions_of
from xraygen.evaluation.scores import StudyScores
from xraygen.pages import render

EXAMPLES = 12  # studies shown on the page


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


def worst(scores: Mapping[str, StudyScores]) -> set[str]:
    """The ids of the studies on which the approaches together scored worst."""
    lost = sum(np.nansum(1 - one.score, axis=1) for one in scores.values())
    ids = next(iter(scores.values())).ids
    return {ids[row] for row in np.argsort(-lost, kind="stable")[:EXAMPLES]}


def examples(
    studies: Iterable[Study],
    annotations: Mapping[str, Iterable[AnnotationRecord]],
    judgements: Mapping[str, Iterable[Judgement]],
) -> list[dict]:
    """What the page shows of these studies: report, reference, and the text of each approach."""
    annotated = {
        (approach, record.id): record
        for approach, records in annotations.items()
        for record in records
    }
    judged = {
        (approach, judgement.id, judgement.region): judgement
        for approach, members in judgements.items()
        for judgement in members
    }

    def answer(approach: str, id: str, region: str) -> dict:
        record = annotated[approach, id]
        text = record.annotation[region] if record.annotation else f"failed: {record.error}"
        return {"text": text, "judgement": judged.get((approach, id, region))}

    def row(study: Study, region: str) -> dict:
        answers = [answer(approach, study.id, region) for approach in annotations]
        return {"region": region, "reference": (study.reference or {})[region], "answers": answers}

    return [
        {"study": study, "rows": [row(study, region) for region in study.reference or {}]}
        for study in studies
    ]


def page(
    markdown: str, scores: dict, shown: list[dict], confidences: Mapping[str, dict] | None = None
) -> str:
    """reports/index.html: the figure, the comparison, the risk-coverage curves, and the studies
    with the worst scores.
    """
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    body = Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
    return render(
        "report.html.jinja",
        styles=["page.css"],
        scripts=[],
        data={},
        body=body,
        figure=figure(scores),
        curves=confidence.figure(confidences) if confidences else "",
        approaches=list(scores),
        examples=shown,
    )
