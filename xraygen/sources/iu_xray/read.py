"""The Indiana University chest X-ray collection (Open-i) with curated annotations, in every shape
in which people have it.

In the folder: `indiana_reports.csv`, `indiana_projections.csv`, `annotation_quiz_all.json`;
anywhere below it images (iu_images). A study's id reads CXR<uid>_<series>, sometimes with more
behind; a uid has one report and at most one annotation.

What is damaged is repaired, or excluded, and either way named in an Incident whose kind is one of
`iu_incidents.KINDS`. Where going on would make a data set of unknown content, reading ends in one
UserError: a text file that is missing, in UTF-16, cut inside JSON or inside quotes, or lacks a
column or a split; no study of a split that was given, no row of the projections or no picture of
those that are there is left.
"""

import codecs
import csv
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import ClassVar, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import Projection, Study
from xraygen.core.tables import has_no_value
from xraygen.sources import Collection, Source
from xraygen.sources.incident_log import Log, shown
from xraygen.sources.iu_xray.images import STUDY_ID, identify_image, images_of, plain_uid
from xraygen.sources.iu_xray.incidents import EXPECTED, KINDS

REPORTS, PROJECTIONS, ANNOTATIONS = TEXT_FILES = (
    "indiana_reports.csv",
    "indiana_projections.csv",
    "annotation_quiz_all.json",
)

REGIONS = ("bone", "heart", "lung", "mediastinal", "others")  # of the annotations
_ENTRY_KEYS = {"id", "split", "report", "original_report"}
_UNPRINTABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# What a Windows program meant by bytes 80 to 9f; five of them are unassigned there.
_WINDOWS_1252 = {
    code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))
}
_UID = re.compile(r"([0-9]+)(\.0*)?")
_SWALLOWED_ROW = re.compile(r"[\r\n][0-9]+(?:\.0*)?,")


class IuXray(Source):
    region_sets: ClassVar = (REGIONS,)

    def read(self, raw: Path, images: Path, root: Path) -> Collection:
        return read(raw, root, self.regions)


def read(folder: Path, root: Path, regions: Regions) -> Collection:
    """All studies sorted by id, in the splits train, test and val as given, and all incidents.

    Image paths are relative to `root`, which `folder` must lie below, and lead nowhere outside
    `folder`. Val has no references.
    """
    folder, root = Path(os.path.abspath(folder)), Path(os.path.abspath(root))
    if not folder.is_relative_to(root):
        raise UserError(
            f"{folder}: lies outside {root}, to which image paths are relative; move it there"
        )
    log = Log(KINDS, EXPECTED)
    findings = _findings(folder / REPORTS, log)
    listed = _projections(folder / PROJECTIONS, log)
    entries, given = _entries(folder / ANNOTATIONS, log)
    named = {entry.uid for entry in entries}
    for uid in findings.keys() - named:
        log.excluded("report_without_annotation", f"CXR{uid}", f"no entry in {ANNOTATIONS}")
    for uid in listed.keys() - findings.keys() - named:
        log.excluded(
            "projection_without_report",
            f"CXR{uid}",
            f"{len(listed[uid])} images listed in {PROJECTIONS}",
        )

    studies = {}
    for entry in _one_per_uid(entries, log):
        report = _report(entry, findings, log)
        if not report:
            continue
        if not any(f"{view}-".startswith(f"{entry.series}-") for view in listed.get(entry.uid, ())):
            log.repaired(
                "study_not_listed",
                f"CXR{entry.uid}",
                f"{entry.id}: no {entry.series}-... in {PROJECTIONS}",
            )
        reference = None if entry.reference is None else regions.annotation(entry.reference)
        studies[entry.uid] = Study(
            id=entry.id, uid=entry.uid, split=entry.split, report=report, reference=reference
        )
    for split in sorted({"train", "test"} | given):
        if not any(study.split == split for study in studies.values()):
            raise UserError(
                f"{folder}: no {split} study is left: {log.commonest()}; repair the files, or fetch them again"
            )
    images = images_of(folder, root, {uid: study.id for uid, study in studies.items()}, listed, log)
    complete = [
        study.model_copy(update={"images": images.get(uid, ())}) for uid, study in studies.items()
    ]
    return Collection(sorted(complete, key=lambda study: study.id), log.sorted())


# --- text files


def _decode(path: Path, log: Log) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; get it with `xraygen fetch iu-xray`") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is UTF-16; save it as UTF-8, or fetch it anew")
    text = data.decode("utf-8-sig", "surrogateescape")
    stray = re.findall("[\udc80-\udcff]", text)
    if stray:
        line = text.count("\n", 0, text.index(stray[0])) + 1
        log.repaired(
            "encoding",
            path.name,
            f"{len(stray)} bytes are not UTF-8, the first in line {line}; read as Windows-1252",
        )
        text = re.sub(
            "[\udc80-\udcff]",
            lambda match: chr(ord(match[0]) - 0xDC00).translate(_WINDOWS_1252),
            text,
        )
    return text


