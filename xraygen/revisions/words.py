"""What changed, in sentences. `quote` makes a name from data fit for where they are shown."""

from collections.abc import Callable, Iterable, Sequence

from xraygen.core.study import Measure
from xraygen.evaluation.scores import MEASURES
from xraygen.evaluation.tables import number, signed
from xraygen.revisions.approaches import NOT_CACHED, Change
from xraygen.revisions.difference import Difference
from xraygen.revisions.escaping import listed
from xraygen.revisions.side import WORKING_TREE
from xraygen.revisions.snapshot import Snapshot

Quote = Callable[[str], str]

NAMES: dict[Measure, str] = {
    "score": "score",
    "clinical": "clinical score",
    "token_f1": "token F1",
}
_MOST_SETS = 3  # of test studies; usually all approaches have the same one
_COUNTS = "no one two three four five six seven eight nine ten eleven twelve".split()
_GROUPS = {
    "worse": "got significantly worse on test",
    "better": "got significantly better on test",
    "lower": "scored significantly lower with the same answers, because the yardstick changed",
    "higher": "scored significantly higher with the same answers, because the yardstick changed",
}


def count(n: int) -> str:
    return _COUNTS[n] if n < len(_COUNTS) else f"{n:,}"


def p_value(p: float) -> str:
    if p < 0.0005:
        return "p < .001"
    return "p = 1" if p > 0.9995 else f"p = {p:.3f}".replace("0.", ".")


def verdict(found: Difference, quote: Quote) -> str:
    """The first sentence: what got better or worse, and what cannot be told."""
    if not found.changes:
        return "Neither side has an approach to compare."
    clauses = [
        _held(found, found.with_outcome(outcome), words, quote)
        for outcome, words in _GROUPS.items()
        if found.with_outcome(outcome)
    ]
    loose = found.with_outcome("not significant")
    if loose and not clauses:
        clauses.append(
            f"no approach changed significantly on test: {_largest(found, loose, quote)}"
        )
        loose = []
    clauses += _unknown(found, quote)
    clauses += _come_and_gone(found, quote)
    if loose:
        clauses.append(f"{_named(loose, quote)} changed, but not significantly")
    same = len(found.with_outcome("unchanged"))
    if same == len(found.changes):
        whole = "the only approach" if same == 1 else f"none of the {count(same)} approaches"
        clauses.append(f"{whole} {'did not change' if same == 1 else 'changed'}")
    elif same:
        clauses.append(f"the other {count(same)} did not change")
    if any(stale.again for side, stale in found.stale if side is found.new):
        clauses.append(f"but the results of {label(found.new, quote)} are out of date")
    sentence = "; ".join(clauses)
    # A sentence may start with a name, which keeps its letters.
    starts = sentence.split(" ", 1)[0] in (*_COUNTS, "none", "the", "whether")
    return f"{sentence[0].upper() if starts else sentence[0]}{sentence[1:]}."


def _held(found: Difference, group: Sequence[Change], words: str, quote: Quote) -> str:
    """The clause on approaches that changed significantly, the largest difference first."""
    measure = found.measure
    group = sorted(group, key=lambda change: -abs(change.tested[measure].difference))
    k = sum(measure in change.tested for change in found.changes)
    corrected = f" after Holm's correction over {count(k)} approaches" if k > 1 else ""
    if len(group) == 1:
        (change,) = group
        return (
            f"{quote(change.name)} {words}: {NAMES[measure]} {_numbers(change, measure, corrected)}"
        )
    shown = [f"{quote(change.name)} {_numbers(change, measure)}" for change in group]
    return f"{count(len(group))} approaches {words} by {NAMES[measure]}{corrected}: {listed(shown)}"


def _numbers(change: Change, measure: Measure, corrected: str = "") -> str:
    """0.987 to 0.951 (-0.036, p = .004), and the numbers on all studies where the sets differ."""
    tested = change.tested[measure]
    text = (
        f"{number(tested.old)} to {number(tested.new)} "
        f"({signed(tested.difference)}, {p_value(tested.p_holm)}{corrected})"
    )
    old, new, both = change.studies or (0, 0, 0)
    if old == new == both or change.old is None or change.new is None:
        return text
    return (
        f"{text} on the {both:,} studies of both sides, "
        f"{number(change.old[measure])} to {number(change.new[measure])} "
        f"on all {old:,} and {new:,}"
    )


def _largest(found: Difference, loose: Sequence[Change], quote: Quote) -> str:
    measure = found.measure
    change = max(loose, key=lambda change: abs(change.tested[measure].difference))
    which = "the largest difference is " if len(loose) > 1 else ""
    return f"{which}{quote(change.name)}, {NAMES[measure]} {_numbers(change, measure)}"


def _unknown(found: Difference, quote: Quote) -> Iterable[str]:
    group = found.with_outcome("unknown")
    if not group:
        return
    shown = [f"{quote(change.name)}{_committed(change, found.measure)}" for change in group]
    yield f"whether it is significant cannot be determined for {listed(shown)}"


def _committed(change: Change, measure: Measure) -> str:
    """The scores of a change that was not tested, in brackets."""
    old, new = ((side or {}).get(measure) for side in (change.old, change.new))
    if old is None or new is None:
        return f" ({NAMES[measure]} {number(old)} to {number(new)})"
    return f" ({NAMES[measure]} {number(old)} to {number(new)}, {signed(new - old)})"


