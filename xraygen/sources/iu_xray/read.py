"""The Indiana University chest X-ray collection (Open-i) with curated annotations, in every layout
in use.

The folder has `indiana_reports.csv`, `indiana_projections.csv`, `annotation_quiz_all.json` and,
anywhere below it, images (`images.py`). A study's id reads CXR<uid>_<series>, sometimes with more
after it; a uid has one report and at most one annotation.

Damaged data are repaired or excluded, and either way named in an Incident whose kind is one of
`incidents.KINDS`. Where going on would give a data set of unknown content, reading ends in one
UserError: a text file is missing, is UTF-16, is truncated inside JSON or a quote, or has no such
column or split; or nothing is left of a split, of the projections or of the images.
"""

import os
from pathlib import Path
from typing import ClassVar

from xraygen.core.errors import UserError
from xraygen.core.origin import Origin
from xraygen.core.regions import Regions
from xraygen.core.study import Projection, Study
from xraygen.sources import Collection, Source
from xraygen.sources.incident_log import Log
from xraygen.sources.iu_xray.annotations import REGIONS, Entry, entries_of, one_per_uid
from xraygen.sources.iu_xray.images import images_of
from xraygen.sources.iu_xray.incidents import EXPECTED, KINDS
from xraygen.sources.iu_xray.text_files import (
    ANNOTATIONS,
    PROJECTIONS,
    REPORTS,
    clean,
    findings_of,
    projections_of,
)


class IuXray(Source):
    region_sets: ClassVar = (REGIONS,)
    origin = Origin(
        title="IU X-Ray, the chest X-ray collection of Indiana University (Open-i)",
        license="CC BY-NC-ND 4.0",
        license_link="https://creativecommons.org/licenses/by-nc-nd/4.0/",
        license_note="It allows no derivatives. No licence is known for the curated annotations.",
        language="en",
    )

    def read(self, raw: Path, images: Path, root: Path) -> Collection:
        return read(raw, root, self.regions)


def read(folder: Path, root: Path, regions: Regions) -> Collection:
    """All studies sorted by id, in the splits train, test and val as given, and all incidents.

    Image paths are relative to `root`, which `folder` must lie below, and lead nowhere outside
    `folder`. Val has no references.
    """
    folder = Path(os.path.abspath(folder))
    root = Path(os.path.abspath(root))
    if not folder.is_relative_to(root):
        raise UserError(
            f"{folder}: lies outside {root}, to which image paths are relative; move it there"
        )
    log = Log(KINDS, EXPECTED)
    findings = findings_of(folder / REPORTS, log)
    listed = projections_of(folder / PROJECTIONS, log)
    entries, given = entries_of(folder / ANNOTATIONS, log)
    _log_unclaimed({entry.uid for entry in entries}, findings, listed, log)

    studies = {}
    for entry in one_per_uid(entries, log):
        report = _report(entry, findings, log)
        if report:
            _log_unlisted(entry, listed, log)
            studies[entry.uid] = _study(entry, report, regions)
    _check_splits(folder, {"train", "test"} | given, studies, log)

    ids = {uid: study.id for uid, study in studies.items()}
    images = images_of(folder, root, ids, listed, log)
    complete = [
        study.model_copy(update={"images": images.get(uid, ())}) for uid, study in studies.items()
    ]
    return Collection(sorted(complete, key=lambda study: study.id), log.sorted())


def _study(entry: Entry, report: str, regions: Regions) -> Study:
    reference = None if entry.reference is None else regions.annotation(entry.reference)
    return Study(id=entry.id, uid=entry.uid, split=entry.split, report=report, reference=reference)


def _log_unclaimed(
    annotated: set[str],
    findings: dict[str, str | None],
    listed: dict[str, dict[str, Projection]],
    log: Log,
) -> None:
    """Reports and projections of uids without an entry in the annotations."""
    for uid in findings.keys() - annotated:
        log.excluded("report_without_annotation", f"CXR{uid}", f"no entry in {ANNOTATIONS}")
    for uid in listed.keys() - findings.keys() - annotated:
        detail = f"{len(listed[uid])} images listed in {PROJECTIONS}"
        log.excluded("projection_without_report", f"CXR{uid}", detail)


def _log_unlisted(entry: Entry, listed: dict[str, dict[str, Projection]], log: Log) -> None:
    """A study of whose series the projections list no image."""
    views = listed.get(entry.uid, {})
    if not any(f"{view}-".startswith(f"{entry.series}-") for view in views):
        detail = f"{entry.id}: no {entry.series}-... in {PROJECTIONS}"
        log.repaired("study_not_listed", f"CXR{entry.uid}", detail)


def _check_splits(folder: Path, splits: set[str], studies: dict[str, Study], log: Log) -> None:
    missing = sorted(splits - {study.split for study in studies.values()})
    if missing:
        raise UserError(
            f"{folder}: no {missing[0]} study is left: {log.commonest()}; "
            "repair the files, or fetch them again"
        )


def _report(entry: Entry, findings: dict[str, str | None], log: Log) -> str:
    """The text to annotate; "" where there is none, which is logged."""
    text = findings.get(entry.uid, "")
    if entry.original:
        if text and text != entry.original:
            detail = f"from the findings of uid {entry.uid}; original_report is used"
            log.repaired("original_report_differs", entry.id, detail)
        return entry.original
    if text is None:
        detail = f"uid {entry.uid} is more than once in {REPORTS}, with different findings"
        log.excluded("report_conflict", entry.id, detail)
        return ""
    report = clean(text, entry.id, log).strip()
    if not report and entry.uid in findings:
        log.excluded("report_empty", entry.id, f"uid {entry.uid} has no findings in {REPORTS}")
    elif not report:
        log.excluded("report_missing", entry.id, f"uid {entry.uid} has no row in {REPORTS}")
    return report
