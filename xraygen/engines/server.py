"""Requests to an OpenAI-compatible server, as many at a time as it handles, with timeouts and
retries.
"""

import asyncio
import functools
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import HttpUrl, ValidationError

from xraygen.core.errors import UserError
from xraygen.engines.answers import project_folder
from xraygen.engines.gate import LONGEST_WAIT, Gate
from xraygen.engines.server_errors import (
    Unavailable,
    body_of,
    error_in,
    finish,
    retry_after,
    status_error,
    used_up,
    wait_in,
)

# Per question. If a fifth of all requests fail, one question in 400,000 is left without an answer.
TRIES = 8
UNUSABLE_TRIES = 4  # per question whose replies are unusable: mostly the same one comes again
Q = TypeVar("Q")
T = TypeVar("T")


class Server(NamedTuple):
    """`key`: the environment variable that holds the API key, for servers that want one.
    `concurrency`: maximum number of requests at a time. `timeout`: of one request, in seconds.
    """

    base_url: str
    model: str
    key: str
    concurrency: int
    timeout: float = 300.0


def no_password(url: str) -> str:
    """Validates the URL of a server, for settings. ValueError, which does not repeat the URL: it is
    malformed, or could hold a key or a password.
    """
    try:
        parts = HttpUrl(url)
    except ValidationError as error:
        raise ValueError(f"is no URL of a server: {error.errors()[0]['msg']}") from None
    if parts.username or parts.password or parts.query is not None or parts.fragment is not None:
        raise ValueError(
            "keys and passwords belong in the environment, not in a URL; leave out all before @ "
            "and from ? or # on"
        )
    return url


class Refusal(NamedTuple):
    """The server will not answer this question, however often it is asked. `unusable`: its last
    reply was an Unusable.
    """

    reason: str
    unusable: bool = False


class Unusable(Exception):
    """The server replied but the content is unusable; worth a retry."""


def secret(name: str) -> str:
    """The API key in the environment variable `name`, or else in the project's file .env, which git
    ignores; "" if there is none.

    UserError, which does not repeat the key: .env cannot be read, or this cannot be a key.
    """
    from dotenv import dotenv_values

    file = project_folder() / ".env"
    key = os.environ.get(name)
    try:
        if not key and file.is_file():
            key = dotenv_values(file).get(name)
    except (OSError, UnicodeDecodeError) as error:  # whose text may show what is in the file
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(
            f"{file}: cannot be read: {why}; save it as UTF-8, or set the environment variable "
            f"{name}"
        ) from None
    key = (key or "").strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        raise UserError(
            f"the environment variable {name} holds no key: it has characters that no key has"
        )
    return key


def key_of(server: Server) -> str:
    """UserError: as `secret`; OpenAI's own server, which answers nobody without a key, and none."""
    key = secret(server.key)
    if not key and HttpUrl(server.base_url).host == "api.openai.com":
        raise UserError(
            f"{server.base_url}: needs a key; set the environment variable {server.key}"
        )
    return key


