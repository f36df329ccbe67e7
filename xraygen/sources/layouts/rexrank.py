"""ReXrank's test sets, `ReXRank_*.json`: {study id: entry}.

Read from an entry: `section_findings`, `image_path` with `frontal_lateral` in the same order,
`split`, and the patient from `subject_id` (MIMIC-CXR) or from the id (CheXpert Plus:
`patient64620_study1`). The files are published, without images:
https://github.com/rajpurkarlab/ReXrank/tree/main/data, the form in data/READMD.md there.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import (
    Draft,
    all_files,
    excluded,
    read_json,
    views_of,
)

UNIT = "entries"

_PATIENT = re.compile(r"(patient\d+)_study\d+")


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    paths = all_files(folder, "ReXRank_*.json")
    if not paths:
        raise UserError(f"{folder}: no ReXRank_*.json below it; get one from ReXrank's repository")
    for path in paths:
        content = read_json(path, log)
        if not isinstance(content, dict):
            raise UserError(f"{path}: not ReXrank's form, an object of studies by id")
        for id, entry in content.items():
            if isinstance(entry, dict):
                yield _study(id, entry, path.name)
            else:
                yield excluded("entry_malformed", f"{path.name}:{id[:40]}", "not an object")


def _study(id: str, entry: dict, name: str) -> Draft:
    patient = _PATIENT.fullmatch(id)
    return Draft(
        id=id,
        report=entry.get("section_findings"),
        views=views_of(entry.get("image_path"), entry.get("frontal_lateral")),
        patient=entry.get("subject_id", patient and patient[1]),
        split=entry.get("split"),
        where=name,
    )
