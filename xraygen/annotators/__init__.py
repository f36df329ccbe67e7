"""Annotators: cases in, annotation records out, as a stream. None of them is ever handed a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xraygen.params import Approach

from xraygen.study import AnnotationRecord, Case

Annotator = Callable[[Iterable[Case]], Iterator[AnnotationRecord]]


def load(approach: Approach, root: Path) -> Annotator:
    """The annotator of an approach, with the models that the pipeline left under `root`."""
    from xraygen.annotators.router import Router

    router = Router.load(root / approach.model)

    def annotate(cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            if case.report.strip():
                yield AnnotationRecord(id=case.id, annotation=router.annotate(case.report, approach.wording))
            else:
                yield AnnotationRecord(id=case.id, annotation=None, error="the report has no text")

    return annotate
