"""DICOM images as 8-bit pictures.

Only the tags named here are read, so that no name, date or number of a patient reaches a picture, a
message or a log. Formulas: DICOM PS3.3, C.11.1 (rescale) and C.11.2 (values of interest).
"""

import io
import math
import re
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.study import Projection

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture
    from pydicom import Dataset

_MAGIC = b"DICM"  # after a preamble of 128 bytes
_REMEDY = "is a DICOM image; install what reads it: pip install -c constraints.txt -e '.[dicom]'"
_FRONTAL = frozenset("frontal pa ap posteroanterior anteroposterior aphorizontal apaxial".split())
_LATERAL = frozenset("lateral l ll rl leftlateral rightlateral xtablelateral".split())
_FAR = 50  # widths from the center of a window, where a sigmoid has its ends too
_MOST_PIXELS = 50_000_000  # twice a mammogram; decoded and rescaled they take about 2 GB
_JPEG_2000 = re.compile(rb"\xff\x4f\xff\x51....(.{16})", re.DOTALL)  # SOC, SIZ: sizes, offsets
# SOFn and DHP: precision, height, width
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xDE, 0xF7} - {0xC4, 0xC8, 0xCC}
_TAGS = (
    "BitsAllocated", "BitsStored", "Columns", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "HighBit", "ModalityLUTSequence", "NumberOfFrames", "PhotometricInterpretation", "PixelData",
    "PixelRepresentation", "PlanarConfiguration", "RescaleIntercept", "RescaleSlope", "Rows",
    "SamplesPerPixel", "VOILUTFunction", "VOILUTSequence", "WindowCenter", "WindowWidth",
)  # fmt: skip


class DicomError(Exception):
    """Why a DICOM file cannot be shown, without quoting any of its content."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix .dcm or by its first bytes. False for a path that is
    not a readable file; opening it gives the reason.
    """
    if not path.is_file():  # a pipe would block
        return False
    if path.suffix.lower() == ".dcm":
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == _MAGIC
    except OSError:
        return False


def read_dicom(path: Path) -> "Picture":
    """An image as an 8-bit picture, grey (mode L) or RGB: rescaled, with its first VOI lookup table
    or window applied, and MONOCHROME1 inverted.

    If it has neither, values of more than 8 bits, and rescaled ones, are scaled as in other
    formats. DicomError: the file is damaged, too large, has several frames, or is of an unsupported
    kind. UserError: a package is missing.
    """
    import numpy as np
    from PIL import Image as Pictures

    dataset = _dataset(path, _TAGS)
    _refuse(dataset, path)
    try:
        from pydicom.pixels import apply_modality_lut, pixel_array

        pixels = pixel_array(dataset)
        if dataset.SamplesPerPixel > 1:
            return Pictures.fromarray(pixels)
        values = apply_modality_lut(pixels, dataset)
        rescaled = not np.array_equal(values, pixels)
        return Pictures.fromarray(_grey(values, rescaled, dataset))
    except Exception as error:  # on damaged bytes decoders raise anything
        raise DicomError(f"its pixels cannot be decoded ({type(error).__name__})") from None


def size(content: bytes) -> tuple[int, int]:
    """(height, width) by the header of a DICOM file. DicomError: it is damaged. UserError: a
    package is missing.
    """
    header = _parsed(content, ("Rows", "Columns"), pixels=False)
    try:
        return int(header.Rows), int(header.Columns)
    except Exception:  # on a damaged header pydicom raises anything, and quotes it
        raise DicomError("it has no image, or its header is damaged") from None


def projection(path: Path) -> Projection:
    """The projection by the ViewPosition of a DICOM file; unknown if it has none or is damaged, and
    for other files. UserError: a package is missing.
    """
    if not is_dicom(path):
        return "unknown"
    try:
        header = _dataset(path, ("ViewPosition",), pixels=False)
        return projection_of(header.get("ViewPosition"))
    except UserError:
        raise
    except Exception:  # on a damaged header pydicom raises anything
        return "unknown"


def projection_of(position: object) -> Projection:
    """The projection that a view position names ("PA", "left lateral", "AP_horizontal")."""
    name = re.sub(r"[\s_-]+", "", position).casefold() if isinstance(position, str) else ""
    return "frontal" if name in _FRONTAL else "lateral" if name in _LATERAL else "unknown"


def _dataset(path: Path, tags: tuple[str, ...], pixels: bool = True) -> "Dataset":
    try:
        # From memory: from a file, a damaged length could make it read gigabytes.
        return _parsed(path.read_bytes(), tags, pixels, f"{path}: ")
    except OSError as error:
        raise DicomError(error.strerror or "cannot be read") from None


def _parsed(
    content: bytes, tags: tuple[str, ...], pixels: bool = True, where: str = ""
) -> "Dataset":
    try:
        from pydicom import config, dcmread
    except ImportError:
        raise UserError(f"{where}{_REMEDY}") from None
    # pydicom's warnings quote values of the header.
    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    try:
        if _is_deflated(content):
            raise DicomError("its transfer syntax is not read; export it uncompressed")
        return dcmread(io.BytesIO(content), specific_tags=list(tags), stop_before_pixels=not pixels)
    except DicomError:
        raise
    except Exception as error:
        raise DicomError(f"not DICOM, or damaged ({type(error).__name__})") from None


