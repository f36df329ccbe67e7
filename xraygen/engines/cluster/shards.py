"""The input as shards: parts of files that are read independently of each other."""

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import IO, Any, NamedTuple

from xraygen.core.cases import CASE, PAIR
from xraygen.core.errors import UserError
from xraygen.core.study import Record
from xraygen.core.tables import Head, is_empty
from xraygen.engines.cluster import lines, parquet
from xraygen.engines.cluster.source import File, files, opened
from xraygen.engines.cluster.urls import reaching, shown

LEAST = 2**20  # bytes of a shard
SMALL = 2**16  # where each case takes long
MOST = 10_000  # shards of one run
_FIRST = 100  # rows of a JSON Lines file that show which columns it has


class Row(NamedTuple):
    """A row of the input. `place`: file and offset, for errors. `problem`: why it cannot be used;
    `cells` then has what is known of it, such as the id. `folder`: that of the file, relative to
    the input.
    """

    place: str
    cells: dict
    problem: str | None = None
    folder: str = ""


class Columns(NamedTuple):
    """Those that rows need to have and may have, in this spelling. `empty`: whether rows without
    any value count. `filled`: those of `optional` that the file has; in JSON Lines they are null
    where an object lacks them.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    empty: bool = False
    filled: tuple[str, ...] = ()


CASES = Columns(*CASE)
PAIRS = Columns(*PAIR, empty=True)


class Shard(Record):
    """The rows that begin in the bytes `start` to `end` of a file; of a Parquet file, those with
    these numbers. `index`: its place in the input. `head`: of a table.
    """

    index: int
    file: File
    start: int
    end: int
    columns: Columns
    head: Head | None = None

    def rows(self) -> Iterator[Row]:
        """The rows, in order. Those that cannot be used have a `problem`, which is no error of this
        function. UserError: the file has changed, or cannot be read.
        """
        unit = "row" if self.file.kind == ".parquet" else "at byte"
        with reaching(self.file.name), opened(self.file) as file:
            for at, cells, problem in self._found(file):
                if not problem and not self.columns.empty and is_empty(cells):
                    continue
                place = f"{self.file.name} {unit} {at:,}"
                yield Row(place, cells, problem, self.file.folder)

    def _found(self, file: IO[bytes]) -> Iterator[lines.Found]:
        needed, optional, _, filled = self.columns
        if self.file.kind == ".parquet":
            yield from parquet.parquet_rows(file, self.start, self.end, needed, optional)
            return
        found = lines.lines(file, self.start, self.end)
        if self.head is not None:
            yield from lines.table_rows(found, self.head)
            return
        missing = dict.fromkeys(filled)
        for at, cells, problem in lines.json_rows(found, needed, optional):
            yield at, missing | cells if filled and not problem else cells, problem


def plan(
    source: str, columns: Columns = CASES, least: int = LEAST, most: int = MOST
) -> list[Shard]:
    """The shards of a file or folder: at least `least` bytes each, and about `most` at most.

    JSON Lines are divided without being read; a table is parsed once, because a line may begin
    within a quoted field. UserError: the input cannot be read, or a column is missing.
    """
    found = files(source)
    step = max(least, sum(file.size for file in found) // most)
    shards: list[Shard] = []
    for file in found:
        with reaching(shown(file.url)):
            planned = list(_planned(file, step, columns))
        shards += [_changed(shard, index=len(shards) + at) for at, shard in enumerate(planned)]
    return shards


def _planned(file: File, step: int, columns: Columns) -> Iterator[Shard]:
    whole = Shard(index=0, file=file, start=0, end=file.size, columns=columns)
    if file.kind == ".jsonl":
        whole = _changed(whole, columns=columns._replace(filled=_filled(whole)))
        for start in range(0, file.size, step):
            yield _changed(whole, start=start, end=min(start + step, file.size))
        return
    with opened(file) as stream:
        if file.kind == ".parquet":
            needed, optional, *_ = columns
            for start, end in parquet.ranges(stream, step, file.name, needed, optional):
                yield _changed(whole, start=start, end=end)
            return
        head, start = lines.table_head(stream, file.size, file.name, *columns[:2])
        starts = lines.table_starts(stream, start, file.size, step, head)
    if start == file.size:
        return
    for start, end in pairwise([*starts, file.size]):
        yield _changed(whole, start=start, end=end, head=head)


def _changed(shard: Shard, **changes: Any) -> Shard:
    return shard.model_copy(update=changes)


def _filled(whole: Shard) -> tuple[str, ...]:
    """The optional columns that the first rows have. UserError: all of them lack a needed one, or
    none of many can be used.
    """
    first = list(islice(whole.rows(), _FIRST))
    rows = [row for row in first if row.cells]
    if rows and not any(set(whole.columns.needed) <= row.cells.keys() for row in rows):
        raise UserError(f"{whole.file.name}: {rows[0].problem}")
    if len(first) == _FIRST and all(row.problem for row in first):
        raise UserError(
            f"{whole.file.name}: none of its first {_FIRST} rows can be used: {first[0].problem}"
        )
    named = set().union(*(row.cells for row in rows))
    return tuple(column for column in whole.columns.optional if column in named)
