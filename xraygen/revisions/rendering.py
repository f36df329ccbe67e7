"""A difference as text for a terminal and as Markdown for a comment on GitHub."""

import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tabulate import tabulate

from xraygen.core.study import Measure
from xraygen.evaluation.scores import MEASURES
from xraygen.evaluation.tables import table as github_table
from xraygen.revisions.approaches import Change
from xraygen.revisions.details import Section, sections
from xraygen.revisions.difference import Difference
from xraygen.revisions.digits import score, step
from xraygen.revisions.escaping import code, fence, plain, shortened
from xraygen.revisions.notes import notes
from xraygen.revisions.rules import gate
from xraygen.revisions.verdict import NAMES, Quote, label, p_value, verdict

LIMIT = 60_000  # characters; GitHub refuses a comment of more than 65,536
_WIDTH = 100
_MOST_ROWS = 30
_ORDER = (
    "worse", "better", "lower", "higher", "new", "gone", "unknown", "not significant", "unchanged"
)  # fmt: skip
_SHORT = {"not significant": "n.s."}


class Table(NamedTuple):
    headers: list[str]
    rows: list[list[str]]
    left_out: int


def terminal(found: Difference) -> str:
    """In at most 100 columns, but for the lines of the details."""
    said = [verdict(found, plain), *_more(found, plain)]
    whole = _table(found, plain, "{}*".format)
    if any(len(row[0]) > _left(whole) for row in whole.rows):
        narrow = [[row[0], *(cell.replace(" → ", "→") for cell in row[1:])] for row in whole.rows]
        whole = whole._replace(rows=narrow)
    width = max(8, _left(whole))
    rows = [[shortened(row[0], width), *row[1:]] for row in whole.rows]
    # tabulate makes a column two wider than its header.
    headers = [shortened(whole.headers[0], width - 2), *whole.headers[1:]]
    parts = [_filled(text) for text in said]
    if rows:
        parts.insert(1, _aligned(headers, rows))
        parts.insert(2, _filled(_caption(found, whole, plain, "*")))
    return _with_details("\n\n".join(parts), sections(found, plain), _plain_section)


def markdown(found: Difference) -> str:
    """For a comment on GitHub; nothing in it that comes from data is markup, link or mention."""
    parts = [f"**{verdict(found, code)}**"]
    table = _table(found, code, "**{}**".format)
    if table.rows:
        parts.append(github_table(table.rows, table.headers))
        parts.append(f"<sub>{_caption(found, table, code, 'bold')}</sub>")
    more = [f"- {text}" for text in _more(found, code)]
    parts += ["\n".join(more)] if more else []
    return _with_details("\n\n".join(parts), sections(found, code), _folded_section)


def _more(found: Difference, quote: Quote) -> list[str]:
    said = notes(found, quote)
    if found.rules.gate is not None:
        said.append(gate(found.rules, found.old, found.changes, quote).text)
    return said


def _table(found: Difference, quote: Quote, mark: Callable[[str], str]) -> Table:
    """A row for each approach, those that changed first, no more than fit a screen."""
    measures = [
        measure
        for measure in MEASURES
        if any(
            (side or {}).get(measure) is not None for c in found.changes for side in (c.old, c.new)
        )
    ]
    outcomes = {change.name: change.outcome(found.measure) for change in found.changes}
    ordered = sorted(found.changes, key=lambda change: _ORDER.index(outcomes[change.name]))
    rows = [
        [
            quote(change.name),
            *(_cell(change, measure, mark) for measure in measures),
            _outcome(found, change),
        ]
        for change in ordered[:_MOST_ROWS]
    ]
    headers = ["approach", *(NAMES[measure] for measure in measures), ""]
    return Table(headers, rows, len(ordered) - len(rows))


def _cell(change: Change, measure: Measure, mark: Callable[[str], str]) -> str:
    tested = change.tested.get(measure)
    if change.same:
        return score(tested.new if tested else (change.new or {}).get(measure))
    if tested is not None:
        shown = step(tested.old, tested.new)
        difference = mark(shown.difference) if tested.holds else shown.difference
        return f"{shown.old} → {shown.new} {difference}"
    old, new = ((side or {}).get(measure) for side in (change.old, change.new))
    if old is None and new is None:
        return "–"
    if old is None or new is None:
        return f"{score(old)} → {score(new)}"
    shown = step(old, new)
    return f"{shown.old} → {shown.new} {shown.difference}"


def _outcome(found: Difference, change: Change) -> str:
    outcome = change.outcome(found.measure)
    tested = change.tested.get(found.measure)
    p = "" if tested is None or change.same else f", {p_value(tested.p_holm)}"
    return f"{_SHORT.get(outcome, outcome)}{p}"


def _caption(found: Difference, table: Table, quote: Quote, mark: str) -> str:
    left_out = f" {table.left_out:,} more approaches are not shown." if table.left_out else ""
    old, new = (label(snapshot, quote) for snapshot in (found.old, found.new))
    return (
        f"Macro means on test, {old} → {new}; {mark}: significant at "
        f"{found.rules.compare.alpha:g} by a paired permutation test over studies, after Holm's "
        f"correction over approaches; the last column is by {NAMES[found.measure]}.{left_out}"
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def _left(table: Table) -> int:
    """The columns that are left for names."""
    return _WIDTH - sum(_widths(table)[1:]) - 2 * (len(table.headers) - 1)


def _widths(table: Table) -> list[int]:
    return [max(map(len, column)) for column in zip(table.headers, *table.rows, strict=True)]


def _with_details(head: str, found: Sequence[Section], shown: Callable[[Section, int], str]) -> str:
    """The head, which is never cut, and the sections, each cut to its share of what is left."""
    text = head
    for shown_already, section in enumerate(found):
        share = (LIMIT - len(text)) // (len(found) - shown_already)
        text += shown(section, share)
    return text


def _cut(lines: Sequence[str], most: int) -> list[str]:
    """Lines of at most `most` characters in total, and a last one that says how many are left
    out.
    """
    kept = []
    for line in lines:
        most -= len(line) + 1
        if most < 0:
            break
        kept.append(line)
    left_out = len(lines) - len(kept)
    return [*kept, f"… {left_out:,} more lines"] if left_out else kept


_OVERHEAD = 400  # characters around the lines of a section


def _plain_section(section: Section, most: int) -> str:
    if section.lines:
        lines = list(section.lines)
    else:
        lines = _aligned(section.headers, section.rows).splitlines()
    return "\n\n" + "\n".join([section.title, *_cut(lines, most - _OVERHEAD)])


def _folded_section(section: Section, most: int) -> str:
    if section.lines:
        lines = _cut(section.lines, most - _OVERHEAD)
        row = fence(lines)
        lines = [f"{row}diff", *lines, row]
    else:
        lines = _cut(github_table(section.rows, section.headers).splitlines(), most - _OVERHEAD)
    inside = "\n".join(lines)
    return f"\n\n<details><summary>{section.title}</summary>\n\n{inside}\n\n</details>"
