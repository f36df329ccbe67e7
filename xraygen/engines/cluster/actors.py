"""What runs on the workers of a cluster: actors that hold a model, each working on one shard at a
time.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from xraygen.core.errors import UserError
from xraygen.engines.cluster.job import Counts, Job, Work
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.shards import Shard
from xraygen.engines.generation import OutOfMemory

_AS_A_WHOLE = 2  # times that a shard is begun before its rows are worked on one by one
_DEATHS = 2  # with the same row under way, until it is skipped: a node may end for other reasons
_STARTS = 4  # of each actor, without one that succeeds


class Attempts:
    """On the driver's node: how often each shard has been begun, and what killed the process. It
    survives the workers, and forgets with the driver.
    """

    def __init__(self) -> None:
        self._starting = 0
        self._begun: dict[int, int] = {}
        self._row: dict[int, int] = {}  # under way, by shard
        self._deaths: dict[int, Counter[int]] = {}  # of processes, by row, by shard

    def starting(self) -> int:
        """How many actors have begun to load their model since the last one that has."""
        self._starting += 1
        return self._starting

    def started(self) -> None:
        self._starting = 0

    def begin(self, shard: int) -> list[int] | None:
        """None = work on it as a whole; otherwise row by row, without these, which have ended the
        process more than once.
        """
        self._begun[shard] = self._begun.get(shard, 0) + 1
        deaths = self._deaths.setdefault(shard, Counter())
        if (row := self._row.pop(shard, None)) is not None:
            deaths[row] += 1
        if self._begun[shard] <= _AS_A_WHOLE:
            return None
        return [row for row, count in deaths.items() if count >= _DEATHS]

    def row(self, shard: int, number: int) -> None:
        self._row[shard] = number

    def end(self, shard: int) -> None:
        """No row of it is under way any more."""
        self._row.pop(shard, None)


class Setting(NamedTuple):
    """What all actors are made with. `folder`: the project's, on every node. `attempts`: the handle
    of an `Attempts`. `actors`: their number.
    """

    job: Job
    shared: Any
    parts: Parts
    folder: Path
    attempts: Any
    actors: int


class Actor:
    """Errors that concern all rows are returned, not raised: Ray would start the actor again."""

    def __init__(self, setting: Setting) -> None:
        self.parts = setting.parts
        self.attempts = setting.attempts
        self.tables = setting.job.tables
        self.error = ""
        try:
            self.work = _started(setting)
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
        # Ray repeats a task whose result it has lost.
        if counts := self.parts.counted(shard):
            return counts
        deadly = _ask(self.attempts.begin, shard.index)
        if deadly is None:
            try:
                return self._write(shard, self.work(shard.rows()))
            except Exception as error:
                if _concerns_all(error):
                    raise
                deadly = []
        return self._write(shard, self._one_by_one(shard, deadly))

    def _write(self, shard: Shard, records: Iterable[BaseModel]) -> Counts:
        return self.parts.write(shard, records, self.work.count, self.tables)

    def _one_by_one(self, shard: Shard, deadly: list[int]) -> Iterator[BaseModel]:
        for number, row in enumerate(shard.rows()):
            if number in deadly:
                yield self.work.failed(row, "it ended the process that worked on it")
                continue
            _ask(self.attempts.row, shard.index, number)
            try:
                records = list(self.work([row]))
            except Exception as error:
                if _concerns_all(error):
                    raise
                # The message of an error may quote the report.
                reason = str(error) if isinstance(error, OutOfMemory) else type(error).__name__
                records = [self.work.failed(row, f"cannot be worked on: {reason}")]
            yield from records
        _ask(self.attempts.end, shard.index)


def _concerns_all(error: Exception) -> bool:
    return isinstance(error, UserError) and not isinstance(error, OutOfMemory)


def _ask(method: Any, *arguments: object) -> Any:
    import ray

    return ray.get(method.remote(*arguments))


def _started(setting: Setting) -> Work:
    import ray

    if _ask(setting.attempts.starting) > _STARTS * setting.actors:
        raise UserError(
            "the processes that load the model end before they have, maybe for lack of memory; "
            "lower --actors"
        )
    _check_folders(setting)
    if not ray.get_gpu_ids():
        # Ray lets an actor that has asked for no GPU see all of them.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    work = setting.job.start(setting.shared)
    _ask(setting.attempts.started)
    return work


def _check_folders(setting: Setting) -> None:
    """UserError: the project or the results are not on this node."""
    node = os.uname().nodename
    try:
        os.chdir(setting.folder)  # models and plugins are there
    except OSError:
        raise UserError(
            f"{setting.folder}: is not on the node {node}; the project has to be at the same path "
            "on every node of the cluster"
        ) from None
    if not setting.parts.are_begun():
        raise UserError(
            f"{setting.parts.where}: what the command has written there is not seen on the node "
            f"{node}; --out has to be a URL, or in a folder that all nodes share"
        )