def _clean(text: str, id: str, log: Log) -> str:
    cleaned = (
        _UNPRINTABLE.sub(" ", text.translate(_WINDOWS_1252)).encode("utf-8", "replace").decode()
    )
    if cleaned != text:
        log.repaired("text_characters", id, "control characters or lone surrogates were replaced")
    return cleaned


def _rows(path: Path, columns: tuple[str, ...], log: Log) -> Iterator[tuple[str, list[str]]]:
    """("file:line", the cells of `columns`) for each row, the first column a uid."""
    text = _decode(path, log)
    decimals = 0
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for column in columns:
            if header.count(column) != 1:
                raise UserError(
                    f"{path}: {'two columns are' if column in header else 'no column is'} named {column!r} "
                    f"(its first line reads {','.join(header)[:80]!r}); fetch it anew"
                )
        places = [header.index(column) for column in columns]
        for row in reader:
            where = f"{path.name}:{reader.line_num}"
            if any(_SWALLOWED_ROW.search(cell) for cell in row):
                raise UserError(
                    f"{path}: a quote opened before line {reader.line_num} swallows rows; mend it or fetch anew"
                )
            if not row:
                continue
            if len(row) != len(header):
                log.excluded(
                    "row_malformed",
                    where,
                    f"{len(row)} columns, the header has {len(header)}: {','.join(row)[:40]!r}",
                )
                continue
            cells = [row[place].strip() for place in places]
            uid = _UID.fullmatch(cells[0])
            if not uid:
                log.excluded("row_malformed", where, f"uid {cells[0][:40]!r} is not a number")
                continue
            decimals += uid[2] is not None
            yield where, [plain_uid(uid[1]), *cells[1:]]
    except csv.Error as error:
        raise UserError(
            f"{path}: not CSV near line {reader.line_num}: {error}; mend it, or fetch it anew"
        ) from None
    if decimals:
        log.repaired(
            "uid_decimal",
            path.name,
            f"{decimals:,} uids have a decimal point and are read as whole numbers",
        )
    if not text.endswith(("\n", "\r")):
        log.repaired(
            "file_unterminated",
            path.name,
            f"line {reader.line_num} has no end: the file may have been cut there",
        )


def _findings(path: Path, log: Log) -> dict[str, str | None]:
    """uid -> findings, "" where there are none, None where the file contradicts itself."""
    findings: dict[str, str | None] = {}
    for where, (uid, text) in _rows(path, ("uid", "findings"), log):
        text = "" if has_no_value(text) else text
        if uid not in findings:
            findings[uid] = text
        elif findings[uid] == text:
            log.repaired("report_duplicate", f"CXR{uid}", f"again in {where}")
        else:
            findings[uid] = None
    return findings


_PROJECTION: dict[str, Projection] = {"frontal": "frontal", "lateral": "lateral"}


def _projections(path: Path, log: Log) -> dict[str, dict[str, Projection]]:
    """uid -> view -> projection. UserError: none of the rows is usable."""
    listed: dict[str, dict[str, Projection]] = defaultdict(dict)
    before = len(log.incidents)
    for where, (uid, name, value) in _rows(path, ("uid", "filename", "projection"), log):
        key = identify_image(PurePath(name))
        if key is None or key[0] != uid or key[1] is None:
            log.excluded("row_malformed", where, f"{name[:60]!r} names no image of uid {uid}")
            continue
        projection = _PROJECTION.get(value.lower(), "unknown")
        if projection == "unknown":
            log.repaired("projection_value", name, f"{value[:40]!r} in {where}")
        view = key[1]
        if view not in listed[uid]:
            listed[uid][view] = projection
        elif listed[uid][view] == projection:
            log.repaired("projection_duplicate", name, f"again in {where}")
        else:
            listed[uid][view] = "unknown"
            log.repaired(
                "projection_conflict", name, f"{value[:40]!r} in {where}, something else before"
            )
    if not listed and any(incident.kind == "row_malformed" for incident in log.incidents[before:]):
        raise UserError(
            f"{path}: no row is usable: {log.commonest('row_')}; repair the file, or fetch it again"
        )
    return dict(listed)


# --- annotations


class _Entry(NamedTuple):
    id: str
    uid: str
    series: str
    split: str
    reference: dict[str, str] | None
    original: str


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):  # json would keep the last one and lose the others without a word
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shown(twice)[:40]!r} stands twice in one object")
    return content


def _entries(path: Path, log: Log) -> tuple[list[_Entry], set[str]]:
    """The usable entries of the annotations, duplicates and all, and the splits that have any
    entry, usable or not.
    """
    text = _decode(path, log)
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not JSON: {error}; the file is damaged or cut, fetch it anew"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: should be an object with the lists train, test and val")
    for key in sorted(content.keys() | {"train", "test"}):
        if key not in ("train", "test", "val"):
            raise UserError(
                f"{path}: {shown(key)[:40]!r} is none of train, test and val; the file is damaged, fetch it anew"
            )
        if not isinstance(content.get(key), list):
            problem = "no list" if key in content else "missing"
            raise UserError(f"{path}: {key!r} is {problem}; the file is damaged, fetch it anew")
    entries = []
    for split, members in content.items():
        for number, member in enumerate(members):
            entry = _entry(member, split, f"{path.name}:{split}[{number}]", log)
            if entry is not None:
                entries.append(entry)
    return entries, {split for split, members in content.items() if members}


