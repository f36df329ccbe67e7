"""Where a direct question is answered: by this process, or on a cluster by one for all workers."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from xraygen.annotators.llm.exchange import Asked, Replies
from xraygen.annotators.llm.reply import Failed, Reply, reply_of
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture
from xraygen.engines.server import Asker, Refusal, Unusable
from xraygen.prompting import conversation

Messages = list[dict]
Answer = Reply | Failed | str  # a str: why there is no reply


class Sent(NamedTuple):
    """Requests, those of them that were repeated, and replies that needed none."""

    requests: int = 0
    retries: int = 0
    cache_hits: int = 0


class Asking(ABC):
    """Answers questions, for one event loop."""

    def __init__(self, concurrency: int) -> None:
        # Messages may hold pictures, so few are made before they can be sent.
        self._slots = asyncio.Semaphore(2 * concurrency)

    async def answer(self, asked: Asked, messages: Callable[[], Messages]) -> Answer:
        """`messages`: makes the question; called only if it has to be asked. UserError: as
        Asker.ask, or `max_cost_usd` would be exceeded.
        """
        if answer := await self.find(asked):
            return answer
        async with self._slots:
            try:
                made = messages()
            except UnreadablePicture as error:
                return conversation.PictureProblem(error)
            return await self.ask(asked, made)

    @abstractmethod
    async def find(self, asked: Asked) -> Answer | None:
        """The answer that is stored or under way."""

    @abstractmethod
    async def ask(self, asked: Asked, messages: Messages) -> Answer:
        """The same, or else the server's."""

    @abstractmethod
    def sent(self) -> Sent:
        """So far, by this process."""

    @abstractmethod
    async def stop(self, error: BaseException) -> None:
        """Asks nothing more. What is under way will have to be paid for, so it is awaited."""

    @abstractmethod
    async def close(self) -> None:
        """Ends what has not been sent."""


class Here(Asking):
    """By this process: each question once at a time, its reply stored as it arrives."""

    def __init__(self, replies: Replies) -> None:
        super().__init__(replies.server.concurrency)
        self.replies = replies
        self._hits = 0
        self._asker: Asker | None = None  # made for the first question that has to be asked
        self._under_way: dict[str, asyncio.Task[Answer]] = {}

    async def find(self, asked: Asked) -> Answer | None:
        if task := self._under_way.get(asked.key):
            self._hits += 1
            return await asyncio.shield(task)
        if reply := self.replies.found(asked):
            self._hits += 1
        return reply

    async def ask(self, asked: Asked, messages: Messages) -> Answer:
        if answer := await self.find(asked):  # another one has asked in the meantime
            return answer
        self._asker = self._asker or Asker(self.replies.server)
        task = asyncio.create_task(self._put(asked, messages, self._asker))
        self._under_way[asked.key] = task
        task.add_done_callback(lambda _: self._ended(asked.key, task))
        return await asyncio.shield(task)

    def _ended(self, key: str, task: asyncio.Task) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # looked at here, as nobody may be waiting for it any more

    async def _put(self, asked: Asked, messages: Messages, asker: Asker) -> Answer:
        replies = self.replies
        last: Reply | None = None

        def read(body) -> Reply:
            nonlocal last
            last = reply_of(body, asker.key).after(last)
            if problem := last.problem(replies.names):
                raise Unusable(problem)
            return last

        async with asker.slots:
            result = await asker.ask(
                lambda client: replies.chat.send(
                    asker, client, messages, asked.key, asked.tokens_in, asked.views
                ),
                read,
            )
        if isinstance(result, Refusal) and not result.unusable:
            before = replies.paid(asked.key)
            paid = last.after(before) if last else before
            return Failed(result.reason, paid) if paid else result.reason
        assert last is not None  # else there would be nothing unusable
        replies.keep(asked.key, asked.id, last)
        kept = replies.found(asked)
        assert kept is not None  # it has just been stored
        return kept

    def sent(self) -> Sent:
        if self._asker is None:
            return Sent(cache_hits=self._hits)
        return Sent(self._asker.requests, self._asker.retries, self._hits)

    async def stop(self, error: BaseException) -> None:
        if self._asker:
            self._asker.failure = self._asker.failure or UserError(f"stopped: {error}")
            await asyncio.gather(*self._asker.under_way, return_exceptions=True)

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._asker:
            await self._asker.client.close()