def _is_deflated(content: bytes) -> bool:
    """Whether pydicom would inflate the whole file, whatever the size. Decided as pydicom does, by
    all of the file meta group.
    """
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    file = io.BytesIO(content)
    read_preamble(file, force=False)
    meta = read_dataset(
        file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, representation, length: tag.group != 2,
    )
    return meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian


def _refuse(dataset: "Dataset", path: Path) -> None:
    """DicomError or UserError for an unsupported file, before its pixels are decoded."""
    from PIL import Image as Pictures
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames = int(dataset.get("NumberOfFrames") or 1)
        meaning = str(dataset.PhotometricInterpretation)
        bits, samples = int(dataset.BitsAllocated), int(dataset.SamplesPerPixel)
        syntax = dataset.file_meta.TransferSyntaxUID
    except Exception:  # on a damaged header pydicom raises anything, and quotes it
        raise DicomError("it has no image, or its header is damaged") from None
    if frames > 1:
        raise DicomError(f"it has {frames} frames; export one of them as a file")
    limit = min(_MOST_PIXELS, 2 * (Pictures.MAX_IMAGE_PIXELS or _MOST_PIXELS))
    if rows * columns > limit:
        raise DicomError(f"{rows} x {columns} pixels are more than the limit of {limit:,}")
    if samples == 1 and meaning not in ("MONOCHROME1", "MONOCHROME2"):
        raise DicomError("its photometric interpretation is not read; export it as PNG")
    if samples > 1 and bits != 8:
        raise DicomError(f"it is in colour with {bits} bits; export it as PNG")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise DicomError("its transfer syntax is not read; export it uncompressed") from None
    if not available:
        raise UserError(f"{path}: {_REMEDY}")
    # A run-length stream states no size: its decoder fills the size of the header.
    if syntax.is_encapsulated and syntax != RLELossless:
        sizes = _compressed_sizes(dataset)
        if not sizes:
            raise DicomError("the size of its compressed image cannot be read")
        if sizes != {(rows, columns)}:
            raise DicomError("its compressed image is of another size than its header says")


def _compressed_sizes(dataset: "Dataset") -> set[tuple[int, int]]:
    """(height, width) in the headers of the JPEG or JPEG 2000 stream, for which decoders allocate
    memory; none if the stream is damaged. A JPEG 2000 file may hold further streams in its boxes.
    """
    from pydicom.encaps import generate_frames

    try:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        if frame.startswith(b"\xff\xd8"):
            return {_jpeg_size(frame)}
        areas = [struct.unpack(">4I", match[1]) for match in _JPEG_2000.finditer(frame)]
    except Exception:  # on damaged bytes pydicom raises anything
        return set()
    return {(bottom - top, right - left) for right, bottom, left, top in areas}


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """ValueError, IndexError or struct.error: the frame is damaged."""
    offset = 2
    while frame[offset] == 0xFF:
        if frame[offset + 1] == 0xFF:  # any number of these may precede a marker
            offset += 1
        elif frame[offset + 1] in _JPEG_FRAMES:
            return struct.unpack_from(">2H", frame, offset + 5)
        else:
            offset += 2 + struct.unpack_from(">H", frame, offset + 2)[0]
    raise ValueError("no marker")


def _grey(values: "np.ndarray", rescaled: bool, dataset: "Dataset") -> "np.ndarray":
    """Values (height, width), which are as stored or rescaled, as 0 (black) to 255 (white)."""
    import numpy as np

    from xraygen.core.depth import to_8_bits

    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    if dataset.get("VOILUTSequence"):
        shares = _looked_up(values, dataset)
    elif (window := _window(dataset)) is not None:
        shares = _windowed(values, dataset, *window)
    elif rescaled or dataset.BitsStored > 8 or values.min() < 0 or values.max() > 255:
        return to_8_bits(values, inverted)
    else:
        shares = values / (2**dataset.BitsStored - 1)
    grey = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return 255 - grey if inverted else grey


def _looked_up(values: "np.ndarray", dataset: "Dataset") -> "np.ndarray":
    """Values as shares of the brightest, by the first VOI lookup table (C.11.2.1.1).

    Done here because pydicom.pixels.apply_voi (3.0) overflows for a table of more than 8 bits whose
    entries have 8 bits.
    """
    import numpy as np

    table = dataset.VOILUTSequence[0]
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    entries = table.LUTData
    if isinstance(entries, bytes):
        syntax = dataset.file_meta.TransferSyntaxUID
        entries = np.frombuffer(entries, "<u2" if syntax.is_little_endian else ">u2")
    entries = np.asarray(entries)[: count or 2**16]
    indices = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[indices] / (2**bits - 1)


def _window(dataset: "Dataset") -> tuple[float, float] | None:
    """(center, width) of the first window; None if there is none, if its width is below 1, or if it
    is not finite.
    """
    try:
        center, width = (
            float(value if dataset[name].VM == 1 else value[0])
            for name in ("WindowCenter", "WindowWidth")
            if (value := dataset[name].value) is not None
        )
    except (KeyError, TypeError, ValueError):
        return None
    reaches = abs(center) + _FAR * width
    return (center, width) if width >= 1 and math.isfinite(reaches) else None


def _windowed(
    values: "np.ndarray", dataset: "Dataset", center: float, width: float
) -> "np.ndarray":
    """Values as shares of the range of the window's output."""
    import numpy as np
    from pydicom.pixels import apply_windowing

    ends = np.array([center - _FAR * width, center + _FAR * width])
    darkest, brightest = apply_windowing(ends, dataset)
    return (apply_windowing(values, dataset) - darkest) / (brightest - darkest)
