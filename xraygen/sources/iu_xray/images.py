"""IU X-Ray's images: which file is which view of which study, whether it is intact, and what is
excluded.

Names: Kaggle's `1000_IM-0003-1001.dcm.png`, Open-i's `CXR1000_IM-0003-1001.png` (uid 1:
`CXR1_1_IM-0001-3001.png`), R2Gen's `CXR1000_IM-0003/0.png`.
"""

import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.study import Image, Projection
from xraygen.sources.iu_xray.incidents import Log, shown

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


def dvc_cache(root: Path) -> Path | None:
    """The cache of the DVC repository that `root` is in, wherever it is configured; None where
    there is none.
    """
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ImportError:
        return None
    try:
        with Repo(Repo.find_root(str(root))) as repo:
            return Path(repo.cache.local_cache_dir).resolve()
    except DvcException:
        return None


def image_files(folder: Path, outside: list[Path], root: Path | None = None) -> Iterator[Path]:
    """Everything below `folder` with the suffix of an image, sorted, except hidden files (macOS
    leaves `._x.png` in archives).

    Links to folders are not followed; links out of `folder`, to folders or to images, are appended
    to `outside`. A link into the cache of the DVC repository that `root` is in counts as the image
    itself, because DVC may link what it tracks.
    """
    home = folder.resolve()
    # Looked up at the first link that leads out, because it takes DVC most of a second.
    caches: list[Path | None] = []

    def leads_out(link: Path, to_folder: bool) -> bool:
        target = Path(os.path.realpath(link))
        if target.is_relative_to(home):
            return False
        if root is None or to_folder:
            return True
        if not caches:
            caches.append(dvc_cache(root))
        return caches[0] is None or not target.is_relative_to(caches[0])

    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        for name in folders + sorted(names):
            path = Path(parent, name)
            wanted = name in folders or (_IMAGE_SUFFIX.fullmatch(name) and not name.startswith("."))
            if wanted and path.is_symlink() and leads_out(path, name in folders):
                outside.append(path)
            elif wanted and name not in folders:
                yield path


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
        problem = log.most_common("image_")
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
        results = list(pool.map(lambda job: _verify(job[1].path), jobs))
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


def _verify(path: Path) -> tuple[str, str]:
    """(SHA-256, "") of an intact image, ("", reason) of any other. PNG: every chunk's checksum;
    others are decoded.
    """
    from PIL import Image as Picture
    from PIL import UnidentifiedImageError

    try:
        if not path.is_file():  # a pipe or a device would block
            return "", "not a file"
        data = path.read_bytes()
        with Picture.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if picture.format == "PNG":
                picture.verify()
            else:
                picture.load()
    except UnidentifiedImageError:
        return "", "not a PNG or JPEG"
    # Decoders raise anything on damaged bytes: OSError, SyntaxError, ValueError, struct.error ...
    except Exception as error:
        return "", " ".join(str(error).split())[:120] or type(error).__name__
    return hashlib.sha256(data).hexdigest(), ""
