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
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xraygen.core.characters import decode
from xraygen.core.errors import UserError
from xraygen.core.files import refuse_other_than_file, replacing
from xraygen.core.swallowed import shape, swallows_a_row

if TYPE_CHECKING:
    from pyarrow import Array

_MAX_FIELD = 10_000_000
_MAX_NAME = 60
_WHOLE = re.compile(r"^(\d+)\.0+$")
LONE_SURROGATE = "a lone surrogate, which is not a character; remove it"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)  # Excel's own first line
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


def is_empty(row: dict) -> bool:
    """Whether no cell has a value. Spreadsheets leave such rows."""
    return all(has_no_value(value) for value in row.values())


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
                if not damaged and has_lone_surrogate(row.values()):
                    raise UserError(f"{path}:{number}: {LONE_SURROGATE}")
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


def has_lone_surrogate(cells: Iterable[object]) -> bool:
    return any(isinstance(cell, str) and _LONE_SURROGATE.search(cell) for cell in cells)


def names_of(
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
    columns = list(columns)
    long = any(len(name) > _MAX_NAME or "\n" in name for name in columns)
    return not long and not has_lone_surrogate(columns)


def _listed(names: Sequence[str]) -> str:
    """What columns there are, for an error."""
    if not are_names(names):
        return "the first line does not look like names of columns"
    return f"there are: {', '.join(names) or 'none'}"


class Head(NamedTuple):
    """What precedes the rows of a table, and how they are written. `names`: of the columns.
    `blanks`: whether blanks follow the separators. `lines`: how many it consists of.
    """

    names: list[str]
    separator: str
    blanks: bool
    lines: int

    def reader(self, lines: Iterable[str]) -> Any:
        """csv's reader of the lines that follow, whose line ends have to be kept."""
        csv.field_size_limit(_MAX_FIELD)
        # Where blanks follow the separators, quotes after the blanks are quotes too.
        return csv.reader(
            lines, strict=True, delimiter=self.separator, skipinitialspace=self.blanks
        )


def read_head(
    lines: Iterator[str], path: Path | str, needed: Sequence[str], optional: Sequence[str]
) -> Head:
    """The head of a table, whose lines alone it takes. UserError: see `read_rows`."""
    before = 0
    header = next(lines, "")
    separators = "\t,;|" if str(path).lower().endswith(".tsv") else ",;\t|"
    if declared := _SEPARATOR.fullmatch(header):
        before = 1
        header = next(lines, "")
        separators = declared[1]
    where = f"{path}:{before + 1}"
    if "\0" in header:
        raise UserError(f"{where}: not text, or UTF-16; save it as UTF-8")
    separator = _separator(header, separators, needed)
    head = Head([], separator, f"{separator} " in header, before)
    reader = head.reader(chain([header], lines))
    try:
        names = names_of(next(reader, []), needed, optional, where)
    except csv.Error as error:
        raise _damaged_csv(path, before, reader, before + 1, error) from None
    return head._replace(names=names, lines=before + reader.line_num)


def wrong_fields(cells: Sequence[str], names: Sequence[str]) -> str:
    """What is wrong with the number of fields of a row; "" = nothing."""
    if len(cells) == len(names):
        return ""
    return f"{'more' if len(cells) > len(names) else 'fewer'} fields than the header has columns"


def _damaged_csv(path: Path | str, before: int, reader: Any, start: int, error: csv.Error):
    # A quote that is never closed is noticed only at the end of the file.
    number = start if "end of data" in str(error) else before + reader.line_num
    return UserError(f"{path}:{number}: damaged CSV: {error}")


def _table_rows(
    file, path: Path, needed: Sequence[str], optional: Sequence[str], damaged: Damaged | None
) -> Iterator[tuple[int, dict]]:
    lines = iter(file)
    head = read_head(lines, path, needed, optional)
    names = head.names
    reader = head.reader(lines)
    start = head.lines + 1
    shapes: Counter[str] = Counter()  # of the ids so far
    try:
        for cells in reader:
            number = start
            start = head.lines + reader.line_num + 1
            if not cells:
                continue
            if damaged and swallows_a_row(cells, head.separator, len(names), shapes):
                raise UserError(
                    f"{path}:{number}: a quote that is opened here swallows rows; repair that line"
                )
            if problem := wrong_fields(cells, names):
                if damaged is None:
                    raise UserError(f"{path}:{number}: {problem}")
                if any(cells):
                    damaged("row_malformed", f"{path.name}:{number}", problem)
                continue
            if needed:
                shapes[shape(cells[names.index(needed[0])])] += 1
            yield number, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise _damaged_csv(path, head.lines, reader, start, error) from None


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


def object_in(line: str, unique: bool = False) -> dict:
    """The object in a line of JSON. ValueError: there is none. `unique`: a key that is there twice
    is a ValueError too.
    """
    try:
        content = json.loads(line, object_pairs_hook=unique_keys if unique else None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _jsonl_rows(
    file, path: Path, needed: Sequence[str], optional: Sequence[str], damaged: Damaged | None
) -> Iterator[tuple[int, dict]]:
    known = (*needed, *optional)
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            content = object_in(line, unique=damaged is not None)
        except ValueError as error:
            if damaged is None:
                raise UserError(f"{path}:{number}: {error}") from None
            damaged("row_malformed", f"{path.name}:{number}", str(error))
            continue
        names = names_of(content, () if damaged else needed, known, f"{path}:{number}")
        yield number, dict(zip(names, content.values(), strict=True))


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """For json's `object_pairs_hook`. ValueError: a key is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):  # json would keep the last one and lose the others silently
        raise ValueError("a key is there twice in one object")
    return content


def parquet_module(where: object) -> Any:
    """pyarrow.parquet. UserError: pyarrow is missing."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{where}: reading Parquet takes pyarrow: "
            "pip install -c constraints.txt -e '.[parquet]'"
        ) from None
    return parquet


def _parquet_rows(
    path: Path, needed: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, dict]]:
    parquet = parquet_module(path)
    from pyarrow import ArrowException

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = names_of(file.schema_arrow.names, needed, optional, str(path))
            for batch in file.iter_batches():
                columns = [
                    values_of(column, f"{path}: the column '{name}'", number)
                    for name, column in zip(names, batch.columns, strict=True)
                ]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, dict(zip(names, cells, strict=True))
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read after row {number}: {problem}") from None


def values_of(column: "Array", what: str, number: int) -> list:
    """The values of a column after row `number`. UserError: one has no counterpart in Python, such
    as text that is not UTF-8 or a date after the year 9999. The error does not quote it.
    """
    try:
        return column.to_pylist()
    except (ValueError, OverflowError) as error:
        problem = f"cannot be read after row {number} ({type(error).__name__})"
        raise UserError(f"{what} {problem}; repair or drop it") from None


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


def write_csv(path: Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Write rows with all their columns in order of appearance, `columns` last; atomically."""
    found = dict.fromkeys(column for row in rows for column in row if column not in columns)
    names = found | dict.fromkeys(columns)
    with replacing(path) as file:
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
