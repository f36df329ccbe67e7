"""MIMIC-CXR and MIMIC-CXR-JPG: one text file a report, `files/p10/p10000032/s50414267.txt`.

Read: the section FINDINGS of the report; patient and study from the path; from
`mimic-cxr-2.0.0-split.csv` (`study_id`, `split`) and `mimic-cxr-2.0.0-metadata.csv` (`dicom_id`,
`study_id`, `ViewPosition`), each also as .csv.gz, the split and the images
(`.../s50414267/<dicom_id>.jpg` or .dcm). Source: https://physionet.org/content/mimic-cxr-jpg/2.1.0/
and https://github.com/MIT-LCP/mimic-cxr; checked against documentation only.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import (
    Draft,
    View,
    optional_file,
    read_rows,
    text_files,
)

UNIT = "files"

_REPORT = re.compile(r"s[0-9]+\.txt", re.IGNORECASE)
# Headings that open a section. Others ("LUNGS:") are part of the section that they stand in.
_HEADING = re.compile(
    r"^[ \t]*(FINDINGS?(?:[ ]*(?:AND|/|&)[ ]*IMPRESSIONS?)?|IMPRESSIONS?|CONCLUSIONS?"
    r"|RECOMMENDATIONS?|NOTIFICATIONS?|COMPARISONS?|TECHNIQUES?|PROCEDURE|INDICATIONS?"
    r"|HISTORY|CLINICAL[ A-Z]*|REASON FOR[ A-Z]*|EXAM(?:INATION)?[ A-Z]*|STUDY|ADDENDUM|WET READ)"
    r"[ \t]*:|^[ \t]*FINAL[ ]+(?:REPORT|ADDENDUM)\b",
    re.MULTILINE,
)


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    splits = {row["study_id"]: row["split"] for row in _table(folder, "split", log)}
    views: dict[str, list[View]] = defaultdict(list)
    for row in _table(folder, "metadata", log):
        study = row["study_id"]
        views[study].append(View(f"s{study}/{row['dicom_id']}", row["ViewPosition"]))
    remedy = "no report s<number>.txt below it; extract the reports there"
    for path, text in text_files(folder, _REPORT.fullmatch, remedy, log):
        if isinstance(text, Incident):
            yield text
            continue
        study, patient = path.stem.lower(), path.parent.name
        number = study.removeprefix("s")
        yield Draft(
            id=study,
            report=findings(text),
            views=tuple(views.get(number, ())),
            patient=patient if re.fullmatch(r"p[0-9]+", patient) else None,
            split=splits.get(number),
            where=path.relative_to(folder).as_posix(),
        )


def findings(report: str) -> str:
    """The text under every heading that begins with FINDINGS, up to the next section."""
    headings = list(_HEADING.finditer(report))
    ends = [heading.start() for heading in headings[1:]] + [len(report)]
    return " ".join(
        report[heading.end() : end]
        for heading, end in zip(headings, ends, strict=False)
        if heading[1] and heading[1].startswith("FINDING")
    )


def _table(folder: Path, name: str, log: Log) -> Iterator[dict[str, str]]:
    """The usable rows of a table; that others are not, or that it is missing, are incidents."""
    needed = {"split": ("study_id", "split"), "metadata": ("study_id", "dicom_id", "ViewPosition")}
    file = f"mimic-cxr-2.0.0-{name}.csv"
    path = optional_file(folder, file, f"{file}.gz")
    if path is None:
        log.repaired("table_missing", file, "not below the folder")
        return
    for row in read_rows(path, needed[name], (), log):
        if isinstance(row, Incident):
            log.incidents.append(row)
        else:
            yield row
