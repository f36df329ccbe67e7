"""A case and a prompt become the user's turn, a reference becomes the completion.

`messages` takes a case, which has no field for a reference, so no inference prompt can hold one.
Training appends `completion`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xraygen.core.errors import UserError
from xraygen.core.study import Annotation, Case, Image

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

Inputs = Literal["image+report", "report", "image"]
PROMPT = "Annotate the study by region, in JSON."
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes of more than 8 bits
_PHOTOMETRIC = 262  # TIFF's PhotometricInterpretation
_ORDER = {"frontal": 0, "lateral": 1, "unknown": 2}


class UnreadablePicture(UserError):
    """A picture is missing, cannot be read, or cannot be shown to a model. It fails its case, not
    the run.
    """


class PictureProblem(str):
    """The text of an UnreadablePicture, as the reason why a case has no annotation."""


def counted(reason: str) -> dict[str, float]:
    """The usage of a case that fails for this reason: an unreadable picture is counted there."""
    return {"unreadable_pictures": 1} if isinstance(reason, PictureProblem) else {}


def messages(case: Case, prompt: str, inputs: Inputs, max_views: int, root: Path) -> list[dict]:
    """The user's turn: at most `max_views` views, then the prompt, then the report. What the case
    lacks is left out.

    Image paths are relative to `root`. UnreadablePicture: a picture is missing or cannot be read.
    """
    report = " ".join(case.report.split()) if "report" in inputs else ""
    text = f"{prompt}\nReport: {report}" if report else prompt
    return [
        {
            "role": "user",
            "content": [*pictures(case, inputs, max_views, root), {"type": "text", "text": text}],
        }
    ]


def pictures(case: Case, inputs: Inputs, max_views: int, root: Path) -> list[dict]:
    """The parts of a turn that show the case's views. UnreadablePicture: a picture is missing or
    cannot be read.
    """
    shown = []
    for image in views(case)[:max_views] if "image" in inputs else ():
        try:
            shown.append({"type": "image", "image": view(root / image.path)})
        except UnreadablePicture as error:
            raise UnreadablePicture(f"study {case.id}: {error}") from None
    return shown


def skip_reason(case: Case, inputs: Inputs) -> str | None:
    """Why there is nothing to ask about this case, if so. A case without images is asked about its
    report, and the other way round.
    """
    if inputs == "image":
        return None if case.images else "the study has no image"
    if case.report.strip() or (inputs == "image+report" and case.images):
        return None
    return (
        "the report has no text"
        if inputs == "report"
        else "the report has no text, and there is no image"
    )


def completion(reference: Annotation) -> str:
    """Valid JSON, keys in the order of the regions."""
    return json.dumps(reference, ensure_ascii=False)


def views(case: Case) -> list[Image]:
    """Frontal first, lateral next, then those of unknown projection; as given within each."""
    return sorted(case.images, key=lambda image: _ORDER[image.projection])


def view(path: Path) -> "Picture":
    """A file as an 8-bit RGB picture, upright.

    More than 8 bits are scaled (`to_8_bits`), what is transparent shows black, of several frames
    the first is taken. UnreadablePicture: there is no such file, or it is no picture.
    """
    from PIL import Image as Pictures

    picture, deep, inverted = _decoded(path)
    if picture.has_transparency_data and picture.mode not in _DEEP:
        black = Pictures.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Pictures.alpha_composite(black, picture.convert("RGBA"))
    if deep:
        grey = picture if picture.mode in _DEEP else picture.convert("L")
        picture = Pictures.fromarray(to_8_bits(grey, inverted))
    return picture.convert("RGB")


def _decoded(path: Path) -> tuple["Picture", bool, bool]:
    """(picture, deep, inverted): the picture, upright; whether its file has more than 8 bits, of
    which Pillow keeps the upper 8 where there are several channels; whether its darkest value is to
    be shown white, where Pillow leaves that to us.
    """
    from PIL import Image as Pictures
    from PIL import ImageOps

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
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
    except (
        Exception
    ) as error:  # on damaged bytes decoders raise anything: struct.error, IndexError ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadablePicture(f"{path}: not a picture that can be read: {reason}") from None


def to_8_bits(picture: "Picture | np.ndarray", inverted: bool = False) -> "np.ndarray":
    """Values of more than 8 bits (height, width) scaled to 0 to 255, linearly between the darkest
    and the brightest that belong to the picture.

    Pixels far from the rest are clipped: hot and dead ones, burnt-in marks, padding. Far is further
    from the middle nine tenths of the values than these are wide, where the minimum and the
    maximum, of which marks and padding consist, are left out of the values. A picture without such
    pixels is scaled from its minimum to its maximum.
    """
    import numpy as np

    values = np.asarray(picture, dtype=np.float64)
    counted = values[np.isfinite(values)]
    if not counted.size:
        return np.zeros(values.shape, np.uint8)
    inner = counted[(counted > counted.min()) & (counted < counted.max())]
    spread = inner if inner.size and np.ptp(inner) else counted
    low, high = np.percentile(spread, (5, 95))
    if high > low:
        reach = high - low
        counted = counted[(counted >= low - reach) & (counted <= high + reach)]
    low, high = counted.min(), counted.max()
    finite = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = np.rint(np.clip((finite - low) * (255 / ((high - low) or 1)), 0, 255))
    return (255 - scaled if inverted else scaled).astype(np.uint8)
