"""The files that users bring: rows of a table or a JSON Lines file, streamed, with errors that name
file and line.
"""

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from pydantic import ValidationError

from xraygen.core.characters import decode
from xraygen.core.errors import UserError
from xraygen.core.files import refuse_other_than_file, replacing
from xraygen.core.json_lines import first_problem
from xraygen.core.study import Case
from xraygen.core.swallowed import shape, swallows_a_row

if TYPE_CHECKING:
    from pyarrow import Array

_MAX_FIELD = 10_000_000
_MAX_NAME = 60
_WHOLE = re.compile(r"^(\d+)\.0+$")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)  # Excel's own first line
_PICTURE_NAME = re.compile(
    r"(?:.*[_ -])?(?:image|img|picture|photo|x-?ray|radiograph)s?"
    r"[_ -]?(?:(?:path|file|name|filename|url|list)s?)?",
    re.IGNORECASE,
)
_PICTURE_FILE = re.compile(
    r".*\.(?:png|jpe?g|tiff?|bmp|gif|webp|jp2|dcm|dicom)", re.IGNORECASE | re.DOTALL
)


_NO_VALUE = frozenset(
    ("", "nan", "nat", "none", "null", "nil", "na", "n/a", "<na>", "#n/a", "-", "--")
)
Damaged = Callable[[str, str, str], None]  # called with kind, place and what was wrong


def has_no_value(cell: object) -> bool:
    """Whether a cell of a table is empty: blank, null or NaN, or a word for these, as pandas writes
    them ("nan", "None", "<NA>").
    """
    if isinstance(cell, str):
        return cell.strip().rstrip(".").casefold() in _NO_VALUE
    return cell is None or (isinstance(cell, float) and cell != cell)


def read_rows(
    path: Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    damaged: Damaged | None = None,
) -> Iterator[tuple[int, dict]]:
    """(line number, row) of a table with a header (.csv, .tsv), a .jsonl file of objects, or a
    .parquet file, where the number is that of the row.

    Columns of `needed` and `optional` are also found in other case and with blanks around their
    names. A table may be separated by commas, semicolons, tabs or vertical bars. The line number is
    that of the line where the row begins. UserError: the file cannot be read or is of another kind,
    a column of `needed` is missing, or a line is damaged.

    With `damaged`, which is told of the damage, reading goes on where possible: a file that is not
    UTF-8 is decoded ("encoding"), one whose last line has no end is used ("file_unterminated"), a
    damaged line is skipped ("row_malformed"), an object may be without some columns, and lone
    surrogates are left to the caller.
    """
    refuse_other_than_file(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from _parquet_rows(path, needed, optional)
        return
    if kind not in (".csv", ".tsv", ".jsonl"):
        raise UserError(f"{path}: neither .csv, .tsv nor .jsonl, nor .parquet")
    read = _jsonl_rows if kind == ".jsonl" else _table_rows
    newline = None if kind == ".jsonl" else ""
    try:
        with _opened(path, newline, damaged) as file:
            for number, row in read(file, path, needed, optional, damaged):
                if not damaged and any(_has_lone_surrogate(text) for text in row.values()):
                    problem = "a lone surrogate, which is not a character; remove it"
                    raise UserError(f"{path}:{number}: {problem}")
                yield number, row
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None


def _opened(path: Path, newline: str | None, damaged: Damaged | None) -> io.TextIOBase:
    if damaged is None:
        return path.open(encoding="utf-8-sig", newline=newline)
    text, problem = decode(path.read_bytes())
    if problem:
        damaged("encoding", path.name, problem)
    if text and not text.endswith(("\n", "\r")):
        damaged("file_unterminated", path.name, "its last line has no end: it may be truncated")
    return io.StringIO(text, newline=newline)


def _has_lone_surrogate(value: object) -> bool:
    return isinstance(value, str) and _LONE_SURROGATE.search(value) is not None


def _names(
    columns: Iterable[str], needed: Sequence[str], optional: Sequence[str], where: str
) -> list[str]:
    """The names of the columns, those of `needed` and `optional` in that spelling.

    UserError: a column of `needed` is missing, or one is there twice.
    """
    names = [column.strip() for column in columns]
    for known in (*needed, *optional):
        alike = [at for at, name in enumerate(names) if name.casefold() == known.casefold()]
        if known not in names and len(alike) == 1:
            names[alike[0]] = known
        elif known not in names and alike:
            spellings = " and ".join(names[at] for at in alike)
            raise UserError(f"{where}: '{known}' is there twice, as {spellings}; rename one")
    for column in needed:
        if column not in names:
            raise UserError(f"{where}: no '{column}'; {_listed(names)}")
    repeated = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if repeated is not None:
        raise UserError(f"{where}: the column '{repeated}' is there twice; rename one")
    return names


def are_names(columns: Iterable[str]) -> bool:
    """Whether these may be names of columns. A first line of other things is not to be repeated in
    an error: it may hold what a report says.
    """
    return not any(len(name) > _MAX_NAME or "\n" in name for name in columns)


def _listed(names: Sequence[str]) -> str:
    """What columns there are, for an error."""
    if not are_names(names):
        return "the first line does not look like names of columns"
    return f"there are: {', '.join(names) or 'none'}"


def _table_rows(
    file, path: Path, needed: Sequence[str], optional: Sequence[str], damaged: Damaged | None
) -> Iterator[tuple[int, dict]]:
    csv.field_size_limit(_MAX_FIELD)
    before = 0  # lines that the reader does not see
    header = file.readline()
    separators = "\t,;|" if path.suffix.lower() == ".tsv" else ",;\t|"
    if declared := _SEPARATOR.fullmatch(header):
        before = 1
        header = file.readline()
        separators = declared[1]
    where = f"{path}:{before + 1}"
    if "\0" in header:
        raise UserError(f"{where}: not text, or UTF-16; save it as UTF-8")
    separator = _separator(header, separators, needed)
    # Where blanks follow the separators, quotes after the blanks are quotes too.
    blanks = f"{separator} " in header
    lines = chain([header], file)
    reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=blanks)
    start = 1
    try:
        names = _names(next(reader, []), needed, optional, where)
        start = reader.line_num + 1
        shapes: Counter[str] = Counter()  # of the ids so far
        for cells in reader:
            number = before + start
            start = reader.line_num + 1
            if not cells:
                continue
            if damaged and swallows_a_row(cells, separator, len(names), shapes):
                raise UserError(
                    f"{path}:{number}: a quote that is opened here swallows rows; repair that line"
                )
            if len(cells) != len(names):
                problem = "more" if len(cells) > len(names) else "fewer"
                problem += " fields than the header has columns"
                if damaged is None:
                    raise UserError(f"{path}:{number}: {problem}")
                if any(cells):
                    damaged("row_malformed", f"{path.name}:{number}", problem)
                continue
            if needed:
                shapes[shape(cells[names.index(needed[0])])] += 1
            yield number, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        # A quote that is never closed is noticed only at the end of the file.
        number = start if "end of data" in str(error) else reader.line_num
        raise UserError(f"{path}:{before + number}: damaged CSV: {error}") from None


