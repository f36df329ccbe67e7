"""Which case each question of a run on a cluster is counted for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xraygen.core.errors import UserError


class Counted:
    """The case, and what the reply cost, by the question's key. They are recorded in a file, line
    by line, so that a run that was killed and goes on counts no question twice. `cost`: of all, in
    US dollars. UserError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cost = 0.0
        self._cases: dict[str, str] = {}
        with self._opened() as file:
            file.seek(0)
            for line in file:
                self._read(line)
            file.write("\n")  # ends a line that was cut short

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[str]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8") as file:
                yield file
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from None

    def _read(self, line: str) -> None:
        with contextlib.suppress(ValueError, TypeError):  # it was cut short by a kill, or is empty
            self._note(*json.loads(line))

    def _note(self, key: str, id: str, cost: float) -> None:
        self._cases[key] = id
        self.cost += cost

    def count(self, key: str, id: str, cost: float) -> bool:
        """Whether a question is counted for this case, the first that asks."""
        if key not in self._cases:
            self._note(key, id, cost)
            with self._opened() as file:
                file.write(json.dumps([key, id, cost]) + "\n")
        return self._cases[key] == id

    def forget(self) -> None:
        """Removes the file: the run is complete."""
        self.path.unlink(missing_ok=True)
