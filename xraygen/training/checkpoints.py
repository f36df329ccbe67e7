"""The folder of a training under .cache/finetune: its lock, its checkpoints, its result.

A process may be killed at any moment, so a checkpoint counts only when it is sealed: its files.json
lists the hash of every file. The result is `done`, complete or absent.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.files import sha256
from xraygen.core.json_lines import read_json, write_json

_SEAL = "files.json"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time train in `folder`: killing `dvc repro` leaves its stage running,
    and the next `dvc repro` starts another.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(f"{folder}: checkpoints cannot be kept: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "finetune: another process is running the same training; waiting for its result",
                file=sys.stderr,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint. The others are removed: each was being written when its
    process was killed, has been damaged since, or is out of date.
    """
    newest_first = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    last = next((path for path in newest_first if _is_complete(path)), None)
    for path in newest_first:
        if path != last:
            shutil.rmtree(path)
    return last


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.partition("-")[2])


def seal(checkpoint: Path) -> None:
    """Record that the checkpoint is complete, and the hash of each of its files."""
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != _SEAL]
    write_json(
        checkpoint / _SEAL,
        {str(path.relative_to(checkpoint)): sha256([path]) for path in sorted(files)},
    )


def _is_complete(checkpoint: Path) -> bool:
    try:
        sealed = read_json(checkpoint / _SEAL)
        return all(sha256([checkpoint / name]) == digest for name, digest in sealed.items())
    except (UserError, OSError):
        return False


def remove_checkpoints(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def write_result(
    folder: Path, model: Path, made_from: dict, metrics: dict, history: list[dict]
) -> None:
    """Copy the model to folder/done, with training.json, the metrics and the history."""
    part = folder / "done.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(model, part / "model")
    write_json(part / "model" / "training.json", made_from)
    write_json(part / "metrics.json", metrics)
    write_json(part / "history.json", {"history": history})
    part.rename(folder / "done")
