"""IU X-Ray's images: which file is which view of which study, whether it is intact, and what is
excluded.

Names: Kaggle's `1000_IM-0003-1001.dcm.png`, Open-i's `CXR1000_IM-0003-1001.png` (uid 1:
`CXR1_1_IM-0001-3001.png`), R2Gen's `CXR1000_IM-0003/0.png`.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.pictures import verify
from xraygen.core.study import Image, Projection
from xraygen.sources.incident_log import Log, shown
from xraygen.sources.walk import files_below

STUDY_ID = re.compile(r"CXR([0-9]+)(?:_[0-9]+)?_(IM-[0-9]+)(?:-[0-9]+)*")
_IMAGE_SUFFIX = re.compile(r".*\.(?:png|jpe?g)", re.IGNORECASE | re.DOTALL)
_VIEW = re.compile(
    r"(?:CXR)?([0-9]+)_(?:[0-9]+_)?(IM-[0-9]+(?:-[0-9]+)+)(?:\.dcm)?\.(?:png|jpe?g)", re.IGNORECASE
)
_NUMBER = re.compile(r"[0-9]+\.(?:png|jpe?g)", re.IGNORECASE)


def identify_image(path: PurePath) -> tuple[str, str | None] | None:
    """(uid, view) of an image by its name in any layout, None where that gives no uid. View:
    "IM-0003-1001", None for R2Gen.
    """
    if match := _VIEW.fullmatch(path.name):
        return plain_uid(match[1]), match[2].upper()
    folder = STUDY_ID.fullmatch(path.parent.name)
    return (plain_uid(folder[1]), None) if folder and _NUMBER.fullmatch(path.name) else None


def image_files(folder: Path, outside: list[Path], root: Path | None = None) -> Iterator[Path]:
    """Every file below `folder` with the suffix of an image, as `files_below` finds them."""
    return files_below(folder, _IMAGE_SUFFIX.fullmatch, outside, root)


def plain_uid(digits: str) -> str:
    return digits.lstrip("0") or "0"


class _File(NamedTuple):
    """`name`: its path relative to the root. `view`: None in R2Gen's layout."""

    path: Path
    name: str
    view: str | None


def images_of(
    folder: Path,
    root: Path,
    ids: dict[str, str],
    listed: dict[str, dict[str, Projection]],
    log: Log,
) -> dict[str, tuple[Image, ...]]:
    """uid -> images of the studies in `ids` (uid -> id): frontal, then lateral, then unknown, then
    by path. UserError: there are images, but none of them is usable.
    """
    any_image, found = _find(folder, root, log)
    for uid in found.keys() - ids.keys():
        detail = f"{len(found[uid])} images, first {found[uid][0].name}"
        log.excluded("image_unclaimed", f"CXR{uid}", detail)
    claimed = {uid: found[uid] for uid in sorted(found.keys() & ids.keys())}
    digests = _digests(claimed, ids, log)
    owners: dict[str, set[str]] = defaultdict(set)
    for uid, files in claimed.items():
        for file in files:
            if file.name in digests:
                owners[digests[file.name]].add(uid)

    images = {}
    for uid, id in ids.items():
        files = claimed.get(uid, [])
        views = listed.get(uid, {})
        readable = [file for file in files if file.name in digests]
        own = _without_shared(uid, readable, digests, owners, ids, log)
        kept = _without_duplicates(id, own, digests, views, log)
        numbered = sum(file.view is None for file in files)
        images[uid] = _in_order(kept, digests, views, numbered)
        if any_image:
            _log_missing(id, views.keys() - {file.view for file in files}, views, numbered, log)
        if numbered > len(views):
            detail = f"{numbered} numbered images where the projections list {len(views)}"
            log.repaired("projection_missing", id, detail)
    some = found or log.count("image_name") or log.count("image_outside")
    if some and not any(images.values()):
        problem = log.commonest("image_")
        raise UserError(f"{folder}: no picture is left of those that are there: {problem}")
    return images


