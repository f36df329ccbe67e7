"""A case and a prompt become the user's turn, a reference becomes the completion.

`messages` takes a case, which has no field for a reference, so no inference prompt can hold one. Training appends `completion`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xraygen.errors import UserError
from xraygen.study import REGIONS, Annotation, Case, Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Inputs = Literal["image+report", "report", "image"]
PROMPT = "Annotate the study by region, in JSON."
_ORDER = {"frontal": 0, "lateral": 1, "unknown": 2}


def messages(case: Case, prompt: str, inputs: Inputs, max_views: int, root: Path) -> list[dict]:
    """The user's turn: at most `max_views` views, then the prompt, then the report. What the case lacks is left out.

    Image paths are relative to `root`. UserError: a picture is missing or cannot be read.
    """
    report = " ".join(case.report.split()) if "report" in inputs else ""
    text = f"{prompt}\nReport: {report}" if report else prompt
    return [{"role": "user", "content": [*pictures(case, inputs, max_views, root), {"type": "text", "text": text}]}]


def pictures(case: Case, inputs: Inputs, max_views: int, root: Path) -> list[dict]:
    """The parts of a turn that show the case's views. UserError: a picture is missing or cannot be read."""
    shown = []
    for image in views(case)[:max_views] if "image" in inputs else ():
        try:
            shown.append({"type": "image", "image": view(root / image.path)})
        except UserError as error:
            raise UserError(f"study {case.id}: {error}") from None
    return shown


def lacking(case: Case, inputs: Inputs) -> str | None:
    """Why there is nothing to ask about this case, if so. A case without images is asked about its report, and the other way round."""
    if inputs == "image":
        return None if case.images else "the study has no image"
    if case.report.strip() or (inputs == "image+report" and case.images):
        return None
    return "the report has no text" if inputs == "report" else "the report has no text, and there is no image"


def completion(reference: Annotation) -> str:
    """Valid JSON, keys in the order of REGIONS."""
    return json.dumps({region: reference[region] for region in REGIONS}, ensure_ascii=False)


def views(case: Case) -> list[Image]:
    """Frontal first, lateral next, then those of unknown projection; as given within each."""
    return sorted(case.images, key=lambda image: _ORDER[image.projection])


def view(path: Path) -> "Picture":
    """A file as an 8-bit RGB picture, upright; what has more than 8 bits is scaled from its darkest to its brightest value, what is
    transparent shows black. UserError: there is no such file, or it is no picture."""
    import numpy as np
    from PIL import Image as Pictures
    from PIL import ImageOps

    try:
        with Pictures.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I") or picture.mode == "F":
                values = np.asarray(picture, dtype=np.float64)
                low, high = values.min(), values.max()
                picture = Pictures.fromarray(np.rint((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
            elif picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Pictures.alpha_composite(Pictures.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
            return picture.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path}: no such picture; fetch the images, or leave them out with `inputs: report`") from None
    except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise UserError(f"{path}: not a picture that can be read: {error}") from None
