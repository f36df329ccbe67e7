"""The annotator of an approach: cases in, annotation records out, as a stream. None is ever handed
a reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.annotators.settings import as_prompted, as_trained
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case

if TYPE_CHECKING:
    from xraygen.params import Params

Annotator = Callable[
    [Iterable[Case]], Iterator[AnnotationRecord]
]  # one that asks a server also has `plan` and `usage`
_FEW = 20  # failures, which are not counted as a share yet


def load(settings: Params, name: str, root: Path, images: Path | None = None) -> Annotator:
    """The annotator of an approach, with the models that the pipeline left under `root`. Image
    paths are relative to `images`, which is `root` where it is not given. UserError: the approach
    states other than a fine-tuned model was trained with.
    """
    approach, where = settings.approach(name), f"params.yaml: approaches.{name}"
    images = images or root
    if approach.annotator == "vlm":
        from xraygen.annotators.vlm import Vlm

        model = approach.hub or str(root / approach.model)
        annotate = Vlm(as_trained(approach, model, where), model, images, settings.regions)
        return Bounded(annotate, settings.llm.max_failed, pictures_only=True)
    if approach.annotator == "constant":
        from xraygen.annotators.constant import Constant

        return Constant.load(root / approach.model, settings.regions)
    if approach.annotator == "recorded":
        from xraygen.annotators.recorded import Recorded

        return Recorded(approach, root, settings.regions)
    if approach.annotator == "llm":
        if settings.llm.provider == "local":
            as_prompted(approach, settings.llm, str(root / approach.model), where)
            from xraygen.annotators.local import Local as Annotate
        else:
            from xraygen.annotators.llm.llm import Llm as Annotate
        annotate = Annotate(approach, settings.llm, root, images, settings.regions)
        return Bounded(annotate, settings.llm.max_failed)
    from xraygen.annotators.router.router import Router

    router = Router.load(root / approach.model)
    if router.regions != settings.regions.names:
        raise UserError(
            f"{root / approach.model}: the router was fitted on the regions "
            f"{', '.join(router.regions)}; run `dvc repro fit_router`"
        )

    def annotate(cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            if case.report.strip():
                yield AnnotationRecord(
                    id=case.id, annotation=router.annotate(case.report, approach.wording)
                )
            else:
                yield AnnotationRecord(id=case.id, annotation=None, error="the report has no text")

    return annotate


def plan(annotate: Annotator, cases: Iterable[Case]) -> str:
    """What annotating these would ask of a server, in one line."""
    return (
        str(annotate.plan(cases)) if hasattr(annotate, "plan") else "asks no server; nothing to pay"
    )


def shows_pictures(annotate: Annotator) -> bool:
    """Whether it looks at the cases' images."""
    return "image" in (getattr(getattr(annotate, "approach", None), "inputs", None) or "")


class Bounded:
    """An annotator of which at most a share of the cases may fail; `pictures_only`: of answers, any
    share may.

    A few pictures that cannot be read fail their cases alone, unless all do: people bring short
    files of cases, too.
    """

    def __init__(self, annotate: Annotator, share: float, pictures_only: bool = False):
        self.annotate, self.share, self.pictures_only = annotate, share, pictures_only

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """UserError: more than that have failed; after so many as tell, the rest is not asked."""
        done, answers, pictures = 0, Counter(), Counter()
        for record in self.annotate(cases):
            done += 1
            if record.usage.get("unreadable_pictures"):
                pictures[record.error] += 1
            elif record.annotation is None and not self.pictures_only:
                answers[record.error] += 1
            if answers.total() + pictures.total() >= _FEW:
                self._check(done, answers + pictures)
            yield record
        self._check(done, answers if pictures.total() < min(_FEW, done) else answers + pictures)

    def _check(self, done: int, reasons: Counter) -> None:
        if reasons.total() > self.share * done:
            listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
            raise UserError(
                f"{reasons.total():,} of {done:,} cases have no annotation, more than llm.max_failed admits: {listed}. What was answered "
                "is kept; mend the prompt, the model or the pictures, or raise llm.max_failed"
            )

    def __getattr__(self, name: str):
        return getattr(self.annotate, name)
