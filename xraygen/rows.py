"""The files that users bring: rows of a CSV or JSON Lines file, streamed, with errors that name file and line."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from pydantic import ValidationError

from xraygen.errors import UserError
from xraygen.files import replacing
from xraygen.study import Case, first_problem

_LONGEST_FIELD = 10_000_000
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict]]:
    """(line number, row) of a .csv file with a header or a .jsonl file of objects.

    UserError: the file cannot be read or is of another kind, a column of `needed` is missing, or a line is damaged.
    """
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: neither .csv nor .jsonl")
    try:
        with path.open(encoding="utf-8-sig", newline="" if path.suffix == ".csv" else None) as file:
            for number, row in readers[path.suffix](file, path, needed):
                if any(_HALF_A_PAIR.search(text) for text in row.values() if isinstance(text, str)):
                    raise UserError(f"{path}:{number}: half of a surrogate pair, which is no character; remove it")
                yield number, row
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None


def _require(needed: Sequence[str], columns: Iterable[str], where: str) -> None:
    for column in needed:
        if column not in columns:
            raise UserError(f"{where}: no '{column}'; there are: {', '.join(map(str, columns)) or 'none'}")


def _csv_rows(file, path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict]]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(file, strict=True)
    try:
        names = reader.fieldnames or []
        _require(needed, names, f"{path}:1")
        if len(set(names)) < len(names):
            raise UserError(f"{path}:1: a column stands twice; name the columns apart: {', '.join(names)}")
        for row in reader:
            if None in row:
                raise UserError(f"{path}:{reader.line_num}: more fields than the header has columns")
            if None in row.values():
                raise UserError(f"{path}:{reader.line_num}: fewer fields than the header has columns")
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: damaged CSV: {error}") from None


def _jsonl_rows(file, path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number}: damaged JSON: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: not a JSON object")
            _require(needed, row, f"{path}:{number}")
            yield number, row


def read_cases(path: Path) -> Iterator[Case]:
    """Cases from columns id, report and optionally images; any other column is left aside, a reference among them.

    images: in JSON Lines a list of paths or of {"path", "projection"}, in CSV paths with ";" between. Paths are relative to the
    file's folder and may not leave it.
    """
    for number, row in read_rows(path, needed=("id", "report")):
        images = row.get("images") or []
        if not isinstance(images, str | list):
            raise UserError(f"{path}:{number}: not a case: images: not a list")
        if isinstance(images, str):
            images = [name.strip() for name in images.split(";") if name.strip()]
        try:
            images = [{"path": image} if isinstance(image, str) else image for image in images]
            id = str(row["id"]) if isinstance(row["id"], int) else row["id"]
            case = Case.model_validate({"id": id, "report": row["report"], "images": images})
        except ValidationError as error:
            raise UserError(f"{path}:{number}: not a case: {first_problem(error)}") from None
        for image in case.images:
            pure = PurePosixPath(image.path.replace("\\", "/"))
            if pure.is_absolute() or ".." in pure.parts or PureWindowsPath(image.path).drive:
                raise UserError(f"{path}:{number}: image path {image.path!r} leaves the folder of the file; use a path below it")
        yield case


def read_pairs(path: Path, *more: str) -> list[dict]:
    """Rows with at least `reference`, `candidate` and the columns `more`; these, and `completion`, are text; null = empty."""
    rows = []
    for number, row in read_rows(path, needed=("reference", "candidate", *more)):
        texts = {name: "" if row[name] is None else row[name] for name in ("reference", "candidate", "completion") if name in row}
        for name, text in texts.items():
            if not isinstance(text, str):
                raise UserError(f"{path}:{number}: {name} has to be text")
        rows.append(row | texts)
    return rows


def write_csv(path: Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Rows under all their columns in order of appearance, `columns` last; atomically."""
    names = dict.fromkeys(column for row in rows for column in row if column not in columns) | dict.fromkeys(columns)
    with replacing(path) as file:
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
