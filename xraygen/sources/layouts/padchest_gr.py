"""PadChest-GR: `grounded_reports_*.json` and `master_table.csv`, one frontal image a study.

Read: from an entry of the list `StudyID`, `ImageID` and the English sentences of `findings`
(`sentence_en`), in their order; from the table `PatientID` and `split` of a `StudyID`. Boxes and
labels are not taken. All images are frontal (arXiv 2411.05085). Source:
https://bimcv.cipf.es/bimcv-projects/padchest-gr/; checked against documentation only.
"""

from collections.abc import Iterator
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import (
    Draft,
    View,
    excluded,
    one_file,
    read_json,
    read_rows,
    texts,
)

UNIT = "entries"


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    path = one_file(folder, "grounded_reports_*.json", remedy="get it from BIMCV")
    table = one_file(folder, "master_table.csv", remedy="unzip master_table.csv.zip there")
    entries = read_json(path, log)
    if not isinstance(entries, list):
        raise UserError(f"{path}: not PadChest-GR's form, a list of studies")
    about: dict[str, dict[str, str]] = {}
    for row in read_rows(table, ("StudyID", "PatientID", "split"), (), log):
        if isinstance(row, Incident):
            log.incidents.append(row)
        else:
            about.setdefault(row["StudyID"], row)
    for number, entry in enumerate(entries):
        where = f"{path.name}:[{number}]"
        if not isinstance(entry, dict):
            yield excluded("entry_malformed", where, "not an object")
            continue
        row = about.get(str(entry.get("StudyID")), {})
        yield Draft(
            id=entry.get("StudyID"),
            report=" ".join(_sentences(entry.get("findings"))),
            views=tuple(View(name, "frontal") for name in texts(entry.get("ImageID"))),
            patient=row.get("PatientID"),
            split=row.get("split"),
            where=where,
        )


def _sentences(findings: object) -> Iterator[str]:
    for finding in findings if isinstance(findings, list) else ():
        if isinstance(finding, dict):
            yield from texts(finding.get("sentence_en"))