def _come_and_gone(found: Difference, quote: Quote) -> Iterable[str]:
    new, gone = found.with_outcome("new"), found.with_outcome("gone")
    if new:
        shown = [f"{quote(change.name)} ({_result(change, found.measure)})" for change in new]
        yield f"{listed(shown)} {'is' if len(new) == 1 else 'are'} new"
    if gone:
        yield f"{_named(gone, quote)} {'is' if len(gone) == 1 else 'are'} gone"


def _result(change: Change, measure: Measure) -> str:
    value = (change.new or {}).get(measure)
    return "no results yet" if value is None else f"{NAMES[measure]} {number(value)}"


def _named(group: Iterable[Change], quote: Quote) -> str:
    return listed([quote(change.name) for change in group])


def notes(found: Difference, quote: Quote) -> list[str]:
    """What else a reader has to know, a sentence or two each."""
    return [
        *_yardstick(found, quote),
        *_studies(found),
        *_missing(found, quote),
        *_other_measures(found, quote),
        *_sides(found, quote),
        *_rules(found, quote),
    ]


def _yardstick(found: Difference, quote: Quote) -> Iterable[str]:
    changed = [c.yardstick for c in found.changes if c.yardstick and c.yardstick.changed]
    if not changed:
        return
    said = []
    judges = next((one.judges for one in changed if one.judges), None)
    if judges:
        said.append(f"the judge was {quote(judges[0])} and is {quote(judges[1])}")
    references = max(changed, key=lambda one: one.references)
    if references.references:
        said.append(f"{references.references:,} of {references.pairs:,} references differ")
    judged = sum(one.judged for one in changed)
    if judged:
        said.append(f"{judged:,} pairs of the same two texts are judged differently")
    regions = sorted({region for one in changed for region in one.regions})
    if regions:
        said.append(f"scored on one side only: {listed([quote(region) for region in regions])}")
    yield (
        f"The yardstick changed: {'; '.join(said)}. "
        "Each side is scored by its own, so a difference may come from that and not from the "
        "approach."
    )


def _studies(found: Difference) -> Iterable[str]:
    sets = sorted({change.studies for change in found.changes if change.studies})
    for old, new, both in sets[:_MOST_SETS]:
        if not old == new == both:
            yield (
                f"The test studies changed: {old:,} before, {new:,} now, {both:,} of them on both "
                "sides; only these are tested."
            )


def _missing(found: Difference, quote: Quote) -> Iterable[str]:
    """Why significance cannot be determined, and what to do."""
    names: dict[tuple[str, str], list[str]] = {}
    for change in found.changes:
        for label, reason in () if change.same else change.missing:
            names.setdefault((label, reason), []).append(quote(change.name))
    for (label, reason), group in names.items():
        if not label:
            yield f"For {listed(group)} {reason}."
            continue
        where = label if label == WORKING_TREE else quote(label)
        text = f"The judgements of {listed(group)} in {where} {reason}."
        yield text + (_fetch(found, label) if reason == NOT_CACHED else "")
    if any(not change.same and change.missing for change in found.changes):
        yield "Scores without judgements are those committed in metrics/scores."


def _fetch(found: Difference, label: str) -> str:
    if label == WORKING_TREE:
        return " Where they were pushed, `dvc fetch` gets them."
    side = found.old.side if label == found.old.side.label else found.new.side
    commit = (side.commit or "")[:7]
    return (
        f" Where they were pushed, `git switch --detach {commit} && dvc fetch && git switch -` "
        "gets them."
    )


def _other_measures(found: Difference, quote: Quote) -> Iterable[str]:
    """What holds by the measures that do not decide."""
    for measure in MEASURES:
        if measure == found.measure:
            continue
        for outcome in ("worse", "better"):
            group = [c for c in found.changes if c.outcome(measure) == outcome]
            other = [c for c in group if c.outcome(found.measure) != outcome]
            if other:
                shown = [f"{quote(c.name)} {_numbers(c, measure)}" for c in other]
                yield f"By {NAMES[measure]}, significantly {outcome}: {listed(shown)}."


def _sides(found: Difference, quote: Quote) -> Iterable[str]:
    """What a side lacks, and whether its results are those of its code, data and params."""
    for snapshot, stale in found.stale:
        name = label(snapshot, quote)
        start = name[0].upper() + name[1:] if name == WORKING_TREE else name
        for problem in snapshot.problems:
            yield f"{start} {problem}."
        if stale.again:
            todo = "" if snapshot.side.commit else "; `dvc repro` brings them up to date"
            yield (
                f"The results of {name} are out of date: {_stages(stale.again, quote)} ran with "
                f"other code, data or params{todo}."
            )
        if stale.outs:
            yield (
                f"Outs of {_stages(stale.outs, quote)} differ from dvc.lock, which counts here; "
                "`dvc checkout` restores them, `dvc commit` keeps them."
            )
        if stale.unknown:
            yield f"Whether dvc.lock is up to date, DVC cannot tell: {quote(stale.unknown)}."


def label(snapshot: Snapshot, quote: Quote) -> str:
    return snapshot.side.label if snapshot.side.commit is None else quote(snapshot.side.label)


def _stages(names: Sequence[str], quote: Quote) -> str:
    first = f"the stage {quote(names[0])}"
    return first if len(names) == 1 else f"{first} and {len(names) - 1:,} more"


def _rules(found: Difference, quote: Quote) -> Iterable[str]:
    rules = found.rules
    if found.measure != rules.measure:
        yield f"No approach has the measure {rules.measure}, so score decides."
    if rules.gate != rules.proposed:
        was, will = ("null" if gate is None else str(gate) for gate in (rules.gate, rules.proposed))
        yield (
            f"compare.gate changes from {quote(was)} to {quote(will)}; "
            f"what counts here is that of {quote(found.old.side.label)}."
        )
