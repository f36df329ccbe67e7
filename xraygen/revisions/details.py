"""What is folded in a comment: changed params, tests, data, cost, floor, agreement and release."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from xraygen.core.study import SPLITS
from xraygen.evaluation.scores import MEASURES
from xraygen.revisions.approaches import Tested
from xraygen.revisions.difference import Difference
from xraygen.revisions.digits import end, exact, score
from xraygen.revisions.escaping import listed
from xraygen.revisions.snapshot import Snapshot
from xraygen.revisions.verdict import NAMES, Quote, p_value


class Section(NamedTuple):
    """A title with the lines of a diff, or with a table."""

    title: str
    lines: Sequence[str] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def sections(found: Difference, quote: Quote) -> list[Section]:
    """Those with anything in them."""
    keys = found.settings
    lines = [line for block in keys for line in block]
    sides = ("", "before", "now")
    tests = ["approach", "measure", "difference", "95 % interval", "p", "after Holm", "answers"]
    made = [
        Section(f"Params and prompts: {_count(len(keys), 'key')} changed", lines=lines),
        Section("Tests", headers=tests, rows=list(_tests(found, quote))),
        Section("Data", headers=sides, rows=list(_data(found, quote))),
        Section("Cost and failed annotations", headers=sides, rows=list(_cost(found, quote))),
        Section("Floor and agreement", headers=sides, rows=list(_bounds(found, quote))),
        Section("Release", headers=sides, rows=list(_release(found, quote))),
    ]
    return [section for section in made if section.lines or section.rows]


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _tests(found: Difference, quote: Quote) -> Iterable[list[str]]:
    for change in found.changes:
        for measure in MEASURES:
            tested = change.tested.get(measure)
            if tested is None or change.same or change.yardstick is None:
                continue
            yield [
                quote(change.name),
                NAMES[measure],
                exact(tested.difference),
                _interval(tested),
                p_value(tested.p).removeprefix("p = ").removeprefix("p "),
                p_value(tested.p_holm).removeprefix("p = ").removeprefix("p "),
                f"{change.yardstick.answers:,} of {change.yardstick.pairs:,} differ",
            ]


def _interval(tested: Tested) -> str:
    """A dash where a resample has no value in one of the regions."""
    if math.isnan(tested.low) or math.isnan(tested.high):
        return "–"
    return f"[{end(tested.low)}, {end(tested.high)}]"


def _data(found: Difference, quote: Quote) -> Iterable[list[str]]:
    old, new = found.old.data, found.new.data
    reviewed = [side.reviewed for side in (found.old, found.new)]
    if old == new and reviewed[0] == reviewed[1]:
        return
    yield ["source", *(quote(str(side["source"] or "–")) for side in (old, new))]
    for split in SPLITS:
        yield [f"{split} studies", *(_studies(side[split]) for side in (old, new))]
    if any(reviewed):
        yield ["reviewed references", *(_reviewed(side, quote) for side in (found.old, found.new))]


def _reviewed(side: Snapshot, quote: Quote) -> str:
    if not side.reviewed:
        return "–"
    regions, studies, settled = (
        _studies(side.reviewed.get(key)) for key in ("regions", "studies", "settled")
    )
    names = [quote(name) for name in side.corrected]
    whose = f", in texts of {listed(names)}" if names else ""
    return f"regions: {regions}, studies: {studies}, settled: {settled}{whose}"


def _studies(value: object) -> str:
    return f"{value:,}" if type(value) is int and 0 <= value < 10**12 else "–"


def _cost(found: Difference, quote: Quote) -> Iterable[list[str]]:
    for change in found.changes:
        sides = found.old, found.new
        costs = [side.cost(change.name) for side in sides]
        if costs[0] != costs[1]:
            label = f"{quote(change.name)}: US dollars for 1,000 reports"
            yield [label, *("–" if cost is None else f"{cost:.2f}" for cost in costs)]
        failed = [side.failed(change.name) for side in sides]
        if failed[0] != failed[1]:
            label = f"{quote(change.name)}: test studies without an annotation"
            yield [label, *("–" if n is None else f"{n:,.0f}" for n in failed)]


def _bounds(found: Difference, quote: Quote) -> Iterable[list[str]]:
    """The floor's score, and what curators reach; also where it is the same, to read scores by."""
    sides = found.old, found.new
    if any(side.floor for side in sides):
        shown = [_floor(found, side, quote) for side in sides]
        yield ["floor", *shown]
    old, new = found.old.agreement, found.new.agreement
    for name in old:
        if old[name] is not None or new[name] is not None:
            yield [f"{name}, token F1", *(_known(side[name]) for side in (old, new))]


def _floor(found: Difference, side: Snapshot, quote: Quote) -> str:
    if side.floor is None:
        return "–"
    value = side.macro(side.floor).get(found.measure)
    return f"{quote(side.floor)}, {NAMES[found.measure]} {score(value)}"


def _known(value: float | None) -> str:
    return "not in the cache" if value is None else score(value)


def _release(found: Difference, quote: Quote) -> Iterable[list[str]]:
    old, new = found.old.release, found.new.release
    if old == new:
        return
    for key in ("approach", "measure", "score", "runner_up", "margin", "holds", "studies"):
        values = [side.get(key) for side in (old, new)]
        if values[0] != values[1]:
            yield [key.replace("_", " "), *(_value(value, quote) for value in values)]


def _value(value: object, quote: Quote) -> str:
    if value is None:
        return "–"
    return score(value) if isinstance(value, float) else quote(str(value))
