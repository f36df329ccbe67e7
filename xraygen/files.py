"""Files and folders that are never half-written, and what they hold as a hash."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from xraygen.errors import UserError


@contextlib.contextmanager
def replacing(path: Path | str, mode: str = "w") -> Iterator[IO]:
    """A file written beside `path` and renamed to it at the end, so that nothing half-written ever stands at `path`."""
    path = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}; name a file to write")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open(mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
            yield file
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: what is yielded is where to put it, and does not exist yet."""
    beside, former = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "former"))
    try:
        yield beside
        if path.exists():
            path.rename(former)
        beside.rename(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        for folder in (beside, former):
            shutil.rmtree(folder, ignore_errors=True)


def sha256(files: Iterable[Path]) -> str:
    """Of the contents, in the order given; names do not count."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def identity(model: str) -> str:
    """Of a model: a name on the hub as it is; of a folder the content, wherever it lies."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    kinds = ("*.json", "*.safetensors", "*.model", "*.jinja")
    files = sorted(file for kind in kinds for file in folder.glob(kind))
    listing = "\n".join(f"{sha256([file])} {file.name}" for file in files)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
