"""What `xraygen serve` can be told."""

from typing import Annotated

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, StringConstraints

from xraygen.core.study import Record

# As browsers write it: no path, no final slash.
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.\-\[\]:]+$")]


class Options(Record):
    """Sizes are in bytes, times in seconds.

    `batch_size`: cases that a model is given at a time, at most. `batch_window`: how long a case
    waits for others while the model is idle. `queue`: cases that may wait for a model; more are
    refused with 429. `timeout`: of a request, and of a model with one batch. `grace`: after
    SIGTERM, how long accepted requests have to be answered.
    """

    batch_size: PositiveInt = 64
    batch_window: NonNegativeFloat = 0.002
    queue: PositiveInt = 1000
    timeout: PositiveFloat = 60
    grace: PositiveFloat = 30
    max_body: PositiveInt = 32 * 2**20
    max_cases: PositiveInt = 100
    max_images: PositiveInt = 4
    max_pixels: PositiveInt = 25_000_000
    max_text: PositiveInt = 50_000
    max_depth: PositiveInt = 8
    requests_per_minute: PositiveInt | None = None
    origins: tuple[Origin, ...] = ()
