"""The lines of a batch: one request each on the way out, one answer or problem each on the way
back.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from xraygen.annotators.llm.reply import Reply, reply_of
from xraygen.engines.dialect import refused_parameter
from xraygen.engines.server import hidden
from xraygen.engines.server_errors import error_in

_ID = 40  # characters of the 64 of a question's key


class Problem(NamedTuple):
    """Why a line of a batch has no answer. `status_code` 200: there is one, but it is
    unreadable."""

    status_code: int
    code: str | None
    param: str | None
    message: str


def custom_id(key: str) -> str:
    """The id that the line with a question has, by the question's key."""
    return key[:_ID]


def request_line(key: str, body: dict) -> bytes:
    line = {
        "custom_id": custom_id(key),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(line).encode() + b"\n"


def parsed(text: str) -> dict:
    """A line that came back; empty if it is not a JSON object."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def outcome_of(line: dict, key: str) -> Reply | Problem:
    """What a line says. `key`: the API key, which is removed from texts."""
    from openai.types.chat import ChatCompletion

    try:
        response = line.get("response") or {}
        status = response.get("status_code") or 504  # without a response it has expired
        body = response.get("body") or {}
        failure = error_in(body) if status == 200 else None
        if status == 200 and not failure:
            return reply_of(ChatCompletion.construct(**body), key)
        status, error = failure or (status, body.get("error") or line.get("error") or {})
        error = error if isinstance(error, dict) else {"message": error}
        message = str(error.get("message"))
        parameter = error.get("param") or refused_parameter(message)
        return Problem(
            status, error.get("code"), parameter, f"{status}: {in_one_line(message, key)}"
        )
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        kind = type(error).__name__
        return Problem(502, None, None, f"its answer is not a chat completion ({kind})")


def in_one_line(text: str, key: str) -> str:
    """The beginning of a server's text, without the API key `key`."""
    return hidden(" ".join(text.split()), key)[:200]
