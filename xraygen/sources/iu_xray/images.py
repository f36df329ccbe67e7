"""IU X-Ray's images: which file is which view of which study, whether it is whole, and what is
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
    """(uid, view) of an image by its name in any layout, None where that tells no uid. View:
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


class _Found(NamedTuple):
    path: Path
    name: str  # relative to the root
    view: str | None


def images_of(
    folder: Path,
    root: Path,
    ids: dict[str, str],
    listed: dict[str, dict[str, Projection]],
    log: Log,
) -> dict[str, tuple[Image, ...]]:
    """uid -> images of the studies in `ids` (uid -> id): frontal, then lateral, then unknown, then
    by path.
    """
    outside: list[Path] = []
    found: dict[str, list[_Found]] = defaultdict(list)
    nameless = False
    any_image = (folder / "images").is_dir()
    for path in image_files(folder, outside, root):
        any_image = True
        key, name = identify_image(path), path.relative_to(root).as_posix()
        if key is None or shown(name) != name:
            nameless = True
            log.excluded("image_name", name, "tells no uid" if key is None else "is not UTF-8")
        else:
            found[key[0]].append(_Found(path, name, key[1]))
    for path in outside:
        detail = "a link out of the folder and not into DVC's cache; put the files there"
        log.excluded("image_outside", path.relative_to(root).as_posix(), detail)
    for uid in found.keys() - ids.keys():
        log.excluded(
            "image_unclaimed", f"CXR{uid}", f"{len(found[uid])} images, first {found[uid][0].name}"
        )

    jobs = [(uid, image) for uid in sorted(found.keys() & ids.keys()) for image in found[uid]]
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        hashes = dict(
            zip(
                (image.name for _, image in jobs),
                pool.map(lambda job: verify(job[1].path, ("PNG", "JPEG")), jobs),
                strict=True,
            )
        )
    owners: dict[str, set[str]] = defaultdict(set)
    for uid, image in jobs:
        digest, problem = hashes[image.name]
        if digest:
            owners[digest].add(uid)
        else:
            log.excluded("image_unreadable", image.name, f"of {ids[uid]}: {problem}")

    images = {}
    for uid, id in ids.items():
        views = listed.get(uid, {})
        files = found.get(uid, [])
        kept = []
        taken: dict[str | None, str] = {}  # by digest and by view
        numbered = sum(image.view is None for image in files)
        for image in sorted(files, key=lambda image: (image.view is None, image.name)):
            digest = hashes[image.name][0]
            if not digest:
                continue
            if len(owners[digest]) > 1:
                others = ", ".join(ids[other] for other in sorted(owners[digest] - {uid}))
                log.excluded(
                    "image_shared", image.name, f"of {id}, the same bytes as an image of {others}"
                )
                continue
            same = taken.get(digest) or taken.get(image.view)
            if image.view is None and views and views.keys() <= taken.keys():
                same = same or "one of the listed, which are all there by name"
            if same:
                log.excluded("image_duplicate", image.name, f"the same as {same}")
                continue
            taken[digest] = image.name
            if image.view:
                taken[image.view] = image.name
                if image.view not in views:
                    log.repaired(
                        "projection_missing", image.name, f"of {id}, not in the projections"
                    )
            kept.append(
                Image(
                    path=image.name,
                    projection=_projection(image.view, views, numbered),
                    sha256=digest,
                )
            )
        order = {"frontal": 0, "lateral": 1, "unknown": 2}
        images[uid] = tuple(sorted(kept, key=lambda image: (order[image.projection], image.path)))
        missing = sorted(views.keys() - {image.view for image in files})
        if any_image and len(missing) > numbered:
            detail = f"{len(missing) - numbered} of {len(views)} listed images are not there: {', '.join(missing)}"
            log.excluded("image_missing", id, detail)
        if numbered > len(views):
            log.repaired(
                "projection_missing",
                id,
                f"{numbered} numbered images where the projections list {len(views)}",
            )
    if (found or outside or nameless) and not any(images.values()):
        raise UserError(
            f"{folder}: no picture is left of those that are there: {log.commonest('image_')}"
        )
    return images


def _projection(view: str | None, views: dict[str, Projection], numbered: int) -> Projection:
    """R2Gen's numbers are in no documented order, so they tell a view only where all that the study
    can have are the same.
    """
    if view:
        return views.get(view, "unknown")
    return (
        next(iter(views.values()))
        if len(set(views.values())) == 1 and numbered <= len(views)
        else "unknown"
    )