def _find(folder: Path, root: Path, log: Log) -> tuple[bool, dict[str, list[_File]]]:
    """Whether the folder has images or a place for them, and the files of each uid."""
    any_image = (folder / "images").is_dir()
    outside: list[Path] = []
    found: dict[str, list[_File]] = defaultdict(list)
    for path in image_files(folder, outside, root):
        any_image = True
        key = identify_image(path)
        name = path.relative_to(root).as_posix()
        if key is None:
            log.excluded("image_name", name, "has no uid in its name")
        elif shown(name) != name:
            log.excluded("image_name", name, "is not UTF-8")
        else:
            found[key[0]].append(_File(path, name, key[1]))
    for path in outside:
        detail = "a link out of the folder and not into DVC's cache; put the files there"
        log.excluded("image_outside", path.relative_to(root).as_posix(), detail)
    return any_image, dict(found)


def _digests(claimed: dict[str, list[_File]], ids: dict[str, str], log: Log) -> dict[str, str]:
    """{name: SHA-256} of the files that are intact."""
    jobs = [(uid, file) for uid, files in claimed.items() for file in files]
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        results = list(pool.map(lambda job: verify(job[1].path, ("PNG", "JPEG")), jobs))
    digests = {}
    for (uid, file), (digest, problem) in zip(jobs, results, strict=True):
        if digest:
            digests[file.name] = digest
        else:
            log.excluded("image_unreadable", file.name, f"of {ids[uid]}: {problem}")
    return digests


def _without_shared(
    uid: str,
    files: list[_File],
    digests: dict[str, str],
    owners: dict[str, set[str]],
    ids: dict[str, str],
    log: Log,
) -> list[_File]:
    """The files whose bytes no other study has."""
    own = []
    for file in files:
        others = sorted(owners[digests[file.name]] - {uid})
        if others:
            named = ", ".join(ids[other] for other in others)
            detail = f"of {ids[uid]}, the same bytes as an image of {named}"
            log.excluded("image_shared", file.name, detail)
        else:
            own.append(file)
    return own


def _without_duplicates(
    id: str,
    files: list[_File],
    digests: dict[str, str],
    views: dict[str, Projection],
    log: Log,
) -> list[_File]:
    """The files that show a view not shown before; those whose names give the view go first."""
    kept = []
    seen: dict[str, str] = {}  # digest or view -> name of the file that has it
    for file in sorted(files, key=lambda file: (file.view is None, file.name)):
        digest = digests[file.name]
        same = seen.get(digest) or seen.get(file.view or "")
        if not same and file.view is None and views and views.keys() <= seen.keys():
            same = "one of the listed, which are all there by name"
        if same:
            log.excluded("image_duplicate", file.name, f"the same as {same}")
            continue
        kept.append(file)
        seen[digest] = file.name
        if file.view:
            seen[file.view] = file.name
            if file.view not in views:
                detail = f"of {id}, not in the projections"
                log.repaired("projection_missing", file.name, detail)
    return kept


def _in_order(
    files: list[_File], digests: dict[str, str], views: dict[str, Projection], numbered: int
) -> tuple[Image, ...]:
    images = [
        Image(
            path=file.name,
            projection=_projection(file.view, views, numbered),
            sha256=digests[file.name],
        )
        for file in files
    ]
    order = {"frontal": 0, "lateral": 1, "unknown": 2}
    return tuple(sorted(images, key=lambda image: (order[image.projection], image.path)))


def _log_missing(
    id: str, missing: set[str], views: dict[str, Projection], numbered: int, log: Log
) -> None:
    """Listed views without a file; each numbered file may be any one of them."""
    if len(missing) > numbered:
        count = len(missing) - numbered
        names = ", ".join(sorted(missing))
        detail = f"{count} of {len(views)} listed images are not there: {names}"
        log.excluded("image_missing", id, detail)


def _projection(view: str | None, views: dict[str, Projection], numbered: int) -> Projection:
    """R2Gen's numbers are in no documented order, so they give a projection only where all views
    that the study can have are the same.
    """
    if view:
        return views.get(view, "unknown")
    distinct = set(views.values())
    return distinct.pop() if len(distinct) == 1 and numbered <= len(views) else "unknown"
