"""What changed, in one sentence. `quote` makes a name from data fit for where it is shown."""

from collections.abc import Callable, Iterable, Sequence

from xraygen.core.study import Measure
from xraygen.revisions.approaches import Change, family_of
from xraygen.revisions.difference import Difference
from xraygen.revisions.digits import score, step
from xraygen.revisions.escaping import listed
from xraygen.revisions.snapshot import Snapshot

Quote = Callable[[str], str]

NAMES: dict[Measure, str] = {
    "score": "score",
    "clinical": "clinical score",
    "token_f1": "token F1",
}
_MOST_ANSWERED = 3  # that are named
_COUNTS = "no one two three four five six seven eight nine ten eleven twelve".split()


def count(n: int) -> str:
    return _COUNTS[n] if n < len(_COUNTS) else f"{n:,}"


def p_value(p: float) -> str:
    if p < 0.0005:
        return "p < .001"
    return "p = 1" if p > 0.9995 else f"p = {p:.3f}".replace("0.", ".")


def verdict(found: Difference, quote: Quote) -> str:
    """The first sentence: what could not be read, what got better or worse, and what cannot be
    told.
    """
    clauses = [*_unreadable(found, quote), *_became(found, quote)]
    if any(stale.again for side, stale in found.stale if side is found.new):
        clauses.append(f"but the results of {label(found.new, quote)} are out of date")
    sentence = "; ".join(clauses)
    # A sentence may start with a name, which keeps its letters.
    starts = sentence.split(" ", 1)[0] in (*_COUNTS, "neither", "none", "the", "whether")
    return f"{sentence[0].upper() if starts else sentence[0]}{sentence[1:]}."


def _unreadable(found: Difference, quote: Quote) -> Iterable[str]:
    for side in (found.new, found.old):
        if side.unreadable:
            where = f"{label(side, quote)} {side.unreadable}"
            yield f"{where}, so its approaches are those with scores in metrics/scores"


def _became(found: Difference, quote: Quote) -> list[str]:
    """A clause on each group of approaches that the same can be said of."""
    if not found.changes:
        return ["neither side has an approach to compare"]
    cause = _cause(found, quote)
    known = bool(cause) and _same_answers(found)
    clauses = [
        _held(found, group, words, quote) for words, group in _significant(found, known) if group
    ]
    insignificant = found.with_outcome("not significant")
    if insignificant and not clauses:
        clauses.append(
            f"no approach changed significantly on test{_largest(found, insignificant, quote)}"
        )
        insignificant = []
    clauses += _unknown(found, quote)
    clauses += _come_and_gone(found, quote)
    if insignificant:
        verb = "differ" if known else "changed"
        clauses.append(f"{named(insignificant, quote)} {verb}, but not significantly")
    clauses += _unchanged(found)
    return [f"{cause}: {clauses[0]}", *clauses[1:]] if cause else clauses


def _cause(found: Difference, quote: Quote) -> str:
    """What else than an approach changed: the references or the judge; "" where they did not."""
    yardsticks = [one.yardstick for one in found.changes if one.yardstick]
    parts = []
    judged = sum(one.judged for one in yardsticks)
    if any(one.judges for one in yardsticks):
        parts.append("the judge")
    elif judged:
        parts.append(f"{judged:,} judgement{'' if judged == 1 else 's'} of the same texts")
    references = max((one.references for one in yardsticks), default=0)
    if references:
        parts.append(f"{references:,} reference{'' if references == 1 else 's'}")
    if not parts:
        return ""
    if _same_answers(found):
        return f"{listed(parts)} changed and the answers are the same"
    answered = [one for one in found.changes if one.yardstick and one.yardstick.answers]
    if answered:
        few = len(answered) <= _MOST_ANSWERED
        whose = named(answered, quote) if few else f"{count(len(answered))} approaches"
        parts.append(f"the answers of {whose}")
    return f"{listed(parts)} changed"


def _same_answers(found: Difference) -> bool:
    """Whether all approaches of both sides are known to have answered the same."""
    return not any(
        one.yardstick.answers if one.yardstick else one.missing and not one.same
        for one in found.changes
    )


