"""Errors as problem details (RFC 9457). None quotes what a client sent, a path or a version."""

import json
from collections.abc import Mapping

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

# By code, the end of the problem's type: (HTTP status, title).
CODES: dict[str, tuple[int, str]] = {
    "not-json": (400, "The body is not JSON"),
    "unauthorized": (401, "The API key is missing or wrong"),
    "wrong-origin": (403, "The service does not answer this web page"),
    "no-such-path": (404, "There is nothing at this path"),
    "wrong-method": (405, "The method is not allowed at this path"),
    "wrong-type": (415, "The content type is not supported"),
    "wrong-host": (421, "The service does not answer for this host"),
    "unknown-approach": (422, "The approach is not loaded"),
    "invalid-request": (422, "The request has a field that is missing, unknown or wrong"),
    "invalid-case": (422, "The case has a field that is missing, unknown or wrong"),
    "not-annotated": (422, "The approach gives no annotation of this case"),
    "queue-full": (429, "Too many cases are waiting"),
    "rate-limited": (429, "Too many requests in a minute"),
    "internal": (500, "A bug in the service"),
    "model-unavailable": (503, "The model is not available"),
    "shutting-down": (503, "The service shuts down"),
    "timed-out": (504, "The model took too long"),
}


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
            "type": f"urn:xraygen:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }

    def response(self) -> Response:
        headers: Mapping[str, str] = {}
        if self.retry_after is not None:
            headers = {"Retry-After": str(self.retry_after)}
        body = json.dumps(self.content(), separators=(",", ":"))
        return Response(body, self.status, headers, MEDIA_TYPE)
