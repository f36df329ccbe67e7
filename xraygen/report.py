"""What people read: reports/comparison.md, reports/index.html and the table behind `dvc plots`."""

import base64
import io
from collections import Counter

from tabulate import tabulate

from xraygen.compare import COLUMNS, VERSUS
from xraygen.params import CompareParams
from xraygen.scores import MEASURES
from xraygen.study import REGIONS, SCORED_REGIONS, AnnotationRecord, Judgement, Study

TITLES = {
    "test": "Test",
    "test_novel": "Test, reports that no training study has",
    "dev": "Dev (for choosing, not for reporting)",
}
EXAMPLES = 12  # studies shown on the page
LEGEND = """\
`score` is the judge's mean; right silence (both sides empty) counts 1. `as published` is the mean that green-score itself would
print, which gives right silence 0. `token F1` is the overlap of words with the reference. Macro is the mean of bone, heart, lung
and mediastinal. In brackets: 95 % bootstrap intervals over studies."""
METHOD = """\
The last table of each set has the best approach against each, and each against the next; all pairs are in metrics/comparison.json. A
difference is **bold** and *holds* when its p-value, from a paired permutation test over studies with {resamples:,} resamples, corrected
by Holm for the number of comparisons, is below {alpha:g}; otherwise it is *noise* at this sample size. "Would tell": the studies that a
two-sided test at {alpha:g} over the number of comparisons needs to see a difference of this size with power {power:g}."""


