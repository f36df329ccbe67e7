"""Annotating on a Ray cluster: what each actor does."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.load import Checked, load
from xraygen.core.cases import case_of
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines.cluster.job import Counts, Job, Work
from xraygen.engines.cluster.shards import Row


class Annotating(Job):
    """The approach `name`."""

    def __init__(self, approaches: Mapping[str, Settings], name: str, project: Project) -> None:
        self.approaches = dict(approaches)
        self.name = name
        self.project = project

    def identity(self) -> dict:
        return {"approach": self.name}

    def start(self, shared: Any) -> Work:
        return Annotate(load(self.approaches, self.name, self.project))

    def plan(self, rows: Iterable[Row]) -> object:
        annotator = load(self.approaches, self.name, self.project)
        cases = (case_of(row.cells, row.place, False) for row in rows)
        return annotator.plan(cases)


class Annotate(Work):
    def __init__(self, annotator: Checked) -> None:
        self.annotator = annotator

    def __call__(self, rows: Iterable[Row]) -> Iterator[AnnotationRecord]:
        cases: Iterator[Case] = (case_of(row.cells, row.place, False) for row in rows)
        return self.annotator(cases)

    def failed(self, row: Row, reason: str) -> AnnotationRecord:
        return AnnotationRecord(
            id=str(row.cells.get("id") or row.place), annotation=None, error=reason
        )

    def count(self, record: BaseModel, counts: Counts) -> None:
        assert isinstance(record, AnnotationRecord)
        if record.annotation is None:
            counts.failed += 1
            kind = "pictures" if record.usage.get("unreadable_pictures") else "answers"
            counts.reasons.setdefault(kind, Counter())[record.error or ""] += 1
        counts.usage.update(record.usage)
