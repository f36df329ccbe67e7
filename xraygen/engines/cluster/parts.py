"""The folder of results: part-<shard>.jsonl for each shard, and manifest.json, which says what they
were made from.

A part is written under another name and renamed, so that one that is there is complete.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from xraygen.core.errors import UserError
from xraygen.core.json_lines import write_json, write_jsonl
from xraygen.engines.cluster.shards import Shard

MANIFEST = "manifest.json"


class Parts:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, shard: Shard) -> Path:
        return self.folder / f"part-{shard.index:05}.jsonl"

    def begin(self, made_from: dict) -> None:
        """UserError: the folder holds the results of something else."""
        manifest = self.folder / MANIFEST
        if manifest.exists():
            if json.loads(manifest.read_text(encoding="utf-8"))["made_from"] != made_from:
                raise UserError(
                    f"{self.folder}: holds results of other input or settings; name another folder"
                )
            return
        write_json(manifest, {"made_from": made_from})

    def missing(self, shards: Iterable[Shard]) -> list[Shard]:
        return [shard for shard in shards if not self.path(shard).exists()]

    def write(self, shard: Shard, records: Iterable[BaseModel]) -> int:
        return write_jsonl(self.path(shard), records)