def _separator(header: str, separators: str, needed: Sequence[str]) -> str:
    """The first separator with which the header has the columns of `needed`; otherwise the one that
    gives the most columns.
    """
    known = {name.casefold() for name in needed}
    cells = {one: _cells(header, one) for one in separators}
    for one in separators:
        if known and known <= {cell.strip().casefold() for cell in cells[one]}:
            return one
    return max(separators, key=lambda one: len(cells[one]))


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def _jsonl_rows(
    file, path: Path, needed: Sequence[str], optional: Sequence[str], damaged: Damaged | None
) -> Iterator[tuple[int, dict]]:
    known = (*needed, *optional)
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=unique_keys) if damaged else json.loads(line)
            problem = None if isinstance(pairs, dict) else "not a JSON object"
        except (ValueError, RecursionError) as error:
            problem = f"damaged JSON: {error}"
        if problem is None:
            where = f"{path}:{number}"
            names = _names(pairs, () if damaged else needed, known, where)
            yield number, dict(zip(names, pairs.values(), strict=True))
        elif damaged is None:
            raise UserError(f"{path}:{number}: {problem}")
        else:
            damaged("row_malformed", f"{path.name}:{number}", problem)


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """For json's `object_pairs_hook`. ValueError: a key is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):  # json would keep the last one and lose the others silently
        raise ValueError("a key is there twice in one object")
    return content


def _parquet_rows(
    path: Path, needed: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, dict]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{path}: reading Parquet takes pyarrow: pip install -c constraints.txt -e '.[parquet]'"
        ) from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = _names(file.schema_arrow.names, needed, optional, str(path))
            for batch in file.iter_batches():
                columns = [
                    _values(column, f"{path}: the column '{name}'", number)
                    for name, column in zip(names, batch.columns, strict=True)
                ]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, dict(zip(names, cells, strict=True))
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read after row {number}: {problem}") from None


def _values(column: "Array", what: str, number: int) -> list:
    """The values of a column after row `number`. UserError: one has no counterpart in Python, such
    as text that is not UTF-8 or a date after the year 9999. The error does not quote it.
    """
    try:
        return column.to_pylist()
    except (ValueError, OverflowError) as error:
        problem = f"cannot be read after row {number} ({type(error).__name__})"
        raise UserError(f"{what} {problem}; repair or drop it") from None


def read_cases(path: Path, pictures: bool = False) -> Iterator[Case]:
    """Cases from the columns id, report and, optionally, images. All other columns are ignored,
    references included.

    images: in JSON Lines a list of paths or of {"path", "projection"}, in a table paths separated
    by ";". Paths are relative to the file's folder and may not leave it. A report that is null, NaN
    or a word for these is empty. `pictures`: the images will be used, so that pictures in a column
    of another name are a UserError.
    """
    for number, row in read_rows(path, needed=("id", "report"), optional=("images",)):
        if not all(has_no_value(value) for value in row.values()):  # spreadsheets leave such rows
            yield _case(row, f"{path}:{number}", pictures)


def _case(row: dict, where: str, pictures: bool) -> Case:
    images = [] if has_no_value(row.get("images")) else row["images"]
    if not isinstance(images, str | list):
        raise UserError(f"{where}: not a case: images: not a list")
    if isinstance(images, str):
        images = [name.strip() for name in images.split(";") if name.strip()]
    if pictures and not images and (name := _picture_column(row)):
        raise UserError(f"{where}: pictures are in the column '{name}'; rename it to images")
    if has_no_value(row["id"]):
        raise UserError(f"{where}: not a case: no id")
    images = [image for image in images if not has_no_value(image)]
    images = [{"path": image} if isinstance(image, str) else image for image in images]
    report = "" if has_no_value(row["report"]) else row["report"]
    fields = {"id": text_of_id(row["id"]), "report": report, "images": images}
    try:
        case = Case.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{where}: not a case: {first_problem(error)}") from None
    for image in case.images:
        if _leaves_its_folder(image.path):
            raise UserError(
                f"{where}: image path {image.path!r} leaves the folder of the file; "
                "use a path below it"
            )
    return case


def _leaves_its_folder(path: str) -> bool:
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or bool(PureWindowsPath(path).drive)


def text_of_id(id: object) -> object:
    """An id, of a study or a patient, as text without invisible characters. pandas writes 1000 as
    1000.0 where the column has a gap, in a CSV file too.
    """
    if isinstance(id, str):
        visible = "".join(char for char in id if unicodedata.category(char) != "Cf").strip()
        return _WHOLE.sub(r"\1", visible)
    if isinstance(id, float) and id.is_integer():
        id = int(id)
    return str(id) if isinstance(id, int) else id


def _picture_column(row: dict) -> str | None:
    """A column with pictures: its cell is the name of a picture file, or the column is named for
    pictures and its cell is not a text of several words.
    """
    for name, value in row.items():
        if name == "images" or has_no_value(value) or value == []:
            continue
        first = value[0] if isinstance(value, list) else value
        first = first.get("path") if isinstance(first, dict) else first
        if looks_like_a_picture(first):
            return name
        several_words = isinstance(first, str) and len(first.split()) > 1
        if _PICTURE_NAME.fullmatch(name) and not several_words:
            return name
    return None


def looks_like_a_picture(path: object) -> bool:
    """Whether this is the name of a picture file."""
    return isinstance(path, str) and _PICTURE_FILE.fullmatch(path.strip()) is not None


def read_pairs(path: Path, *more: str) -> list[dict]:
    """Rows with at least the columns `reference`, `candidate` and `more`. Reference, candidate and
    `completion` are text; null = empty.
    """
    rows = []
    needed = ("reference", "candidate", *more)
    for number, row in read_rows(path, needed, optional=("completion",)):
        named = ("reference", "candidate", "completion")
        texts = {name: row[name] for name in named if name in row}
        for name, text in texts.items():
            if name != "completion" and has_no_value(text) or text is None:
                texts[name] = ""
            elif not isinstance(text, str):
                raise UserError(f"{path}:{number}: {name} has to be text")
        rows.append(row | texts)
    return rows


def write_csv(path: Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Write rows with all their columns in order of appearance, `columns` last; atomically."""
    found = dict.fromkeys(column for row in rows for column in row if column not in columns)
    names = found | dict.fromkeys(columns)
    with replacing(path) as file:
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
