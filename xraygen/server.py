"""Questions to an OpenAI-compatible server: several at a time, with retries and time-outs."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xraygen.errors import UserError

TRIES = 6  # of one request; the waits between them double, or are what the server asks for
TIMEOUT = 300.0  # seconds, of one try


class Server(NamedTuple):
    """`key`: the environment variable that holds the key, for servers that want one. `concurrency`: requests at a time."""

    base_url: str
    model: str
    key: str
    concurrency: int


class Refusal(NamedTuple):
    """The server will not answer this question, however often it is asked."""

    reason: str


def complete(server: Server, prompts: Sequence[str], tokens: int, answered: Callable[[int, str | Refusal], None]) -> None:
    """`answered` is called with a prompt's index and the text that follows it, greedy and of at most so many tokens, as soon as that
    has arrived.

    UserError: the server cannot be reached, rejects the key or has no such model. What is under way then is waited for first.
    """
    asyncio.run(_complete(server, prompts, tokens, answered))


async def _complete(server: Server, prompts: Sequence[str], tokens: int, answered: Callable[[int, str | Refusal], None]) -> None:
    from openai import AsyncOpenAI

    jobs = iter(enumerate(prompts))
    failures: list[Exception] = []
    key = os.environ.get(server.key, "").strip() or "none"
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the environment variable {server.key} holds no key: it has characters that no key has")
    async with AsyncOpenAI(base_url=server.base_url, api_key=key, timeout=TIMEOUT, max_retries=TRIES - 1) as client:

        async def work() -> None:
            for index, prompt in jobs:
                if failures:
                    return
                try:
                    answered(index, await _ask(client, server, prompt, tokens))
                except Exception as error:  # raised below, when what is under way beside it has been answered
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(server.concurrency, len(prompts))):
                group.create_task(work())
    if failures:
        raise failures[0]


async def _ask(client, server: Server, prompt: str, tokens: int) -> str | Refusal:
    import openai

    try:
        async with asyncio.timeout(TRIES * TIMEOUT):  # the client's own is between two bytes
            answer = await client.completions.create(model=server.model, prompt=prompt, max_tokens=tokens, temperature=0)
        choice = answer.choices[0]
        if choice.finish_reason == "length":
            return Refusal(f"the answer had not ended after {tokens:,} tokens")
        text = choice.text.encode("utf-8", "replace").decode()
        return text if text.strip() else Refusal("an empty answer")
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        return Refusal(f"{error.status_code}: {_reason(error)}")
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise UserError(f"{server.base_url}: rejects the key; set the environment variable {server.key}") from None
    except openai.NotFoundError as error:
        raise UserError(f"{server.base_url}: does not serve {server.model} ({_reason(error)}); see its /v1/models") from None
    except (openai.APIConnectionError, TimeoutError) as error:
        why = "cannot be reached" if type(error) is openai.APIConnectionError else "answered too late"
        raise UserError(f"{server.base_url}: {why}, {TRIES} times; what was answered is kept, run again when it is up") from None
    except openai.APIStatusError as error:
        what = f"status {error.status_code} after {TRIES} tries ({_reason(error)})"
        raise UserError(f"{server.base_url}: {what}; what was answered is kept, run again later") from None
    except (openai.APIResponseValidationError, ValueError, AttributeError, IndexError, TypeError) as error:
        what = f"its answer is not that of an OpenAI-compatible server ({type(error).__name__})"
        raise UserError(f"{server.base_url}: {what}; base_url mostly ends in /v1") from None


def _reason(error) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    reason = " ".join(str(body.get("message") or error.message).split())[:200]
    key = error.request.headers.get("Authorization", "").removeprefix("Bearer ")
    return reason.replace(key, "[key]") if key else reason
