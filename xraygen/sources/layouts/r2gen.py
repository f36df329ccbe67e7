"""R2Gen's `annotation.json`, of IU X-Ray or MIMIC-CXR: {"train": [entries], "val": ..., ...}.

Read from an entry: `id`, `report`, `image_path` (paths below `images/`) and, of MIMIC-CXR, whose
entries are images, `study_id` and `subject_id`. The report is R2Gen's text, which for MIMIC-CXR may
be more than the findings. Source: https://github.com/zhjohnchan/R2Gen (modules/datasets.py);
checked against its documentation and code that reads it, not against the file of MIMIC-CXR.
"""

from collections.abc import Iterator
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import (
    Draft,
    excluded,
    grouped,
    one_file,
    read_json,
    views_of,
)

UNIT = "studies"


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    path = one_file(folder, "annotation.json", remedy="it comes with R2Gen's data")
    content = read_json(path, log)
    splits = content.items() if isinstance(content, dict) else ()
    if not splits or not all(isinstance(entries, list) for _, entries in splits):
        raise UserError(f"{path}: not R2Gen's form, an object with the lists train, val and test")
    of_images: list[Draft] = []
    for split, entries in splits:
        for number, entry in enumerate(entries):
            where = f"{path.name}:{split}[{number}]"
            if not isinstance(entry, dict):
                yield excluded("entry_malformed", where, "not an object")
                continue
            draft = Draft(
                id=entry.get("study_id", entry.get("id")),
                report=entry.get("report"),
                views=views_of(entry.get("image_path"), None),
                patient=entry.get("subject_id"),
                split=split,
                where=where,
            )
            if "study_id" in entry:
                of_images.append(draft)
            else:
                yield draft
    yield from grouped(of_images)
