"""What `xraygen serve` can be told: each field is an option, and its description the help."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from xraygen.core.cases import MAX_TEXT
from xraygen.core.study import Record


def _as_browsers_write_it(origin: str) -> str:
    if not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", origin):
        raise ValueError("an origin is a scheme and a host, such as https://example.org")
    return origin


Origin = Annotated[str, AfterValidator(_as_browsers_write_it)]


class Options(Record):
    """Sizes are in bytes, times in seconds, lengths of texts in characters."""

    batch_size: Annotated[
        PositiveInt, Field(description="Cases that a model is given at a time, at most.")
    ] = 64
    batch_window: Annotated[
        NonNegativeFloat,
        Field(
            description="Seconds that a case waits for others while the model is idle, at most; "
            "it waits only where others have come with the last, and no longer than a tenth of "
            "the time that they took."
        ),
    ] = 0.02
    queue: Annotated[
        PositiveInt,
        Field(
            description="Cases that may wait for a model or be with it, at most; more are refused "
            "with 429."
        ),
    ] = 1000
    timeout: Annotated[
        PositiveFloat,
        Field(
            description="Seconds that a case may wait for the model, and that the model may take "
            "for a batch; then its process is killed."
        ),
    ] = 60
    reload_interval: Annotated[
        NonNegativeFloat,
        Field(description="Seconds between two starts of a model's process that has died."),
    ] = 60
    intakes: Annotated[
        PositiveInt, Field(description="Processes that read images and large bodies.")
    ] = 2
    intake_timeout: Annotated[
        PositiveFloat, Field(description="Seconds that reading one body may take, once it is here.")
    ] = 20
    grace: Annotated[
        PositiveFloat,
        Field(description="Seconds that accepted requests have to be answered after SIGTERM."),
    ] = 30
    max_body: Annotated[
        PositiveInt, Field(description="Of a body, and of a line of a stream, in MiB.")
    ] = 32 * 2**20
    max_bodies: Annotated[
        PositiveInt,
        Field(description="Of all bodies that are being read or worked on, in MiB."),
    ] = 128 * 2**20
    max_connections: Annotated[PositiveInt, Field(description="Open connections, at most.")] = 2000
    head_timeout: Annotated[
        PositiveFloat, Field(description="Seconds that the headers of a request may take.")
    ] = 10
    body_timeout: Annotated[
        PositiveFloat,
        Field(description="Seconds that a body may take; it gets more the larger it is."),
    ] = 30
    keep_alive: Annotated[
        PositiveFloat,
        Field(
            description="Seconds that a connection waits for its next request; a reverse proxy "
            "should close its connections sooner."
        ),
    ] = 75
    max_cases: Annotated[
        PositiveInt, Field(description="Cases or pairs of a request, at most.")
    ] = 100
    max_images: Annotated[PositiveInt, Field(description="Images of a case, at most.")] = 4
    max_pixels: Annotated[PositiveInt, Field(description="Pixels of an image, at most.")] = (
        25_000_000
    )
    max_request_pixels: Annotated[
        PositiveInt,
        Field(description="Pixels of all images of a request that are decoded, at most."),
    ] = 200_000_000
    max_text: Annotated[
        PositiveInt, Field(description="Characters of a report, reference or candidate, at most.")
    ] = MAX_TEXT
    max_id: Annotated[PositiveInt, Field(description="Characters of a case's id, at most.")] = 200
    max_depth: Annotated[
        PositiveInt, Field(description="How deeply lists and objects may be nested in JSON.")
    ] = 8
    requests_per_minute: Annotated[
        PositiveInt | None,
        Field(
            description="Of each key, at most; without keys, of all clients together. A minute's "
            "worth may come at once, and a stream is one request. By default any number."
        ),
    ] = None
    origins: Annotated[
        tuple[Origin, ...],
        Field(
            description="An origin whose web pages may use the service, such as "
            "https://example.org; several times for more."
        ),
    ] = ()
