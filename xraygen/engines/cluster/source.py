"""The files of an input: one file, or those in a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from xraygen.core.characters import printable
from xraygen.core.errors import UserError
from xraygen.core.tables import has_lone_surrogate
from xraygen.engines.cluster.urls import absolute, filesystem, reaching, shown

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

KINDS = (".jsonl", ".csv", ".tsv", ".parquet")
# What file systems call what changes when a file does: the first that one has.
_STAMPS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest"),
    *("mtime", "LastModified", "Last-Modified", "last_modified", "modify", "modificationTime"),
    "created",
)


class File(NamedTuple):
    """`name`: relative to the input, for people. `size`: in bytes. `stamp`: its ETag, or when it
    was changed.
    """

    url: str
    name: str
    size: int
    stamp: str

    @property
    def kind(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def folder(self) -> str:
        """That it is in, relative to the input; "" = the input's."""
        return PurePosixPath(self.name).parent.as_posix().removeprefix(".")


def files(source: str) -> list[File]:
    """The file `source`, or those of one kind in the folder and in folders in it, by name. Names
    that begin with . or _ do not count, as for other readers of such folders, nor do other kinds.

    UserError: it cannot be read, holds no such file, files of several kinds, or a link to a folder.
    """
    system, path = filesystem(source)
    with reaching(shown(source)):
        try:
            info = system.info(path)
        except FileNotFoundError:
            raise UserError(f"{shown(source)}: no such file or folder") from None
    if info["type"] not in ("file", "directory"):
        raise UserError(f"{shown(source)}: not a file")
    if info["type"] == "file":
        name = PurePosixPath(shown(path)).name
        found = [_file(absolute(source), name, info)]
        if found[0].kind not in KINDS:
            raise UserError(f"{shown(source)}: neither .csv, .tsv nor .jsonl, nor .parquet")
        return found
    # The URL with its host, which file systems leave out of what they list.
    url = absolute(source)
    url += "" if url.endswith("/") else "/"
    with reaching(shown(source)):
        found = [_file(url + name, name, info) for name, info in _listed(system, path)]
    kinds = sorted({file.kind for file in found})
    if not found:
        raise UserError(f"{shown(source)}: no .csv, .tsv, .jsonl or .parquet file in it")
    if len(kinds) > 1:
        raise UserError(
            f"{shown(source)}: files of several kinds ({', '.join(kinds)}); "
            "name one file, or a folder with one kind"
        )
    return found


def _listed(system: "AbstractFileSystem", folder: str) -> Iterator[tuple[str, dict]]:
    """Names, relative to the folder, of the files in it that count."""
    root = folder.rstrip("/") + "/"
    for path, info in sorted(system.find(folder, detail=True).items()):
        name = path.removeprefix(root)
        if _is_hidden(name):
            continue
        if info["type"] not in ("file", "directory"):
            info = _followed(system, path)
        if info["type"] == "file" and PurePosixPath(name).suffix.lower() in KINDS:
            yield name, info


def _followed(system: "AbstractFileSystem", path: str) -> dict:
    """What is said of the file that a link leads to, or of anything else that is no file."""
    try:
        info = system.info(path)
    except FileNotFoundError:
        raise UserError(f"{printable(path)}: a link to nothing; remove it") from None
    if info["type"] == "directory":
        raise UserError(
            f"{printable(path)}: a link to a folder, which is not followed; replace it by the "
            "folder, or by links to the files in it"
        )
    return info


@contextlib.contextmanager
def opened(file: File) -> Iterator[IO[bytes]]:
    """UserError: it has changed since the shards were planned."""
    system, path = filesystem(file.url)
    info = system.info(path)
    if (info["size"], _stamp(info)) != (file.size, file.stamp):
        raise UserError(f"{file.name}: has changed while it was being read; start again")
    with system.open(path, "rb", block_size=2**20) as stream:
        yield stream


def fingerprint(source: str) -> list[list]:
    """[name, size, stamp] of each file: what differs where the input does."""
    return [[file.name, file.size, file.stamp] for file in files(source)]


def _file(url: str, name: str, info: dict) -> File:
    if info["size"] is None:
        raise UserError(f"{shown(url)}: its server does not say how large it is; copy it here")
    if has_lone_surrogate([name]):
        raise UserError(f"{printable(name)}: its name is not UTF-8; rename it")
    if not _stamp(info):
        raise UserError(f"{shown(url)}: its server does not say when it was changed; copy it here")
    return File(url, name, info["size"], _stamp(info))


def _stamp(info: dict) -> str:
    return next((str(info[key]) for key in _STAMPS if info.get(key) is not None), "")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))
