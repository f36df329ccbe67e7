"""What the replies of an OpenAI-compatible server say apart from the answer: why it ended, errors
with status 200, how long to wait.
"""

import re
import time
from email.utils import parsedate_to_datetime

from xraygen.core.errors import UserError


class Unavailable(UserError):
    """No question is answered any more: the server does not answer, or the money is spent."""


_FINISH = {
    "limit": "length max_length max_tokens max_output_tokens max_completion_tokens model_length"
    " model_context_window_exceeded",
    "filter": "content_filter content_filtered filtered safety image_safety refusal blocked"
    " blocklist prohibited_content recitation spii sensitive moderation guardrail_intervened",
    "error": "error server_error network_error abort aborted cancelled canceled timeout incomplete"
    " insufficient_system_resource",
}


def finish(reason: object) -> str:
    """What cut an answer short, from its finish_reason: "limit", "filter" or "error", else ""."""
    plain = str(reason).rpartition(".")[2].lower().replace("-", "_")  # FinishReason.MAX_TOKENS
    return next((kind for kind, reasons in _FINISH.items() if plain in reasons.split()), "")


# For errors without a status: the status that their text suggests.
_STATUS = {
    429: "rate.?limit|too.?many.?requests|overloaded|exhausted|throttl|at capacity|quota",
    402: "insufficient.?(credit|fund|balance)|payment|billing",
    401: "api.?key|authenti|unauthori[sz]ed|user not found",
    403: "permission|forbidden",
    404: "model.{0,40}(not.?found|not.?exist)",
    400: "invalid.?(request|param)|bad.?request|unsupported|(not|n.t) support|context.?length"
    "|content.?(filter|polic)",
    504: "timed?.?out",
}


def error_in(body: object) -> tuple[int, dict] | None:
    """(status, error) if a body that came with status 200 reports an error, as gateways do; 502 if
    nothing says which status.
    """
    if isinstance(body, list) and body:  # as Google sends it
        body = body[0]
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    error = body.get("error") or (first.get("error") if isinstance(first, dict) else None)
    if not error and not choices and any(body.get(name) for name in _MESSAGES):
        error = body
    if not error:
        return None
    error = error if isinstance(error, dict) else {"message": str(error)}
    message = next((error[name] for name in _MESSAGES if error.get(name)), None)
    error = error | {"message": message if isinstance(message, str) else str(error)}
    return _status(error, body), error


_MESSAGES = ("message", "detail", "errors", "error_msg", "msg")
_CODES = ("code", "status", "status_code", "statusCode", "http_status", "error_code")


def _status(error: dict, body: dict) -> int:
    for source in (error, error.get("metadata"), body):
        codes = [str(source.get(name)) for name in _CODES] if isinstance(source, dict) else []
        for code in codes:
            if re.fullmatch("[45][0-9][0-9]", code):
                return int(code)
    text = " ".join(str(error.get(name)) for name in ("code", "type", "status", "message"))
    for status, words in _STATUS.items():
        if re.search(words, text, re.IGNORECASE):
            return status
    return 502


def body_of(raw) -> object:
    try:
        return raw.http_response.json()
    except ValueError:
        return None


def status_error(response, status: int, error: dict) -> Exception:
    """The exception that the client raises for a response with this status."""
    import openai

    kinds = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
    }
    kind = kinds.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
    response = type(response)(status, headers=response.headers, request=response.request)
    return kind(error["message"], response=response, body=error)


# Waits


def retry_after(headers) -> float:
    """The header's seconds, also if it gives a date; 0 if the server names none."""
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def used_up(headers) -> float:
    """Seconds until every limit that is used up is renewed."""
    used = [
        what
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max(
        [_duration(headers.get(f"x-ratelimit-reset-{what}", "")) for what in used], default=0.0
    )


def _duration(text: str) -> float:
    """Seconds of OpenAI's "6m0s", "1.5s", "20ms"."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(
        float(number) * units[unit]
        for number, unit in re.findall(r"(\d+(?:\.\d+)?) ?(ms|d|h|m|s)", text)
    )


_WAITS = ("retryafter", "retryafterseconds", "retrydelay", "retryafterms")
_UNIT = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)"
_ASKS_TO_WAIT = re.compile(
    rf"(?:try again|retry|wait)(?: after| in| for)? ((?:[0-9.]+ ?{_UNIT} ?(?![a-z]))+)",
    re.IGNORECASE,
)


def wait_in(body: object) -> float:
    """Seconds that an error asks to wait, in a field or in words ("try again in 1.5s"), or 0."""
    waits = [0.0]
    for name, value in body.items() if isinstance(body, dict) else ():
        plain = re.sub("[^a-z]", "", name.lower())
        if plain in _WAITS and isinstance(value, str | int | float):
            number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*", str(value))
            seconds = float(number[1]) if number else _duration(str(value))
            waits.append(seconds / 1000 if plain.endswith("ms") else seconds)
        elif isinstance(value, dict):
            waits.append(wait_in(value))
        elif isinstance(value, list):
            waits += [wait_in(part) for part in value]
        elif plain in ("message", "raw") and isinstance(value, str):
            request = _ASKS_TO_WAIT.search(value)
            waits.append(_duration(request[1].lower()) if request else 0.0)
    return max(waits)
