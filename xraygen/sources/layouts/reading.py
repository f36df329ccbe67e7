"""What the readers of public collections share: drafts of studies, incidents, damaged text.

A reader yields one outcome for each unit of its collection (a file, an entry, a study made of
several rows): a Draft, or the Incident that excludes it. So every unit is accounted for.
"""

import csv
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from xraygen.core.characters import as_windows_1252, decode, encoding_of, printable
from xraygen.core.errors import UserError
from xraygen.core.files import refuse_other_than_file
from xraygen.sources import Incident
from xraygen.sources.incident_log import Log, incident
from xraygen.sources.table.cells import read_split
from xraygen.sources.walk import files_below

KINDS = {  # every kind of incident; ids are study ids, file:place or paths
    "no_findings": "excluded: a study whose report has no findings",
    "entry_malformed": "excluded: an entry without a usable id, or not of the layout's form",
    "row_malformed": "excluded: a row with more or fewer cells than the header",
    "file_malformed": "excluded: a file that is damaged, or that declares entities",
    "file_unreadable": "excluded: a file that cannot be opened",
    "file_outside": "excluded: a link to a file outside the folder",
    "id_duplicate": "excluded: a study that is in the collection already, with the same content",
    "id_conflict": "excluded: studies with one id and different content; which is right is unknown",
    "image_missing": "excluded: an image that is not below the folder",
    "image_name": "excluded: an image whose path is not UTF-8",
    "image_outside": "excluded: a link, to an image or to a folder, that leads out of the folder",
    "image_ambiguous": "repaired: several files match; PNG goes first, then JPEG, TIFF, DICOM",
    "encoding": "repaired: a file that is not UTF-8, read as UTF-16 or Windows-1252",
    "text_characters": "repaired: control characters or halves of surrogate pairs, replaced",
    "split_unknown": "repaired: a split of another name than train, dev, test or val; left out",
    "patient_unknown": "repaired: a patient that is neither text nor a whole number; left out",
    "table_missing": "repaired: an optional table is missing, and with it splits or images",
}


class View(NamedTuple):
    """An image as the collection names it; `projection` in the collection's own words."""

    path: str
    projection: str = ""


class Draft(NamedTuple):
    """A study as the collection has it, before ids, text, split and images are checked."""

    id: object
    report: object
    views: tuple[View, ...] = ()
    patient: object = None
    split: object = None
    where: str = ""


def excluded(kind: str, id: str, detail: str) -> Incident:
    """The outcome for a unit that is excluded as a whole; a log has what else was damaged."""
    return incident(KINDS, "excluded", kind, id, detail)


def split_of(name: object) -> str | None:
    """This project's name of a split; None where the collection gives none, or another one.

    Every collection's validation split is dev here: what one chooses approaches by.
    """
    split = read_split(name)
    return "dev" if split == "val" else split


def clean(text: str) -> tuple[str, bool]:
    """(The text on one line, whether characters had to be replaced)."""
    replaced = printable(text)
    return " ".join(replaced.split()), replaced != text


# --- files


def one_file(folder: Path, *names: str, remedy: str) -> Path:
    """The file of one of these names (shell patterns) below the folder: the first by name, then by
    path. UserError: there is none.
    """
    found = optional_file(folder, *names)
    if found is None:
        raise UserError(f"{folder}: no {' or '.join(names)} below it; {remedy}")
    return found


def optional_file(folder: Path, *names: str) -> Path | None:
    return next(iter(all_files(folder, *names)), None)


def all_files(folder: Path, *names: str) -> list[Path]:
    """Files below the folder, by name in the order of `names` (shell patterns), then by path."""
    patterns = [re.compile(re.escape(name).replace(r"\*", ".*"), re.IGNORECASE) for name in names]
    paths = list(files_below(folder, lambda name: any(p.fullmatch(name) for p in patterns), []))
    return [path for pattern in patterns for path in paths if pattern.fullmatch(path.name)]


def text_files(
    folder: Path, wanted: Callable[[str], object], remedy: str, log: Log
) -> Iterator[tuple[Path, str | Incident]]:
    """Every wanted file below the folder with its text, or with the incident that excludes it.

    UserError: there is none.
    """
    outside: list[Path] = []
    paths = list(files_below(folder, wanted, outside))
    links = [path for path in outside if wanted(path.name)]
    if not paths and not links:
        raise UserError(f"{folder}: {remedy}")
    for path in links:
        name = path.relative_to(folder).as_posix()
        yield path, excluded("file_outside", name, "a link; put the file there")
    for path in paths:
        yield path, _file_text(path, path.relative_to(folder).as_posix(), log)


