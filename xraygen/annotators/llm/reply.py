"""What a chat completion says: its text, why it may be none, and what it cost."""

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
    """What a server said, and the tokens of all `tries`, those among them that were paid for at the
    price of a batch once more.

    `cut`: it had not ended at the limit. `stopped`: why it is no answer, or none that has ended,
    where the server tells. `final`: asking again would not help.
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
        """With what was paid for earlier ones to the same question."""
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
        """Why it is worth asking again; None where it is read, or the same would come again."""
        if self.cut or self.final:
            return None
        try:
            self.read(names)
        except ValueError as reason:
            return str(reason)
        return None


def reply_of(body, key: str) -> Reply:
    """Of the body of a chat completion, a ChatCompletion; without the key."""
    usage = body.usage
    tokens_in, tokens_out = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    if not body.choices and _is_blocked(body):
        why = "a content filter stopped the question"
        return Reply("", False, tokens_in, tokens_out, stopped=why, final=True)
    choice = body.choices[0]
    message, ended = choice.message, finish(choice.finish_reason)
    content = _text(getattr(message, "content", None))
    refusal = _text(getattr(message, "refusal", None))
    stopped = ""
    if ended == "filter":
        stopped = f"a content filter stopped the answer (finish_reason {choice.finish_reason})"
    elif not content and refusal:
        stopped = "the model refused to answer"
    elif ended == "error":
        stopped = f"the server broke off the answer (finish_reason {choice.finish_reason})"
    elif not content and any(getattr(message, name, None) for name in _REASONING):
        stopped = "only reasoning came, and no answer"
    elif not content and getattr(message, "tool_calls", None):
        stopped = "only a tool call came, and no answer"
    final = ended == "filter" or bool(refusal and not content)
    text = (content or refusal).encode("utf-8", "replace").decode()
    return Reply(
        hidden(text, key), ended == "limit", tokens_in, tokens_out, stopped=stopped, final=final
    )


_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")


def _text(content) -> str:
    """Of a string or of a list of parts, without those that are reasoning."""
    if not content or isinstance(content, str):
        return content or ""
    parts = [part if isinstance(part, dict) else {"text": part} for part in content]
    spoken = [part for part in parts if part.get("type") not in _REASONING]
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in spoken)


def _is_blocked(body) -> bool:
    """Whether a body without an answer tells of a filter, as Azure and Google do."""
    told = json.dumps(body.model_extra or {}, default=str)
    return bool(re.search(r'"block_?reason": "|"filtered": true', told, re.IGNORECASE))
