"""The regions that readers may review, and what speaks for a region being wrong."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from xraygen.annotators.release import Released
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Study
from xraygen.language.text import disagreement, is_right


class Signs(NamedTuple):
    """Of a region of a study: its `confidence`, None where the approach gives none, and `apart`,
    1 - token F1 of its text with that of each other approach, NaN where that one failed.
    """

    id: str
    region: str
    confidence: float | None
    apart: list[float]


class Pool(NamedTuple):
    """The scored regions of an approach on a split. `approaches`: the names of all."""

    approach: str
    approaches: tuple[str, ...]
    regions: Regions
    split: str

    def records(self) -> Iterator[AnnotationRecord]:
        return records_of(self.approach, self.split, self.regions)

    def others(self) -> tuple[str, ...]:
        """The approaches that have texts of the same studies: of val only the released one has."""
        if self.split == "val":
            return ()
        return tuple(name for name in self.approaches if name != self.approach)

    def signs(self, others: Iterable[str] = ()) -> Iterator[Signs]:
        """Of each scored region with an annotation, compared with `others`. UserError: one of them
        has not annotated the same studies.
        """
        streams = {name: records_of(name, self.split, self.regions) for name in others}
        for record in self.records():
            answers = [_same_study(record, name, theirs) for name, theirs in streams.items()]
            if record.annotation is None:
                continue
            for region in self.regions.scored:
                evidence = record.evidence.get(region)
                text = record.annotation[region]
                apart = [_apart(text, answer, region) for answer in answers]
                yield Signs(record.id, region, evidence.confidence if evidence else None, apart)


def _apart(text: str, answer: AnnotationRecord, region: str) -> float:
    if answer.annotation is None:
        return math.nan
    return disagreement([text, answer.annotation[region]])


def _same_study(
    record: AnnotationRecord, approach: str, theirs: Iterator[AnnotationRecord]
) -> AnnotationRecord:
    answer = next(theirs, None)
    if answer is None or answer.id != record.id:
        raise UserError(
            f"data/annotations/{approach}: not of the same studies, or in another order; "
            "run `dvc repro`"
        )
    return answer


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


def wrong_regions(studies: Iterable[Study], pool: Pool) -> dict[tuple[str, str], bool]:
    """Whether each scored region is wrong, by id and name, of studies with a reference and an
    annotation.
    """
    texts = {record.id: record.annotation for record in pool.records()}
    wrong = {}
    for study in studies:
        text = texts.get(study.id)
        if study.reference is not None and text is not None:
            for region in pool.regions.scored:
                wrong[study.id, region] = not is_right(study.reference[region], text[region])
    return wrong
