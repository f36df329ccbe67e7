"""Small grey copies of pictures, for a page."""

from pathlib import Path
from typing import IO

from xraygen.core.errors import UserError
from xraygen.core.pictures import open_picture

LONGEST = 768  # pixels of the longer side, at most
_QUALITY = 75  # of WebP, in [0, 100]
_EFFORT = 2  # of its search, in [0, 6]: 4 saves 5 % of the bytes and takes twice the time


def copy(path: Path, to: Path | IO[bytes]) -> tuple[int, int] | str:
    """Write the picture as annotators are shown it, in 8-bit grey and at most LONGEST pixels wide
    and high, as WebP. Returns (width, height), or why it cannot be read.
    """
    from PIL.Image import Resampling

    try:
        picture = open_picture(path).convert("L")
    except UserError as error:  # also where the package that reads DICOM is missing
        return str(error)
    picture.thumbnail((LONGEST, LONGEST), Resampling.LANCZOS)
    picture.save(to, "WEBP", quality=_QUALITY, method=_EFFORT)
    return picture.size
