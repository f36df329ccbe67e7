"""Questions asked one request each, many at a time; the replies come in the order of the cases."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from xraygen.annotators.llm.asking import Answer, Asking
from xraygen.annotators.llm.exchange import Exchange
from xraygen.annotators.llm.questions import Question
from xraygen.core.errors import UserError
from xraygen.core.study import Case

# Questions under way, or waiting for an earlier case's reply, per request at a time.
_AHEAD = 32


class Outcome(NamedTuple):
    """`question`: or why there is nothing to ask. `reply`: or why there is none."""

    case: Case
    question: Question | str
    reply: Answer


class _Pending(NamedTuple):
    case: Case
    question: Question | str
    reply: asyncio.Task[Answer] | str

    def is_done(self) -> bool:
        return not isinstance(self.reply, asyncio.Task) or self.reply.done()


class Direct:
    """Has the questions of an exchange asked."""

    def __init__(self, exchange: Exchange, asking: Asking) -> None:
        self.exchange = exchange
        self.asking = asking

    def outcomes(self, cases: Iterable[Case]) -> Iterator[Outcome]:
        """One for each case, in order. UserError: as Asking.answer; the replies until then are
        stored.
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
                loop.run_until_complete(self.asking.stop(error))
                raise
            finally:
                tasks = [one.reply for one in pending if isinstance(one.reply, asyncio.Task)]
                loop.run_until_complete(self._close(tasks))

    def _begin(
        self, question: Question | str, loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[Answer] | str:
        """The task of asking, or why there is nothing to ask."""
        if isinstance(question, str):
            return question
        messages = partial(self.exchange.questions.messages, question)
        return loop.create_task(self.asking.answer(self.exchange.asked(question), messages))

    async def _close(self, tasks: list[asyncio.Task[Answer]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.asking.close()


def _first(pending: deque[_Pending], loop: asyncio.AbstractEventLoop) -> Outcome:
    """The outcome of the first pending case, which is awaited."""
    case, question, reply = pending.popleft()
    if isinstance(reply, asyncio.Task):
        return Outcome(case, question, loop.run_until_complete(reply))
    return Outcome(case, question, reply)