def _significant(found: Difference, known: bool) -> Iterable[tuple[str, list[Change]]]:
    """What can be said of approaches that changed significantly, and of which it can be. `known`:
    it is said already that the yardstick changed, and no answer.
    """
    for outcome in ("worse", "better"):
        yield f"got significantly {outcome} on test", found.with_outcome(outcome)
    for outcome in ("lower", "higher"):
        group = found.with_outcome(outcome)
        other = [one for one in group if one.yardstick and one.yardstick.answers]
        same = [one for one in group if one not in other]
        words = f"scored significantly {outcome}"
        why = "" if known else " with the same answers, because the yardstick changed"
        yield f"{words}{why}", same
        yield f"{words} with other answers and by another yardstick", other


def _held(found: Difference, group: Sequence[Change], words: str, quote: Quote) -> str:
    """The clause on approaches that changed significantly, the largest difference first."""
    measure = found.measure
    group = sorted(group, key=lambda change: -abs(change.tested[measure].difference))
    k = len(family_of(found.changes, measure))
    corrected = f" after Holm's correction over {count(k)} approaches" if k > 1 else ""
    if len(group) == 1:
        (change,) = group
        return (
            f"{quote(change.name)} {words}: {NAMES[measure]} {numbers(change, measure, corrected)}"
        )
    shown = [f"{quote(change.name)} {numbers(change, measure)}" for change in group]
    how = f"{NAMES[measure]}; p{corrected}"
    return f"{count(len(group))} approaches {words} ({how}): {listed(shown)}"


def numbers(change: Change, measure: Measure, corrected: str = "") -> str:
    """0.987 to 0.951 (-0.036, p = .004), and the numbers on all studies where the sets differ."""
    tested = change.tested[measure]
    shown = step(tested.old, tested.new)
    p = f"{p_value(tested.p_holm)}{corrected}"
    text = f"{shown.old} to {shown.new} ({shown.difference}, {p})"
    old, new, both = change.studies or (0, 0, 0)
    if not change.other_studies or change.old is None or change.new is None:
        return text
    return (
        f"{text} on the {both:,} studies of both sides, "
        f"{score(change.old[measure])} to {score(change.new[measure])} "
        f"on all {old:,} and {new:,}"
    )


def _largest(found: Difference, insignificant: Sequence[Change], quote: Quote) -> str:
    measure = found.measure
    change = max(insignificant, key=lambda change: abs(change.tested[measure].difference))
    shown = f"{quote(change.name)}, {NAMES[measure]} {numbers(change, measure)}"
    n = len(insignificant)
    return f": {shown}" if n == 1 else f"; {count(n)} differ, most of all {shown}"


def _unknown(found: Difference, quote: Quote) -> Iterable[str]:
    group = found.with_outcome("unknown")
    if not group:
        return
    shown = [f"{quote(change.name)}{_committed(change, found.measure)}" for change in group]
    yield f"whether the change is significant cannot be determined for {listed(shown)}"


def _committed(change: Change, measure: Measure) -> str:
    """The scores of a change that was not tested, in brackets."""
    old, new = ((side or {}).get(measure) for side in (change.old, change.new))
    if old is None or new is None:
        return f" ({NAMES[measure]} {score(old)} to {score(new)})"
    shown = step(old, new)
    return f" ({NAMES[measure]} {shown.old} to {shown.new}, {shown.difference})"


def _unchanged(found: Difference) -> Iterable[str]:
    group = found.with_outcome("unchanged")
    same = len(group)
    where = " on the studies of both sides" if any(one.other_studies for one in group) else ""
    if same == len(found.changes):
        whole = "the only approach" if same == 1 else f"none of the {count(same)} approaches"
        yield f"{whole} {'did not change' if same == 1 else 'changed'}{where}"
    elif same:
        yield f"the other {count(same)} did not change{where}"


def _come_and_gone(found: Difference, quote: Quote) -> Iterable[str]:
    new, gone = found.with_outcome("new"), found.with_outcome("gone")
    if new:
        shown = [f"{quote(change.name)} ({_result(change, found.measure)})" for change in new]
        yield f"{listed(shown)} {'is' if len(new) == 1 else 'are'} new"
    if gone:
        yield f"{named(gone, quote)} {'is' if len(gone) == 1 else 'are'} gone"


def _result(change: Change, measure: Measure) -> str:
    value = (change.new or {}).get(measure)
    return "no results yet" if value is None else f"{NAMES[measure]} {score(value)}"


def named(group: Iterable[Change], quote: Quote) -> str:
    return listed([quote(change.name) for change in group])


def label(snapshot: Snapshot, quote: Quote) -> str:
    return snapshot.side.label if snapshot.side.commit is None else quote(snapshot.side.label)
