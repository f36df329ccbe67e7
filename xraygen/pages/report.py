"""reports/index.html: the overview, and the page that browses reports/studies."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from xraygen.core.errors import UserError
from xraygen.evaluation import overview, picture_audit_table
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.report import comparison_markdown
from xraygen.pages import charts, render, verdict
from xraygen.pages.studies import files

SCRIPTS = [
    "dom.js",
    "words.js",
    "address.js",
    "store.js",
    "disagreement.js",
    "filters.js",
    "list.js",
    "pictures.js",
    "study.js",
    "controls.js",
    "report.js",
]


class Results(NamedTuple):
    """What the overview is about. `comparison`: the content of reports/comparison.json; `usage`,
    `audits`: those of metrics/usage and data/judgements/<approach>/audit.json by approach;
    `losses`: as `losses` reads them; `source`: where the studies come from; `floor`: the approach
    that gives every report the same text, if there is one; `reviewed`: as in metrics/data.json.
    """

    comparison: dict
    usage: Mapping[str, dict]
    audits: Mapping[str, dict]
    losses: Mapping[str, Sequence[tuple[float, float]]]
    source: str
    floor: str | None
    reviewed: Mapping | None = None


class Section(NamedTuple):
    """A part of the comparison that is folded: `anchor` is its id in the page."""

    anchor: str
    title: str
    html: Markup


def losses(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, loss) of each split from the files that fine-tuning wrote for `dvc plots`; without the
    splits that have none.
    """
    paths = {split: folder / f"plots/metrics/{split}/loss.tsv" for split in ("train", "dev")}
    return {split: _curve(path) for split, path in paths.items() if path.is_file()}


def _curve(path: Path) -> list[tuple[float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            points = [
                (float(row["step"]), float(row["loss"]))
                for row in csv.DictReader(file, delimiter="\t")
            ]
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path}: no table of steps and losses; remove it and run `dvc repro finetune`"
            ) from None
    return [point for point in points if all(map(math.isfinite, point))]


def page(results: Results, params: CompareParams, studies: int) -> str:
    """`studies`: how many there are in reports/studies."""
    comparison, usage, audits, _, source, floor, reviewed = results
    table = overview.table(comparison, usage, floor)
    text = comparison_markdown(comparison, table, source, params, complete=True)
    text += picture_audit_table.section(audits, complete=True)
    about, first, *others = re.split(r"^## ", text, flags=re.MULTILINE)
    scores, notes = first.partition("\n")[2].strip().split("\n\n", 1)
    markdown = _Markdown()
    return render(
        "report.html.jinja",
        styles=["page.css", "report.css", "overview.css"],
        scripts=SCRIPTS,
        data={**files(studies), "floor": floor},
        floor=floor,
        about=markdown.html(about, "Comparison"),
        holds=markdown.lines(verdict.holds(comparison, audits, floor)),
        undetermined=markdown.lines(
            verdict.undetermined(comparison, usage, audits, source, floor, reviewed)
        ),
        scores=markdown.html(scores, "Scores"),
        notes=markdown.html(notes, "Scores"),
        charts=_charts(results),
        details=[markdown.section(part) for part in others],
    )


def _charts(results: Results) -> list[charts.Chart]:
    optional = [
        charts.costs(results.comparison, results.usage),
        charts.risk_coverage(results.comparison.get("confidence", {})),
        charts.losses(results.losses),
    ]
    drawn = [chart for chart in optional if chart is not None]
    return [*charts.scores(results.comparison, results.floor), *drawn]


def _unbroken(text: str) -> str:
    """The text with intervals that no line ends in."""
    return re.sub(r"\[([-+.\d]+), ([-+.\d]+)\]", "[\\1,\u00a0\\2]", text)


class _Markdown:
    """Markdown as HTML, in which HTML is text. Each table can be scrolled by keyboard."""

    def __init__(self) -> None:
        from markdown_it import MarkdownIt

        self.markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        self.markdown.add_render_rule("table_open", _table_open(count(1)))
        self.markdown.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")

    def html(self, text: str, title: str) -> Markup:
        """`title`: what its tables are called."""
        return Markup(self.markdown.render(_unbroken(text), {"title": title}))

    def lines(self, texts: Sequence[str]) -> list[Markup]:
        return [Markup(self.markdown.renderInline(_unbroken(text))) for text in texts]

    def section(self, text: str) -> Section:
        """`text`: begins with the title."""
        title, _, content = text.partition("\n")
        words = re.findall(r"[a-z]+", title.partition("(")[0].lower())
        return Section("-".join(["details", *words]), title, self.html(content, title))


def _table_open(numbers: Iterator[int]) -> Callable[..., str]:
    """What opens a table: a box that scrolls by keyboard, with a name that no other has."""

    def opened(renderer, tokens, place, options, env) -> str:
        label = escape(f"{env['title']}: table {next(numbers)}")
        return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n<table>\n'

    return opened
