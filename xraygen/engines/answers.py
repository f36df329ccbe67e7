"""Answers that were paid for, stored by the content of the question in .cache/answers.sqlite, which
DVC never deletes.

An answer is on disk when `keep` returns, so that a run resumed after a kill asks only the questions
that are still open. Several processes may read and write at once.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from xraygen.core.errors import UserError

_COLUMNS = """CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, asked TEXT NOT NULL, prompt TEXT NOT NULL, about TEXT NOT NULL,
  answer TEXT NOT NULL, seconds REAL
)"""
_TABLE = f"{_COLUMNS} WITHOUT ROWID"

_INSERT = """INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (key) DO UPDATE SET answer = excluded.answer, seconds = excluded.seconds
  WHERE answers.answer = ?"""
_FIND = "SELECT answer FROM answers WHERE key = ?"
_ALL = "SELECT about, answer FROM answers WHERE asked = ? ORDER BY about"
_PACE = "SELECT count(seconds), avg(seconds) FROM answers WHERE asked = ?"

_IN_MEMORY = 1000  # answers, where none are stored on disk
_FORGET = f"DELETE FROM answers WHERE rowid <= (SELECT max(rowid) FROM answers) - {_IN_MEMORY}"
_stored = True


class Statement(NamedTuple):
    """Of SQL."""

    text: str
    values: tuple = ()


Rows = list[tuple]
Execute = Callable[[Sequence[Statement]], list[Rows]]
_elsewhere: Execute | None = None


def store_elsewhere(execute: Execute) -> None:
    """From now on this process has its statements executed by another one, which calls
    `Answers.execute`: on a cluster only one process of one machine writes the file.
    """
    global _elsewhere
    _elsewhere = execute


def store_nothing() -> None:
    """From now on this process writes no answers to disk, where they would outlive the request. The
    last ones are in memory, for callers that read what they have just stored.
    """
    global _stored
    _stored = False


def project_folder() -> Path:
    """The current folder; for a queued experiment, which runs in a copy below the project's
    .dvc/tmp, the project's.
    """
    here = Path.cwd()
    above = [folder.parent for folder in here.parents if folder.name == ".dvc"]
    return above[-1] if above else here


def cache_folder() -> Path:
    return project_folder() / ".cache"


class Answers:
    """The answers to one kind of question. `asked`: everything but the prompt that shapes an
    answer; it is stored as JSON. `stored`: whether on disk.
    """

    def __init__(self, asked: dict, folder: Path | None = None):
        self.asked = json.dumps(asked, sort_keys=True)
        self.path = (folder or cache_folder()) / "answers.sqlite"
        self.stored = _stored
        self._connection: sqlite3.Connection | None = None
        if _elsewhere is None:
            self._connect()

    def _connect(self) -> None:
        with self._sqlite_errors():
            if self.stored:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path if self.stored else ":memory:"
            # Without an isolation level each statement is a transaction.
            self._connection = sqlite3.connect(file, timeout=60, isolation_level=None)
            self._connection.execute(_TABLE if self.stored else _COLUMNS)

    def execute(self, statements: Sequence[Statement]) -> list[Rows]:
        """The rows of each statement."""
        if self._connection is None:
            assert _elsewhere is not None
            return _elsewhere(statements)
        with self._sqlite_errors():
            return [self._connection.execute(*statement).fetchall() for statement in statements]

    def key(self, prompt: str) -> str:
        return hashlib.sha256(f"{self.asked}\n{prompt}".encode()).hexdigest()

    def find(self, prompts: Iterable[str]) -> dict[str, str]:
        """The prompts that have an answer, with that answer."""
        prompts = list(prompts)
        found = self.execute([Statement(_FIND, (self.key(prompt),)) for prompt in prompts])
        return {prompt: rows[0][0] for prompt, rows in zip(prompts, found, strict=True) if rows}

    def keep(
        self,
        prompt: str,
        about: dict,
        answer: str,
        seconds: float | None = None,
        instead: str | None = None,
    ) -> None:
        """Store an answer. A question keeps the first one that it gets, unless that is `instead`.
        `about`: what `all` returns with it. `seconds`: how long it took.
        """
        row = (
            self.key(prompt),
            self.asked,
            prompt,
            json.dumps(about, ensure_ascii=False),
            answer,
            seconds,
            instead,
        )
        forget = [] if self.stored else [Statement(_FORGET)]
        self.execute([Statement(_INSERT, row), *forget])

    def all(self) -> Iterator[tuple[dict, str]]:
        """(about, answer), sorted by `about`."""
        (rows,) = self.execute([Statement(_ALL, (self.asked,))])
        for about, answer in rows:
            yield json.loads(about), answer

    def pace(self) -> tuple[int, float] | None:
        """(number of answers that were timed, mean seconds of one); None if none were."""
        ((row,),) = self.execute([Statement(_PACE, (self.asked,))])
        count, seconds = row
        return (count, seconds) if count else None

    @contextlib.contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            )
            advice = (
                "move it away to start over; an export can be imported again"
                if damaged
                else "what was kept is still there"
            )
            raise UserError(
                f"{self.path}: kept answers cannot be used: {error}; {advice}"
            ) from None
