"""The settings of approaches, and of the language model behind the annotator llm.

They are in this folder, and not in params.py, because defaults and checks shape results: every
stage that annotates depends on `xraygen/annotators`, none on params.py.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from xraygen.core.errors import UserError
from xraygen.core.study import Annotation, NonEmpty, Record
from xraygen.engines.server import no_password
from xraygen.prompting import training_record
from xraygen.prompting.conversation import PROMPT, Inputs

Region = Literal["bone", "heart", "lung", "mediastinal", "others"]
ModelFolder = Annotated[str, Field(pattern=r"^models(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")]


class RouterApproach(Record):
    """`wording`: learned = as the curators would put it, verbatim = the report's own sentences."""

    annotator: Literal["router"]
    model: ModelFolder
    wording: Literal["learned", "verbatim"]


class ConstantApproach(Record):
    """For each region the single text that scores best on train: what a score is worth before any
    report is read.
    """

    annotator: Literal["constant"]
    model: ModelFolder


class VlmApproach(Record):
    """A vision-language model, base or fine-tuned.

    `model`: the folder of a base or an adapter. `hub`: a model's name on the Hugging Face hub, used
    instead of the folder, at `revision`.
    `inputs`, `prompt`, `max_views`, `max_pixels`: what the model is shown of a case: its views, its
    report or both; at most `max_views` views, frontal first, of at most `max_pixels` pixels each
    (784 to an image token of Qwen2-VL). A fine-tuned model is shown what it was trained on, so
    these are read from its training.json, and an approach that states another value is refused
    (`as_trained`). For a base model they have to be stated; `prompt` has a default.
    `batch_tokens`: in memory at a time: rows times the longest prompt with its answer, times beams
    or samples.
    `beams`: 1 = greedy decoding; more = beam search of this width. `samples`: draw this many
    answers and take for each region the text most like all of them; 0 = none, and always with
    beams. `four_bit`: weights in NF4, for a small GPU.
    """

    annotator: Literal["vlm"]
    model: ModelFolder
    hub: NonEmpty | None = None
    revision: NonEmpty | None = None
    inputs: Inputs | None = None
    prompt: NonEmpty | None = None
    max_views: PositiveInt | None = None
    max_pixels: Annotated[int, Field(ge=28 * 28)] | None = None
    batch_tokens: PositiveInt
    max_new_tokens: PositiveInt
    beams: PositiveInt = 1
    samples: NonNegativeInt = 0
    four_bit: bool = False

    @model_validator(mode="after")
    def _beams_or_samples(self) -> "VlmApproach":
        if self.samples and self.beams > 1:
            raise ValueError("give either beams or samples")
        return self


class RecordedApproach(Record):
    """`model`: the .csv or .jsonl file with what a model answered elsewhere, in the project's
    folder; called so because dvc.yaml has `${item.model}` as what an approach depends on. `id`: the
    column with study ids. Then either `answer`: the column with the model's own words, which hold
    JSON, or `columns`: for each region that was asked about the column with its text."""

    annotator: Literal["recorded"]
    model: str
    id: NonEmpty = "id"
    answer: NonEmpty | None = None
    columns: Annotated[dict[Region, NonEmpty], Field(min_length=1)] | None = None

    @field_validator("model")
    @classmethod
    def _file_of_the_project(cls, model: str) -> str:
        path = PurePosixPath(model)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in model
            or path.suffix.lower() not in (".csv", ".tsv", ".jsonl")
        ):
            raise ValueError(
                f"{model!r} is no .csv or .jsonl file in the project's folder; copy it there, give that path"
            )
        return model

    @model_validator(mode="after")
    def _one_way(self) -> "RecordedApproach":
        if (self.answer is None) == (self.columns is None):
            raise ValueError(
                "give either answer or columns: the column with JSON, or a column for each region"
            )
        return self


class Example(Record):
    """A report, and how it should be annotated."""

    report: NonEmpty
    annotation: Annotation


class Neighbours(Record):
    """The `k` curated training studies whose reports are most similar, as examples; by tf-idf
    cosine, or by words in common."""

    k: PositiveInt
    similarity: Literal["tfidf", "jaccard"]


class LlmApproach(Record):
    """`system` and `user`: the prompt; the report stands in place of {report}. `examples`, and then
    the `nearest`, come before it as turns of their own. `model`: the folder of the checkpoint that
    llm.provider local runs. `inputs`: whether the views go along."""

    annotator: Literal["llm"]
    model: ModelFolder
    inputs: Literal["image+report", "report"] = "report"
    system: str = ""
    user: NonEmpty
    examples: tuple[Example, ...] = ()
    nearest: Neighbours | None = None

    @field_validator("user")
    @classmethod
    def _has_a_place_for_the_report(cls, user: str) -> str:
        if "{report}" not in user:
            raise ValueError("has no {report}, which is where the report goes")
        return user


class TokenPrice(Record):
    """US dollars for a million tokens."""

    tokens_in: NonNegativeFloat
    tokens_out: NonNegativeFloat


class LlmParams(Record):
    """The model behind all approaches of the annotator llm. `provider`: local = a checkpoint in
    this process, the approach's `model`; openai = `model` on the OpenAI-compatible server at
    `base_url`, with the key that the environment variable `api_key_env` or the file .env holds. `mode`:
    batch = OpenAI's batch API. `concurrency`: requests at a time, at most. `timeout`: seconds, of
    one request. `max_tokens`: of an answer. `max_views`, `max_pixels`: of a case and of a view,
    where views go along. `max_cost_usd`: of one run of one approach. `max_failed`: share of cases
    without an annotation above which an approach stops. `batch_tokens`: as for vlm, local."""

    provider: Literal["local", "openai"]
    base_url: Annotated[str, AfterValidator(no_password)]
    model: NonEmpty
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    mode: Literal["direct", "batch"]
    concurrency: PositiveInt
    timeout: PositiveFloat
    max_tokens: PositiveInt
    max_views: PositiveInt
    max_pixels: Annotated[int, Field(ge=28 * 28)]
    max_cost_usd: PositiveFloat | None
    max_failed: Annotated[float, Field(ge=0, le=1)]
    batch_tokens: PositiveInt
    prices: dict[str, TokenPrice]


Approach = Annotated[
    RouterApproach | ConstantApproach | VlmApproach | LlmApproach | RecordedApproach,
    Field(discriminator="annotator"),
]


def as_trained(approach: VlmApproach, name: str, where: str = "the approach") -> VlmApproach:
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
    approach: LlmApproach, llm: LlmParams, name: str, where: str = "the approach"
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
