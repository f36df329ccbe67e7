"""Which regions readers review: those that an approach is least sure of, those in which it differs
most from the other approaches, or random ones.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple

from xraygen.annotators.release import Released
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord
from xraygen.language.text import disagreement

By = Literal["uncertainty", "disagreement", "random"]


class Region(NamedTuple):
    """A region of a study. Those with the largest `doubt` are reviewed first, and among equals in
    the order of `draw`, which is random.
    """

    doubt: float
    draw: str
    id: str
    name: str


def by_uncertainty(
    records: Iterable[AnnotationRecord], scored: Sequence[str], seed: int, approach: str
) -> Iterator[Region]:
    """The least confident regions first, and those without a confidence before them. UserError:
    none has one.
    """
    without = 0
    known = 0
    for record in _annotated(records):
        for name in scored:
            evidence = record.evidence.get(name)
            confidence = evidence.confidence if evidence else None
            doubt = 1.0 if confidence is None else -confidence
            without += confidence is None
            known += confidence is not None
            yield _region(doubt, record, name, seed)
    if without and not known:
        raise UserError(
            f"{approach} gives no confidence; choose with --by disagreement or --by random"
        )


def by_disagreement(
    records: Iterable[AnnotationRecord],
    others: Mapping[str, Iterable[AnnotationRecord]],
    scored: Sequence[str],
    seed: int,
) -> Iterator[Region]:
    """First the regions whose text is the furthest from what the other approaches say: the median
    of 1 - token F1, so that one approach that differs from all in every region does not count.
    UserError: there is no other approach, or one has not annotated the same studies.
    """
    if not others:
        raise UserError("there is no other approach to disagree with; choose with --by random")
    streams = {approach: iter(theirs) for approach, theirs in others.items()}
    for record in records:
        beside = [_same_study(record, approach, theirs) for approach, theirs in streams.items()]
        if record.annotation is None:
            continue
        for name in scored:
            texts = [other.annotation[name] for other in beside if other.annotation is not None]
            apart = [disagreement([record.annotation[name], text]) for text in texts]
            yield _region(median(apart) if apart else 0.0, record, name, seed)


def at_random(
    records: Iterable[AnnotationRecord], scored: Sequence[str], seed: int
) -> Iterator[Region]:
    for record in _annotated(records):
        for name in scored:
            yield _region(0.0, record, name, seed)


class Pool(NamedTuple):
    """The scored regions of an approach on a split, to choose from. `approaches`: the names of all.
    `seed` draws random regions and breaks ties.
    """

    approach: str
    approaches: tuple[str, ...]
    regions: Regions
    split: str
    seed: int

    def records(self) -> Iterator[AnnotationRecord]:
        return records_of(self.approach, self.split, self.regions)

    def candidates(self, by: By) -> Iterator[Region]:
        """UserError: there is nothing by which to choose like that."""
        scored = self.regions.scored
        if by == "uncertainty":
            return by_uncertainty(self.records(), scored, self.seed, self.approach)
        if by == "random":
            return at_random(self.records(), scored, self.seed)
        if self.split == "val":
            raise UserError(
                "val has the texts of the released approach alone; choose with --by uncertainty or "
                "--by random"
            )
        others = {
            name: records_of(name, self.split, self.regions)
            for name in self.approaches
            if name != self.approach
        }
        return by_disagreement(self.records(), others, scored, self.seed)


def records_of(approach: str, split: str, regions: Regions) -> Iterator[AnnotationRecord]:
    """What an approach said of the studies of a split; of val, the release. UserError: that is by
    another approach, or there is nothing.
    """
    if split != "val":
        path = f"data/annotations/{approach}/{split}.jsonl"
        yield from read_jsonl(path, AnnotationRecord, regions)
        return
    path = "data/release/val.jsonl"
    for released in read_jsonl(path, Released, regions):
        if released.approach != approach:
            raise UserError(
                f"{path}: is by {released.approach}; give --approach {released.approach}, or "
                "another split"
            )
        yield AnnotationRecord(
            id=released.id, annotation=released.annotation, evidence=released.evidence
        )


def first(candidates: Iterable[Region], n: int) -> list[Region]:
    """The `n` that are reviewed first, in this order; all of them where there are fewer."""
    return heapq.nsmallest(n, candidates, key=lambda region: (-region.doubt, region.draw))


def by_study(chosen: Iterable[Region], shuffled: int | None) -> dict[str, list[str]]:
    """The names of the chosen regions by study. The studies are in the order of their first region,
    or, with a seed in `shuffled`, in a random one that tells nothing of doubt.
    """
    found: dict[str, list[str]] = {}
    for region in chosen:
        found.setdefault(region.id, []).append(region.name)
    if shuffled is not None:
        found = dict(sorted(found.items(), key=lambda item: _draw(shuffled, item[0])))
    return found


def _annotated(records: Iterable[AnnotationRecord]) -> Iterator[AnnotationRecord]:
    return (record for record in records if record.annotation is not None)


def _same_study(
    record: AnnotationRecord, approach: str, theirs: Iterator[AnnotationRecord]
) -> AnnotationRecord:
    other = next(theirs, None)
    if other is None or other.id != record.id:
        raise UserError(
            f"data/annotations/{approach}: not of the same studies, or in another order; "
            "run `dvc repro`"
        )
    return other


def _region(doubt: float, record: AnnotationRecord, name: str, seed: int) -> Region:
    return Region(doubt, _draw(seed, record.id, name), record.id, name)


def _draw(seed: int, *parts: str) -> str:
    """A random number as text, which depends on nothing but its arguments."""
    return hashlib.sha256("\n".join((str(seed), *parts)).encode()).hexdigest()
