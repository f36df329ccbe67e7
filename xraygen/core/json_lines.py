"""Records in JSON Lines files, and the JSON files of metrics and facts that stages write."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.regions import Regions

R = TypeVar("R", bound=BaseModel)


def read_jsonl(
    path: Path | str,
    record: type[R],
    regions: Regions | None = None,
    remedy: str = "remove the file and run `dvc repro`",
) -> Iterator[R]:
    """Stream records from a JSON Lines file. With `regions`, annotations are checked against them
    and completed. UserError: a line that is not such a record; the message has file, line, field
    and the `remedy`.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; get it with `dvc pull`, or `dvc repro` makes it"
        ) from None
    with file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield record.model_validate_json(line, context=regions)
                except ValidationError as error:
                    problem = f"not a {record.__name__} record: {first_problem(error)}"
                    raise UserError(f"{path}:{number}: {problem}; {remedy}") from None


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
        raise UserError(
            f"{path}: {error.strerror}; get it with `dvc pull`, or `dvc repro` makes it"
        ) from None
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


_MAX_LINE = (120, 400)  # characters of a whole file, and of a part of it, on one line


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
