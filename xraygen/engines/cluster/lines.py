"""Rows of a part of a JSON Lines file or a table, and where the rows of a table begin.

Offsets are in bytes. A line ends with LF, CR or both. What cannot be read fails its row alone.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import IO

from xraygen.core.characters import printable
from xraygen.core.errors import UserError
from xraygen.core.tables import (
    LONE_SURROGATE,
    Head,
    has_lone_surrogate,
    names_of,
    object_in,
    read_head,
    wrong_fields,
)

LONGEST = 2**24  # bytes of a line
_PIECE = 2**20  # bytes read at once
_BOM = b"\xef\xbb\xbf"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` leaves
DAMAGED = "damaged CSV: a quote that is not closed, or text after one that is"
_LONG = f"a line of more than {LONGEST:,} bytes"

Found = tuple[int, dict, str | None]  # offset, cells, problem


def lines(file: IO[bytes], start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of each line that begins in the bytes `start` to `end`, with its end. A line
    of more than `LONGEST` bytes is cut, but stays longer than that.
    """
    at = max(start - 1, 0)
    file.seek(at)
    rest, cut, position = b"", 0, at
    skip = start > 0  # the end of a line that begins before
    while at < end:
        # Little is read after the end, where only the last line may reach.
        piece = file.read(min(_PIECE, max(end - position, _PIECE // 16)))
        position += len(piece)
        whole = (rest + piece).splitlines(keepends=True)
        rest = whole.pop() if whole and piece and not whole[-1].endswith(b"\n") else b""
        for line in whole:
            if at >= end:
                return
            if not skip:
                yield at, line.removeprefix(_BOM) if at == 0 else line
            skip = False
            at += len(line) + cut
            cut = 0
        if len(rest) > LONGEST + 1:
            cut += len(rest) - LONGEST - 1
            rest = rest[:LONGEST] + rest[-1:]  # which may be half of an end
        if not piece or (skip and position >= end):
            return


def json_rows(
    found: Iterator[tuple[int, bytes]], needed: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[Found]:
    """The objects in lines; blank lines are skipped."""
    for at, line in found:
        if len(line) > LONGEST:
            yield at, {}, _LONG
            continue
        text = line.decode("utf-8", "surrogateescape")
        if not text.strip():
            continue
        cells: dict = {}
        problem = None
        try:
            cells = object_in(text)
            names = names_of(cells, needed, (*needed, *optional), "")
            cells = dict(zip(names, cells.values(), strict=True))
        except ValueError as error:
            problem = str(error)
        except UserError as error:
            problem = str(error).removeprefix(": ")
        if not line.isascii() and _NOT_UTF8.search(text):
            problem = "not UTF-8 text"
        yield checked(at, cells, problem)


def table_head(
    file: IO[bytes], size: int, name: str, needed: tuple[str, ...], optional: tuple[str, ...]
) -> tuple[Head, int]:
    """The head of a table, and where its rows begin. UserError: see `read_head`."""
    ahead = _Lines(lines(file, 0, size))
    head = read_head(ahead, name, needed, optional)
    if any(_NOT_UTF8.search(column) for column in head.names):
        raise UserError(f"{name}: not UTF-8 text; save it as UTF-8")
    return head, next((at for at, _ in ahead.found), size)


def table_starts(file: IO[bytes], start: int, size: int, step: int, head: Head) -> list[int]:
    """Where the first rows after each `step` bytes begin, from `start` on.

    This parses the whole table, because a line may begin within a quoted field: about
    100 MB a second, in memory for one row.
    """
    starts = [start]
    for at, _ in _records(lines(file, start, size), head):
        if at // step > starts[-1] // step:
            starts.append(at)
    return starts


def table_rows(found: Iterator[tuple[int, bytes]], head: Head) -> Iterator[Found]:
    for at, cells in _records(found, head):
        if cells is None:
            yield at, {}, DAMAGED
        elif problem := wrong_fields(cells, head.names):
            yield at, {}, problem
        else:
            row = dict(zip(head.names, cells, strict=True))
            bad = any(not cell.isascii() and _NOT_UTF8.search(cell) for cell in cells)
            yield checked(at, row, "not UTF-8 text" if bad else None)


class _Lines:
    """Lines as text for csv's reader, which can go back to the second one of those that it has
    taken for a row.
    """

    def __init__(self, found: Iterator[tuple[int, bytes]]) -> None:
        self.found = found
        self.again: deque[tuple[int, bytes]] = deque()
        self.taken: list[tuple[int, bytes]] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        taken = self.again.popleft() if self.again else next(self.found)
        self.taken.append(taken)
        return taken[1].decode("utf-8", "surrogateescape")

    def go_back(self) -> None:
        self.again.extendleft(reversed(self.taken[1:]))


def _records(
    found: Iterator[tuple[int, bytes]], head: Head
) -> Iterator[tuple[int, list[str] | None]]:
    """(offset, cells) of each row; None = damaged. Rows that a quote without an end would swallow
    are read: after a damaged row, reading goes on in the line after the one where it begins.

    So a damaged row fails wherever the lines end, and all others are the same.
    """
    ahead = _Lines(found)
    reader = head.reader(ahead)
    while True:
        ahead.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            ahead.go_back()
            reader = head.reader(ahead)
            cells = None
        if any(len(line) > LONGEST for _, line in ahead.taken):
            cells = None
        if cells is None or cells:  # [] = a blank line
            yield ahead.taken[0][0], cells


def checked(at: int, cells: dict, problem: str | None) -> Found:
    """A cell with what is no text is null."""
    if problem:
        problem = printable(problem)  # it may quote names
    if has_lone_surrogate(cells.values()):
        known = {name: None if has_lone_surrogate([cell]) else cell for name, cell in cells.items()}
        return at, known, problem or LONE_SURROGATE
    return at, cells, problem
