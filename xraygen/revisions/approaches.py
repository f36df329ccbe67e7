"""What became of each approach between two sides: its macro scores on test, and whether the
difference holds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from pydantic import ValidationError

from xraygen.core.study import Judgement, Measure
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.resampling import (
    compare_pairs,
    holm,
    macro,
    permutations_needed,
    smallest_p,
)
from xraygen.evaluation.scores import MEASURES, StudyScores, by_study
from xraygen.revisions.snapshot import Snapshot, is_plain

Outcome = Literal[
    "worse", "better", "lower", "higher", "new", "gone", "unknown", "not significant", "unchanged"
]
Values = Mapping[Measure, float | None]

NOT_CACHED = "are not in DVC's cache"
NOT_LOCKED = "are in no dvc.lock"
UNREADABLE = "are not of a form that this version reads"
EMPTY = "are none"
NOTHING_SHARED = "no study was judged on both sides"
BAD_NAME = "no file can have such a name"


@dataclass
class Tested:
    """A measure on the studies of both sides, where each side counts what both could score.
    `difference`: new minus old, with its 95 % interval; `p_holm`: corrected over the approaches
    that changed. `too_few`: the studies of both sides are too few for any difference to hold.
    """

    old: float
    new: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = 1.0
    holds: bool = False
    too_few: bool = False


@dataclass(frozen=True)
class Yardstick:
    """What an approach was held against, as far as it is not the same on both sides. `pairs`:
    studies times regions of both; of these, `references` have another reference, and `judged` have
    the same two texts and another judgement. `judges`: old and new, where they differ. `regions`:
    those that are scored on one side alone.
    """

    pairs: int
    answers: int
    references: int
    judged: int
    judges: tuple[str, str] | None
    regions: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bool(self.references or self.judged or self.judges or self.regions)

    @property
    def of_pairs(self) -> bool:
        """Whether it changed for the pairs that are tested, which are in regions of both sides."""
        return bool(self.references or self.judged or self.judges)

    @property
    def any_pair(self) -> bool:
        """Whether a pair has another reference, answer or judgement."""
        return bool(self.references or self.answers or self.judged)


class Missing(NamedTuple):
    """Judgements that could not be read: on which side, and why."""

    label: str
    reason: str


@dataclass
class Change:
    """`old`, `new`: macro scores over each side's own test studies. `same`: the judgements of the
    studies of both sides are the same. `studies`: the numbers of those judged on the old side, on
    the new one and on both; None where judgements were not read. `missing`: why significance cannot
    be determined.
    """

    name: str
    old: Values | None
    new: Values | None
    same: bool = False
    missing: tuple[Missing, ...] = ()
    studies: tuple[int, int, int] | None = None
    yardstick: Yardstick | None = None
    tested: dict[Measure, Tested] = field(default_factory=dict)

    @property
    def other_studies(self) -> bool:
        """Whether a study was judged on one side only."""
        return self.studies is not None and len(set(self.studies)) > 1

    def outcome(self, measure: Measure) -> Outcome:
        """What happened by this measure. `lower`, `higher`: significantly so, but the yardstick
        changed, alone or with the answers, so that it is not the approach that got worse or better.
        """
        if self.old is None:
            return "new"
        if self.new is None:
            return "gone"
        if self.same:
            return "unchanged"
        found = self.tested.get(measure)
        if found is None:
            return "unknown"
        if not found.holds:
            return "not significant"
        if self.yardstick is not None and self.yardstick.of_pairs:
            return "lower" if found.difference < 0 else "higher"
        return "worse" if found.difference < 0 else "better"


def changes(old: Snapshot, new: Snapshot, params: CompareParams) -> list[Change]:
    """One for each approach of either side, in the order of the new side, then of the old one.
    Holm's correction runs over the approaches that changed, for each measure by itself.
    """
    names = list(dict.fromkeys((*new.approaches, *old.approaches)))
    enough = permutations_needed(len(names), params.alpha)
    permutations = max(params.resamples, enough)
    found = [_change(name, old, new, params, permutations) for name in names]
    for measure in MEASURES:
        family = family_of(found, measure)
        tested = [one.tested[measure] for one in family]
        smallest = [smallest_p(one.studies[2]) for one in family if one.studies]
        corrected = zip(tested, holm([one.p for one in tested]), holm(smallest), strict=True)
        for one, p_holm, least in corrected:
            one.p_holm = p_holm
            one.holds = p_holm < params.alpha
            one.too_few = least >= params.alpha
    return found


def family_of(changes: Iterable[Change], measure: Measure) -> list[Change]:
    """Those that are tested by a measure, over which Holm's correction runs."""
    return [change for change in changes if measure in change.tested and not change.same]


