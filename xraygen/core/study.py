"""The records that all stages exchange, and the JSON Lines files they are stored in.

A case is what an annotator may see. It has no field for a reference, so that none can leak. A study
is a case plus its split and, where curated, its reference. Only training code and judges are handed
studies.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from xraygen.core.errors import UserError
from xraygen.core.files import replacing

if TYPE_CHECKING:
    from xraygen.core.regions import Regions

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
NonEmpty = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Record(BaseModel):
    """Immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_declared(texts: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """The texts with every declared region, if the validation context declares regions."""
    regions: Regions | None = info.context
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


class AnnotationRecord(Record):
    """An annotator's answer to one case: `annotation`, or None and the `error` that prevented
    it.
    """

    id: NonEmpty
    annotation: Annotation | None
    error: str | None = None
    raw: str = ""
    usage: dict[str, float] = {}


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


R = TypeVar("R", bound=BaseModel)


def read_jsonl(path: Path | str, record: type[R], regions: "Regions | None" = None) -> Iterator[R]:
    """Stream records from a JSON Lines file. With `regions`, annotations are checked against them
    and completed. UserError: a line that is not such a record; the message has file, line and
    field.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `dvc repro` makes it") from None
    with file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield record.model_validate_json(line, context=regions)
                except ValidationError as error:
                    problem = f"not a {record.__name__} record: {first_problem(error)}"
                    raise UserError(
                        f"{path}:{number}: {problem}; remove the file and run `dvc repro`"
                    ) from None


def first_problem(error: ValidationError) -> str:
    """A pydantic error in one line: the first invalid field and why. An unknown field comes before
    a missing one, because it is likely the misspelt one.
    """
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def write_jsonl(path: Path | str, records: Iterable[BaseModel]) -> int:
    """Write one record a line, atomically; returns their number."""
    count = 0
    with replacing(path) as file:
        for record in records:
            file.write(record.model_dump_json() + "\n")
            count += 1
    return count


def read_json(path: Path | str) -> dict:
    """A JSON object that a stage wrote."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `dvc repro` makes it") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged JSON: {error}; remove it and run `dvc repro`") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: not what a stage writes; remove it and run `dvc repro`")
    return content


def write_metrics(path: Path | str, content: dict) -> None:
    """Write a file of metrics, which git keeps: floats with four digits, and one line for each part
    that fits on one, so that git diffs are short and free of rounding noise. Atomically.
    """
    with replacing(path) as file:
        file.write(_compact(_four_digits(content), 0) + "\n")


_MAX_LINE = (120, 300)  # characters of a whole file, and of a part of it, on one line


def _compact(value: object, depth: int) -> str:
    flat = json.dumps(value, allow_nan=False)
    if not isinstance(value, dict) or not value or len(flat) <= _MAX_LINE[min(depth, 1)]:
        return flat
    inside = ",\n".join(
        f"{'  ' * (depth + 1)}{json.dumps(key)}: {_compact(part, depth + 1)}"
        for key, part in value.items()
    )
    return f"{{\n{inside}\n{'  ' * depth}}}"


def _four_digits(value: object) -> object:
    if isinstance(value, dict):
        return {key: _four_digits(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_four_digits(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def write_json(path: Path | str, content: dict) -> None:
    """Indented JSON, keys in the order given, atomically."""
    with replacing(path) as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write("\n")
