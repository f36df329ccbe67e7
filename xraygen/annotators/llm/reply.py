"""What a chat completion says: its text, why it may be unusable, and what it cost."""

from __future__ import annotations

from typing import NamedTuple

from xraygen.core.study import Annotation
from xraygen.engines.chat import message_of
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
    said = message_of(body, key)
    return Reply(
        said.text,
        said.cut,
        said.tokens_in,
        said.tokens_out,
        stopped=said.stopped,
        final=said.final,
    )
