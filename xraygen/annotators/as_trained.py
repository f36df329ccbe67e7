"""A fine-tuned model is asked in the way it was trained: settings that differ are refused."""

from pathlib import Path

from xraygen.annotators.llm.params import LlmParams
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.errors import UserError
from xraygen.prompting import training_record
from xraygen.prompting.conversation import PROMPT


def as_trained(approach: VlmSettings, name: str, where: str = "the approach") -> VlmSettings:
    """The approach, with what the model is shown filled in: from training.json in the folder
    `name`; for a base model, which may also be a name on the hub, as the approach states it.
    `where`: how errors name the approach.

    UserError: the approach contradicts training.json, or omits a value that a base model needs.
    """
    keys = training_record.Shown.model_fields
    stated = {key: getattr(approach, key) for key in keys if getattr(approach, key) is not None}
    trained = training_record.read(Path(name))
    if trained is None:
        stated.setdefault("prompt", PROMPT)
        if missing := " and ".join(key for key in keys if key not in stated):
            raise UserError(
                f"{where}: {missing} missing: {name} is a base model, so say what to show it"
            )
        return approach.model_copy(update=stated)
    pairs = {f"{where}.{key}": (value, getattr(trained, key)) for key, value in stated.items()}
    _compare(pairs, name)
    return approach.model_copy(update=trained.model_dump())


def as_prompted(
    approach: LlmSettings, llm: LlmParams, name: str, where: str = "the approach"
) -> training_record.Shown | None:
    """What the fine-tuned model in the folder `name` was shown in training, for the annotator llm:
    one turn of the user's, with the views, the prompt and the report. None of a base model, which
    is shown what the approach states.

    UserError: the approach contradicts training.json, or has no prompt for a base model.
    """
    trained = training_record.read(Path(name))
    if trained is None:
        if approach.user is None:
            raise UserError(f"{where}: user missing: {name} is a base model, so say what to ask it")
        return None
    asked: dict[str, tuple] = {
        f"{where}.system": (approach.system, ""),
        f"{where}.examples": (len(approach.examples), 0),
        f"{where}.nearest": (approach.nearest and approach.nearest.k, None),
    }
    if approach.inputs is not None:
        asked[f"{where}.inputs"] = (approach.inputs, trained.inputs)
    if approach.user is not None:
        asked[f"{where}.user"] = (approach.user, f"{trained.prompt}\nReport: {{report}}")
    if approach.user is not None and "image" in trained.inputs:
        asked["params.yaml: llm.max_views"] = (llm.max_views, trained.max_views)
        asked["params.yaml: llm.max_pixels"] = (llm.max_pixels, trained.max_pixels)
    _compare(asked, name)
    return trained


def as_stated(approach: LlmSettings, llm: LlmParams) -> training_record.Shown:
    """What the annotator llm shows a base model."""
    return training_record.Shown(
        prompt=approach.user or "",
        inputs=approach.inputs or "report",
        max_views=llm.max_views,
        max_pixels=llm.max_pixels,
    )


def _compare(asked: dict[str, tuple], name: str) -> None:
    """`asked`: (value, value in training) by setting. UserError: they differ."""
    record = Path(name) / training_record.FILE
    for key, (value, trained) in asked.items():
        if value != trained:
            raise UserError(
                f"{key} is {value!r}, but {name} was trained with {trained!r} ({record}); "
                "remove or change the setting, or fine-tune with it"
            )
