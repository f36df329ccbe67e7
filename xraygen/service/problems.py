"""Errors as problem details (RFC 9457). None quotes what a client sent, a path or a version."""

import json
import re
from collections.abc import Mapping

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:xraygen:problem:"

# By code, the end of the problem's type: (HTTP status, title).
CODES: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not HTTP/1.1"),
    "not-json": (400, "The body is not JSON"),
    "too-deep": (400, "The JSON is nested too deeply"),
    "invalid-multipart": (400, "The body is not multipart/form-data as described"),
    "unauthorized": (401, "The API key is missing or wrong"),
    "wrong-origin": (403, "The service does not answer this web page"),
    "no-such-path": (404, "There is nothing at this path"),
    "wrong-method": (405, "The method is not allowed at this path"),
    "request-timed-out": (408, "The request did not arrive in time"),
    "body-too-large": (413, "The body is too large"),
    "media-type": (415, "The media type of the body is not read"),
    "wrong-host": (421, "The service does not answer for this host"),
    "invalid-request": (422, "The request has a field that is missing, unknown or wrong"),
    "invalid-case": (422, "The case has a field that is missing, unknown or wrong"),
    "too-many-cases": (422, "The request has too many cases or pairs"),
    "text-too-long": (422, "A text is too long"),
    "too-many-images": (422, "The case has too many images"),
    "image-type": (422, "The image is of a type that is not read"),
    "image-too-large": (422, "The image has too many pixels"),
    "image-unreadable": (422, "The image cannot be read"),
    "too-costly": (422, "Reading the request takes too much memory or time"),
    "not-annotated": (422, "The approach gives no annotation of this case"),
    "queue-full": (429, "Too many cases are waiting"),
    "rate-limited": (429, "Too many requests in a minute"),
    "headers-too-large": (431, "The headers are too large"),
    "internal": (500, "A bug in the service"),
    "no-space": (503, "There is no room for images"),
    "model-unavailable": (503, "The model is not available"),
    "busy": (503, "The service holds too many bodies"),
    "shutting-down": (503, "The service shuts down"),
    "timed-out": (504, "The model took too long"),
}

# A URL or an absolute path, up to the punctuation after it.
_ADDRESS = re.compile(r"""(?<![\w/])(?:\w+://|/)[^\s'"]*[^\s'".,;:)]""")


def without_addresses(text: str) -> str:
    """A message of a model or a server, without URLs and paths."""
    return _ADDRESS.sub("[address]", text)


class Problem(Exception):
    """`code`: a key of CODES. `detail`: what is wrong and what to do, in a sentence or two.
    `retry_after`: in seconds.
    """

    def __init__(self, code: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(code)
        self.code, self.detail, self.retry_after = code, detail, retry_after
        self.status, self.title = CODES[code]

    def content(self) -> dict:
        return {
            "type": TYPE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }

    def body(self) -> bytes:
        return json.dumps(self.content(), separators=(",", ":")).encode()

    def response(self) -> Response:
        headers: Mapping[str, str] = {}
        if self.retry_after is not None:
            headers = {"Retry-After": str(self.retry_after)}
        return Response(self.body(), self.status, headers, MEDIA_TYPE)


def code_in(line: bytes) -> str | None:
    """The code of the problem in a line of a response, None if it has none. No text looks like one:
    quotes in texts are escaped.
    """
    _, found, rest = line.partition(b'"error":{"type":"' + TYPE.encode())
    return rest.partition(b'"')[0].decode() if found else None
