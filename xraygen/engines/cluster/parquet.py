"""Rows of a part of a Parquet file. Offsets are numbers of rows, from 0."""

from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any

from xraygen.core.errors import UserError
from xraygen.core.tables import names_of, parquet_module, values_of
from xraygen.engines.cluster.lines import Found, checked

MOST_ROWS = 50_000  # of a shard
MOST_PARTS = 32  # of a row group, because each part is read from the beginning of the group
_BATCH = 1_000  # rows in memory, of which texts may be long


def ranges(
    file: IO[bytes], step: int, name: str, needed: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[tuple[int, int]]:
    """(first row, end) of each shard: row groups, joined up to about `step` bytes, or divided into
    equal parts of at least that and at most `MOST_ROWS` rows.

    UserError: this is no Parquet file, or a column of `needed` is missing.
    """
    parquet = parquet_module(name)
    from pyarrow import ArrowException

    try:
        metadata = parquet.read_metadata(file)
        names_of(metadata.schema.to_arrow_schema().names, needed, optional, name)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    except (ArrowException, OSError) as error:
        raise UserError(f"{name}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    start = end = held = 0
    for group in groups:
        rows, size = group.num_rows, group.total_byte_size
        parts = max(-(-rows // MOST_ROWS), min(size // step, MOST_PARTS, rows), 1)
        if end > start and (parts > 1 or held + size > step or end - start + rows > MOST_ROWS):
            yield start, end
            start, held = end, 0
        if parts > 1:
            yield from pairwise(end + rows * part // parts for part in range(parts + 1))
            start = end + rows
        end += rows
        held += size if parts == 1 else 0
    if end > start:
        yield start, end


def parquet_rows(
    file: IO[bytes], start: int, end: int, needed: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[Found]:
    """The rows `start` to `end`. Where a part of the file is damaged, each of its rows fails."""
    parquet = parquet_module("")
    from pyarrow import ArrowException

    at = start
    try:
        with parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as table:
            names = names_of(table.schema_arrow.names, needed, optional, "")
            groups, skipped = _groups(table.metadata, start, end)
            for batch in table.iter_batches(_BATCH, groups):
                if skipped >= batch.num_rows:
                    skipped -= batch.num_rows
                    continue
                batch = batch.slice(skipped, end - at)
                skipped = 0
                for cells, problem in _cells(batch, names):
                    yield checked(at, cells, problem)
                    at += 1
                if at == end:
                    return
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and not _is_damage(error):
            raise
        problem = " ".join(str(error).split())[:200]
        for row in range(at, end):
            yield row, {}, f"this part of the file cannot be read: {problem}"


def _is_damage(error: OSError) -> bool:
    """Whether Arrow has found it in the content. Otherwise it may be gone the next time: errors of
    file systems have a number, or a class of their own such as TimeoutError.
    """
    return type(error) is OSError and error.errno is None


def _groups(metadata: Any, start: int, end: int) -> tuple[list[int], int]:
    """The row groups with the rows `start` to `end`, and how many rows precede them there."""
    groups: list[int] = []
    skipped = first = 0
    for group in range(metadata.num_row_groups):
        last = first + metadata.row_group(group).num_rows
        if first < end and last > start:
            if not groups:
                skipped = start - first
            groups.append(group)
        first = last
    return groups, skipped


def _cells(batch: Any, names: list[str]) -> Iterator[tuple[dict, str | None]]:
    """The rows of a batch. Only those fail that have a value without a counterpart in Python."""
    try:
        columns = [values_of(column, "", 0) for column in batch.columns]
    except UserError:
        for row in range(batch.num_rows):
            yield _single(batch.slice(row, 1), names)
        return
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True)), None


def _single(row: Any, names: list[str]) -> tuple[dict, str | None]:
    cells: dict = {}
    problem = None
    for name, column in zip(names, row.columns, strict=True):
        try:
            cells[name] = values_of(column, "", 0)[0]
        except UserError:
            cells[name] = None
            problem = f"the column '{name}' cannot be read: not UTF-8 text, or out of range"
    return cells, problem
