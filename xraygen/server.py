"""Questions to an OpenAI-compatible server: several at a time, with retries and time-outs."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
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


def complete(server: Server, prompts: Sequence[str], tokens: int) -> Iterator[tuple[int, str | Refusal]]:
    """(index of the prompt, the text that follows it) as answers arrive, greedy, of at most so many tokens each.

    UserError: the server cannot be reached, rejects the key or has no such model. What is under way then is waited for first.
    """
    with asyncio.Runner() as runner:
        stream = _stream(server, prompts, tokens)
        try:
            while (answer := runner.run(_next(stream))) is not None:
                yield answer
        finally:
            runner.run(stream.aclose())


async def _next(stream: AsyncIterator):
    return await anext(stream, None)


async def _stream(server: Server, prompts: Sequence[str], tokens: int) -> AsyncIterator[tuple[int, str | Refusal]]:
    from openai import AsyncOpenAI

    jobs: Iterator[tuple[int, str]] = iter(enumerate(prompts))
    pending: set[asyncio.Task] = set()
    failure: BaseException | None = None
    key = os.environ.get(server.key) or "none"
    client = AsyncOpenAI(base_url=server.base_url, api_key=key, timeout=TIMEOUT, max_retries=TRIES - 1)
    try:
        while True:
            pending |= {asyncio.create_task(_ask(client, server, *job, tokens)) for job in islice(jobs, server.concurrency - len(pending))}
            if not pending:
                break
            ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if task.exception():
                    failure, jobs = failure or task.exception(), iter(())
                else:
                    yield task.result()
        if failure:
            raise failure
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await client.close()


async def _ask(client, server: Server, index: int, prompt: str, tokens: int) -> tuple[int, str | Refusal]:
    import openai

    try:
        answer = await client.completions.create(model=server.model, prompt=prompt, max_tokens=tokens, temperature=0)
        return index, answer.choices[0].text
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        return index, Refusal(f"{error.status_code}: {_reason(error)}")
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise UserError(f"{server.base_url}: rejects the key; set the environment variable {server.key}") from None
    except openai.NotFoundError as error:
        raise UserError(f"{server.base_url}: does not serve {server.model} ({_reason(error)}); see its /v1/models") from None
    except openai.APIConnectionError as error:
        why = "answered too late" if isinstance(error, openai.APITimeoutError) else "cannot be reached"
        raise UserError(f"{server.base_url}: {why}, {TRIES} times; what was answered is kept, run again when it is up") from None
    except openai.APIStatusError as error:
        what = f"status {error.status_code} after {TRIES} tries ({_reason(error)})"
        raise UserError(f"{server.base_url}: {what}; what was answered is kept, run again later") from None
    except (openai.APIResponseValidationError, ValueError, AttributeError, IndexError, TypeError) as error:
        what = f"its answer is not that of an OpenAI-compatible server ({type(error).__name__})"
        raise UserError(f"{server.base_url}: {what}; base_url mostly ends in /v1") from None


def _reason(error) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return " ".join(str(body.get("message") or error.message).split())[:200]