def _entry(member: object, split: str, where: str, log: Log) -> _Entry | None:
    if not isinstance(member, dict):
        log.excluded("entry_malformed", where, "not an object")
        return None
    id = member.get("id")
    match = STUDY_ID.fullmatch(id) if isinstance(id, str) else None
    if not isinstance(id, str) or not match:
        log.excluded("entry_malformed", where, f"no study id: {_brief(id)}")
        return None
    if unknown := sorted(member.keys() - _ENTRY_KEYS):
        log.repaired("entry_unknown_key", id, f"{unknown!r:.80} ignored")
    if "split" not in member:
        log.repaired("split_missing", id, f"taken as {split}")
    elif member["split"] != split:
        log.excluded("split_mismatch", id, f"split {_brief(member['split'])} in the list {split}")
        return None
    original = member.get("original_report", "")
    if "original_report" in member and not (
        isinstance(original, str) and not has_no_value(original)
    ):
        log.repaired(
            "original_report_not_text", id, f"{_brief(original)}; the findings of the uid are used"
        )
        original = ""
    reference = member.get("report")
    if split == "val":
        if reference is not None:
            log.repaired("annotation_of_val", id, "ignored: val has no references")
        reference = None
    elif not isinstance(reference, dict):
        log.excluded("annotation_missing", id, f"report is {type(reference).__name__}")
        return None
    else:
        reference = _regions(reference, id, log)
        if reference is None:
            return None
    return _Entry(
        id, plain_uid(match[1]), match[2], split, reference, _clean(original, id, log).strip()
    )


def _brief(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


def _regions(annotation: dict, id: str, log: Log) -> dict[str, str] | None:
    if missing := [region for region in REGIONS if region not in annotation]:
        log.excluded(
            "annotation_incomplete",
            id,
            f"lacks {', '.join(missing)}; its keys: {sorted(annotation)!r:.80}",
        )
        return None
    unsaid = [
        region
        for region in REGIONS
        if annotation[region] != "" and has_no_value(annotation[region])
    ]
    if any(
        not isinstance(annotation[region], str) or annotation[region].strip() for region in unsaid
    ):
        log.repaired(
            "annotation_null", id, f"{', '.join(unsaid)}: null, NaN or the like, read as empty"
        )
    annotation = annotation | dict.fromkeys(unsaid, "")
    if wrong := [region for region in REGIONS if not isinstance(annotation[region], str)]:
        log.excluded(
            "annotation_not_text", id, f"{wrong[0]} is {type(annotation[wrong[0]]).__name__}"
        )
        return None
    if unknown := sorted(annotation.keys() - set(REGIONS)):
        log.repaired("annotation_unknown_key", id, f"{unknown!r:.80} ignored")
    return {region: _clean(annotation[region], id, log) for region in REGIONS}


def _one_per_uid(entries: list[_Entry], log: Log) -> Iterator[_Entry]:
    """At most one entry a uid: a uid is one report, so in two splits it leaks, whatever the ids
    are.
    """
    by_uid: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        by_uid[entry.uid].append(entry)
    for group in by_uid.values():
        split = next(
            name for name in ("test", "val", "train") if any(entry.split == name for entry in group)
        )
        for entry in group:
            if entry.split != split:
                log.excluded(
                    "split_leak",
                    entry.id,
                    f"in {entry.split}; its uid is in {split} too, where it stays",
                )
        kept = [entry for entry in group if entry.split == split]
        if all(entry == kept[0] for entry in kept):
            if len(kept) > 1:
                log.repaired("study_duplicate", kept[0].id, f"{len(kept)} times in {split}")
            yield kept[0]
        else:
            for id in sorted({entry.id for entry in kept}):
                log.excluded(
                    "study_conflict",
                    id,
                    f"{len(kept)} entries of uid {kept[0].uid} in {split} differ",
                )


def _report(entry: _Entry, findings: dict[str, str | None], log: Log) -> str:
    """The text to annotate; "" where there is none, which is logged."""
    text = findings.get(entry.uid, "")
    if entry.original:
        if text and text != entry.original:
            log.repaired(
                "original_report_differs",
                entry.id,
                f"from the findings of uid {entry.uid}; original_report is used",
            )
        return entry.original
    if text is None:
        log.excluded(
            "report_conflict",
            entry.id,
            f"uid {entry.uid} stands more than once in {REPORTS}, with different findings",
        )
        return ""
    report = _clean(text, entry.id, log).strip()
    if not report:
        kind = "report_empty" if entry.uid in findings else "report_missing"
        log.excluded(
            kind,
            entry.id,
            f"uid {entry.uid} has no {'findings' if entry.uid in findings else 'row'} in {REPORTS}",
        )
    return report