def _file_text(path: Path, name: str, log: Log) -> str | Incident:
    if not path.is_file():  # a pipe would be waited for
        return excluded("file_unreadable", name, "a broken link, or not a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        return excluded("file_unreadable", name, str(error.strerror))
    try:
        return _decoded(data, name, log)
    except UnicodeDecodeError:
        return excluded("file_malformed", name, "damaged UTF-16")


def _decoded(data: bytes, name: str, log: Log) -> str:
    """UnicodeDecodeError: damaged UTF-16."""
    text, problem = decode(data)
    if problem:
        log.repaired("encoding", name, problem)
    return text


def read_json(path: Path, log: Log) -> object:
    """The content of a JSON file; NaN is None. UserError: it cannot be read, or is damaged."""
    refuse_other_than_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return json.loads(_decoded(data, path.name, log), parse_constant=lambda name: None)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}; the file is damaged, get it again") from None


def read_rows(
    path: Path, needed: Sequence[str], optional: Sequence[str], log: Log
) -> Iterator[dict[str, str] | Incident]:
    """Rows of a CSV file, which may be gzipped, with the columns `needed`, `optional` and `where`
    ("file:line"). An optional column that is not there reads as "".

    UserError: the file cannot be read, a needed column is missing, or a quote is out of place,
    where rows might be swallowed.
    """
    refuse_other_than_file(path)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            encoding = encoding_of(file.read(2))
        errors = "strict" if encoding == "utf-16" else "surrogateescape"
        with opened(path, "rt", encoding=encoding, errors=errors, newline="") as file:
            if encoding == "utf-16":
                log.repaired("encoding", path.name, "UTF-16")
            reader = csv.reader(_repaired_lines(file, path.name, log), strict=True)
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in needed if name not in header]:
                raise UserError(f"{path}: no column named {missing[0]}; is it the right file?")
            names = [name for name in (*needed, *optional) if name in header]
            for cells in reader:
                where = f"{path.name}:{reader.line_num}"
                if len(cells) == len(header):
                    row = dict.fromkeys(optional, "") | {"where": where}
                    yield row | {name: cells[header.index(name)].strip() for name in names}
                elif cells:
                    detail = f"{len(cells)} cells, the header has {len(header)}"
                    yield excluded("row_malformed", where, detail)
    except csv.Error as error:
        raise UserError(f"{path}: damaged CSV near line {reader.line_num}: {error}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _repaired_lines(lines: Iterable[str], name: str, log: Log) -> Iterator[str]:
    strays = 0
    for line in lines:
        text, count = (line, 0) if line.isascii() else as_windows_1252(line)
        strays += count
        yield text
    if strays:
        log.repaired("encoding", name, f"{strays:,} bytes are not UTF-8; read as Windows-1252")


# --- entries


def texts(value: object) -> list[str]:
    """The texts in a list, or the one text that stands where a list may."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def views_of(paths: object, projections: object) -> tuple[View, ...]:
    """Paths, each with the projection at the same place of the other list, where it has one."""
    names = projections if isinstance(projections, list) else [projections]
    views = []
    for place, path in enumerate(paths if isinstance(paths, list) else [paths]):
        name = names[place] if place < len(names) else ""
        if isinstance(path, str):
            views.append(View(path, name if isinstance(name, str) else ""))
    return tuple(views)


def grouped(outcomes: Iterable[Draft | Incident]) -> Iterator[Draft | Incident]:
    """One draft for the rows of a study, which have one image each; in order of first appearance.

    Rows of one id that differ otherwise stay apart, for the caller to find them in conflict.
    """
    studies: dict[str, list[Draft]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Incident):
            yield outcome
        else:
            key = repr((outcome.id, outcome.report, outcome.patient, outcome.split))
            studies.setdefault(key, []).append(outcome)
    for rows in studies.values():
        views = dict.fromkeys(view for row in rows for view in row.views)
        yield rows[0]._replace(views=tuple(views))


def counts(incidents: Iterable[Incident]) -> str:
    """Kinds with their counts and the least id as an example, the most frequent kind first."""
    found = list(incidents)
    firsts: dict[str, str] = {}
    for one in found:
        firsts[one.kind] = min(firsts.get(one.kind, one.id), one.id)
    kinds = Counter(one.kind for one in found)
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind} (e.g. {firsts[kind]})" for kind, count in ordered)
