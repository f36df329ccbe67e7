"""Files and folders that are never half-written, and hashes of their contents.

The promise holds for a process that is killed at any moment (kill -9): a path has its old content
or its new one. It does not hold when the machine loses power, because nothing waits for the disk
(no fsync); results can be computed again.
"""

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from xraygen.core.errors import UserError

# Files of a model's folder that no library reads.
_IRRELEVANT = (
    "README*",
    "LICENSE*",
    "NOTICE*",
    "*.md",
    "*.log",
    "events.out.tfevents*",
    "*.png",
    "*.jpg",
    "*.svg",
)


@contextlib.contextmanager
def replacing(path: Path | str, mode: str = "w") -> Iterator[IO]:
    """A file that is written next to `path` and renamed at the end, so that `path` is never
    half-written.

    `mode`: "w" = text in UTF-8, line ends as written; "wb" = bytes. A symbolic link at `path` is
    replaced, not followed: it may lead into DVC's cache. UserError: the file cannot be written; any
    other error of the body is passed on.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise UserError(f"{path}: is {kind}; name a file to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = _Output(temporary, path)
        file: IO = io.BufferedWriter(raw)
        if "b" not in mode:
            file = io.TextIOWrapper(file, encoding="utf-8", newline="")
        with file:
            yield file
        with _written(path):
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_being_written(part: Path) -> bool:
    """Whether the process in the name of a temporary file of `replacing` is alive on this
    machine.
    """
    pid = part.name.removesuffix(".part").rpartition(".")[2]
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


class _Output(io.FileIO):
    """A new file whose write errors name the path that it will replace. Raised here, they differ
    from other errors of the body.
    """

    def __init__(self, file: Path, path: Path):
        super().__init__(file, "w")
        self.path = path

    def write(self, content) -> int:
        with _written(self.path):
            return super().write(content)

    def close(self) -> None:
        with _written(self.path):
            super().close()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: yields the path to create it at, which does not exist yet.

    Folders cannot be exchanged in one step: the old one is moved aside, the new one takes its
    place, and the old one is removed last. If the process is killed between the first two steps,
    the old one is left at `.<name>.former.part`, from where the next call restores it. Libraries
    write into the folder by name, so any OSError of the body counts as a write error.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is not a folder; name a folder to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    former = path.with_name(f".{path.name}.former.part")
    try:
        with _written(path):
            if former.exists() and not path.exists():
                former.rename(path)
            _remove(former)
            yield temporary
            if path.exists():
                path.rename(former)
            try:
                temporary.rename(path)
            except BaseException:
                if former.exists():
                    former.rename(path)
                raise
            _remove(former)
    finally:
        _remove(temporary)


def _remove(folder: Path) -> None:
    """Remove a folder, or a link to one, if it exists."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def sha256(files: Iterable[Path]) -> str:
    """The hash of the contents, in the order given; names do not count."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def identity(model: str) -> str:
    """What identifies a model: its name on the hub, or the content of its folder, wherever that is.

    Every file counts, because a library may read any (merges.txt, generation_config.json, a folder
    of chat templates), except those known to be irrelevant: hidden files, READMEs, licences,
    pictures and logs of training.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    counted = (name for name in names if _is_relevant(name))
    listing = "\n".join(f"{sha256([folder / name])} {name.as_posix()}" for name in counted)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _is_relevant(name: Path) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and not any(name.match(pattern) for pattern in _IRRELEVANT)


def refuse_other_than_file(path: Path) -> None:
    """UserError: the path leads to something that is not a file; a pipe would block for ever."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file")
