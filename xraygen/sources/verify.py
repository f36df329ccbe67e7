"""Whether the file of an image is whole."""

import hashlib
import io
from pathlib import Path

from xraygen.core.dicom import is_dicom
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture, open_picture


def verify(path: Path, formats: tuple[str, ...] | None = None) -> tuple[str, str]:
    """(sha256, "") of an image whose file is whole, ("", why) of any other. PNG: every chunk's
    checksum; others are decoded.

    `formats`: Pillow's names of those that are read; None = all, and DICOM. UserError: a package
    is missing.
    """
    from PIL import Image as Picture
    from PIL import UnidentifiedImageError

    try:
        if not path.is_file():  # a pipe or a device would block
            return "", "not a file"
        data = path.read_bytes()
        if formats is None and is_dicom(path):
            open_picture(path)
        else:
            with Picture.open(io.BytesIO(data), formats=formats) as picture:
                picture.verify() if picture.format == "PNG" else picture.load()
    except UnreadablePicture as error:
        return "", " ".join(str(error).removeprefix(f"{path}: ").split())[:120]
    except UserError:
        raise
    except UnidentifiedImageError:
        return "", f"no {' or '.join(formats or ('image',))}"
    # decoders raise anything on damaged bytes: OSError, SyntaxError, ValueError, struct.error ...
    except Exception as error:
        return "", " ".join(str(error).split())[:120] or type(error).__name__
    return hashlib.sha256(data).hexdigest(), ""
