"""Questions to an OpenAI-compatible server: as many at a time as it bears, with time-outs and
retries.

The number of requests under way grows by one for as many successes as are under way, and is halved
after a refusal for being too many or a time-out (additive increase, multiplicative decrease, as in
TCP: Chiu and Jain, 1989).
"""

import asyncio
import os
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import HttpUrl, ValidationError

from xraygen.core.errors import UserError
from xraygen.engines.answers import project_folder
from xraygen.engines.server_errors import (
    body_of,
    error_in,
    finish,
    retry_after,
    status_error,
    used_up,
    wait_in,
)

# of one question: where a fifth of all requests fail, one question in 400,000 stays without an
# answer
TRIES = 8
UNUSABLE_TRIES = 4  # of one that gets answers that are none: mostly the same comes again
LONGEST_WAIT = 600.0  # seconds that a server may ask for; a longer wait ends the run
T = TypeVar("T")


class Server(NamedTuple):
    """`key`: the environment variable that holds the key, for servers that want one. `concurrency`:
    requests at a time, at most. `timeout`: seconds, of one request.
    """

    base_url: str
    model: str
    key: str
    concurrency: int
    timeout: float = 300.0


def no_password(url: str) -> str:
    """For params: a URL of a server. ValueError, without the URL: it is none, or has a place for a
    key or a password.
    """
    try:
        parts = HttpUrl(url)
    except ValidationError as error:
        raise ValueError(f"is no URL of a server: {error.errors()[0]['msg']}") from None
    if parts.username or parts.password or parts.query is not None or parts.fragment is not None:
        raise ValueError(
            "keys and passwords stand in the environment, not in a URL; leave out all before @ and from ? or # on"
        )
    return url


class Refusal(NamedTuple):
    """The server will not answer this question, however often it is asked. `unusable`: the last
    that came was an Unusable.
    """

    reason: str
    unusable: bool = False


class Unusable(Exception):
    """An answer that came and is none; asked again, another may come."""


def secret(name: str) -> str:
    """A key from the environment, or else from the project's file .env, which git ignores; "" where
    there is none.
    """
    from dotenv import dotenv_values

    file = project_folder() / ".env"
    try:
        key = (
            os.environ.get(name)
            or (dotenv_values(file).get(name) if file.is_file() else None)
            or ""
        ).strip()
    except (OSError, UnicodeDecodeError) as error:  # which may show what is in the file
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(
            f"{file}: cannot be read: {why}; save it as UTF-8, or set the environment variable {name}"
        ) from None
    if not (key.isascii() and (key.isprintable() or not key)):
        raise UserError(
            f"the environment variable {name} holds no key: it has characters that no key has"
        )
    return key


