"""What a chat completion says: its text, why it may be unusable, and what it cost."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from xraygen.core.study import Annotation
from xraygen.engines.server import hidden
from xraygen.engines.server_errors import finish
from xraygen.prompting.json_answer import parse
from xraygen.prompting.region_names import RegionNames


class Reply(NamedTuple):
    """The text that a server returned, and the tokens of all `tries`. `batch_in`, `batch_out`: the
    part of these that was paid for at the price of a batch.

    `cut`: it reached the limit of tokens. `stopped`: why it is no answer, or an unfinished one, if
    the server says so. `final`: asking again would not help.
    """

    text: str
    cut: bool
    tokens_in: int
    tokens_out: int
    tries: int = 1
    batch_in: int = 0
    batch_out: int = 0
    stopped: str = ""
    final: bool = False

    def after(self, before: Reply | None) -> Reply:
        """With the tokens and tries of earlier replies to the same question added."""
        if before is None:
            return self
        counts = ("tokens_in", "tokens_out", "tries", "batch_in", "batch_out")
        sums = {name: getattr(self, name) + getattr(before, name) for name in counts}
        return self._replace(**sums)

    def read(self, names: RegionNames) -> tuple[Annotation, bool]:
        """(annotation, whether it was repaired). ValueError: why there is none."""
        try:
            return parse(self.text, names, ended=not (self.cut or self.stopped))
        except ValueError as reason:
            raise ValueError(self.stopped or str(reason)) from None

    def is_read(self, names: RegionNames) -> bool:
        try:
            self.read(names)
        except ValueError:
            return False
        return True

    def problem(self, names: RegionNames) -> str | None:
        """Why the question is worth asking again; None if the reply is readable, or the next one
        would be the same."""
        if self.cut or self.final:
            return None
        try:
            self.read(names)
        except ValueError as reason:
            return str(reason)
        return None


class Failed(NamedTuple):
    """Why a question has no answer, and what its unreadable replies have cost."""

    reason: str
    paid: Reply


def reply_of(body, key: str) -> Reply:
    """The reply in a ChatCompletion, with the API key `key` removed from its text."""
    tokens_in = body.usage.prompt_tokens if body.usage else 0
    tokens_out = body.usage.completion_tokens if body.usage else 0
    if not body.choices and _is_blocked(body):
        why = "a content filter stopped the question"
        return Reply("", False, tokens_in, tokens_out, stopped=why, final=True)
    choice = body.choices[0]
    content = _text(getattr(choice.message, "content", None))
    refusal = _text(getattr(choice.message, "refusal", None))
    ended = finish(choice.finish_reason)
    text = (content or refusal).encode("utf-8", "replace").decode()
    return Reply(
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
