"""The annotator `router`: the learned router, put to each case."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from itertools import tee
from typing import ClassVar, Literal

from xraygen.annotators.base import Annotator, ModelFolder, Project, Settings
from xraygen.annotators.router.router import Router
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, Evidence


class RouterSettings(Settings):
    """`wording`: learned = as the curators would put it, verbatim = the report's own sentences."""

    reads: ModelFolder
    wording: Literal["learned", "verbatim"]


class RouterAnnotator(Annotator):
    """A case whose report has no text fails. UserError: the router was fitted on other regions."""

    Settings: ClassVar = RouterSettings
    settings: RouterSettings

    def __init__(self, settings: RouterSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.wording = settings.wording
        self.router = Router.load(project.root / settings.reads)
        # Its millions of objects stay, so that the garbage collector need not look through them
        # again, nor look for garbage as often: a sixth of the time of annotating.
        gc.freeze()
        gc.set_threshold(50_000)
        if self.router.regions != project.regions.names:
            fitted = ", ".join(self.router.regions)
            raise UserError(
                f"{settings.reads}: the router was fitted on the regions {fitted}, which are not "
                "those in params.yaml; run `dvc repro fit_router`"
            )

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        cases, same_cases = tee(cases)
        reports = (case.report for case in same_cases)
        answers = self.router.answers(reports, self.wording)
        for case, answer in zip(cases, answers, strict=True):
            if case.report.strip():
                evidence = {
                    region: Evidence(confidence=confidence)
                    for region, confidence in answer.confidence.items()
                }
                yield AnnotationRecord(id=case.id, annotation=answer.annotation, evidence=evidence)
            else:
                yield AnnotationRecord(id=case.id, annotation=None, error="the report has no text")
