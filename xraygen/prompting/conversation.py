"""The user's turn, made of a case and a prompt, and the completion, made of a reference.

`messages` takes a case, which has no field for a reference, so no inference prompt can contain one.
Training appends `completion`.
"""

import json
from pathlib import Path
from typing import Literal

from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.core.study import Annotation, Case, Image

Inputs = Literal["image+report", "report", "image"]
PROMPT = "Annotate the study by region, in JSON."
_ORDER = {"frontal": 0, "lateral": 1, "unknown": 2}


class PictureProblem(str):
    """The text of an UnreadablePicture, as the reason why a case has no annotation."""


def counted(reason: str) -> dict[str, float]:
    """The usage of a case that fails for this reason; it counts unreadable pictures."""
    return {"unreadable_pictures": 1} if isinstance(reason, PictureProblem) else {}


def messages(case: Case, prompt: str, inputs: Inputs, max_views: int, root: Path) -> list[dict]:
    """The user's turn: at most `max_views` views, then the prompt, then the report. What the case
    does not have is left out.

    Image paths are relative to `root`. UnreadablePicture: a picture is missing or cannot be read.
    """
    text = {"type": "text", "text": text_of(case, prompt, inputs)}
    return [{"role": "user", "content": [*pictures(case, inputs, max_views, root), text]}]


def text_of(case: Case, prompt: str, inputs: Inputs) -> str:
    """The text of the user's turn."""
    report = " ".join(case.report.split()) if "report" in inputs else ""
    return f"{prompt}\nReport: {report}" if report else prompt


def pictures(case: Case, inputs: Inputs, max_views: int, root: Path) -> list[dict]:
    """The parts of a turn that show the case's views. UnreadablePicture: a picture is missing or
    cannot be read.
    """
    if "image" not in inputs:
        return []
    parts = []
    for image in views(case)[:max_views]:
        try:
            parts.append({"type": "image", "image": open_picture(root / image.path)})
        except UnreadablePicture as error:
            raise UnreadablePicture(f"study {case.id}: {error}") from None
    return parts


def skip_reason(case: Case, inputs: Inputs) -> str | None:
    """Why there is nothing to ask about this case; None if there is. With "image+report" one of the
    two is enough.
    """
    if inputs == "image":
        return None if case.images else "the study has no image"
    if case.report.strip() or (inputs == "image+report" and case.images):
        return None
    if inputs == "report":
        return "the report has no text"
    return "the report has no text, and there is no image"


def completion(reference: Annotation) -> str:
    """The answer that training aims at: JSON with its keys in the order of the regions."""
    return json.dumps(reference, ensure_ascii=False)


def views(case: Case) -> list[Image]:
    """Frontal views first, then lateral ones, then those of unknown projection; otherwise in the
    given order.
    """
    return sorted(case.images, key=lambda image: _ORDER[image.projection])