def client_library():
    """The module openai. UserError: it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise UserError(
            f"asking a server needs one more package ({error}); "
            "install it with `pip install -c constraints.txt -e '.[llm]'`"
        ) from None
    return openai


def hidden(text: str, key: str) -> str:
    """The text without the key, which a server may repeat. A key as short as "none" or "EMPTY" is
    not a secret, and may be a word of the text.
    """
    return text.replace(key, "[key]") if len(key) > 5 else text


class Asker:
    """Asks one server, as an asynchronous context.

    `requests`, `retries`: how many were sent, and how many of these were repetitions. `slots`: for
    callers with many questions; they bound how many are tried before the first one gives up, if
    all fail. UserError: as `key_of`.
    """

    def __init__(self, server: Server):
        self.server = server
        self.requests = 0
        self.retries = 0
        self.answered = 0
        self.failure: UserError | None = None  # once set, nothing more is asked
        self.under_way: set[asyncio.Task] = set()
        self.key = key_of(server)
        self.client = client_library().AsyncOpenAI(
            base_url=server.base_url,
            api_key=self.key or "none",
            timeout=server.timeout,
            max_retries=0,
        )
        self.gate = Gate(server.concurrency)
        self.slots = asyncio.Semaphore(2 * server.concurrency)

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(self, *_) -> None:
        await self.client.close()

    async def ask(
        self, send: Callable[[Any], Awaitable[Any]], read: Callable[[Any], T]
    ) -> T | Refusal:
        """What `read` makes of the answer. `send` gets the client and returns its raw response;
        `read` gets the parsed body and raises Unusable if the question should be asked again.

        UserError: the server cannot be reached, rejects the key, does not have the model, or fails
        for every question.
        """
        answered_before = self.answered
        problems: Counter[int] = Counter()
        task = cast(asyncio.Task, asyncio.current_task())
        for attempt in range(1, TRIES + 1):
            await self.gate.enter()
            self.under_way.add(task)
            try:
                if self.failure:
                    raise self.failure
                result = await self._try(send, read)
            except _Retry as retry:
                if self.failure:
                    raise self.failure from None
                problem = retry
            except UserError as error:
                self.failure = error
                raise
            else:
                self.answered += 1
                return result
            finally:
                self.under_way.discard(task)
                self.gate.leave()
            problems[problem.tries] += 1
            if attempt == TRIES or problems[problem.tries] == problem.tries:
                break
            self.retries += 1
            await asyncio.sleep(
                0 if problem.waited else random.uniform(0.5, 1) * 0.5 * 2 ** (attempt - 1)
            )
        # After few tries it proves nothing that no other question was answered in the meantime.
        few = problem.tries < TRIES
        if not problem.remedy or self.answered > (0 if few else answered_before):
            return Refusal(problem.reason, problem.unusable)
        self.failure = Unavailable(f"{self.server.base_url}: {problem.reason}; {problem.remedy}")
        raise self.failure

    async def opening(self) -> None:
        """Wait until the gate is open, for callers that passed it and then waited for something
        else.
        """
        while not self.failure and (closed := self.gate.opens - time.monotonic()) > 0:
            await asyncio.sleep(min(1.0, closed))

    async def in_time(self, request: Awaitable[Any]) -> Any:
        """The raw response, for `send` to return. The client's own timeout is between two bytes;
        this one is for the whole request.
        """
        self.requests += 1
        async with asyncio.timeout(self.server.timeout):
            raw = await request
        if error := error_in(body_of(raw)):
            raise status_error(raw.http_response, *error)
        return raw

    async def _try(self, send: Callable, read: Callable[[Any], T]) -> T | Refusal:
        import openai

        start = time.monotonic()
        url = self.server.base_url
        later = "what was answered is kept, run again when it is up"
        try:
            raw = await send(self.client)
            body = raw.parse()
            self.gate.went_well(raw.headers)
            return read(body)
        except Unusable as unusable:
            raise _Retry(str(unusable), "", tries=UNUSABLE_TRIES, unusable=True) from None
        except openai.RateLimitError as error:
            if "quota" in f"{error.code} {error.type}":
                raise Unavailable(
                    f"{url}: the account has no quota left ({self.reason(error)})"
                ) from None
            headers = error.response.headers
            wait = retry_after(headers) or used_up(headers) or wait_in(error.body)
            if wait > LONGEST_WAIT:
                raise Unavailable(
                    f"{url}: asks to wait {wait:,.0f} seconds; what was answered is kept, "
                    "run again then"
                ) from None
            self.gate.back_off(start, wait)
            why = f"status 429 after {TRIES} tries ({self.reason(error)})"
            raise _Retry(
                why, "what was answered is kept, run again later", waited=wait > 0
            ) from None
        except (openai.APITimeoutError, TimeoutError):
            self.gate.back_off(start)
            raise _Retry(f"answered too late, {TRIES} times", later) from None
        except openai.APIResponseValidationError as error:
            raise self._not_compatible(error) from None
        except openai.APIConnectionError as error:
            self._check_url(error)
            raise _Retry(f"cannot be reached, {TRIES} times", later) from None
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return Refusal(f"{error.status_code}: {self.reason(error)}")
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise Unavailable(
                f"{url}: rejects the key; set the environment variable {self.server.key}"
            ) from None
        except openai.NotFoundError as error:
            raise Unavailable(
                f"{url}: does not serve {self.server.model} ({self.reason(error)}); "
                "see its /v1/models"
            ) from None
        except openai.APIStatusError as error:
            if error.status_code == 402:
                why = f"the account has no credit left ({self.reason(error)})"
                raise Unavailable(f"{url}: {why}") from None
            if wait := retry_after(error.response.headers) or wait_in(error.body):
                self.gate.back_off(start, min(wait, LONGEST_WAIT))
            why = f"status {error.status_code} after {TRIES} tries ({self.reason(error)})"
            raise _Retry(
                why, "what was answered is kept, run again later", waited=wait > 0
            ) from None
        except (ValueError, AttributeError, IndexError, TypeError) as error:
            raise self._not_compatible(error) from None

    def _not_compatible(self, error: Exception) -> "_Retry":
        what = f"its answer is not that of an OpenAI-compatible server ({type(error).__name__})"
        return _Retry(what, "base_url mostly ends in /v1", tries=3)

    def _check_url(self, error: Exception) -> None:
        cause = error.__cause__
        if type(cause).__name__ in ("UnsupportedProtocol", "InvalidURL"):
            raise Unavailable(f"{self.server.base_url}: is no URL of a server: {cause}") from None

    def reason(self, error) -> str:
        """The server's own words, in one line, without the key."""
        body = error.body if isinstance(error.body, dict) else {}
        words = " ".join(str(body.get("message") or error.message).split())
        return hidden(words, self.key)[:200]  # cut last: half a key would not be recognized