def _change(
    name: str, old: Snapshot, new: Snapshot, params: CompareParams, permutations: int
) -> Change:
    if name not in old.approaches:
        return Change(name, None, new.macro(name))
    if name not in new.approaches:
        return Change(name, old.macro(name), None)
    now = new.macro(name)
    change = Change(name, old.macro(name), now)
    if not is_plain(name):
        change.missing = (Missing("", BAD_NAME),)
        return change
    path = f"data/judgements/{name}/test.jsonl"
    digests = [snapshot.side.digest(path) for snapshot in (old, new)]
    if digests[0] is not None and digests[0] == digests[1]:
        change.same = True
        return change
    read = [_judgements(snapshot, path) for snapshot in (old, new)]
    change.missing = tuple(one for one in read if isinstance(one, Missing))
    sides = [one for one in read if not isinstance(one, Missing)]
    if len(sides) == 2:
        _test(change, sides[0], sides[1], params, permutations)
    elif None in digests:
        # Without hashes, the four digits of every committed number have to do.
        known = any(value is not None for value in now.values())
        change.same = known and old.scores(name) == new.scores(name)
    return change


def _judgements(snapshot: Snapshot, path: str) -> list[Judgement] | Missing:
    label = snapshot.side.label
    content = snapshot.side.out(path)
    if content is None:
        return Missing(label, NOT_CACHED if snapshot.side.is_known(path) else NOT_LOCKED)
    try:
        lines = content.splitlines()
        records = [Judgement.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError:
        return Missing(label, UNREADABLE)
    return records or Missing(label, EMPTY)


def _test(
    change: Change,
    old: Sequence[Judgement],
    new: Sequence[Judgement],
    params: CompareParams,
    permutations: int,
) -> None:
    """Add what the judgements of both sides say: numbers, tests, and what they are held against."""
    sides = old, new
    regions = [{one.region for one in side} for side in sides]
    ids = [{one.id for one in side} for side in sides]
    scores = [by_study(side, sorted(own)) for side, own in zip(sides, regions, strict=True)]
    change.old, change.new = map(_macros, scores)
    common = {_key(one) for one in old} & {_key(one) for one in new}
    studies = {id for id, _ in common}
    change.studies = len(ids[0]), len(ids[1]), len(studies)
    change.yardstick = _yardstick(old, new, common, regions[0] ^ regions[1])
    shared = sorted(regions[0] & regions[1])
    if not studies:
        change.missing = (Missing("", NOTHING_SHARED),)
        return
    change.same = not change.yardstick.any_pair
    a, b = (by_study((one for one in side if _key(one) in common), shared) for side in sides)
    for measure in MEASURES:
        found = _tested(getattr(a, measure), getattr(b, measure), measure, params, permutations)
        if found is not None:
            change.tested[measure] = found


def _key(judgement: Judgement) -> tuple[str, str]:
    return judgement.id, judgement.region


def _macros(scores: StudyScores) -> Values:
    values = {measure: macro(getattr(scores, measure)) for measure in MEASURES}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _tested(
    old: np.ndarray, new: np.ndarray, measure: Measure, params: CompareParams, permutations: int
) -> Tested | None:
    """Two (studies, regions) arrays of a measure, compared as compare.py compares approaches. None:
    a region has no value.
    """
    if measure != "token_f1":
        # A pair that the judge could not score on one side counts on neither.
        both = ~(np.isnan(old) | np.isnan(new))
        old, new = np.where(both, old, np.nan), np.where(both, new, np.nan)
    pair = np.stack([new, old])
    found = compare_pairs(pair, params.resamples, permutations, params.seed)[0][0]
    if math.isnan(found["difference"]):
        return None
    return Tested(
        macro(old),
        macro(new),
        found["difference"],
        found["ci_low"],
        found["ci_high"],
        found["p"],
    )


def _yardstick(
    old: Iterable[Judgement],
    new: Iterable[Judgement],
    common: Set[tuple[str, str]],
    regions: Set[str],
) -> Yardstick:
    before = {_key(one): one for one in old if _key(one) in common}
    after = {_key(one): one for one in new if _key(one) in common}
    pairs = [(before[key], after[key]) for key in sorted(common)]
    judges = [", ".join(sorted({one.judge for one in side.values()})) for side in (before, after)]
    return Yardstick(
        pairs=len(pairs),
        answers=sum(a.candidate != b.candidate for a, b in pairs),
        references=sum(a.reference != b.reference for a, b in pairs),
        judged=sum(_judged_otherwise(a, b) for a, b in pairs),
        judges=None if judges[0] == judges[1] else (judges[0], judges[1]),
        regions=tuple(sorted(regions)),
    )


def _judged_otherwise(a: Judgement, b: Judgement) -> bool:
    """Whether the same two texts got another score; a clinical score that only one side has is no
    other one.
    """
    if (a.reference, a.candidate) != (b.reference, b.candidate):
        return False
    if a.clinical is None or b.clinical is None:
        return a.score != b.score
    return (a.score, a.clinical.score) != (b.score, b.clinical.score)
