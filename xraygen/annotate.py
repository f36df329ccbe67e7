"""The annotator of an approach: cases in, annotation records out, as a stream. None is ever handed a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.study import AnnotationRecord, Case

if TYPE_CHECKING:
    from xraygen.params import Approach

Annotator = Callable[[Iterable[Case]], Iterator[AnnotationRecord]]


def load(approach: Approach, root: Path, images: Path | None = None) -> Annotator:
    """The annotator, with the models that the pipeline left under `root`. Image paths are relative to `images`, which is `root` where
    it is not given."""
    if approach.annotator == "vlm":
        from xraygen.annotators.vlm import Vlm

        return Vlm(approach, approach.hub or str(root / approach.model), images or root)
    from xraygen.annotators.router import Router

    router = Router.load(root / approach.model)

    def annotate(cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            if case.report.strip():
                yield AnnotationRecord(id=case.id, annotation=router.annotate(case.report, approach.wording))
            else:
                yield AnnotationRecord(id=case.id, annotation=None, error="the report has no text")

    return annotate
