"""Studies with what each approach said of them and what the judge said of that, merged from streams
in the order of the studies: a large collection has more records than fit in memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Judgement, Study


class Answers(NamedTuple):
    """The records of one approach, in the order of the studies; both may be streams. Only studies
    with a reference have judgements, one for each scored region.
    """

    annotations: Iterable[AnnotationRecord]
    judgements: Iterable[Judgement]


class Answer(NamedTuple):
    """What an approach said of a study, and the judgements of that by scored region: none where the
    study has no reference.
    """

    record: AnnotationRecord
    judgements: Mapping[str, Judgement]


def merged(
    studies: Iterable[Study], answers: Mapping[str, Answers], scored: Sequence[str]
) -> Iterator[tuple[Study, list[Answer]]]:
    """Each study with one answer of each approach. UserError: the records of an approach are not
    those of the studies, or in another order.
    """
    streams = [_Stream(name, *records, scored) for name, records in answers.items()]
    for study in studies:
        yield study, [stream.answer(study) for stream in streams]
    for stream in streams:
        stream.end()


class _Stream:
    def __init__(
        self,
        approach: str,
        annotations: Iterable[AnnotationRecord],
        judgements: Iterable[Judgement],
        scored: Sequence[str],
    ):
        self.approach = approach
        self.annotations = iter(annotations)
        self.judgements = groupby(judgements, attrgetter("id"))
        self.scored = sorted(scored)

    def answer(self, study: Study) -> Answer:
        """The next answer, which has to be that to this study."""
        record = next(self.annotations, None)
        if record is None or record.id != study.id:
            raise self._mismatch("annotations", f"none of {study.id} in its place")
        if study.reference is None:
            return Answer(record, {})
        id, group = next(self.judgements, ("", iter(())))
        judged = list(group)
        if id != study.id or sorted(one.region for one in judged) != self.scored:
            raise self._mismatch("judgements", f"not all of {study.id} in their place")
        return Answer(record, {judgement.region: judgement for judgement in judged})

    def end(self) -> None:
        """UserError: there are more records."""
        if (record := next(self.annotations, None)) is not None:
            raise self._mismatch("annotations", f"one of {record.id} too many")
        if (group := next(self.judgements, None)) is not None:
            raise self._mismatch("judgements", f"some of {group[0]} too many")

    def _mismatch(self, what: str, detail: str) -> UserError:
        stage = "annotate" if what == "annotations" else "evaluate"
        return UserError(
            f"data/{what}/{self.approach}: does not match the studies of test: {detail}; "
            f"run `dvc repro --force --single-item {stage}@{self.approach}`"
        )
