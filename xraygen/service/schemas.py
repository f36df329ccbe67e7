"""What the service takes and answers, for OpenAPI."""

import json
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
from xraygen.service.problems import Problem


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
    """`id`: null if the case has none that is usable."""

    id: str | None
    approach: str
    model: str
    error: ProblemDetails


class FailedLine(FailedCase):
    """`line`: of the request, from 1; where the case has no usable id."""

    line: int | None = Field(default=None, exclude_if=lambda line: line is None)


def failed_case(
    approach: str, model: str, id: str | None, problem: Problem, line: int | None = None
) -> bytes:
    """A FailedCase, or with `line` a FailedLine, as JSON."""
    content: dict = {"id": id, "approach": approach, "model": model, "error": problem.content()}
    if line is not None:
        content["line"] = line
    return json.dumps(content, separators=(",", ":")).encode()


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


class FailedPair(Record):
    error: ProblemDetails


class JudgementResponse(Record):
    """In the order of the pairs."""

    judge: str
    judgements: tuple[JudgedPair | FailedPair, ...]


class Score(Record):
    """A mean over `n` test studies, with its 95 % interval."""

    score: float
    ci_low: float
    ci_high: float
    n: int


class TestScores(Record):
    """On the test split, by `judge`. `macro`: the mean of the scored regions."""

    judge: str
    macro: Score
    regions: dict[str, Score]


class Review(Record):
    """Regions with a confidence below `threshold` are to be reviewed: of the others at most the
    share `risk` is wrong, with a probability of at least 1 - `delta`.
    """

    threshold: float
    risk: float
    delta: float


class ApproachInfo(Record):
    """`model`: a hash of the model's files. `test`, `review`: null where the service has not been
    given reports/comparison.json, or it does not tell.
    """

    name: str
    annotator: str
    inputs: Literal["report", "image+report", "image"]
    model: str
    released: bool
    ready: bool
    test: TestScores | None
    review: Review | None


class Commit(Record):
    """Of the project. `dirty`: whether tracked files were changed; null if that is not known."""

    hash: str
    dirty: bool | None


class DataInfo(Record):
    """The prepared studies. `md5`: of the prepared files, by path, from dvc.lock."""

    title: str | None
    license: str | None
    source: str
    seeds: dict[str, int]
    md5: dict[str, str] | None


class Limits(Record):
    """Of a request. Sizes are in bytes, times in seconds."""

    max_body: int
    max_cases: int
    max_images: int
    max_pixels: int
    max_text: int
    max_depth: int
    timeout: float
    requests_per_minute: int | None


class ApproachList(Record):
    """The approaches that are loaded, the default one first. `judge`: null if there is none."""

    approaches: tuple[ApproachInfo, ...]
    judge: str | None
    commit: Commit | None
    data: DataInfo | None
    limits: Limits


class Health(Record):
    status: Literal["ok"]