def comparison_markdown(scores: dict, comparison: dict, data: dict, about: str, params: CompareParams) -> str:
    """`scores`: {approach: metrics/scores content}, `comparison`: metrics/comparison.json, `data`: metrics/data.json,
    `about`: the judge's line about itself."""
    judges = ", ".join(sorted({content["judge"] for content in scores.values()}))
    parts = ["# Comparison of approaches", f"Studies: {data['source']}. Judge: {judges}.", LEGEND]
    for name, title in TITLES.items():
        studies = next(iter(scores.values()))[name]["macro"]["n"]
        parts.append(f"## {title} ({studies:,} studies)")
        if studies:
            parts += [_score_table(scores, name), about, _token_f1_table(scores, name, data["ceiling"])]
            parts.append(_comparisons(scores, comparison[name], name))
    return "\n\n".join([*parts, METHOD.format(**params.model_dump())]) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(rows: list[list], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _score_table(scores: dict, name: str) -> str:
    rows = []
    for approach, content in scores.items():
        cells = content[name]
        macro = cells["macro"]
        interval = f"{_number(macro['score'])} [{_number(macro['ci_low'])}, {_number(macro['ci_high'])}]"
        regions = [_number(cells[region]["score"]) for region in SCORED_REGIONS]
        rows.append(
            [approach, interval, *regions, _number(macro["as_published"]), macro["unscored"], cells["failed_annotations"]]
        )
    return _table(rows, ["approach", "score, macro", *SCORED_REGIONS, "as published", "unscored", "failed"])


def _token_f1_table(scores: dict, name: str, ceiling: dict) -> str:
    rows = [[approach, *(_number(cells[name][column]["token_f1"]) for column in COLUMNS)] for approach, cells in scores.items()]
    label = f"*ceiling: curators with themselves, {ceiling['studies']:,} studies with identical reports*"
    rows.append([label, *(_number(ceiling[column]) for column in COLUMNS)])
    return _table(rows, ["approach", "token F1, macro", *SCORED_REGIONS])


def _comparisons(scores: dict, pairs: dict, name: str) -> str:
    """The best approach against each, and each against the next one; every other pair is in metrics/comparison.json."""
    order = sorted(scores, key=lambda approach: -(scores[approach][name]["macro"]["score"] or 0))
    if len(order) < 2:
        return "One approach only: nothing to compare it with."
    shown = dict.fromkeys([(order[0], other) for other in order[1:]] + list(zip(order[1:], order[2:], strict=False)))
    rows = []
    for ahead, behind in shown:
        sign, pair = (1, f"{ahead}{VERSUS}{behind}") if f"{ahead}{VERSUS}{behind}" in pairs else (-1, f"{behind}{VERSUS}{ahead}")
        score, f1 = (pairs[pair][measure] for measure in MEASURES)
        regions = [_difference(score[region], sign) for region in SCORED_REGIONS]
        rows.append([ahead, behind, _compared(score["macro"], sign), *regions, _compared(f1["macro"], sign)])
    return _table(rows, ["approach", "against", "score, macro", *SCORED_REGIONS, "token F1, macro"])


def _difference(found: dict, sign: int) -> str:
    if found["difference"] is None:
        return "–"
    text = f"{sign * found['difference']:+.3f}"
    return f"**{text}**" if found["holds"] else text


def _compared(found: dict, sign: int) -> str:
    if found["difference"] is None or found["ci_low"] is None:
        return "too few studies have what it takes in every region"
    low, high = sorted(sign * found[bound] for bound in ("ci_low", "ci_high"))
    text = f"{_difference(found, sign)} [{low:+.3f}, {high:+.3f}]"
    if found["holds"]:
        return text
    return f"{text} noise" + (f"; {found['studies_to_tell']:,} would tell" if found["studies_to_tell"] else "")


def scores_rows(scores: dict) -> list[dict]:
    """One row an approach with its macro scores on test, for `dvc plots`."""
    keys = ("score", "ci_low", "ci_high", "token_f1")
    return [{"approach": approach} | {key: content["test"]["macro"][key] for key in keys} for approach, content in scores.items()]


def figure(scores: dict) -> str:
    """Scores on test by region with their intervals, as the text of an SVG data URI: the page needs nothing from the web."""
    import matplotlib
    import numpy as np

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "xraygen"}):
        fig, axis = pyplot.subplots(figsize=(8, 1.5 + 0.25 * len(scores) * len(COLUMNS)), layout="constrained")
        for index, (approach, content) in enumerate(scores.items()):
            cells = [content["test"][column] for column in COLUMNS]
            score, low, high = np.array([[cell[key] for cell in cells] for key in ("score", "ci_low", "ci_high")], dtype=float)
            places = np.arange(len(COLUMNS)) + 0.7 * index / len(scores)
            axis.errorbar(score, places, xerr=np.abs([score - low, high - score]), fmt="o", capsize=3, label=approach)
        axis.set_yticks(range(len(COLUMNS)), list(COLUMNS))
        axis.invert_yaxis()
        axis.set_xlabel("score on test, 95 % interval")
        axis.grid(axis="x", alpha=0.3)
        fig.legend(loc="outside upper center", ncols=3, frameon=False)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(fig)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def examples(
    studies: list[Study], annotations: dict[str, list[AnnotationRecord]], judgements: dict[str, list[Judgement]]
) -> list[dict]:
    """The studies on which the approaches together scored worst: report, reference, and what each approach said."""
    said = {(approach, record.id): record for approach, records in annotations.items() for record in records}
    marks = {(approach, mark.id, mark.region): mark for approach, judged in judgements.items() for mark in judged}
    losses: Counter = Counter()
    for (_, id, _), mark in marks.items():
        losses[id] += 0 if mark.score is None else 1 - mark.score
    worst = {id for id, _ in sorted(losses.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES]}

    def answer(approach: str, id: str, region: str) -> dict:
        record = said[approach, id]
        text = record.annotation[region] if record.annotation else f"failed: {record.error}"
        return {"text": text, "judgement": marks.get((approach, id, region))}

    def row(study: Study, region: str) -> dict:
        answers = [answer(approach, study.id, region) for approach in annotations]
        return {"region": region, "reference": study.reference[region], "answers": answers}

    return [{"study": study, "rows": [row(study, region) for region in REGIONS]} for study in studies if study.id in worst]


def page(markdown: str, scores: dict, worst: list[dict]) -> str:
    """reports/index.html: the figure, the comparison, and the studies where the approaches did worst."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("xraygen", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    body = Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
    return environment.get_template("report.html.jinja").render(
        body=body, figure=figure(scores), approaches=list(scores), examples=worst
    )
