"""What is done with the rows of the input: defined by annotators and judges, run by `run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from xraygen.engines.cluster.shards import CASES, LEAST, SMALL, Columns, Row

_REASONS = 100  # of each kind are counted apart


class Counts(BaseModel):
    """Counts of records, which can be added. `reasons`: how many failed for each reason, by kind
    of failure. `usage`: tokens and the like. `verdicts`: of judges.
    """

    records: int = 0
    failed: int = 0
    reasons: dict[str, dict[str, int]] = {}
    usage: dict[str, float] = {}
    verdicts: dict[str, int] = {}

    def fail(self, kind: str, reason: str, count: int = 1) -> None:
        """Reasons may name files, so that only the first ones are told apart."""
        reasons = self.reasons.setdefault(kind, {})
        if reason not in reasons and len(reasons) >= _REASONS:
            reason = "other reasons"
        reasons[reason] = reasons.get(reason, 0) + count

    def use(self, usage: Mapping[str, float]) -> None:
        for name, amount in usage.items():
            self.usage[name] = self.usage.get(name, 0) + amount

    def add(self, other: Counts) -> None:
        self.records += other.records
        self.failed += other.failed
        for kind, reasons in other.reasons.items():
            for reason, count in reasons.items():
                self.fail(kind, reason, count)
        self.use(other.usage)
        for verdict, count in other.verdicts.items():
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + count


class Work(ABC):
    """What one actor does with rows; it holds the model."""

    @abstractmethod
    def __call__(self, rows: Iterable[Row]) -> Iterator[BaseModel]:
        """One record for each row, in order. A row with a `problem` becomes a failed record.
        UserError: something that concerns all rows, upon which the run ends. Any other error is
        tried again row by row, and then fails the row that raises it.
        """

    @abstractmethod
    def failed(self, row: Row, reason: str) -> BaseModel:
        """The record of a row that could not be worked on."""

    @abstractmethod
    def count(self, record: BaseModel, counts: Counts) -> None:
        """Add what is counted of a record, except `records`, which the caller counts."""


class Job(ABC):
    """It is pickled for the actors, so that it holds settings, and neither models nor keys.

    `columns`: what it reads of the input.
    """

    columns: ClassVar[Columns] = CASES

    @property
    def shard_size(self) -> int:
        """Bytes of the input in a shard, at least. A model takes many times as long for a case as
        other code, so that a short input would otherwise keep a single actor busy.
        """
        return SMALL if self.has_model else LEAST

    @property
    def has_model(self) -> bool:
        """Whether a model of many weights, or a server, answers."""
        return False

    @abstractmethod
    def identity(self) -> dict:
        """Everything that shapes a result apart from the input; JSON."""

    @abstractmethod
    def start(self, shared: Any) -> Work:
        """Loads the model, in an actor. `shared`: what `share` returned. UserError: it cannot be
        loaded, upon which the run ends.
        """

    @abstractmethod
    def plan(self, rows: Iterable[Row]) -> object:
        """What these rows would take, as one line of text, for --dry-run; without Ray."""

    def share(self, run: str) -> Any:
        """Called once, on the driver, when Ray has started: what all actors share, such as the
        handle of an actor; None for jobs that share nothing. `run`: a name for the input and all
        that shapes the results, the same when a run goes on.
        """
        return None

    def usage(self, shared: Any) -> dict[str, float]:
        """What this run has used as a whole, apart from what is counted by record; called on the
        driver when no shard is missing any more.
        """
        return {}

    def end(self, shared: Any) -> None:  # noqa: B027  # most jobs share nothing
        """Called once, on the driver, when the run has ended, also by an error, and before Ray is
        left.
        """

    def tables(self, records: Iterable[BaseModel]) -> Iterator[Any]:
        """The records as Arrow tables with one schema, at least one; for Parquet."""
        raise NotImplementedError

    def check(self, counts: Counts, expected: int) -> None:  # noqa: B027  # judges have no limit
        """Called on the driver with the counts of all shards so far, and the number of records
        `expected` in the end. UserError: too many have failed, upon which the run ends.
        """
