"""The settings of the judge `crimson`."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from xraygen.core.study import NonEmpty, Record
from xraygen.engines.budget import TokenPrice
from xraygen.engines.server import no_password

SECTION = "evaluate.settings.crimson"


class CrimsonSettings(Record):
    """`model` on the OpenAI-compatible server at `base_url`. `api_key_env`: the environment
    variable, or the line of the file .env, that holds the key. `max_tokens`: of an answer.
    `concurrency`: requests at a time, at most. `timeout`: seconds, of one request. `seed`: None =
    the server is sent none. `max_cost_usd`: of one run; it stops before it is exceeded. `prices`:
    by model.
    """

    base_url: Annotated[str, AfterValidator(no_password)] = "https://api.openai.com/v1"
    model: NonEmpty = "gpt-4o"
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    max_tokens: PositiveInt = 2048
    concurrency: PositiveInt = 32
    timeout: PositiveFloat = 120.0
    seed: int | None = 0
    max_cost_usd: PositiveFloat | None = None
    prices: dict[str, TokenPrice] = {}
