"""The images of requests: PNG, JPEG or DICOM, told by their content, and never by a name.

Those that a model will see are kept in a private folder, unchanged, until the request is answered.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from xraygen.core.dicom import DicomError, read_dicom, size
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.service.options import Options
from xraygen.service.problems import Problem

_PREFIX = "xraygen-images-"


class _Unreadable(Exception):
    """Why an image cannot be shown, without quoting any of it."""


class Images:
    """The images of one request. `folder`: where its own folder, `name`, is made with the first
    image that is kept.
    """

    def __init__(self, folder: Path, name: str, options: Options) -> None:
        self.folder, self.name, self.options = folder, name, options
        self._pixels = 0
        self._kept = 0

    def decoded(self, where: str, data: str) -> bytes:
        """Problem: it is not the base64 of RFC 4648, section 4, with padding."""
        try:
            return base64.b64decode(data, validate=True)
        except ValueError:
            problem = "data must be base64, with padding and without white space."
            raise Problem("invalid-case", f"{where}: {problem}") from None

    def keep(self, where: str, content: bytes, pictures: bool) -> str | None:
        """The path of a new file with this content, relative to `folder`; None if the approach
        shows no `pictures`. What it shows is decoded here first, as it will be by the model.

        Problem: the image is neither PNG, JPEG nor DICOM, too large, or damaged.
        """
        suffix = _suffix(content)
        if suffix is None:
            raise Problem("image-type", f"{where}: must be a PNG, JPEG or DICOM file.")
        try:
            pixels = _pixels(content, suffix)
            if pixels > self.options.max_pixels:
                most = f"{self.options.max_pixels:,}"
                raise Problem("image-too-large", f"{where}: must have at most {most} pixels.")
            if not pictures:
                return None
            self._pixels += pixels
            if self._pixels > self.options.max_request_pixels:
                most = f"{self.options.max_request_pixels:,}"
                problem = f"those of a request may have {most} pixels together."
                raise Problem("image-too-large", f"{where}: {problem}")
            return self._file(content, suffix)
        except (DicomError, _Unreadable) as error:
            raise Problem("image-unreadable", f"{where}: {error}.") from None
        except UserError:  # the package that reads DICOM is missing
            raise Problem("image-type", f"{where}: must be a PNG or JPEG file.") from None
        except OSError:
            raise Problem("no-space", "Try again later.") from None

    def _file(self, content: bytes, suffix: str) -> str:
        """DicomError or _Unreadable: it cannot be decoded. OSError: it cannot be kept."""
        self._kept += 1
        name = f"{self.name}/{self._kept}{suffix}"
        path = self.folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(content)
        if suffix == ".dcm":
            read_dicom(path)
        else:
            try:
                open_picture(path)
            except UnreadablePicture:
                raise _Unreadable(
                    "it is damaged, or of a kind that is not read; leave it out"
                ) from None
        return name


def _suffix(content: bytes) -> str | None:
    """By the first bytes; DICOM first, as `dicom.is_dicom` decides."""
    if content[128:132] == b"DICM":
        return ".dcm"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    return ".jpg" if content.startswith(b"\xff\xd8\xff") else None


def _pixels(content: bytes, suffix: str) -> int:
    """By the header. DicomError or _Unreadable: it is damaged, or animated."""
    from PIL import Image as Pictures

    if suffix == ".dcm":
        rows, columns = size(content)
        return rows * columns
    try:
        format = "PNG" if suffix == ".png" else "JPEG"
        with Pictures.open(io.BytesIO(content), formats=(format,)) as picture:
            width, height = picture.size
            animated = suffix == ".png" and getattr(picture, "is_animated", False)
    except Pictures.DecompressionBombError:
        return sys.maxsize  # Pillow does not tell
    except Exception:  # on damaged bytes Pillow raises anything
        raise _Unreadable("its header is damaged; send another copy or leave it out") from None
    if animated:
        raise _Unreadable("it is animated; send one of its pictures")
    return width * height


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder of temporary files that only this user may read, removed at the end. What killed
    services have left is removed first: a folder that no process has locked.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with _locked(left) as ours:
            if ours:
                shutil.rmtree(left, ignore_errors=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with _locked(folder) as ours:
            if not ours:  # another service that starts has just found it unlocked
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether the folder is this user's and could be locked; the lock ends with the process. A
    process id would not do: in a container each service has the same.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.fstat(descriptor).st_uid == os.getuid() and folder.is_dir()
    except OSError:
        mine = False
    try:
        yield mine
    finally:
        os.close(descriptor)
