"""Gets IU X-Ray's raw files into a folder, from another folder or by download, and checks them
against the published checksums.

    xraygen fetch iu-xray [--from DIR]

Every file is written under another name and renamed, complete files are left alone and nothing is
removed, so that the next run completes one that was killed.
"""

import hashlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.files import is_being_written, replacing
from xraygen.sources.iu_xray.images import identify_image, image_files
from xraygen.sources.iu_xray.text_files import TEXT_FILES

BASE_URL = "https://raw.githubusercontent.com/freinque/xray_report_gen/main/data/"


class Published(NamedTuple):
    size: int
    sha256: str


PUBLISHED = {
    "indiana_reports.csv": Published(
        1679512, "cd7257716f7be4aaf46e55a9ea266b69095372a2f23dc0e19e32a95b0f02e2e6"
    ),
    "indiana_projections.csv": Published(
        289397, "7af9c8a6b4f8ae695c654ecd4208edd193a37892a5607b7cb9e609dc997e6b7a"
    ),
    "annotation_quiz_all.json": Published(
        1395496, "983c371978e54736225d7caa3baa329c7bba1e134ad8535e67c9672df96ebd8d"
    ),
}

HOW_TO_GET_IMAGES = """\
no images yet: studies then have their report alone. For images, unpack one of these anywhere below
{images}:
  Kaggle: https://www.kaggle.com/datasets/raddar/chest-xrays-indiana-university
  Open-i: NLMCXR_png.tgz from https://openi.nlm.nih.gov/faq#collection
or unpack it elsewhere, in DIR, and run `xraygen fetch iu-xray --from DIR`."""


def fetch_iu_xray(
    dest: Path,
    source: Path | None,
    base_url: str = BASE_URL,
    published: Mapping[str, Published] = PUBLISHED,
) -> None:
    """Text files into `dest`, images into `dest`/images, from the folder `source` or (text files
    only) from `base_url`.

    From a folder, a text file that differs from the published one is named on stderr and used, and
    a missing one may be in `dest` already (text downloaded, images from elsewhere). UserError: a
    download that differs from the published file.
    """
    for part in dest.rglob(".*.part"):
        if not is_being_written(part):  # left by a run that was killed
            part.unlink(missing_ok=True)
    if source is None:
        _download(dest, base_url, published)
    else:
        _copy(dest, source, published)
    images = sum(1 for _ in image_files(dest, [], root=Path.cwd()))
    _say(f"{dest}: {len(TEXT_FILES)} text files, {images:,} images")
    if not images:
        _say(HOW_TO_GET_IMAGES.format(images=dest / "images"))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _copy(dest: Path, source: Path, published: Mapping[str, Published]) -> None:
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the one that has {', '.join(TEXT_FILES)}")
    if source.resolve() == dest.resolve():
        raise UserError(f"{source}: is the folder to fetch into; name another one with --from")
    texts = {name: path for name in TEXT_FILES if (path := _find(source, name, dest))}
    missing = [name for name in TEXT_FILES if name not in texts and not (dest / name).is_file()]
    if missing:
        raise UserError(
            f"{source}: has no {' and no '.join(missing)}; name a folder that has, or download "
            "without --from first"
        )
    for name, path in texts.items():
        digest = _copy_file(path, dest / name)
        if digest != published[name].sha256:
            actual = f"{path.stat().st_size:,} bytes, sha256 {digest[:12]}..."
            expected = f"{published[name].size:,} bytes, {published[name].sha256[:12]}..."
            _say(
                f"{path}: differs from the published file ({actual}; published: {expected}); "
                "used as it is"
            )
    _copy_images(dest, source)


def _find(source: Path, name: str, dest: Path) -> Path | None:
    """The text file at the top of `source`, or the only one of that name below it."""
    if (source / name).is_file():
        return source / name
    home = dest.resolve()
    below = sorted(
        path
        for path in source.rglob(name)
        if path.is_file() and not path.resolve().is_relative_to(home)
    )
    if len(below) > 1:
        raise UserError(
            f"{source}: has no {name} at its top and {len(below)} below; name the folder that has "
            "the right one"
        )
    return below[0] if below else None


def _copy_images(dest: Path, source: Path) -> None:
    """Copy every image that is named as in one of the layouts. The same bytes under another name of
    the same uid, as in a second layout, are skipped.
    """
    outside: list[Path] = []
    copied: set[tuple[str, str]] = set()
    nameless: list[Path] = []
    duplicates = 0
    home = dest.resolve()
    paths = [
        path for path in image_files(source, outside) if not path.resolve().is_relative_to(home)
    ]
    # Names that give the view come first, and so are the ones kept.
    for path in sorted(paths, key=lambda path: (identify_image(path) or ("", None))[1] is None):
        name = identify_image(path)
        if name is None:
            nameless.append(path)
            continue
        digest = _sha256(path)
        if (name[0], digest) in copied:
            duplicates += 1
            continue
        copied.add((name[0], digest))
        relative = path.relative_to(source)
        inside = dest if relative.parts[0] == "images" else dest / "images"
        _copy_file(path, inside / relative, digest)
    if duplicates:
        _say(
            f"{source}: {duplicates:,} images have the same bytes as one copied under another name,"
            " and were skipped"
        )
    if nameless:
        _say(
            f"{source}: {len(nameless):,} images were skipped, as their names identify no study; "
            f"first: {nameless[0]}"
        )
    if outside:
        _say(
            f"{source}: {len(outside):,} links lead out of it and were not followed; "
            f"first: {outside[0]}"
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; repair or remove it") from None


def _copy_file(path: Path, target: Path, digest: str | None = None) -> str:
    """Copy unless `target` has the same content; returns the SHA-256. No link, because editing one
    file must not change the other.
    """
    digest = digest or _sha256(path)
    same_size = target.is_file() and target.stat().st_size == path.stat().st_size
    if same_size and _sha256(target) == digest:
        return digest
    try:
        with path.open("rb") as file, replacing(target, "wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
    except OSError as error:
        raise UserError(f"{target}: cannot be copied from {path}: {error.strerror}") from None
    return digest


def _download(dest: Path, base_url: str, published: Mapping[str, Published]) -> None:
    """Each text file that `dest` does not have as published. What arrived before a failure stays
    there.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    for name in TEXT_FILES:
        if (dest / name).is_file() and _sha256(dest / name) == published[name].sha256:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = _retrieve(base_url + name, published[name].sha256, name, folder)
            _copy_file(path, dest / name)


def _retrieve(url: str, sha256: str, name: str, folder: str) -> Path:
    import pooch
    import requests

    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=folder))
    except ValueError:  # what pooch raises for a wrong checksum
        raise UserError(
            f"{url}: what came is not the published file; try again, or use --from DIR"
        ) from None
    except requests.RequestException as error:
        response = error.response
        reason = type(error).__name__
        if response is not None:
            reason = f"{response.status_code} {response.reason}"
        raise UserError(
            f"{url}: cannot be downloaded ({reason}); try again, or use --from DIR"
        ) from None
