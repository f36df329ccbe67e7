"""What readers exported from the page of `xraygen review`: a header, then a decision a line."""

import codecs
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args

from pydantic import NonNegativeInt, ValidationError, model_validator

from xraygen.core.errors import UserError
from xraygen.core.files import refuse_other_than_file
from xraygen.core.json_lines import first_problem
from xraygen.core.study import NonEmpty, Record

Format = Literal["xraygen review 1"]
(REVIEW,) = get_args(Format)
Key = tuple[str, str]  # study id and region
R = TypeVar("R", bound=Record)
L = TypeVar("L", bound=Record)
Decided = Literal["accepted", "edited", "rejected"]


class Header(Record):
    """The first line of an export. `items`: number shown; `sample`: SHA-256 of what was shown."""

    format: Format
    reader: NonEmpty
    created: str
    items: NonNegativeInt
    sample: NonEmpty


class Decision(Record):
    """What a reader decided about the text `shown` of a region. `text`: the final one, "" where
    there is nothing to say; None where the reader rejected and gave none.
    """

    id: NonEmpty
    region: NonEmpty
    approach: str | None = None
    reader: NonEmpty
    shown: str
    decision: Decided
    text: str | None
    comment: str = ""

    @model_validator(mode="after")
    def _text_fits_the_decision(self) -> "Decision":
        if (self.text is None) != (self.decision == "rejected"):
            raise ValueError("text has to be null where the decision is rejected, and only there")
        if self.decision == "accepted" and self.text != self.shown:
            raise ValueError("the decision is accepted, but text is not the text shown")
        return self


class Review(NamedTuple):
    """One reader's export. `shown`: number of items; those without a decision are not in
    `decisions`.
    """

    path: Path
    reader: str
    shown: int
    sample: str
    decisions: dict[Key, Decision]


def read_reviews(paths: Sequence[Path], regions: Sequence[str]) -> list[Review]:
    """The exports of readers of one sample, sorted by reader. `regions`: the declared ones; none =
    whatever the exports name.

    UserError: a file is damaged, has a decision twice or a region that is not declared; two files
    are of one reader or of different samples.
    """
    reviews: list[Review] = []
    for path in paths:
        review = _read_review(path, regions)
        for other in reviews:
            _check_pair(other, review)
        reviews.append(review)
    return sorted(reviews, key=lambda review: review.reader)


def _read_review(path: Path, regions: Sequence[str]) -> Review:
    header, lines = read_export(path, Header, Decision, "xraygen review")
    decisions: dict[Key, Decision] = {}
    for number, decision in lines:
        where = f"{path}:{number}"
        if decision.reader != header.reader:
            raise UserError(
                f"{where}: a decision of {decision.reader} in the export of {header.reader}; "
                "export each reader's decisions to a separate file"
            )
        add(decisions, decision, where, regions)
    if len(decisions) > header.items:
        raise UserError(
            f"{path}: {len(decisions):,} decisions about {header.items:,} items; export it again"
        )
    return Review(path, header.reader, header.items, header.sample, decisions)


def add(found: dict, line, where: str, regions: Sequence[str]) -> None:
    """Put a line with id and region into what was found before. UserError: it is there already, or
    the region is not declared.
    """
    if regions and line.region not in regions:
        raise UserError(
            f"{where}: {line.region}: no such region; params.yaml declares {', '.join(regions)}"
        )
    key = line.id, line.region
    if key in found:
        raise UserError(f"{where}: {line.region} of {line.id} is there twice; remove one line")
    found[key] = line


def _check_pair(first: Review, second: Review) -> None:
    files = f"{first.path} and {second.path}"
    if first.sample != second.sample:
        raise UserError(
            f"{files}: the readers saw different samples; give exports of one page of "
            "`xraygen review` at a time"
        )
    if first.reader.casefold() == second.reader.casefold():
        raise UserError(f"{files}: both are by {first.reader}; give one file for each reader")
    for key in first.decisions.keys() & second.decisions.keys():
        if first.decisions[key].shown != second.decisions[key].shown:
            raise UserError(
                f"{files}: {key[1]} of {key[0]} was shown with different texts; export both again"
            )


def read_export(
    path: Path, header: type[R], line: type[L], made_by: str
) -> tuple[R, Iterator[tuple[int, L]]]:
    """The header of an export, and its other lines with their numbers. UserError, of the lines when
    they are read: damaged, with file and line.
    """
    refuse_other_than_file(path)
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file that a page exported") from None
    numbered = [
        (number, text) for number, text in enumerate(content.split(b"\n"), 1) if text.strip()
    ]
    if not numbered:
        raise UserError(f"{path}: empty; export it again from the page of `{made_by}`")
    first, *others = numbered
    _check_format(path, *first, header, made_by)
    return (
        _parsed(path, *first, header, made_by),
        ((number, _parsed(path, number, text, line, made_by)) for number, text in others),
    )


def _check_format(path: Path, number: int, text: bytes, header: type[Record], made_by: str) -> None:
    """UserError: the line is JSON, but no header, or that of another page's export."""
    try:
        found = json.loads(text)
    except ValueError:
        return  # as any damaged line
    (expected,) = get_args(header.model_fields["format"].annotation)
    if not isinstance(found, dict) or "format" not in found:
        problem = "the first line, which names reader and sample, is missing"
    elif found["format"] != expected:
        problem = f"its format is not '{expected}': it is of another page, or another version"
    else:
        return
    raise UserError(
        f"{path}:{number}: not what the page of `{made_by}` exports: {problem}; name such an "
        "export, or export it again"
    )


def _parsed(path: Path, number: int, text: bytes, record: type[R], made_by: str) -> R:
    try:
        return record.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{path}:{number}: not what the page of `{made_by}` exports: {first_problem(error)}; "
            "export it again"
        ) from None
