"""PadChest: `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`, one row an image.

Read: `ImageID`, `StudyID`, `PatientID`, `Projection` (PA, L, AP, AP_horizontal, COSTAL, EXCLUDE)
and `Report`: Spanish, with its words reduced to stems, and without sections. There is no split.
Source: README of https://github.com/BIMCV-CSUSP/Rx-thorax-automatic-captioning and arXiv
1901.07441; checked against documentation only.
"""

from collections.abc import Iterator
from pathlib import Path

from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import Draft, View, grouped, one_file, read_rows

UNIT = "studies"

_COLUMNS = ("ImageID", "StudyID", "PatientID", "Projection", "Report")


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    names = ("PADCHEST_chest_x_ray_images_labels_*.csv", "PADCHEST_chest_x_ray_images_labels_*.gz")
    path = one_file(folder, *names, remedy="get it from BIMCV")
    return grouped(map(_image, read_rows(path, _COLUMNS, (), log)))


def _image(row: dict[str, str] | Incident) -> Draft | Incident:
    if isinstance(row, Incident):
        return row
    return Draft(
        id=row["StudyID"],
        report=row["Report"],
        views=(View(row["ImageID"], row["Projection"]),),
        patient=row["PatientID"],
        where=row["where"],
    )
