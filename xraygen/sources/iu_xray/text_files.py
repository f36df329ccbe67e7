"""IU X-Ray's text files: decoding, and the rows of the reports and of the projections."""

import codecs
import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from xraygen.core.characters import decode, printable
from xraygen.core.errors import UserError
from xraygen.core.study import Projection
from xraygen.core.tables import has_no_value
from xraygen.sources.incident_log import Log
from xraygen.sources.iu_xray.images import identify_image, plain_uid

REPORTS, PROJECTIONS, ANNOTATIONS = TEXT_FILES = (
    "indiana_reports.csv",
    "indiana_projections.csv",
    "annotation_quiz_all.json",
)

_PROJECTION: dict[str, Projection] = {"frontal": "frontal", "lateral": "lateral"}
_UID = re.compile(r"([0-9]+)(\.0*)?")
_SWALLOWED_ROW = re.compile(r"[\r\n][0-9]+(?:\.0*)?,")


def read_text(path: Path, log: Log) -> str:
    """The text of a file. Bytes that are not UTF-8 are read as Windows-1252.

    UserError: the file is missing, unreadable or UTF-16.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; get it with `xraygen fetch iu-xray`") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is UTF-16; save it as UTF-8, or fetch it again")
    text, problem = decode(data)
    if problem:
        log.repaired("encoding", path.name, problem)
    return text


def clean(text: str, id: str, log: Log) -> str:
    """The text without control characters and lone surrogates."""
    cleaned = printable(text)
    if cleaned != text:
        log.repaired("text_characters", id, "control characters or lone surrogates were replaced")
    return cleaned


def findings_of(path: Path, log: Log) -> dict[str, str | None]:
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


def projections_of(path: Path, log: Log) -> dict[str, dict[str, Projection]]:
    """uid -> view -> projection. UserError: none of the rows is usable."""
    listed: dict[str, dict[str, Projection]] = defaultdict(dict)
    before = log.count("row_malformed")
    for where, (uid, name, value) in _rows(path, ("uid", "filename", "projection"), log):
        key = identify_image(PurePath(name))
        if key is None or key[0] != uid or key[1] is None:
            log.excluded("row_malformed", where, f"{name[:60]!r} names no image of uid {uid}")
        else:
            _list_view(listed[uid], key[1], name, value, where, log)
    if not listed and log.count("row_malformed") > before:
        problem = log.commonest("row_")
        raise UserError(f"{path}: no row is usable: {problem}; repair the file, or fetch it again")
    return dict(listed)


def _list_view(
    views: dict[str, Projection], view: str, name: str, value: str, where: str, log: Log
) -> None:
    """Add one row to the views of its uid; a view listed with different projections is unknown."""
    projection = _PROJECTION.get(value.lower(), "unknown")
    if projection == "unknown":
        log.repaired("projection_value", name, f"{value[:40]!r} in {where}")
    if view not in views:
        views[view] = projection
    elif views[view] == projection:
        log.repaired("projection_duplicate", name, f"again in {where}")
    else:
        views[view] = "unknown"
        detail = f"{value[:40]!r} in {where}, something else before"
        log.repaired("projection_conflict", name, detail)


def _rows(path: Path, columns: tuple[str, ...], log: Log) -> Iterator[tuple[str, list[str]]]:
    """("file:line", the cells of `columns`) for each row; the first column is a uid."""
    text = read_text(path, log)
    decimals = 0
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        positions = _positions(header, columns, path)
        for row in reader:
            where = f"{path.name}:{reader.line_num}"
            if any(_SWALLOWED_ROW.search(cell) for cell in row):
                raise UserError(
                    f"{path}: a quote opened before line {reader.line_num} swallows rows; "
                    "repair the file, or fetch it again"
                )
            if not row:
                continue
            if len(row) != len(header):
                detail = f"{len(row)} columns, the header has {len(header)}"
                log.excluded("row_malformed", where, f"{detail}: {','.join(row)[:40]!r}")
                continue
            cells = [row[position].strip() for position in positions]
            uid = _UID.fullmatch(cells[0])
            if not uid:
                log.excluded("row_malformed", where, f"uid {cells[0][:40]!r} is not a number")
                continue
            decimals += uid[2] is not None
            yield where, [plain_uid(uid[1]), *cells[1:]]
    except csv.Error as error:
        raise UserError(
            f"{path}: not CSV near line {reader.line_num}: {error}; "
            "repair the file, or fetch it again"
        ) from None
    if decimals:
        detail = f"{decimals:,} uids have a decimal point and are read as whole numbers"
        log.repaired("uid_decimal", path.name, detail)
    if not text.endswith(("\n", "\r")):
        detail = f"line {reader.line_num} has no line end: the file may be truncated there"
        log.repaired("file_unterminated", path.name, detail)


def _positions(header: list[str], columns: tuple[str, ...], path: Path) -> list[int]:
    """Where the columns are. UserError: one is missing or occurs more than once."""
    for column in columns:
        if header.count(column) != 1:
            problem = "two columns are" if column in header else "no column is"
            raise UserError(
                f"{path}: {problem} named {column!r} "
                f"(its first line reads {','.join(header)[:80]!r}); fetch it again"
            )
    return [header.index(column) for column in columns]
