"""The records that all stages exchange.

A case is what an annotator may see. It has no field for a reference, so that none can leak. A study
is a case plus its split and, where curated, its reference. Only training code and judges are handed
studies.
"""

import re
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

VERSUS = " vs "  # between the names of two approaches, which contain no spaces
SPLITS = ("train", "dev", "test", "val")

Split = Literal["train", "dev", "test", "val"]
Projection = Literal["frontal", "lateral", "unknown"]
Verdict = Literal[
    "judged",
    "identical",
    "both_empty",
    "reference_empty",
    "candidate_empty",
    "unparseable",
    "failed",
]
Category = Literal["a", "b", "c", "d", "e", "f"]
Measure = Literal["score", "clinical", "token_f1"]
Support = Literal["verbatim", "reworded", "unsupported"]
Pictures = Literal["swapped", "blank", "none"]
NonEmpty = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


def id_form(id: str) -> str:
    """What the ids of one collection have in common: everything but their numbers."""
    return re.sub("[0-9]+", "0", id)


class Record(BaseModel):
    """Immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Declaring(Protocol):
    """What a validation context offers: `xraygen.core.regions.Regions`."""

    def annotation(self, texts: dict[str, str], /) -> dict[str, str]: ...


def _as_declared(texts: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """The texts with every declared region, if the validation context declares regions."""
    regions: _Declaring | None = info.context
    return texts if regions is None else regions.annotation(texts)


# Text by region, in the declared order; an empty string = nothing was said about it.
Annotation = Annotated[dict[str, str], AfterValidator(_as_declared)]


class Image(Record):
    """One view. `path` is relative to the project's root, or, in a file of cases, to that file's
    folder. `sha256` is of the file's bytes, so that records change when pictures do.
    """

    path: NonEmpty
    projection: Projection = "unknown"
    sha256: str | None = None


class Case(Record):
    """What an annotator may see."""

    id: NonEmpty
    report: str = ""
    images: tuple[Image, ...] = ()


class Study(Record):
    """A case, its split and, where curated, its reference. `novel`: no training study has this
    report (None in train). `patient`: where it is known; left out of files where it is not.
    """

    id: NonEmpty
    uid: str
    split: Split
    report: str
    images: tuple[Image, ...] = ()
    reference: Annotation | None = None
    novel: bool | None = None
    patient: NonEmpty | None = Field(default=None, exclude_if=lambda patient: patient is None)

    def case(self) -> Case:
        return Case(id=self.id, report=self.report, images=self.images)


class Evidence(Record):
    """What the text of a region rests on. `support`: how the report supports it, None where the
    region has no text. `spans`: the parts of the report that it came from, as (start, end) in
    characters. `confidence`: in [0, 1], that the region is right, None where the annotator gives
    none.
    """

    support: Support | None = None
    spans: tuple[tuple[int, int], ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class AnnotationRecord(Record):
    """An annotator's answer to one case: `annotation`, or None and the `error` that prevented it.
    `evidence`: by region; annotators give confidences, and the rest is added to what they return.
    """

    id: NonEmpty
    annotation: Annotation | None
    evidence: dict[str, Evidence] = {}
    error: str | None = None
    raw: str = ""
    usage: dict[str, float] = {}


class AuditRecord(AnnotationRecord):
    """An answer to a case whose pictures were replaced: `swapped` = by those of the study
    `pictures_of`, `blank` = by grey ones of the same size, `none` = the case had no pictures.
    """

    pictures: Pictures
    pictures_of: NonEmpty | None = None


class ErrorCounts(Record):
    """GREEN's categories: a false finding, b missing finding, c wrong location, d wrong severity, e
    comparison that is not in the reference, f omitted comparison (Ostmeier et al., EMNLP Findings
    2024).
    """

    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0


class Listed(Record):
    """The findings that a judge named: the matched ones, and those behind each error category.
    GREEN separates clinically significant and insignificant errors; only the significant ones
    count.
    """

    matched: tuple[str, ...] = ()
    significant: dict[Category, tuple[str, ...]] = {}
    insignificant: dict[Category, tuple[str, ...]] = {}


class Clinical(Record):
    """The abnormal findings of a pair, by name, and the clinical `score` that follows from their
    significance: in [-1, 1], 1 = every abnormal finding and nothing false, 0 = no better than a
    normal template. `present`: the sum of the weights of the reference's findings, 0 where all of
    them are benign; None if the judge does not weigh them.
    """

    score: float
    present: float | None = None
    matched: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()


class Judgement(Record):
    """A judge's verdict on one (reference, candidate) pair. `score` is in [0, 1], or None if the
    pair could not be scored.
    """

    id: NonEmpty
    region: str
    reference: str
    candidate: str
    score: float | None
    verdict: Verdict
    matched_findings: int | None = None
    errors: ErrorCounts | None = None
    explanation: str | None = None
    listed: Listed | None = None
    clinical: Clinical | None = None
    completion: str | None = None
    judge: str
    annotation_error: str | None = None


class Agreement(Record):
    """How far curators agree on one test study.

    `report`: a number for the report, the same for all studies that have it word for word.
    `curators`: by scored region, the token F1 of the reference with what the curators wrote for the
    *other* studies with this report: of these texts, the one most like all of them
    (`text.medoid`). None in a region where both are empty, and None as a whole where no other study
    has this report. `attainable`: for generated studies, whose curators can be asked again, (sum,
    count) of the token F1 of the best answer with redrawn references; pairs of empty texts do not
    count. The best answer knows the generator's statements, so that this is slightly optimistic.
    """

    id: NonEmpty
    report: int
    curators: dict[str, float | None] | None
    attainable: dict[str, tuple[float, int]] | None
