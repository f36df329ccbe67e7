"""The folder of results: part-<shard> for each shard, _counts/ with what is counted of each, and
_manifest.json, which says what they were made from.

Readers of folders of Parquet files skip names that begin with an underscore.

A part is written under another name and renamed, so that one that is there is complete. A part
whose counts are not there is made again, with the same content.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel, ValidationError

from xraygen.core.errors import UserError
from xraygen.engines.cluster.formats import Format, Tables, write
from xraygen.engines.cluster.job import Counts
from xraygen.engines.cluster.shards import Shard
from xraygen.engines.cluster.urls import Folder

MANIFEST = "_manifest.json"
_COUNTS = "_counts"


class Parts:
    def __init__(self, url: str, form: Format) -> None:
        self.folder = Folder(url)
        self.counts = Folder(f"{url.rstrip('/')}/{_COUNTS}")
        self.form: Format = form
        self.where = str(self.folder.local or self.folder.shown)

    def _name(self, shard: Shard) -> str:
        return f"part-{shard.index:06}.{self.form}"

    @contextlib.contextmanager
    def begun(self, made_from: dict) -> Iterator[None]:
        """To write into the folder. UserError: it cannot be written, another run writes into it, or
        it holds the results of something else; nothing is touched then.
        """
        with self._locked():
            if self._is_new(made_from):
                self._write_manifest({"made_from": made_from})
            self._remove_unfinished()
            try:
                yield
            finally:
                self._remove_unfinished()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock of a process that is killed is free again. By URL, and where the file system has
        no locks, two runs do the same work, into the same parts.
        """
        if self.folder.local is None:
            yield
            return
        try:
            self.folder.local.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.folder.local, os.O_RDONLY)
        except FileExistsError:
            raise UserError(f"{self.where}: is not a folder; name a folder for results") from None
        except OSError as error:
            raise UserError(f"{self.where}: cannot be written: {error.strerror}") from None
        try:
            self._lock(folder)
            yield
        finally:
            os.close(folder)

    def _lock(self, folder: int) -> None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.where}: another run is writing there; wait for it, or name another folder"
            ) from None
        except OSError:
            pass

    def _is_new(self, made_from: dict) -> bool:
        names = self.folder.names()
        if not any(name.startswith("part-") for name in names):
            return True  # also of a run that was stopped before its first part
        if MANIFEST not in names:
            raise UserError(
                f"{self.where}: has parts but no {MANIFEST}, which says what they were made "
                "from; name another folder, or remove this one"
            )
        try:
            former = json.loads(self.folder.read(MANIFEST) or b"")["made_from"]
            different = sorted(_different(former, made_from))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{self.where}/{MANIFEST}: damaged, so that what the parts were made from is "
                "unknown; name another folder, or remove this one"
            ) from None
        if different:
            raise UserError(
                f"{self.where}: holds results of other input or settings, which differ in "
                f"{', '.join(different[:5])}; name another folder, or restore these"
            )
        return False

    def _remove_unfinished(self) -> None:
        """What a process that was killed was writing. By URL nothing shows whether another process
        is still writing it.
        """
        for folder in (self.folder.local, self.counts.local):
            for path in folder.glob(".*.part") if folder else ():
                path.unlink(missing_ok=True)

    def finished(self, shards: Iterable[Shard]) -> dict[int, Counts]:
        """What is counted of the shards that are finished, by their index."""
        there = self.folder.names() & self.counts.names()
        names = {self._name(shard): shard.index for shard in shards}
        contents = self.counts.read_all(names.keys() & there)
        found = {names[name]: _counts(content) for name, content in contents.items()}
        return {index: counts for index, counts in found.items() if counts is not None}

    def counted(self, shard: Shard) -> Counts | None:
        """What is counted of a shard; None = it is not finished."""
        if not self.folder.has(self._name(shard)):
            return None
        return _counts(self.counts.read(self._name(shard)))

    def write(
        self,
        shard: Shard,
        records: Iterable[BaseModel],
        count: Callable[[BaseModel, Counts], None],
        tables: Tables,
    ) -> Counts:
        """UserError: it cannot be written, such as when the disk is full."""
        counts = Counts()

        def counted() -> Iterator[BaseModel]:
            for record in records:
                count(record, counts)
                yield record

        with self.folder.replacing(self._name(shard)) as file:
            counts.records = write(file, counted(), self.form, tables)
        with self.counts.replacing(self._name(shard)) as file:
            file.write(counts.model_dump_json().encode())
        return counts

    def are_begun(self) -> bool:
        """Whether the manifest of `begun` is there, seen from this node."""
        return self.folder.has(MANIFEST)

    def is_complete(self) -> bool:
        """Whether the manifest says so."""
        return "shards" in json.loads(self.folder.read(MANIFEST) or b"{}")

    def complete(self, made_from: dict, shards: int, counts: Counts) -> None:
        self._write_manifest({"made_from": made_from, "shards": shards} | counts.model_dump())

    def _write_manifest(self, content: dict) -> None:
        with self.folder.replacing(MANIFEST) as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")


def _counts(content: bytes | None) -> Counts | None:
    """None = they are not there, or cut short."""
    try:
        return None if content is None else Counts.model_validate_json(content)
    except ValidationError:
        return None


def _different(former: dict, now: dict, within: str = "") -> Iterator[str]:
    """The keys whose values differ, as section.key."""
    for key in former.keys() | now.keys():
        before, after = former.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _different(before, after, f"{within}{key}.")
        elif before != after:
            yield f"{within}{key}"
