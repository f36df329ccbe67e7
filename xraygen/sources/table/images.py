"""The images that a table names: whether they are there, below its folder, and whole."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from xraygen.core.dicom import is_dicom
from xraygen.core.dicom import projection as dicom_projection
from xraygen.core.pictures import verify
from xraygen.core.study import Image, Projection
from xraygen.sources.incident_log import Log
from xraygen.sources.walk import dvc_cache


class View(NamedTuple):
    """An image as a row names it: its path below the table's folder."""

    path: str
    projection: Projection


def leaves_folder(path: str) -> bool:
    """Whether a path is absolute, has a drive or a scheme, or goes up."""
    posix = PurePosixPath(path.replace("\\", "/"))
    goes_up = posix.is_absolute() or ".." in posix.parts
    return goes_up or bool(PureWindowsPath(path).drive) or "://" in path


def images_of(
    views: Mapping[str, Sequence[View]],
    owners: Mapping[str, str],
    folder: Path,
    root: Path,
    log: Log,
) -> dict[str, tuple[Image, ...]]:
    """Images by study id: frontal, then lateral, then unknown, then by path.

    `views`: by study id. `owners`: the patient by study id, or the id itself. `log` is told of what
    cannot be used.
    """
    usable = _usable(views, folder, root, log)
    paths = sorted({path for named in usable.values() for path in named})
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        checked = dict(zip(paths, pool.map(verify, paths), strict=True))
    seen_with: dict[str, set[str]] = defaultdict(set)
    for id, named in usable.items():
        for path in named:
            seen_with[checked[path][0]].add(owners[id])

    images = {}
    for id, named in usable.items():
        kept = []
        for path, view in named.items():
            digest, problem = checked[path]
            if not digest:
                log.excluded("image_unreadable", id, f"{view.path}: {problem}")
            elif len(seen_with[digest]) > 1:
                log.excluded("image_shared", id, f"{view.path}: also of another patient or study")
            else:
                name, projection = path.relative_to(root).as_posix(), view.projection
                if projection == "unknown" and is_dicom(path):
                    projection = dicom_projection(path)
                kept.append(Image(path=name, projection=projection, sha256=digest))
        images[id] = tuple(sorted(kept, key=_frontal_first))
    return images


def _frontal_first(image: Image) -> tuple[int, str]:
    return ("frontal", "lateral", "unknown").index(image.projection), image.path


def _usable(
    views: Mapping[str, Sequence[View]], folder: Path, root: Path, log: Log
) -> dict[str, dict[Path, View]]:
    """By study id the files that are there and below `folder`, each once."""
    home = folder.resolve()
    caches: list[Path | None] = []  # looked up for the first link that leads out: DVC takes long

    def within(file: Path) -> bool:
        target = Path(os.path.realpath(file))
        if target.is_relative_to(home):
            return True
        if not caches:
            caches.append(dvc_cache(root))
        return caches[0] is not None and target.is_relative_to(caches[0])

    usable: dict[str, dict[Path, View]] = {}
    for id, named in views.items():
        usable[id] = {}
        for view in named:
            file = folder / PurePosixPath(view.path.replace("\\", "/"))
            if leaves_folder(view.path):
                log.excluded("image_outside", id, f"{view.path}: not a path below {folder.name}")
            elif not _is_file(file):
                log.excluded("image_missing", id, f"{view.path}: not there")
            elif not within(file):
                log.excluded("image_outside", id, f"{view.path}: a link out of {folder.name}")
            else:
                usable[id].setdefault(file, view)
    return usable


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or that no file can have
        return False
