"""ReXGradient-160K: `metadata/{train,valid,test}_metadata_view_position.json`: {study id: entry}.

Read from an entry: `Findings`, `ImagePath` (`../deid_png/...`, from the folder metadata) with
`ImageViewPosition` in the same order, `PatientID`; the split from the file's name. Where a split
has no such file, `<split>_metadata.json`, which lacks the views, is read. Source:
https://huggingface.co/datasets/rajpurkarlab/ReXGradient-160K and arXiv 2505.00228; checked against
documentation and code that reads it.
"""

from collections.abc import Iterator
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import (
    Draft,
    excluded,
    optional_file,
    read_json,
    views_of,
)

UNIT = "entries"


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    files = {split: _file(folder, split) for split in ("train", "valid", "test")}
    if not any(files.values()):
        raise UserError(f"{folder}: no train_metadata_view_position.json or the like below it")
    for split, path in files.items():
        if path is None:
            continue
        content = read_json(path, log)
        if not isinstance(content, dict):
            raise UserError(f"{path}: not ReXGradient's form, an object of studies by id")
        for id, entry in content.items():
            if isinstance(entry, dict):
                yield _study(id, entry, split, path.name)
            else:
                yield excluded("entry_malformed", f"{path.name}:{id[:40]}", "not an object")


def _file(folder: Path, split: str) -> Path | None:
    return optional_file(folder, f"{split}_metadata_view_position.json", f"{split}_metadata.json")


def _study(id: str, entry: dict, split: str, name: str) -> Draft:
    views = views_of(entry.get("ImagePath"), entry.get("ImageViewPosition"))
    return Draft(
        id=id,
        report=entry.get("Findings"),
        views=tuple(view._replace(path=view.path.removeprefix("../")) for view in views),
        patient=entry.get("PatientID"),
        split=split,
        where=name,
    )
