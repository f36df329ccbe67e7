"""Questions asked one request each, many at a time; the replies come in the order of the cases."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from xraygen.annotators.llm.exchange import Exchange
from xraygen.annotators.llm.questions import Question
from xraygen.annotators.llm.reply import Failed, Reply, reply_of
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture
from xraygen.core.study import Case
from xraygen.engines.server import Asker, Refusal, Unusable
from xraygen.prompting import conversation

# Questions under way, or waiting for an earlier case's reply, per request at a time.
_AHEAD = 32


class Outcome(NamedTuple):
    """`question`: or why there is nothing to ask. `reply`: or why there is none."""

    case: Case
    question: Question | str
    reply: Reply | Failed | str


class _Pending(NamedTuple):
    case: Case
    question: Question | str
    reply: asyncio.Task | Reply | str

    def is_done(self) -> bool:
        return not isinstance(self.reply, asyncio.Task) or self.reply.done()


class Direct:
    """Asks the questions of an exchange. `requests`, `retries`: sent so far, once `outcomes` has
    ended; `hits`: replies that needed no request.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.requests = 0
        self.retries = 0
        self.hits = 0
        self._asker: Asker | None = None  # made for the first question that has to be asked
        self._under_way: dict[str, asyncio.Task] = {}

    def outcomes(self, cases: Iterable[Case]) -> Iterator[Outcome]:
        """One for each case, in order. UserError: as Asker.ask, or `max_cost_usd` would be
        exceeded; the replies until then are stored.
        """
        pending: deque[_Pending] = deque()
        most = _AHEAD * self.exchange.llm.concurrency
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            try:
                for case in cases:
                    question = self.exchange.question(case)
                    pending.append(_Pending(case, question, self._begin(question, loop)))
                    loop.run_until_complete(asyncio.sleep(0))  # requests under way proceed
                    while len(pending) > most or (pending and pending[0].is_done()):
                        yield _first(pending, loop)
                while pending:
                    yield _first(pending, loop)
            except (UserError, GeneratorExit) as error:
                self._stop(error, loop)
                raise
            finally:
                self._close(pending, loop)

    def _begin(
        self, question: Question | str, loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task | Reply | str:
        """Why there is nothing to ask, the stored reply, or the task of asking."""
        if isinstance(question, str):
            return question
        if question.key in self._under_way:
            self.hits += 1
            return self._under_way[question.key]
        if reply := self.exchange.find(question):
            self.hits += 1
            return reply
        self._asker = self._asker or Asker(self.exchange.server)
        task = loop.create_task(self._ask(question, self._asker))
        self._under_way[question.key] = task
        task.add_done_callback(lambda _: self._under_way.pop(question.key, None))
        return task

    def _stop(self, error: BaseException, loop: asyncio.AbstractEventLoop) -> None:
        """Asks nothing more. What is under way will have to be paid for, so it is awaited."""
        if self._asker:
            self._asker.failure = self._asker.failure or UserError(f"stopped: {error}")
            under_way = [task for task in self._asker.under_way if task]
            loop.run_until_complete(asyncio.gather(*under_way, return_exceptions=True))

    def _close(self, pending: Iterable[_Pending], loop: asyncio.AbstractEventLoop) -> None:
        tasks = [one.reply for one in pending if isinstance(one.reply, asyncio.Task)]
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        if self._asker:
            loop.run_until_complete(self._asker.client.close())
            self.requests += self._asker.requests
            self.retries += self._asker.retries
            self._asker = None  # it belongs to this loop

    async def _ask(self, question: Question, asker: Asker) -> Reply | Failed | str | None:
        """The reply, or why there is none."""
        last: Reply | None = None

        def read(body) -> Reply:
            nonlocal last
            last = reply_of(body, asker.key).after(last)
            if problem := last.problem(self.exchange.names):
                raise Unusable(problem)
            return last

        async with asker.slots:
            try:
                messages = self.exchange.questions.messages(question)
            except UnreadablePicture as error:
                return conversation.PictureProblem(error)
            exchange = self.exchange
            tokens_in = exchange.expected(question)
            views = exchange.views(question)
            result = await asker.ask(
                lambda client: exchange.chat.send(
                    asker, client, messages, question.key, tokens_in, views
                ),
                read,
            )
        if isinstance(result, Refusal) and not result.unusable:
            before = self.exchange.paid(question.key)
            paid = last.after(before) if last else before
            return Failed(result.reason, paid) if paid else result.reason
        assert last is not None  # else there would be nothing unusable
        self.exchange.keep(question.key, question.case.id, last)
        return self.exchange.find(question)


def _first(pending: deque[_Pending], loop: asyncio.AbstractEventLoop) -> Outcome:
    """The outcome of the first pending case, which is awaited."""
    case, question, reply = pending.popleft()
    if isinstance(reply, asyncio.Task):
        reply = loop.run_until_complete(reply)
    return Outcome(case, question, reply)
