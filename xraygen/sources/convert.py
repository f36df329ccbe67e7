"""`xraygen convert`: a public collection, from the user's own copy, as JSON Lines of studies."""

import json
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from xraygen.core import dicom
from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.progress import progress
from xraygen.core.study import Projection
from xraygen.core.tables import has_no_value, text_of_id
from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts import LAYOUTS
from xraygen.sources.layouts.reading import KINDS, Draft, View, clean, counts, excluded, split_of
from xraygen.sources.walk import files_below

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", "")  # the best first
_LONGEST_ID = 200  # what is longer, or has blanks, is a sentence in the wrong place


class Conversion(NamedTuple):
    """What was read and written: `units` = `studies` + `excluded`; `repairs` lists what was
    repaired, and what was excluded of studies that were written.
    """

    unit: str
    units: int
    studies: int
    excluded: list[Incident]
    repairs: list[Incident]

    def __str__(self) -> str:
        text = f"{self.units:,} {self.unit}: {self.studies:,} written as studies"
        if self.excluded:
            text += f", excluded {counts(self.excluded)}"
        for action, words in (("excluded", "also excluded"), ("repaired", "repaired")):
            others = [incident for incident in self.repairs if incident.action == action]
            if others:
                text += f"\n{words}: {counts(others)}"
        return text


def convert(layout: str, folder: Path, out: Path) -> Conversion:
    """Write the studies of a collection, sorted by id, to `out`, which `folder` must lie below.

    A line has `id`, `report` (the findings, on one line), `images` ([{"path", "projection"}], paths
    relative to the folder of `out`), and where the collection tells them `patient` and `split`.
    UserError: the collection is not of that layout, cannot be read, or no study is left of it.
    """
    if layout not in LAYOUTS:
        raise UserError(f"{layout}: no such layout; there are {', '.join(LAYOUTS)}")
    if out.suffix != ".jsonl":
        raise UserError(f"{out}: not a .jsonl file; name one")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one that holds the collection")
    folder, home = Path(os.path.abspath(folder)), Path(os.path.abspath(out.parent))
    if not folder.is_relative_to(home):
        raise UserError(
            f"{folder}: not below {home}, to which image paths are relative; "
            f"move it there, or write to {folder / out.name}"
        )
    reader = LAYOUTS[layout]
    log = Log(KINDS)
    outcomes = _Outcomes(ImageFiles(folder, home, log), log)
    for outcome in progress(reader.read(folder, log), "convert", reader.UNIT):
        outcomes.add(outcome)
    studies = outcomes.studies()
    result = Conversion(reader.UNIT, outcomes.units, len(studies), outcomes.excluded, log.incidents)
    if not studies:
        counted = "; ".join(str(result).splitlines())
        raise UserError(f"{folder}: no study is left, nothing was written. {counted}")
    with replacing(out) as file:
        for study in studies:
            file.write(json.dumps(study, ensure_ascii=False) + "\n")
    return result


