"""Chat completions: one request in the strictest form that the server takes, within the budget, and
what the completion says.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from xraygen.engines.budget import Budget
from xraygen.engines.dialect import Dialect, RequestFormat
from xraygen.engines.server import Asker, hidden
from xraygen.engines.server_errors import finish


class Chat(NamedTuple):
    """What all questions to one model share. `max_tokens`: of an answer. `seed`: None = none is
    sent.
    """

    model: str
    max_tokens: int
    dialect: Dialect
    budget: Budget
    seed: int | None = None

    def body(self, messages: list[dict], request_format: RequestFormat) -> dict:
        """The body of a request."""
        fields = request_format.fields(self.max_tokens, self.dialect.forms)
        seed = {} if self.seed is None else {"seed": self.seed}
        return {"model": self.model, "messages": messages, **fields, **seed}

    async def send(
        self, asker: Asker, client, messages: list[dict], key: str, tokens_in: int, views: int = 0
    ) -> Any:
        """The raw response. `key`: of the question. `tokens_in`: what the prompt is expected to
        take at most. UserError: the budget has no room.
        """
        import openai

        create = client.chat.completions.with_raw_response.create
        tried = set()
        while True:
            request_format = self.dialect.request_format
            tried.add(request_format)
            async with self.budget.reserve(tokens_in, self.max_tokens, views) as bill:
                await asker.opening()
                if asker.failure:  # of another request in the meantime
                    bill(0, 0)
                    raise asker.failure
                try:
                    body = self.body(messages, request_format)
                    raw = await asker.in_time(create(**body))
                    if usage := raw.parse().usage:
                        bill(usage.prompt_tokens, usage.completion_tokens)
                    else:
                        bill(tokens_in, self.max_tokens)
                    self.dialect.accepted(request_format)
                    return raw
                except openai.APIStatusError as error:
                    bill(0, 0)
                    retry = self.dialect.refused(request_format, error, key)
                    if not retry or self.dialect.request_format in tried:
                        raise


class Message(NamedTuple):
    """The text of a completion, and its tokens. `cut`: it reached the limit of tokens. `stopped`:
    why it is no answer, or an unfinished one, if the server says so. `final`: asking again would
    not help.
    """

    text: str
    cut: bool
    tokens_in: int
    tokens_out: int
    stopped: str = ""
    final: bool = False


def message_of(body, key: str) -> Message:
    """The message in a ChatCompletion, with the API key `key` removed from its text."""
    tokens_in = body.usage.prompt_tokens if body.usage else 0
    tokens_out = body.usage.completion_tokens if body.usage else 0
    if not body.choices and _is_blocked(body):
        why = "a content filter stopped the question"
        return Message("", False, tokens_in, tokens_out, stopped=why, final=True)
    choice = body.choices[0]
    content = _text(getattr(choice.message, "content", None))
    refusal = _text(getattr(choice.message, "refusal", None))
    ended = finish(choice.finish_reason)
    text = (content or refusal).encode("utf-8", "replace").decode()
    return Message(
        hidden(text, key),
        ended == "limit",
        tokens_in,
        tokens_out,
        stopped=_why_stopped(choice, content, refusal),
        final=ended == "filter" or bool(refusal and not content),
    )


_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")


def _why_stopped(choice, content: str, refusal: str) -> str:
    ended = finish(choice.finish_reason)
    if ended == "filter":
        return f"a content filter stopped the answer (finish_reason {choice.finish_reason})"
    if refusal and not content:
        return "the model refused to answer"
    if ended == "error":
        return f"the server broke off the answer (finish_reason {choice.finish_reason})"
    if content:
        return ""
    if any(getattr(choice.message, name, None) for name in _REASONING):
        return "only reasoning came, and no answer"
    if getattr(choice.message, "tool_calls", None):
        return "only a tool call came, and no answer"
    return ""


def _text(content) -> str:
    """The text of a string or of a list of parts, without parts that are reasoning."""
    if not content or isinstance(content, str):
        return content or ""
    parts = [part if isinstance(part, dict) else {"text": part} for part in content]
    visible = [part for part in parts if part.get("type") not in _REASONING]
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in visible)


def _is_blocked(body) -> bool:
    """Whether a body without an answer reports a filter, as those of Azure and Google do."""
    extra = json.dumps(body.model_extra or {}, default=str)
    return bool(re.search(r'"block_?reason": "|"filtered": true', extra, re.IGNORECASE))
