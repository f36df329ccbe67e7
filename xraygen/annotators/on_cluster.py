"""Annotating on a Ray cluster: what each actor does."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.cascade import CascadeSettings, refuse_losses
from xraygen.annotators.failures import Failures, is_of_pictures
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.llm.shared import ForAll
from xraygen.annotators.load import Checked, load
from xraygen.core.cases import case_of, id_of, refuse_long
from xraygen.core.characters import printable
from xraygen.core.errors import UserError
from xraygen.core.files import identity, sha256
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines.cluster.code import code_hash
from xraygen.engines.cluster.formats import annotation_tables
from xraygen.engines.cluster.job import Counts, Job, Work
from xraygen.engines.cluster.shards import Row
from xraygen.engines.cluster.shared import Service, Shared

# Annotators that neither store answers nor ask servers, unless a part of them does.
_ALONE = ("constant", "router", "recorded", "cascade")

_LAYERS = ("core", "language", "engines", "prompting", "annotators")  # what the stage depends on
# Of the section llm: these shape no answer.
_LIMITS = ("api_key_env", "concurrency", "timeout", "max_cost_usd", "max_failed", "prices")


class Annotating(Job):
    """The approach `name`."""

    def __init__(self, approaches: Mapping[str, Settings], name: str, project: Project) -> None:
        self.approaches = dict(approaches)
        self.name = name
        self.project = project

    def identity(self) -> dict:
        if self.name not in self.approaches:
            load(self.approaches, self.name, self.project)  # says which there are
        settings = self.approaches[self.name]
        parts = settings.parts(self.approaches)
        return {
            "approach": settings.model_dump(mode="json"),
            "parts": [part.model_dump(mode="json") for part in parts],
            "models": {
                path: self._content(path)
                for part in parts or [settings]
                for path in (part.reads, *part.reads_too())
            },
            "regions": self.project.regions.model_dump(mode="json"),
            "llm": self.project.llm.model_dump(mode="json", exclude=set(_LIMITS)),
            "code": code_hash(_LAYERS, self.project.root),
        }

    @property
    def has_model(self) -> bool:
        return any(part.annotator not in _ALONE for part in self._parts())

    def _parts(self) -> list[Settings]:
        settings = self.approaches[self.name]
        return [settings, *settings.parts(self.approaches)]

    def _content(self, reads: str) -> str:
        path = self.project.root / reads
        if path.is_file():
            return sha256([path])
        return identity(str(path)) if path.is_dir() else "missing"

    def share(self, run: str) -> Shared | None:
        """None for approaches that neither store answers nor ask servers."""
        if not self.has_model:
            return None
        llm = self.project.llm
        asks = any(isinstance(part, LlmSettings) for part in self._parts())
        if llm.provider == "local" or not asks:
            return Shared(Service, self.project.root)
        has_key = bool(os.environ.get(llm.api_key_env))
        asking = partial(ForAll, llm, self.project.regions, run, has_key)
        return Shared(asking, self.project.root)

    def start(self, shared: Shared | None) -> Work:
        if shared:
            shared.store_answers()
        project = self.project._replace(shared=shared)
        return Annotate(load(self.approaches, self.name, project).unlimited())

    def usage(self, shared: Shared | None) -> dict[str, float]:
        return shared.call("usage") if shared else {}

    def end(self, shared: Shared | None) -> None:
        if shared:
            shared.close()

    def tables(self, records: Iterable[BaseModel]) -> Iterator[Any]:
        return annotation_tables(records, self.project.regions)

    def plan(self, rows: Iterable[Row]) -> object:
        """Rows that cannot be used are left out."""
        annotator = load(self.approaches, self.name, self.project)
        found = (_case_or_failed(row, annotator.shows_pictures) for row in rows)
        return annotator.plan(one for one in found if isinstance(one, Case))

    def check(self, counts: Counts, expected: int) -> None:
        """Rows that could not be worked on count as failed, whatever the approach."""
        answers = Counter(counts.reasons.get("answers")) + Counter(counts.reasons.get("rows"))
        pictures = counts.reasons.get("pictures", {})
        failures = Failures(self.project.llm.max_failed, answers, pictures)
        failures.check(expected, ended=counts.records == expected)
        settings = self.approaches[self.name]
        if isinstance(settings, CascadeSettings):
            passed_on = counts.usage.get("passed_on", 0) * expected / max(1, counts.records)
            lost = Counter(counts.reasons.get("lost"))
            share = self.project.llm.max_failed
            refuse_losses(
                settings, f"params.yaml: approaches.{self.name}", lost, round(passed_on), share
            )


class Annotate(Work):
    def __init__(self, annotator: Checked) -> None:
        self.annotator = annotator

    def __call__(self, rows: Iterable[Row]) -> Iterator[AnnotationRecord]:
        failed: deque[AnnotationRecord | None] = deque()  # None = a case, which is annotated

        def cases() -> Iterator[Case]:
            for row in rows:
                found = _case_or_failed(row, self.annotator.shows_pictures)
                if isinstance(found, Case):
                    failed.append(None)
                    yield found
                else:
                    failed.append(found)

        for record in self.annotator(cases()):
            while before := failed.popleft():
                yield before
            yield record
        yield from (record for record in failed if record)

    def failed(self, row: Row, reason: str) -> AnnotationRecord:
        return _failed(row, reason)

    def count(self, record: BaseModel, counts: Counts) -> None:
        assert isinstance(record, AnnotationRecord)
        counts.use(record.usage)
        if record.annotation is None:
            counts.failed += 1
            if "unusable_row" in record.usage:
                counts.fail("rows", record.error or "")
            elif self.annotator.counts_as_failed(record):
                kind = "pictures" if is_of_pictures(record) else "answers"
                counts.fail(kind, record.error or "")
        elif reason := self.annotator.loss(record):
            counts.fail("lost", reason)


def _case_or_failed(row: Row, pictures: bool) -> Case | AnnotationRecord:
    if row.problem is not None:
        return _failed(row, row.problem)
    try:
        case = case_of(row.cells, row.place, pictures)
        refuse_long("report", case.report, row.place)
    except UserError as error:
        return _failed(row, str(error).removeprefix(f"{row.place}: "))
    images = [
        image.model_copy(update={"path": str(PurePosixPath(row.folder, image.path))})
        for image in case.images
    ]
    return case.model_copy(update={"images": tuple(images)}) if row.folder else case


def _failed(row: Row, reason: str) -> AnnotationRecord:
    """A record of a row without an annotation; named by its place where it has no id."""
    return AnnotationRecord(
        id=id_of(row.cells) or row.place,
        annotation=None,
        error=printable(reason),
        usage={"unusable_row": 1},
    )
