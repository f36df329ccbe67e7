"""The files that users bring: rows of a CSV or JSON Lines file, streamed, with errors that name file and line."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from xraygen.errors import UserError
from xraygen.study import Case, first_problem, replacing

_LONGEST_FIELD = 10_000_000


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict]]:
    """(line number, row) of a .csv file with a header or a .jsonl file of objects.

    UserError: the file cannot be read or is of another kind, a column of `needed` is missing, or a line is damaged.
    """
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: neither .csv nor .jsonl")
    try:
        with path.open(encoding="utf-8-sig", newline="" if path.suffix == ".csv" else None) as file:
            for number, row in readers[path.suffix](file, path):
                for column in needed:
                    if column not in row:
                        raise UserError(f"{path}:{number}: no '{column}'; there are: {', '.join(map(str, row))}")
                yield number, row
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None


def _csv_rows(file, path: Path) -> Iterator[tuple[int, dict]]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row:
                raise UserError(f"{path}:{reader.line_num}: more fields than the header has columns")
            if None in row.values():
                raise UserError(f"{path}:{reader.line_num}: fewer fields than the header has columns")
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: damaged CSV: {error}") from None


def _jsonl_rows(file, path: Path) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: damaged JSON: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: not a JSON object")
            yield number, row


def read_cases(path: Path) -> Iterator[Case]:
    """Cases from columns id, report and optionally images; any other column is left aside, a reference among them.

    images: in JSON Lines a list of paths or of {"path", "projection"}, in CSV paths with ";" between. Paths are relative to the
    file's folder and may not leave it.
    """
    for number, row in read_rows(path, needed=("id", "report")):
        images = row.get("images") or []
        if isinstance(images, str):
            images = [name.strip() for name in images.split(";") if name.strip()]
        try:
            images = [{"path": image} if isinstance(image, str) else image for image in images]
            case = Case.model_validate({"id": row["id"], "report": row["report"], "images": images})
        except (ValidationError, TypeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else "images: not a list"
            raise UserError(f"{path}:{number}: not a case: {problem}") from None
        for image in case.images:
            pure = PurePosixPath(image.path.replace("\\", "/"))
            if pure.is_absolute() or ".." in pure.parts:
                raise UserError(f"{path}:{number}: image path {image.path!r} leaves the folder of the file; use a path below it")
        yield case


def read_pairs(path: Path) -> list[dict]:
    """Rows with at least `reference` and `candidate`, both text; null = empty."""
    rows = []
    for number, row in read_rows(path, needed=("reference", "candidate")):
        sides = {side: "" if row[side] is None else row[side] for side in ("reference", "candidate")}
        if not all(isinstance(text, str) for text in sides.values()):
            raise UserError(f"{path}:{number}: reference and candidate have to be text")
        rows.append(row | sides)
    return rows


def write_csv(path: Path, rows: Iterable[dict]) -> int:
    """Rows with the columns of the first one, atomically; returns how many."""
    rows = iter(rows)
    first = next(rows, None)
    count = 0
    with replacing(path) as file:
        if first is not None:
            writer = csv.DictWriter(file, list(first), lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            for count, row in enumerate(chain([first], rows), 1):
                writer.writerow(row)
    return count
