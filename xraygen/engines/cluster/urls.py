"""Files and folders by path or URL, wherever fsspec finds them."""

import contextlib
import io
import re
import uuid
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import Path
from typing import IO, TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.files import replacing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def filesystem(url: str) -> tuple["AbstractFileSystem", str]:
    """(where it is, its path there). UserError: a package is missing, this is no such URL, or its
    server cannot be reached.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(
            "--ray needs fsspec and ray: pip install -c constraints.txt -e '.[cluster]'"
        ) from None
    try:
        return url_to_fs(url)
    except ImportError as error:  # "Install s3fs to access S3"
        problem = f"{_without_secrets(str(error))}; install it on every node"
        raise UserError(f"{shown(url)}: {problem}") from None
    except ValueError as error:
        raise UserError(f"{shown(url)}: {_without_secrets(str(error))}") from None
    except Exception as error:  # whatever the libraries of file systems raise
        raise UserError(f"{shown(url)}: cannot be reached: {one_line(error)}") from None


def shown(url: str) -> str:
    """The URL without what may give access: user and password, and the query."""
    if "://" not in url:
        return url
    return re.sub(r"//[^/]*@", "//", url).partition("?")[0]


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


def is_within(url: str, folder: str) -> bool:
    """Whether it is this folder, or below it."""
    system, path = filesystem(url)
    other, root = filesystem(folder)
    if "local" in system.protocol:
        path, root = str(Path(path).resolve()), str(Path(root).resolve())
    return system == other and f"{path.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")


def one_line(error: Exception) -> str:
    """What a library says of a place that it cannot reach."""
    said = " ".join(f"{type(error).__name__} {error}".split())
    return _without_secrets(said)[:200]


def _without_secrets(text: str) -> str:
    """Of the URLs in it."""
    return re.sub(r"\w+://\S+", lambda url: shown(url[0]), text)


@contextlib.contextmanager
def reaching(where: str, fault: str = "cannot be read") -> Iterator[None]:
    """UserError: whatever the libraries of file systems raise. `where`, `fault`: what it says."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {fault}: {one_line(error)}") from None


class Folder:
    """A folder of results, local or by URL. UserError: it cannot be reached or written."""

    def __init__(self, url: str) -> None:
        self.system, self.path = filesystem(url)
        self.shown = shown(url)
        self.local = Path(self.path) if "local" in self.system.protocol else None

    def names(self) -> set[str]:
        """Of the files in it; none, where it does not exist."""
        with reaching(self.shown):
            self.system.invalidate_cache(self.path)
            try:
                listed = self.system.ls(self.path, detail=False)
            except FileNotFoundError:
                return set()
        return {_name(path) for path in listed}

    def has(self, name: str) -> bool:
        with reaching(self.shown):
            return self.system.exists(f"{self.path}/{name}")

    def read(self, name: str) -> bytes | None:
        """None = it is not there."""
        with reaching(self.shown):
            try:
                return self.system.cat_file(f"{self.path}/{name}")
            except FileNotFoundError:
                return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """The files with these names, at the same time where the file system can."""
        paths = [f"{self.path}/{name}" for name in names]
        if not paths:
            return {}
        with reaching(self.shown):
            if has_magic(self.path):  # `cat` would take it for a pattern
                found = {path: self.system.cat_file(path) for path in paths}
            else:
                found = self.system.cat(paths)
        return {_name(path): content for path, content in found.items()}

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that is written under another name, and renamed if the body succeeds. By URL, it
        is in memory until then.
        """
        if self.local is not None:
            with replacing(self.local / name, "wb") as file:
                yield file
            return
        content = io.BytesIO()
        yield content
        temporary = f"{self.path}/.{name}.{uuid.uuid4().hex}.part"
        try:
            with reaching(self.shown, "cannot be written"):
                self.system.makedirs(self.path, exist_ok=True)
                with self.system.open(temporary, "wb") as file:
                    file.write(content.getvalue())
                self.system.mv(temporary, f"{self.path}/{name}")
        finally:
            with contextlib.suppress(Exception):
                self.system.rm_file(temporary)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