def client_library():
    """The module openai. UserError: it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise UserError(
            f"asking a server needs one more package ({error}); install it with `pip install -e '.[llm]'`"
        ) from None
    return openai


def hidden(text: str, key: str) -> str:
    """The text without the key, which a server may repeat. So short a one as "none" or "EMPTY" is
    no secret, and may be a word.
    """
    return text.replace(key, "[key]") if len(key) > 5 else text


class Asker:
    """Asks one server, as an asynchronous context. `requests` and `retries` count what was sent and
    what of it was sent again. `places` are for those who ask many questions at once, so that where
    all fail, few are tried before the first gives up.
    """

    def __init__(self, server: Server):
        self.server, self.requests, self.retries, self.answered = server, 0, 0, 0
        self.failure: UserError | None = None  # after which nothing more is asked
        self.under_way: set[asyncio.Task] = set()
        self.key = secret(server.key)
        self.client = client_library().AsyncOpenAI(
            base_url=server.base_url,
            api_key=self.key or "none",
            timeout=server.timeout,
            max_retries=0,
        )
        self.gate = Gate(server.concurrency)
        self.places = asyncio.Semaphore(2 * server.concurrency)

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(self, *_) -> None:
        await self.client.close()

    async def ask(
        self, send: Callable[[Any], Awaitable[Any]], read: Callable[[Any], T]
    ) -> T | Refusal:
        """What `read` makes of the answer. `send` is given the client and returns its raw response,
        `read` is given the parsed one and raises Unusable where it should be asked again.

        UserError: the server cannot be reached, rejects the key, has no such model, or is down for
        all.
        """
        answered, problems = self.answered, Counter()
        for attempt in range(1, TRIES + 1):
            await self.gate.enter()
            self.under_way.add(asyncio.current_task())
            try:
                if self.failure:
                    raise self.failure
                made = await self._try(send, read)
            except _Again as again:
                if self.failure:
                    raise self.failure from None
                problem = again
            except UserError as error:
                self.failure = error
                raise
            else:
                self.answered += 1
                return made
            finally:
                self.under_way.discard(asyncio.current_task())
                self.gate.leave()
            problems[problem.tries] += 1
            if attempt == TRIES or problems[problem.tries] == problem.tries:
                break
            self.retries += 1
            await asyncio.sleep(
                0 if problem.waited else random.uniform(0.5, 1) * 0.5 * 2 ** (attempt - 1)
            )
        few = problem.tries < TRIES  # nobody else may have been answered meanwhile
        if not problem.remedy or self.answered > (0 if few else answered):
            return Refusal(problem.reason, problem.unusable)
        self.failure = UserError(f"{self.server.base_url}: {problem.reason}; {problem.remedy}")
        raise self.failure

    async def opening(self) -> None:
        """For who has passed the gate and then waited for something else: it may have shut
        again.
        """
        while not self.failure and (closed := self.gate.opens - time.monotonic()) > 0:
            await asyncio.sleep(min(1.0, closed))

    async def in_time(self, request: Awaitable[T]) -> T:
        """For `send`, around the request alone: the client's own time-out is between two bytes."""
        self.requests += 1
        async with asyncio.timeout(self.server.timeout):
            raw = await request
        if told := error_in(body_of(raw)):
            raise status_error(raw.http_response, *told)
        return raw

    async def _try(self, send: Callable, read: Callable[[Any], T]) -> T | Refusal:
        import openai

        start = time.monotonic()
        url, later = self.server.base_url, "what was answered is kept, run again when it is up"
        try:
            raw = await send(self.client)
            body = raw.parse()
            self.gate.went_well(raw.headers)
            return read(body)
        except Unusable as unusable:
            raise _Again(str(unusable), "", tries=UNUSABLE_TRIES, unusable=True) from None
        except openai.RateLimitError as error:
            if "quota" in f"{error.code} {error.type}":
                raise UserError(
                    f"{url}: the account has no quota left ({self.reason(error)})"
                ) from None
            headers = error.response.headers
            wait = retry_after(headers) or used_up(headers) or wait_in(error.body)
            if wait > LONGEST_WAIT:
                raise UserError(
                    f"{url}: asks to wait {wait:,.0f} seconds; what was answered is kept, run again then"
                ) from None
            self.gate.back_off(start, wait)
            why = f"status 429 after {TRIES} tries ({self.reason(error)})"
            raise _Again(
                why, "what was answered is kept, run again later", waited=wait > 0
            ) from None
        except (openai.APITimeoutError, TimeoutError):
            self.gate.back_off(start)
            raise _Again(f"answered too late, {TRIES} times", later) from None
        except openai.APIResponseValidationError as error:
            raise self._nonsense(error) from None
        except openai.APIConnectionError as error:
            self._check_url(error)
            raise _Again(f"cannot be reached, {TRIES} times", later) from None
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return Refusal(f"{error.status_code}: {self.reason(error)}")
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise UserError(
                f"{url}: rejects the key; set the environment variable {self.server.key}"
            ) from None
        except openai.NotFoundError as error:
            raise UserError(
                f"{url}: does not serve {self.server.model} ({self.reason(error)}); see its /v1/models"
            ) from None
        except openai.APIStatusError as error:
            if error.status_code == 402:
                why = f"the account has no credit left ({self.reason(error)})"
                raise UserError(f"{url}: {why}") from None
            if wait := retry_after(error.response.headers) or wait_in(error.body):
                self.gate.back_off(start, min(wait, LONGEST_WAIT))
            why = f"status {error.status_code} after {TRIES} tries ({self.reason(error)})"
            raise _Again(
                why, "what was answered is kept, run again later", waited=wait > 0
            ) from None
        except (ValueError, AttributeError, IndexError, TypeError) as error:
            raise self._nonsense(error) from None

    def _nonsense(self, error: Exception) -> "_Again":
        what = f"its answer is not that of an OpenAI-compatible server ({type(error).__name__})"
        return _Again(what, "base_url mostly ends in /v1", tries=3)

    def _check_url(self, error: Exception) -> None:
        cause = error.__cause__
        if type(cause).__name__ in ("UnsupportedProtocol", "InvalidURL"):
            raise UserError(f"{self.server.base_url}: is no URL of a server: {cause}") from None

    def reason(self, error) -> str:
        """The server's own words, in one line, without the key."""
        body = error.body if isinstance(error.body, dict) else {}
        return hidden(" ".join(str(body.get("message") or error.message).split()), self.key)[
            :200
        ]  # half a key would not be found