class _Outcomes:
    """Studies by id as they are read, and what was excluded; ids that repeat are sorted out."""

    def __init__(self, images: "ImageFiles", log: Log):
        self.images, self.log = images, log
        self.units = 0
        self.excluded: list[Incident] = []
        self._studies: dict[str, dict] = {}
        self._conflicts: set[str] = set()

    def add(self, outcome: Draft | Incident) -> None:
        self.units += 1
        study = self._checked(outcome) if isinstance(outcome, Draft) else outcome
        if isinstance(study, Incident):
            self.excluded.append(study)
            return
        id = study["id"]
        if id not in self._studies:
            self._studies[id] = study
        elif self._studies[id] == study:
            self.excluded.append(excluded("id_duplicate", id, "the same content again"))
        else:
            self._conflicts.add(id)
            self.excluded.append(excluded("id_conflict", id, "content differs"))

    def studies(self) -> list[dict]:
        """Those that are left, sorted by id."""
        for id in sorted(self._conflicts):
            del self._studies[id]
            self.excluded.append(excluded("id_conflict", id, "content differs"))
        self._conflicts.clear()
        return [self._studies[id] for id in sorted(self._studies)]

    def _checked(self, draft: Draft) -> dict | Incident:
        id = _identifier(draft.id)
        if id is None:
            return excluded("entry_malformed", draft.where, "no usable id")
        if not isinstance(draft.report, str) or has_no_value(draft.report):
            return excluded("no_findings", id, "the report has none")
        report, replaced = clean(draft.report)
        if not report:
            return excluded("no_findings", id, "the report has none")
        if replaced:
            self.log.repaired("text_characters", id, "replaced")
        study = {"id": id, "report": report, "images": self.images.of(id, draft.views)}
        if (patient := _text_of_id(draft.patient)) is not None:
            study["patient"] = patient
        elif not has_no_value(draft.patient):
            self.log.repaired("patient_unknown", id, "the study has no patient")
        if (split := split_of(draft.split)) is not None:
            study["split"] = split
        elif not has_no_value(draft.split):
            self.log.repaired("split_unknown", id, "the study has no split")
        return study


def _identifier(value: object) -> str | None:
    """The id of a study, where it is one: a word or a whole number, and no sentence."""
    text = _text_of_id(value)
    return None if text is None or " " in text or len(text) > _LONGEST_ID else text


def _text_of_id(value: object) -> str | None:
    """None where this is neither text nor a whole number, or has characters that are none."""
    id = None if isinstance(value, bool) or has_no_value(value) else text_of_id(value)
    if not isinstance(id, str):
        return None
    text, replaced = clean(id)
    return None if replaced else text


class ImageFiles:
    """The image files below a folder, found by the end of their path, whatever their suffix.

    So a copy that was converted (JPEG to PNG), or that lies in another folder than documented, is
    found, and nothing outside the folder can be.
    """

    def __init__(self, folder: Path, home: Path, log: Log):
        self._home, self._log = home, log
        self._by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
        outside: list[Path] = []
        for path in files_below(folder, _is_image_name, outside, home):
            name = PurePosixPath(path.relative_to(home).as_posix())
            if _is_utf_8(str(name)):
                self._by_stem[_stem(name.name)].append(name)
            else:
                log.excluded("image_name", str(name), "rename it")
        for path in outside:
            if path.is_dir() or _is_image_name(path.name):
                link = path.relative_to(home).as_posix()
                log.excluded("image_outside", link, "a link; put the files there")

    def of(self, id: str, views: tuple[View, ...]) -> list[dict[str, str]]:
        images = []
        for view in views:
            name = self._find(id, view.path)
            if name is None:
                self._log.excluded("image_missing", id, "not below the folder")
            else:
                images.append({"path": name, "projection": self._projection(name, view)})
        return images

    def _projection(self, name: str, view: View) -> Projection:
        """As the collection says, or else as the header of a DICOM image does."""
        stated = dicom.projection_of(view.projection)
        return dicom.projection(self._home / name) if stated == "unknown" else stated

    def _find(self, id: str, path: str) -> str | None:
        """The file whose path ends as `path` does; the best suffix, then the shortest path."""
        wanted = PurePosixPath(path.replace("\\", "/").lstrip("/"))
        parents = wanted.parent.parts
        found = [
            name
            for name in self._by_stem.get(_stem(wanted.name), ())
            if name.parent.parts[len(name.parent.parts) - len(parents) :] == parents
        ]
        if len(found) > 1:
            self._log.repaired("image_ambiguous", id, f"{len(found)} files match")
        best = min(found, key=lambda name: (_rank(name), len(name.parts), name), default=None)
        return None if best is None else str(best)


def _is_utf_8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _SUFFIXES


def _rank(name: PurePosixPath) -> int:
    return _SUFFIXES.index(name.suffix.lower())


def _stem(name: str) -> str:
    """A file's name without the suffix of an image."""
    suffix = PurePosixPath(name).suffix
    return name[: len(name) - len(suffix)] if suffix.lower() in _SUFFIXES else name
