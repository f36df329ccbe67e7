"""CheXpert Plus: `df_chexpert_plus_240401.csv`, one row an image.

Read: `path_to_image` (`train/patient42142/study5/view1_frontal.jpg`; the files themselves are PNG),
which also tells the study, `section_findings`, `frontal_lateral`, `deid_patient_id`, `split`.
Source: https://github.com/Stanford-AIMI/chexpert-plus and arXiv 2405.19538; checked against
documentation and code that reads it.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import Draft, View, excluded, grouped, one_file, read_rows

UNIT = "studies"

_COLUMNS = ("path_to_image", "section_findings", "frontal_lateral", "deid_patient_id", "split")


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    remedy = "get it from Stanford AIMI"
    path = one_file(folder, "df_chexpert_plus_*.csv", "df_chexpert_plus_*.csv.gz", remedy=remedy)
    return grouped(map(_image, read_rows(path, _COLUMNS, (), log)))


def _image(row: dict[str, str] | Incident) -> Draft | Incident:
    if isinstance(row, Incident):
        return row
    parts = PurePosixPath(row["path_to_image"]).parts
    if len(parts) < 3:
        return excluded("entry_malformed", row["where"], "path_to_image names no study")
    return Draft(
        id=f"{parts[-3]}_{parts[-2]}",
        report=row["section_findings"],
        views=(View(row["path_to_image"], row["frontal_lateral"]),),
        patient=row["deid_patient_id"],
        split=row["split"],
        where=row["where"],
    )
