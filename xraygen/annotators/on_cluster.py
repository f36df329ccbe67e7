"""Annotating on a Ray cluster: what each actor does."""

from collections.abc import Iterable, Iterator, Mapping

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.load import load
from xraygen.core.study import AnnotationRecord, Case
from xraygen.core.tables import _case
from xraygen.engines.cluster.run import Job, Work


class Annotating(Job):
    """The approach `name`."""

    def __init__(self, approaches: Mapping[str, Settings], name: str, project: Project) -> None:
        self.approaches = dict(approaches)
        self.name = name
        self.project = project

    def identity(self) -> dict:
        return {"approach": self.name}

    def start(self) -> Work:
        annotate = load(self.approaches, self.name, self.project)

        def work(rows: Iterable[tuple[str, dict]]) -> Iterator[AnnotationRecord]:
            cases: Iterator[Case] = (_case(row, place, False) for place, row in rows)
            return annotate(cases)

        return work
