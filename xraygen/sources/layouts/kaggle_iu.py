"""Kaggle's Indiana University collection: `indiana_reports.csv` and `indiana_projections.csv`.

Read: `uid` and `findings`; `uid`, `filename` and `projection`. The id is CXR<uid>. Source:
https://www.kaggle.com/datasets/raddar/chest-xrays-indiana-university; checked against the files.
With the curated annotations, `data.source: iu-xray` reads the same files.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import Draft, View, excluded, one_file, read_rows

UNIT = "rows"

_UID = re.compile(r"0*([0-9]+?)(?:\.0*)?")  # pandas writes 1000.0 where the column has a gap


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    remedy = "get it from Kaggle, raddar/chest-xrays-indiana-university"
    reports = one_file(folder, "indiana_reports.csv", remedy=remedy)
    projections = one_file(folder, "indiana_projections.csv", remedy=remedy)
    views: dict[str, list[View]] = defaultdict(list)
    for row in read_rows(projections, ("uid", "filename", "projection"), (), log):
        if isinstance(row, Incident):
            log.incidents.append(row)
        elif uid := _UID.fullmatch(row["uid"]):
            views[uid[1]].append(View(row["filename"], row["projection"]))
        else:
            log.excluded("row_malformed", row["where"], "uid is not a number")
    for row in read_rows(reports, ("uid", "findings"), (), log):
        if isinstance(row, Incident):
            yield row
        elif uid := _UID.fullmatch(row["uid"]):
            id, images = f"CXR{uid[1]}", tuple(views.get(uid[1], ()))
            yield Draft(id=id, report=row["findings"], views=images, where=row["where"])
        else:
            yield excluded("entry_malformed", row["where"], "uid is not a number")
