"""Files and folders by path or URL, wherever fsspec finds them."""

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.files import replacing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def filesystem(url: str) -> tuple["AbstractFileSystem", str]:
    """(where it is, its path there). UserError: a package is missing, or this is no such URL."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(
            "--ray takes fsspec and ray: pip install -c constraints.txt -e '.[cluster]'"
        ) from None
    try:
        return url_to_fs(url)
    except ImportError as error:  # "Install s3fs to access S3"
        raise UserError(f"{shown(url)}: {error}; every node takes it") from None
    except ValueError as error:
        raise UserError(f"{shown(url)}: {error}") from None


def shown(url: str) -> str:
    """The URL without what may give access: user and password, and the query."""
    if "://" not in url:
        return url
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def absolute(url: str) -> str:
    """The same from every folder: a local path as a URL."""
    system, path = filesystem(url)
    return system.unstrip_protocol(path) if "local" in system.protocol else url


def local_folder(url: str) -> Path | None:
    """The folder that this is, or that it is in, if it is on this machine."""
    system, path = filesystem(url)
    if "local" not in system.protocol:
        return None
    return Path(path) if system.isdir(path) else Path(path).parent


def one_line(error: Exception) -> str:
    """What a library says of a place that it cannot reach."""
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


class Folder:
    """A folder of results, local or by URL. UserError: it cannot be reached or written."""

    def __init__(self, url: str) -> None:
        self.system, self.path = filesystem(url)
        self.shown = shown(url)
        self.local = Path(self.path) if "local" in self.system.protocol else None

    def names(self) -> set[str]:
        """Of the files in it; none, where it does not exist."""
        try:
            listed = self.system.ls(self.path, detail=False, refresh=True)
        except FileNotFoundError:
            return set()
        except Exception as error:  # whatever the libraries of file systems raise
            raise UserError(f"{self.shown}: cannot be read: {one_line(error)}") from None
        return {name.rstrip("/").rpartition("/")[2] for name in listed}

    def has(self, name: str) -> bool:
        return self.system.exists(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        return self.system.cat_file(f"{self.path}/{name}")

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that is written under another name, and renamed if the body succeeds."""
        if self.local is not None:
            with replacing(self.local / name, "wb") as file:
                yield file
            return
        temporary = f"{self.path}/.{name}.{uuid.uuid4().hex}.part"
        try:
            self.system.makedirs(self.path, exist_ok=True)
            with self.system.open(temporary, "wb") as file:
                yield file
            self.system.mv(temporary, f"{self.path}/{name}")
        finally:
            with contextlib.suppress(Exception):
                self.system.rm_file(temporary)
