"""What the service takes and answers, for OpenAPI."""

from typing import Annotated, Literal

from pydantic import Field

from xraygen.core.study import (
    Clinical,
    ErrorCounts,
    Evidence,
    NonEmpty,
    Projection,
    Record,
    Verdict,
)


class ImageIn(Record):
    """A PNG, JPEG or DICOM file: `data`, in base64, or `file`, the name of a part of a multipart
    request.
    """

    data: str | None = None
    file: str | None = None
    projection: Projection = "unknown"


class CaseIn(Record):
    id: NonEmpty
    report: str = ""
    images: tuple[ImageIn, ...] = ()


class AnnotationRequest(Record):
    """`approach`: one of those that are loaded; by default the first."""

    approach: str | None = None
    cases: Annotated[tuple[CaseIn, ...], Field(min_length=1)]


class ProblemDetails(Record):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Finding(Evidence):
    """What is said of a region. `review`: whether its confidence is below the review threshold;
    null where there is no threshold or no confidence, or where the region is not scored.
    """

    text: str
    review: bool | None


class AnnotatedCase(Record):
    """`regions`: in the order of params.yaml. `model`: a hash of the model's files."""

    id: str
    approach: str
    model: str
    regions: dict[str, Finding]


class FailedCase(Record):
    id: str
    approach: str
    model: str
    error: ProblemDetails


class AnnotationResponse(Record):
    """In the order of the cases."""

    annotations: tuple[AnnotatedCase | FailedCase, ...]


class Pair(Record):
    reference: str
    candidate: str


class JudgementRequest(Record):
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]


class JudgedPair(Record):
    """`score`: in [0, 1], null if the pair could not be scored. Counts and `clinical`: null if the
    judge does not tell.
    """

    score: float | None
    verdict: Verdict
    matched_findings: int | None
    errors: ErrorCounts | None
    clinical: Clinical | None
    explanation: str | None


class JudgementResponse(Record):
    judge: str
    judgements: tuple[JudgedPair, ...]


class Health(Record):
    status: Literal["ok"]
