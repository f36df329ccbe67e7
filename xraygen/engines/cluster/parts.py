"""The folder of results: part-<shard>.jsonl for each shard, counts/ with what is counted of each,
and manifest.json, which says what they were made from.

A part is written under another name and renamed, so that one that is there is complete. A part
whose counts are not there is made again, with the same content.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, write_json, write_jsonl
from xraygen.engines.cluster.job import Counts
from xraygen.engines.cluster.shards import Shard

MANIFEST = "manifest.json"
# How records are written to a file, all of it or nothing, by the suffix of the file.
WRITERS: dict[str, Callable[[Path, Iterable[BaseModel]], int]] = {"jsonl": write_jsonl}


class Parts:
    def __init__(self, folder: Path, form: str) -> None:
        self.folder = folder
        self.form = form
        self.manifest = folder / MANIFEST

    def path(self, shard: Shard) -> Path:
        return self.folder / f"part-{shard.index:06}.{self.form}"

    def _counts(self, shard: Shard) -> Path:
        return self.folder / "counts" / f"part-{shard.index:06}.json"

    @contextlib.contextmanager
    def begun(self, made_from: dict) -> Iterator[None]:
        """To write into the folder. UserError: it cannot be written, another run writes into it, or
        it holds the results of something else; nothing is touched then.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is not a folder; name a folder for the results")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror}") from None
        with self._locked():
            self._check(made_from)
            self._remove_unfinished()
            if not self.manifest.exists():
                write_json(self.manifest, {"made_from": made_from})
            try:
                yield
            finally:
                self._remove_unfinished()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock of a process that is killed is free again. Where the file system has no locks,
        two runs do the same work, into the same parts.
        """
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.folder}: another run is writing there; wait for it, or name another folder"
            ) from None
        except OSError:
            pass
        try:
            yield
        finally:
            os.close(folder)

    def _check(self, made_from: dict) -> None:
        if not self.manifest.exists():
            if any(self.folder.glob("part-*")):
                raise UserError(
                    f"{self.folder}: has parts but no {MANIFEST}, which says what they were made "
                    "from; name another folder, or remove this one"
                )
            return
        try:
            former = read_json(self.manifest).get("made_from")
        except UserError:
            former = None
        if not isinstance(former, dict):
            raise UserError(
                f"{self.manifest}: damaged, so that what the parts were made from is unknown; name "
                "another folder, or remove this one"
            )
        if different := sorted(_different(former, made_from)):
            raise UserError(
                f"{self.folder}: holds results of other input or settings, which differ in "
                f"{', '.join(different[:5])}; name another folder, or restore these"
            )

    def _remove_unfinished(self) -> None:
        """What a process that was killed was writing."""
        for path in [*self.folder.glob(".*.part"), *self.folder.glob("counts/.*.part")]:
            path.unlink(missing_ok=True)

    def finished(self, shard: Shard) -> Counts | None:
        """What is counted of a part that is there."""
        if not self.path(shard).exists():
            return None
        try:
            return Counts.model_validate_json(self._counts(shard).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(
        self,
        shard: Shard,
        records: Iterable[BaseModel],
        count: Callable[[BaseModel, Counts], None],
    ) -> Counts:
        """UserError: it cannot be written, such as when the disk is full."""
        counts = Counts()

        def counted() -> Iterator[BaseModel]:
            for record in records:
                count(record, counts)
                yield record

        counts.records = WRITERS[self.form](self.path(shard), counted())
        write_json(self._counts(shard), counts.model_dump())
        return counts

    def complete(self, made_from: dict, shards: int, counts: Counts) -> None:
        found = counts.model_dump()
        write_json(self.manifest, {"made_from": made_from, "shards": shards} | found)


def _different(former: dict, now: dict, within: str = "") -> Iterator[str]:
    """The keys whose values differ, as section.key."""
    for key in former.keys() | now.keys():
        before, after = former.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _different(before, after, f"{within}{key}.")
        elif before != after:
            yield f"{within}{key}"
