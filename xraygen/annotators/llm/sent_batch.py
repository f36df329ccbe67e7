"""Which batches have been sent: one file each in .cache/batches, so that a run that ended early, or
was killed, waits for them and sends nothing twice; so does another run at the same time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xraygen.annotators.llm.dialect import RequestFormat
from xraygen.core.errors import UserError
from xraygen.core.files import replacing


@dataclass
class SentBatch:
    """`id`: the server's, None until it is known. `asked`: the kind of question, as in Answers.
    `questions`: the id of a case by the question's key.
    """

    path: Path
    id: str | None
    asked: str
    request_format: RequestFormat
    questions: dict[str, str]

    @property
    def name(self) -> str:
        """The name that the server is given."""
        return self.path.stem

    def save(self) -> None:
        content = {
            "id": self.id,
            "asked": self.asked,
            "manner": self.request_format,  # under this key in the files of earlier versions
            "questions": self.questions,
        }
        with replacing(self.path) as file:
            json.dump(content, file)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def sent_batches(folder: Path) -> Iterator[SentBatch]:
    """Those of every run that are still waited for, sorted by name."""
    for path in sorted(folder.glob("*.json")):
        try:
            state = json.loads(path.read_text())
        except FileNotFoundError:  # another run has collected it in the meantime
            continue
        request_format = RequestFormat(*state["manner"])
        yield SentBatch(path, state["id"], state["asked"], request_format, state["questions"])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time looks which batches are under way and sends the rest, so that two with
    the same questions pay once. UserError: the folder cannot be written.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise UserError(
            f"{folder}: the batches sent cannot be recorded: {error.strerror}"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, if only by a kill
        yield
