"""The input as shards: parts of files that are read independently of each other."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import fsspec

LEAST = 2**20  # bytes of a shard
MOST = 10_000  # shards of one run


class Row(NamedTuple):
    """A row of the input. `place`: file and line, for errors. `problem`: why it cannot be used;
    `cells` then has what is known of it, such as the id.
    """

    place: str
    cells: dict
    problem: str | None = None


class Shard(NamedTuple):
    """The lines of the file `url` that begin in the bytes `start` to `end`. `index`: its place in
    the input.
    """

    index: int
    url: str
    start: int
    end: int

    def rows(self) -> Iterator[Row]:
        with fsspec.open(self.url, "rb") as file:
            at = self.start
            if at:
                file.seek(at - 1)
                at += len(file.readline()) - 1
            while at < self.end and (line := file.readline()):
                if line.strip():
                    yield Row(f"{self.url} at byte {at:,}", json.loads(line))
                at += len(line)


def plan(source: str) -> list[Shard]:
    """The shards of a JSON Lines file."""
    with fsspec.open(source, "rb") as file:
        length = file.seek(0, 2)
    size = max(LEAST, length // MOST)
    starts = range(0, length, size)
    return [
        Shard(index, source, start, min(start + size, length)) for index, start in enumerate(starts)
    ]


def inputs(source: str) -> list[dict]:
    """What identifies the content of the input: its files with size and time."""
    filesystem, path = fsspec.url_to_fs(source)
    info = filesystem.info(path)
    return [{"file": source, "bytes": info["size"], "modified": info.get("mtime")}]
