"""What `xraygen serve` can be told."""

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from xraygen.core.study import Record


class Options(Record):
    """Sizes are in bytes, times in seconds.

    `batch_size`: cases that a model is given at a time, at most. `batch_window`: how long a case
    waits for others while the model is idle, at most: where others have come with the last, and no
    longer than a tenth of the time that they took. `queue`: cases that may wait for a model or be
    with it; more are refused with 429. `timeout`: how long a case may wait for the model, and how
    long the model may take for a batch; then its process is killed. `reload_interval`: between two
    starts of a process that has died. `grace`: after SIGTERM, how long accepted requests have to be
    answered. `max_bodies`: of all bodies that are being read or worked on. `head_timeout`,
    `body_timeout`: for the headers, and for a body, which gets more the larger it is. `keep_alive`:
    how long a connection waits for its next request; that of a reverse proxy should be shorter.
    `intakes`: processes that read images and large bodies. `intake_timeout`: of reading one body.
    `max_images`: of a case. `max_pixels`: of an image. `max_request_pixels`: of all images of a
    request that are decoded. `max_text`, `max_id`: in characters.
    """

    batch_size: PositiveInt = 64
    batch_window: NonNegativeFloat = 0.02
    queue: PositiveInt = 1000
    timeout: PositiveFloat = 60
    intakes: PositiveInt = 2
    intake_timeout: PositiveFloat = 20
    reload_interval: NonNegativeFloat = 60
    grace: PositiveFloat = 30
    max_body: PositiveInt = 32 * 2**20
    max_bodies: PositiveInt = 128 * 2**20
    max_connections: PositiveInt = 2000
    head_timeout: PositiveFloat = 10
    body_timeout: PositiveFloat = 30
    keep_alive: PositiveFloat = 75
    max_cases: PositiveInt = 100
    max_images: PositiveInt = 4
    max_pixels: PositiveInt = 25_000_000
    max_request_pixels: PositiveInt = 200_000_000
    max_text: PositiveInt = 50_000
    max_id: PositiveInt = 200
    max_depth: PositiveInt = 8
    requests_per_minute: PositiveInt | None = None
    origins: tuple[str, ...] = ()
