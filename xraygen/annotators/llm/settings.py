"""The settings of the annotator `llm`, and of the language model behind all its approaches."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from xraygen.annotators.base import ModelFolder, Settings
from xraygen.core.study import Annotation, NonEmpty, Record
from xraygen.engines.server import no_password


class Example(Record):
    """A report, and how it should be annotated."""

    report: NonEmpty
    annotation: Annotation


class Neighbours(Record):
    """The `k` curated training studies whose reports are most similar, as examples; by tf-idf
    cosine, or by words in common."""

    k: PositiveInt
    similarity: Literal["tfidf", "jaccard"]


class LlmSettings(Settings):
    """`system` and `user`: the prompt; the report stands in place of {report}. `examples`, and then
    the `nearest`, come before it as turns of their own. `reads`: the folder of the checkpoint that
    llm.provider local runs. `inputs`: whether the views go along."""

    reads: ModelFolder
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
    this process, the folder that the approach `reads`; openai = `model` on the OpenAI-compatible
    server at `base_url`. `api_key_env`: the environment variable, or the line of the file .env,
    that holds the key. `mode`: batch = OpenAI's batch API. `concurrency`: requests at a time, at
    most. `timeout`: seconds, of one request. `max_tokens`: of an answer. `max_views`, `max_pixels`:
    of a case and of a view, where views go along. `max_cost_usd`: of one run of one approach.
    `max_failed`: share of cases without an annotation above which an approach stops.
    `max_batch_tokens`: as for vlm, local."""

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
    max_batch_tokens: PositiveInt
    prices: dict[str, TokenPrice]
