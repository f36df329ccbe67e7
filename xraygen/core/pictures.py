"""Opening pictures: all formats that Pillow reads, and DICOM."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.core.depth import to_8_bits
from xraygen.core.dicom import DicomError, is_dicom, read_dicom
from xraygen.core.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes with more than 8 bits
_PHOTOMETRIC = 262  # TIFF's PhotometricInterpretation


class UnreadablePicture(UserError):
    """A picture is missing, cannot be read, or cannot be shown to a model. It fails its case, not
    the run.
    """


def open_picture(path: Path) -> "Picture":
    """A file as an 8-bit RGB picture, upright.

    DICOM is shown as `dicom.read_dicom` says. In other formats, values of more than 8 bits are
    scaled (`to_8_bits`), transparent pixels are black, and the first of several frames is used.
    UnreadablePicture: there is no such file, or it is not a picture. UserError: a package is
    missing.
    """
    from PIL import Image as Pictures

    if is_dicom(path):
        try:
            return read_dicom(path).convert("RGB")
        except DicomError as error:
            raise UnreadablePicture(f"{path}: not a picture that can be read: {error}") from None
    picture, deep, inverted = _decoded(path)
    if picture.has_transparency_data and picture.mode not in _DEEP:
        black = Pictures.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Pictures.alpha_composite(black, picture.convert("RGBA"))
    if deep:
        grey = picture if picture.mode in _DEEP else picture.convert("L")
        picture = Pictures.fromarray(to_8_bits(grey, inverted))
    return picture.convert("RGB")


def _decoded(path: Path) -> tuple["Picture", bool, bool]:
    """(picture, deep, inverted): the picture, upright; whether its file has more than 8 bits (with
    several channels Pillow keeps the upper 8); whether its lowest value means white, where Pillow
    does not handle that itself.
    """
    from PIL import Image as Pictures
    from PIL import ImageOps

    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise UnreadablePicture(f"{path}: not a file")
        with Pictures.open(path) as file:
            deep = file.mode in _DEEP or ";16" in str([tile[3] for tile in file.tile])
            white_is_zero = getattr(file, "tag_v2", {}).get(_PHOTOMETRIC) == 0
            return ImageOps.exif_transpose(file), deep, white_is_zero and file.mode in _DEEP
    except UnreadablePicture:
        raise
    except FileNotFoundError:
        remedy = "fetch the images, or leave them out with `inputs: report`"
        raise UnreadablePicture(f"{path}: no such picture; {remedy}") from None
    except Exception as error:  # on damaged bytes decoders raise anything: struct.error ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadablePicture(f"{path}: not a picture that can be read: {reason}") from None


def verify(path: Path, formats: tuple[str, ...] | None = None) -> tuple[str, str]:
    """(SHA-256, "") of an intact picture, ("", reason) of any other. PNG: every chunk's checksum;
    others are decoded. `formats`: those of Pillow that are accepted; None = all, and DICOM.

    UserError: a package is missing.
    """
    from PIL import Image as Pictures
    from PIL import UnidentifiedImageError

    try:
        if not path.is_file():  # a pipe or a device would block
            return "", "not a file"
        data = path.read_bytes()
        if formats is None and is_dicom(path):
            read_dicom(path)
        else:
            with Pictures.open(io.BytesIO(data), formats=formats) as picture:
                if picture.format == "PNG":
                    picture.verify()
                else:
                    picture.load()
    except UserError:
        raise
    except UnidentifiedImageError:
        return "", f"no {' or '.join(formats or ['picture'])}"
    except Exception as error:  # on damaged bytes decoders raise anything: struct.error ...
        return "", " ".join(str(error).split())[:120] or type(error).__name__
    return hashlib.sha256(data).hexdigest(), ""
