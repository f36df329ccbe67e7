"""What else a reader of a difference has to know. `quote` makes a name from data fit for where it
is shown.
"""

from collections.abc import Iterable, Sequence

from xraygen.evaluation import tables
from xraygen.evaluation.scores import MEASURES
from xraygen.revisions.approaches import NOT_CACHED, family_of
from xraygen.revisions.difference import Difference
from xraygen.revisions.escaping import listed
from xraygen.revisions.side import WORKING_TREE
from xraygen.revisions.verdict import NAMES, Quote, count, label, named, numbers

_MOST_STAGES = 3
_MOST_SETS = 3  # of test studies; usually all approaches have the same one


def notes(found: Difference, quote: Quote) -> list[str]:
    """A sentence or two each."""
    return [
        *_yardstick(found, quote),
        *_corrected(found, quote),
        *_studies(found),
        *_missing(found, quote),
        *_unseen(found, quote),
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


def _corrected(found: Difference, quote: Quote) -> Iterable[str]:
    """Whom references favour that readers corrected."""
    old, new = found.old, found.new
    differ = any(one.yardstick and one.yardstick.references for one in found.changes)
    if not (old.reviewed or new.reviewed) or not (differ or old.reviewed != new.reviewed):
        return
    names = list(dict.fromkeys((*new.corrected, *old.corrected)))
    here = f"; here they are those of {listed([quote(name) for name in names])}" if names else ""
    yield f"References made by correcting an approach's texts favour that approach{here}."


def _studies(found: Difference) -> Iterable[str]:
    sets = sorted({change.studies for change in found.changes if change.studies})
    for old, new, both in sets[:_MOST_SETS]:
        if not old == new == both:
            yield (
                f"The test studies changed: {old:,} before, {new:,} now, {both:,} of them on both "
                "sides; only these are tested."
            )
    family = family_of(found.changes, found.measure)
    few = {one.studies[2] for one in family if one.studies and one.tested[found.measure].too_few}
    corrected = f" after Holm's correction over {count(len(family))} approaches"
    for both in sorted(few)[:_MOST_SETS]:
        yield (
            f"{both:,} {'study is' if both == 1 else 'studies are'} too few for a difference to be "
            f"significant{corrected if len(family) > 1 else ''}."
        )


def _missing(found: Difference, quote: Quote) -> Iterable[str]:
    """Why significance cannot be determined, and what to do."""
    names: dict[tuple[str, str], list[str]] = {}
    for change in found.changes:
        for place, reason in () if change.same else change.missing:
            names.setdefault((place, reason), []).append(quote(change.name))
    for (place, reason), group in names.items():
        if not place:
            yield f"For {listed(group)} {reason}."
            continue
        where = place if place == WORKING_TREE else quote(place)
        text = f"The judgements of {listed(group)} in {where} {reason}."
        yield text + (_fetch(found, place) if reason == NOT_CACHED else "")
    if any(not change.same and change.missing for change in found.changes):
        yield "Scores without judgements are those committed in metrics/scores."
    unmeasured = [c for c in found.with_outcome("unknown") if not c.missing]
    if unmeasured:
        yield f"For {named(unmeasured, quote)} one side has no {NAMES[found.measure]}."


def _unseen(found: Difference, quote: Quote) -> Iterable[str]:
    """What of the yardstick changed, where no judgements show it."""
    if not any(change.missing and not change.same for change in found.changes):
        return
    old, new = found.old, found.new
    if old.judge != new.judge:
        yield f"The judge was {quote(str(old.judge))} and is {quote(str(new.judge))}."
    digests = [side.side.digest("data/prepared/test.jsonl") for side in (old, new)]
    if None not in digests and digests[0] != digests[1]:
        yield "The test studies, their references or their pictures changed."


def _fetch(found: Difference, place: str) -> str:
    if place == WORKING_TREE:
        return " Where they were pushed, `dvc fetch` gets them."
    side = found.old.side if place == found.old.side.label else found.new.side
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
                shown = [f"{quote(c.name)} {numbers(c, measure)}" for c in other]
                yield f"By {NAMES[measure]}, significantly {outcome}: {listed(shown)}."


def _sides(found: Difference, quote: Quote) -> Iterable[str]:
    """What a side lacks, and whether its results are those of its code, data and params."""
    for snapshot, stale in found.stale:
        name = label(snapshot, quote)
        start = name[0].upper() + name[1:] if name == WORKING_TREE else name
        for problem in snapshot.problems:
            if problem != snapshot.unreadable:  # or else the verdict says it
                yield f"{start} {problem}."
        how = "code, data or params; `dvc repro` brings them up to date"
        how = "params" if snapshot.side.commit else how
        if stale.again:
            stages = _stages((*stale.again, *stale.later), quote)
            yield f"The results of {name} are out of date: {stages} ran with other {how}."
        elif stale.later:
            stages = _stages(stale.later, quote)
            yield f"No score depends on it, but in {name} {stages} ran with other {how}."
        if stale.outs:
            yield (
                f"Outs of {_stages(stale.outs, quote)} differ from dvc.lock, which counts here; "
                "`dvc checkout` restores them, `dvc commit` keeps them."
            )
        if stale.unknown:
            yield f"Whether dvc.lock is up to date, DVC cannot tell: {quote(stale.unknown)}."


def _stages(names: Sequence[str], quote: Quote) -> str:
    shown = [quote(name) for name in names[:_MOST_STAGES]]
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown):,} more")
    return f"the stage{'' if len(names) == 1 else 's'} {tables.listed(shown)}"


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
