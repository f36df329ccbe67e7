"""params.yaml as frozen objects, checked on load: an unknown or wrong key is an error that names file and key."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator,
)  # fmt: skip

from xraygen.annotators.router import RouterParams
from xraygen.errors import UserError
from xraygen.judges.green import GreenParams
from xraygen.sources.phantom import PhantomParams
from xraygen.server import no_password
from xraygen.study import SPLITS, Annotation, NonEmpty, Record, Split, first_problem
from xraygen.vlm.conversation import PROMPT, Inputs
from xraygen.vlm.finetune import FinetuneParams

Region = Literal["bone", "heart", "lung", "mediastinal", "others"]
Share = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
ModelFolder = Annotated[str, Field(pattern=r"^models(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")]


class DataParams(Record):
    """`sample`: at most so many studies of a split, None = all of them."""

    source: Literal["phantom", "iu-xray"]
    seed: int
    dev_share: Share
    sample: dict[Split, PositiveInt | None]

    @field_validator("sample")
    @classmethod
    def _every_split(cls, sample: dict) -> dict:
        return {split: sample.get(split) for split in SPLITS}


class RouterApproach(Record):
    """`wording`: `learned` = as the curators would put it, `verbatim` = the report's own sentences."""

    annotator: Literal["router"]
    model: ModelFolder
    wording: Literal["learned", "verbatim"]


class ConstantApproach(Record):
    """For each region the single text that scores best on train: what a score is worth before any report is read."""

    annotator: Literal["constant"]
    model: ModelFolder


class VlmApproach(Record):
    """`model`: the folder of a base or an adapter. `hub`: a model's name on the Hugging Face hub, which is taken in its place, at
    `revision`. `inputs`: what of a case is shown: its views, its report or both. `max_views`: the first so many, frontal first.
    `max_pixels`: of a view, 784 to an image token of Qwen2-VL. `batch_tokens`: in memory at a time, rows times the longest prompt
    with its answer, times beams or samples. `beams`: 1 = the likeliest token each time; more = the likeliest answer among so many at a
    time. `samples`: of so many sampled answers, by region the one most like all of them; 0 = none, as with beams. `four_bit`: weights in
    NF4, for a small GPU."""

    annotator: Literal["vlm"]
    model: ModelFolder
    hub: NonEmpty | None = None
    revision: NonEmpty | None = None
    inputs: Inputs
    prompt: NonEmpty = PROMPT
    max_views: PositiveInt
    max_pixels: Annotated[int, Field(ge=28 * 28)]
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
    """`model`: the .csv or .jsonl file with what a model answered elsewhere, in the project's folder; called so because dvc.yaml
    has `${item.model}` as what an approach depends on. `id`: the column with study ids. Then either `answer`: the column with the
    model's own words, which hold JSON, or `columns`: for each region that was asked about the column with its text."""

    annotator: Literal["recorded"]
    model: str
    id: NonEmpty = "id"
    answer: NonEmpty | None = None
    columns: Annotated[dict[Region, NonEmpty], Field(min_length=1)] | None = None

    @field_validator("model")
    @classmethod
    def _file_of_the_project(cls, model: str) -> str:
        path = PurePosixPath(model)
        if path.is_absolute() or ".." in path.parts or "\\" in model or path.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"{model!r} is no .csv or .jsonl file in the project's folder; copy it there, give that path")
        return model

    @model_validator(mode="after")
    def _one_way(self) -> "RecordedApproach":
        if (self.answer is None) == (self.columns is None):
            raise ValueError("give either answer or columns: the column with JSON, or a column for each region")
        return self


class Example(Record):
    """A report, and how it should be annotated."""

    report: NonEmpty
    annotation: Annotation


class Neighbours(Record):
    """The `k` curated training studies whose reports are most similar, as examples; by tf-idf cosine, or by words in common."""

    k: PositiveInt
    similarity: Literal["tfidf", "jaccard"]


class LlmApproach(Record):
    """`system` and `user`: the prompt; the report stands in place of {report}. `examples`, and then the `nearest`, come before it as
    turns of their own. `model`: the folder of the checkpoint that llm.provider local runs. `inputs`: whether the views go along."""

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
    """The model behind all approaches of the annotator llm. `provider`: local = a checkpoint in this process, the approach's `model`;
    openai = `model` on the OpenAI-compatible server at `base_url`, with the key that the environment variable `key` or the file .env
    holds. `mode`: batch = OpenAI's batch API. `concurrency`: requests at a time, at most. `timeout`: seconds, of one request.
    `max_tokens`: of an answer. `max_views`, `max_pixels`: of a case and of a view, where views go along. `max_cost_usd`: of one run of
    one approach. `max_failed`: share of cases without an annotation above which an approach stops. `batch_tokens`: as for vlm, local."""

    provider: Literal["local", "openai"]
    base_url: Annotated[str, AfterValidator(no_password)]
    model: NonEmpty
    key: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
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
    RouterApproach | ConstantApproach | VlmApproach | LlmApproach | RecordedApproach, Field(discriminator="annotator")
]


class EvaluateParams(Record):
    """`resamples`: bootstrap resamples behind each interval. `green`: settings of the judge green, whether it is the one or not."""

    judge: Literal["proxy", "green"]
    green: GreenParams = GreenParams()
    resamples: PositiveInt
    seed: NonNegativeInt


class CompareParams(Record):
    """`resamples`: bootstrap resamples behind each interval, and the fewest permutations of a test, which takes 20 times the number
    of comparisons over alpha where that is more. `alpha`: family-wise error admitted after Holm's correction. `power`: chance of
    detecting a difference as large as the detectable one that is printed."""

    resamples: PositiveInt
    alpha: Share
    power: Share
    seed: NonNegativeInt


class Params(Record):
    data: DataParams
    phantom: PhantomParams
    fit_router: RouterParams
    finetune: FinetuneParams
    llm: LlmParams
    approaches: Annotated[dict[Name, Approach], Field(min_length=1)]
    evaluate: EvaluateParams
    compare: CompareParams

    def approach(self, name: str) -> Approach:
        if name not in self.approaches:
            raise UserError(f"params.yaml: no approach '{name}'; there are: {', '.join(sorted(self.approaches))}")
        return self.approaches[name]


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml. UserError: missing, not YAML, or the first key that is unknown, missing or of the wrong type."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run this in the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no sections; restore it with `git checkout {path}`")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from None
