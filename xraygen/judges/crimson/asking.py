"""One question put to the language model behind the judge `crimson`."""

import time
from typing import Any, NamedTuple

from xraygen.engines.budget import estimate
from xraygen.engines.chat import Chat, Message, message_of
from xraygen.engines.server import Asker, Refusal, Unusable
from xraygen.judges.crimson.answer import parse
from xraygen.judges.crimson.prompt import messages


class Reply(NamedTuple):
    """What was paid for: a text, readable or not, and the tokens of all tries. `stopped`: why it
    has no end, or "". `seconds`: how long it took.
    """

    text: str
    stopped: str
    tokens_in: int
    tokens_out: int
    seconds: float = 0.0


async def ask(chat: Chat, asker: Asker, question: str) -> Reply | Refusal:
    """A reply that cannot be read is answered with what is wrong with it, once. What was paid for
    is a `Reply`, also where no try brought a text. UserError: as `Asker.ask` and `Chat.send`.
    """
    conversation = messages(question)
    said: list[Message] = []
    corrected = False
    start = time.monotonic()

    def read(body) -> Message | Refusal:
        nonlocal corrected
        message = message_of(body, asker.key)
        if message.final:
            return Refusal(message.stopped)
        said.append(message)
        if message.cut:  # at the limit of tokens the same would come again
            return message
        if message.stopped:
            raise Unusable(message.stopped)
        if not corrected:
            try:
                parse(message.text)
            except ValueError as reason:
                corrected = True
                conversation.extend(_again(message.text, reason))
                raise Unusable(str(reason)) from None
        return message

    async def send(client) -> Any:
        tokens_in = estimate(conversation, letters=3.0)
        return await chat.send(asker, client, conversation, question, tokens_in)

    last = await asker.ask(send, read)
    if isinstance(last, Refusal) and not last.unusable:
        return last
    return Reply(
        said[-1].text,
        last.reason if isinstance(last, Refusal) else _without_end(last, chat.max_tokens),
        sum(message.tokens_in for message in said),
        sum(message.tokens_out for message in said),
        time.monotonic() - start,
    )


def _without_end(message: Message, max_tokens: int) -> str:
    """Why a message has no end, or ""."""
    if not message.cut:
        return ""
    reached = f"the answer had not ended after {max_tokens:,} tokens"
    return f"{reached}: {message.stopped}" if message.stopped else reached


def _again(text: str, reason: ValueError) -> list[dict]:
    wrong = f"This is not a valid answer: {reason}. Give the whole JSON object again."
    return [{"role": "assistant", "content": text}, {"role": "user", "content": wrong}]
