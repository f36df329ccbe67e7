"""What runs on the workers of a cluster: actors that hold a model, each working on one shard at a
time.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xraygen.core.errors import UserError
from xraygen.engines.cluster.job import Counts, Job
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.shards import Shard

_AS_A_WHOLE = 2  # times that a shard is begun before its rows are worked on one by one


class Attempts:
    """On the driver's node: how often each shard has been begun, and what killed the process. It
    survives the workers, and forgets with the driver.
    """

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}
        self._row: dict[int, int] = {}  # under way, by shard
        self._deadly: dict[int, list[int]] = {}

    def begin(self, shard: int) -> list[int] | None:
        """None = work on it as a whole; otherwise row by row, without these, which have killed the
        process.
        """
        self._begun[shard] = self._begun.get(shard, 0) + 1
        if self._begun[shard] <= _AS_A_WHOLE:
            return None
        deadly = self._deadly.setdefault(shard, [])
        if shard in self._row:
            deadly.append(self._row.pop(shard))
        return deadly

    def row(self, shard: int, number: int) -> None:
        self._row[shard] = number


class Actor:
    """Errors that concern all rows are returned, not raised: Ray would start the actor again."""

    def __init__(self, job: Job, shared: Any, parts: Parts, folder: Path, attempts: Any) -> None:
        """`folder`: the project's, on every node. `attempts`: the handle of an `Attempts`."""
        self.parts = parts
        self.attempts = attempts
        self.tables = job.tables
        self.error = ""
        try:
            _enter(folder)
            self.work = job.start(shared)
        except UserError as error:
            self.error = str(error)

    def __call__(self, batch: dict) -> dict:
        shard = Shard.model_validate_json(batch["shard"][0])
        counts = Counts()
        try:
            if not self.error:
                counts = self._counts(shard)
        except UserError as error:
            self.error = str(error)
        return {
            "shard": [shard.index],
            "counts": [counts.model_dump_json()],
            "error": [self.error],
        }

    def _counts(self, shard: Shard) -> Counts:
        import ray

        # Ray repeats a task whose result it has lost.
        if counts := self.parts.counted(shard):
            return counts
        deadly = ray.get(self.attempts.begin.remote(shard.index))
        if deadly is None:
            try:
                return self._write(shard, self.work(shard.rows()))
            except UserError:
                raise
            except Exception:
                deadly = []
        return self._write(shard, self._one_by_one(shard, deadly))

    def _write(self, shard: Shard, records: Iterable[BaseModel]) -> Counts:
        return self.parts.write(shard, records, self.work.count, self.tables)

    def _one_by_one(self, shard: Shard, deadly: list[int]) -> Iterator[BaseModel]:
        import ray

        for number, row in enumerate(shard.rows()):
            if number in deadly:
                yield self.work.failed(row, "it ended the process that worked on it")
                continue
            ray.get(self.attempts.row.remote(shard.index, number))
            try:
                records = list(self.work([row]))
            except UserError:
                raise
            except Exception as error:  # its message may quote the report
                records = [self.work.failed(row, f"raises {type(error).__name__}")]
            yield from records


def _enter(folder: Path) -> None:
    """The project's folder: models and plugins are there."""
    try:
        os.chdir(folder)
    except OSError:
        raise UserError(
            f"{folder}: is not on the node {os.uname().nodename}; the project has to be at the "
            "same path on every node of the cluster"
        ) from None
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
