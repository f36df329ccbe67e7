"""Annotating on a Ray cluster: what each actor does."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.llm.shared import ForAll
from xraygen.annotators.load import Checked, load
from xraygen.core.cases import case_of
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines.cluster.formats import annotation_tables
from xraygen.engines.cluster.job import Counts, Job, Work
from xraygen.engines.cluster.shards import Row
from xraygen.engines.cluster.shared import Service, Shared

# Annotators that neither store answers nor ask servers, unless a part of them does.
_ALONE = ("constant", "router", "recorded", "cascade")


class Annotating(Job):
    """The approach `name`."""

    def __init__(self, approaches: Mapping[str, Settings], name: str, project: Project) -> None:
        self.approaches = dict(approaches)
        self.name = name
        self.project = project

    def identity(self) -> dict:
        return {"approach": self.name}

    def share(self) -> Shared | None:
        """None for approaches that neither store answers nor ask servers."""
        settings = self.approaches[self.name]
        parts = [settings, *settings.parts(self.approaches)]
        if all(part.annotator in _ALONE for part in parts):
            return None
        llm = self.project.llm
        if llm.provider == "local":
            return Shared(Service, self.project.root)
        has_key = bool(os.environ.get(llm.api_key_env))
        return Shared(partial(ForAll, llm, self.project.regions, has_key), self.project.root)

    def start(self, shared: Shared | None) -> Work:
        if shared:
            shared.store_answers()
        project = self.project._replace(shared=shared)
        return Annotate(load(self.approaches, self.name, project))

    def usage(self, shared: Shared | None) -> dict[str, float]:
        return shared.call("usage") if shared else {}

    def end(self, shared: Shared | None) -> None:
        if shared:
            shared.close()

    def tables(self, records: Iterable[BaseModel]) -> Iterator[Any]:
        return annotation_tables(records, self.project.regions)

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