class _Retry(Exception):
    """Worth another try. `remedy`: what to do if all questions fail. `tries`: how many such
    problems to accept. `waited`: the gate does the waiting. `unusable`: there was a reply.
    """

    def __init__(
        self,
        reason: str,
        remedy: str,
        tries: int = 100,
        waited: bool = False,
        unusable: bool = False,
    ):
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.tries = tries
        self.waited = waited
        self.unusable = unusable


def complete(
    server: Server,
    prompts: Sequence[str],
    tokens: int,
    answered: Callable[[int, str | Refusal], None],
) -> None:
    """Complete each prompt greedily, by at most `tokens` tokens. `answered`, UserError: as
    `ask_each`.
    """

    async def send(asker: Asker, prompt: str, client) -> Any:
        create = client.completions.with_raw_response.create
        request = create(model=server.model, prompt=prompt, max_tokens=tokens, temperature=0)
        return await asker.in_time(request)

    def read(body) -> str | Refusal:
        choice = body.choices[0]
        ended = finish(choice.finish_reason)
        if ended == "limit":
            return Refusal(f"the answer had not ended after {tokens:,} tokens")
        if ended == "filter":
            return Refusal(f"a content filter stopped the answer ({choice.finish_reason})")
        if ended == "error":
            raise Unusable(f"the server broke off the answer ({choice.finish_reason})")
        text = choice.text.encode("utf-8", "replace").decode()
        return text if text.strip() else Refusal("an empty answer")

    async def ask(asker: Asker, prompt: str) -> str | Refusal:
        return await asker.ask(functools.partial(send, asker, prompt), read)

    ask_each(server, prompts, ask, answered)


def ask_each(
    server: Server,
    questions: Sequence[Q],
    ask: Callable[[Asker, Q], Awaitable[T]],
    answered: Callable[[int, T], None],
) -> None:
    """Puts each question, as many at a time as the server may be asked. `answered` is called with
    the index of a question and what `ask` returns, as soon as that arrives.

    UserError: as `ask`, after the requests under way have ended.
    """
    asyncio.run(_ask_each(server, questions, ask, answered))


async def _ask_each(
    server: Server,
    questions: Sequence[Q],
    ask: Callable[[Asker, Q], Awaitable[T]],
    answered: Callable[[int, T], None],
) -> None:
    jobs = iter(enumerate(questions))
    failures: list[Exception] = []
    async with Asker(server) as asker:

        async def work() -> None:
            for index, question in jobs:
                if failures:
                    return
                try:
                    answered(index, await ask(asker, question))
                except Exception as error:  # raised below, once the other requests have ended
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(server.concurrency, len(questions))):
                group.create_task(work())
    if failures:
        raise failures[0]
