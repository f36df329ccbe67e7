"""The settings of the judge `green`."""

from typing import Annotated

from pydantic import AfterValidator, PositiveInt

from xraygen.core.study import NonEmpty, Record
from xraygen.engines.server import no_password


class GreenSettings(Record):
    """`model`: any GREEN checkpoint, a name on the Hugging Face hub or a folder, at `revision`.
    `base_url`: an OpenAI-compatible server that serves `model` under this name; None = in this
    process. `end`: the model's end-of-sequence token, which a server has to be told. `batch`: pairs
    at a time in this process. `concurrency`: requests at a time to a server.
    """

    model: NonEmpty = "StanfordAIMI/GREEN-RadLlama2-7b"
    revision: NonEmpty = "main"
    base_url: Annotated[str, AfterValidator(no_password)] | None = None
    end: NonEmpty = "</s>"
    batch: PositiveInt = 16
    concurrency: PositiveInt = 32
