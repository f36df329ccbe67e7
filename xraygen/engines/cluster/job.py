"""What is done with the rows of the input: defined by annotators and judges, run by `run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from pydantic import BaseModel

from xraygen.engines.cluster.shards import CASES, Columns, Row


class Counts(BaseModel):
    """Counts of records, which can be added. `reasons`: how many failed for each reason, by kind
    of failure. `usage`: tokens and the like.
    """

    records: int = 0
    failed: int = 0
    reasons: dict[str, Counter[str]] = {}
    usage: Counter[str] = Counter()

    def add(self, other: Counts) -> None:
        self.records += other.records
        self.failed += other.failed
        for kind, reasons in other.reasons.items():
            self.reasons.setdefault(kind, Counter()).update(reasons)
        self.usage.update(other.usage)


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

    def share(self) -> Any:
        """Called once, on the driver, when Ray has started: what all actors share, such as the
        handle of an actor; None for jobs that share nothing.
        """
        return None

    def usage(self, shared: Any) -> dict[str, float]:
        """What the run has used as a whole, apart from what is counted by record; called on the
        driver at the end.
        """
        return {}

    def check(self, counts: Counts, ended: bool) -> None:
        """Called on the driver with the counts of all shards so far. UserError: too many failed,
        upon which the run ends.
        """