class _Again(Exception):
    """Worth another try: why, what to do where all fail, after how many such problems to give up,
    whether the gate has done the waiting, and whether an answer came that is none.
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
        self.reason, self.remedy, self.tries, self.waited, self.unusable = (
            reason,
            remedy,
            tries,
            waited,
            unusable,
        )


class Gate:
    """How many requests may be under way, `most` at most."""

    def __init__(self, most: int):
        self.most, self.allowed, self.under_way = most, float(most), 0
        self.opens = self.halved = 0.0  # by time.monotonic
        self._waiting: deque[asyncio.Future] = deque()

    async def enter(self) -> None:
        while True:
            if (closed := self.opens - time.monotonic()) > 0:
                await asyncio.sleep(closed)
            elif self.under_way < int(self.allowed):
                self.under_way += 1
                return
            else:
                self._waiting.append(asyncio.get_running_loop().create_future())
                await self._waiting[-1]

    def leave(self) -> None:
        self.under_way -= 1
        free = int(self.allowed) - self.under_way
        while self._waiting and free > 0:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                free -= 1

    def went_well(self, headers) -> None:
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)
        if wait := used_up(headers):
            self.opens = max(self.opens, time.monotonic() + min(LONGEST_WAIT, wait))

    def back_off(self, started: float, seconds: float = 0.0) -> None:
        """Once for all requests that were under way together."""
        now = time.monotonic()
        self.opens = max(self.opens, now + seconds)
        if started >= self.halved:
            self.allowed, self.halved = max(1.0, self.allowed / 2), now


def complete(
    server: Server,
    prompts: Sequence[str],
    tokens: int,
    answered: Callable[[int, str | Refusal], None],
) -> None:
    """`answered` is called with a prompt's index and the text that follows it, greedy and of at
    most so many tokens, as soon as that has arrived.

    UserError: as `Asker.ask`. What is under way then is waited for first.
    """
    asyncio.run(_complete(server, prompts, tokens, answered))


async def _complete(
    server: Server,
    prompts: Sequence[str],
    tokens: int,
    answered: Callable[[int, str | Refusal], None],
) -> None:
    jobs = iter(enumerate(prompts))
    failures: list[Exception] = []

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

    async with Asker(server) as asker:

        async def work() -> None:
            for index, prompt in jobs:
                if failures:
                    return
                try:
                    sent = {
                        "model": server.model,
                        "prompt": prompt,
                        "max_tokens": tokens,
                        "temperature": 0,
                    }
                    answer = await asker.ask(
                        lambda client: asker.in_time(
                            client.completions.with_raw_response.create(**sent)
                        ),
                        read,
                    )
                    answered(index, answer)
                except (
                    Exception
                ) as error:  # raised below, when the other requests under way have been answered
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(server.concurrency, len(prompts))):
                group.create_task(work())
    if failures:
        raise failures[0]
