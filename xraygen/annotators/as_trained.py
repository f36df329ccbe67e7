"""What a fine-tuned model was trained with is what it is asked: settings that differ are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.prompting import training_record
from xraygen.prompting.conversation import PROMPT

if TYPE_CHECKING:
    from xraygen.annotators.llm.params import LlmParams
    from xraygen.annotators.llm.settings import LlmSettings
    from xraygen.annotators.vlm_settings import VlmSettings


def as_trained(approach: VlmSettings, name: str, where: str = "the approach") -> VlmSettings:
    """The approach with what the model is shown filled in: from the training.json of the folder
    `name`, or for a base model (also a name on the hub) as stated. `where`: what an error calls the
    approach.

    UserError: it states another value than the model was trained with, or leaves one out for a base
    model.
    """
    keys = training_record.Shown.model_fields
    stated = {key: getattr(approach, key) for key in keys if getattr(approach, key) is not None}
    trained = training_record.read(Path(name))
    if trained is None:
        stated.setdefault("prompt", PROMPT)
        if missing := " and ".join(key for key in keys if key not in stated):
            raise UserError(
                f"{where}: {missing} missing: {name} is a base model, so say what it is to be shown"
            )
        return approach.model_copy(update=stated)
    pairs = {f"{where}.{key}": (value, getattr(trained, key)) for key, value in stated.items()}
    _compare(pairs, name)
    return approach.model_copy(update=trained.model_dump())


def as_prompted(
    approach: LlmSettings, llm: LlmParams, name: str, where: str = "the approach"
) -> training_record.Shown:
    """What the annotator llm shows the model in the folder `name`: for a base model as stated. A
    fine-tuned one has been shown one user's turn, its prompt and the report, and nothing else.

    UserError: it would be shown anything else.
    """
    trained = training_record.read(Path(name))
    if trained is None:
        return training_record.Shown(
            prompt=approach.user,
            inputs=approach.inputs,
            max_views=llm.max_views,
            max_pixels=llm.max_pixels,
        )
    asked = {
        f"{where}.inputs": (approach.inputs, trained.inputs),
        f"{where}.user": (approach.user, f"{trained.prompt}\nReport: {{report}}"),
        f"{where}.system": (approach.system, ""),
        f"{where}.examples": (len(approach.examples), 0),
        f"{where}.nearest": (approach.nearest and approach.nearest.k, None),
    }
    if "image" in trained.inputs:
        asked["params.yaml: llm.max_views"] = (llm.max_views, trained.max_views)
        asked["params.yaml: llm.max_pixels"] = (llm.max_pixels, trained.max_pixels)
    _compare(asked, name)
    return trained


def _compare(asked: dict[str, tuple], name: str) -> None:
    """`asked`: {setting: (what it is, what it was in training)}."""
    record = Path(name) / training_record.FILE
    for key, (value, trained) in asked.items():
        if value != trained:
            raise UserError(
                f"{key} is {value!r}, but {name} was trained with {trained!r} ({record}); "
                "remove or change the setting, or fine-tune with it"
            )
