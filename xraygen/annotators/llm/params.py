"""The section `llm` of params.yaml: the language model behind all approaches of the annotator
`llm`.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from xraygen.core.study import NonEmpty, Record
from xraygen.engines.budget import TokenPrice
from xraygen.engines.server import no_password


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
