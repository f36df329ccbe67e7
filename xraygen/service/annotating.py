"""What the process of an approach does: cases, one JSON line each, to lines of the response."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.load import load
from xraygen.core.files import identity
from xraygen.core.study import AnnotationRecord, Case
from xraygen.service.problems import Problem
from xraygen.service.schemas import AnnotatedCase, FailedCase, Finding, ProblemDetails
from xraygen.service.worker import Work


class Approach:
    """`threshold`: the confidence below which a scored region is to be reviewed; None = unknown."""

    def __init__(
        self,
        approaches: Mapping[str, Settings],
        name: str,
        project: Project,
        threshold: float | None,
    ) -> None:
        self.name, self.threshold = name, threshold
        self.regions = project.regions
        self.model = identity(str(project.root / approaches[name].reads))
        self.annotate = load(approaches, name, project).unlimited()

    def work(self, lines: list[bytes]) -> list[bytes]:
        cases = [Case.model_validate_json(line) for line in lines]
        return [self._response(record) for record in self.annotate(cases)]

    def _response(self, record: AnnotationRecord) -> bytes:
        shared = {"id": record.id, "approach": self.name, "model": self.model}
        if record.annotation is None:
            problem = Problem("not-annotated", record.error or "")
            details = ProblemDetails.model_validate(problem.content())
            return FailedCase(**shared, error=details).model_dump_json().encode()
        regions = {
            region: Finding(
                text=text,
                **record.evidence[region].model_dump(),
                review=self._review(region, record),
            )
            for region, text in record.annotation.items()
        }
        return AnnotatedCase(**shared, regions=regions).model_dump_json().encode()

    def _review(self, region: str, record: AnnotationRecord) -> bool | None:
        confidence = record.evidence[region].confidence
        if self.threshold is None or confidence is None or region not in self.regions.scored:
            return None
        return confidence < self.threshold


def _build(*args) -> Work:
    return Approach(*args).work


def build(
    approaches: Mapping[str, Settings], name: str, project: Project, threshold: float | None
) -> partial[Work]:
    """What `model.Model` runs in the process of an approach."""
    return partial(_build, dict(approaches), name, project, threshold)
