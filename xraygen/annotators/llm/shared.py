"""Asking on a cluster: the workers make the questions and read the replies, and one process asks
for all of them.
"""

from __future__ import annotations

import time

from xraygen.annotators.llm.asking import Answer, Asking, Here, Messages, Sent
from xraygen.annotators.llm.counted import Counted
from xraygen.annotators.llm.exchange import Asked, Replies
from xraygen.annotators.llm.params import LlmParams
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.engines.answers import cache_folder
from xraygen.engines.cluster.shared import Service, Shared, check_key


class ForAll(Service):
    """The one process. It holds the limits, the stored replies and the questions under way, and
    reads the key, which is in its environment or in the project's file .env.

    A worker that is killed has its questions answered and stored all the same. `driver_has_key`:
    whether the key is in the environment of the command that started the run. `run`: its name.
    """

    def __init__(
        self, llm: LlmParams, regions: Regions, run: str, driver_has_key: bool = False
    ) -> None:
        super().__init__()
        self.replies = Replies(llm, regions)
        self._driver_has_key = driver_has_key
        self._here = Here(self.replies)
        self._start = time.monotonic()
        self._counted = Counted(cache_folder() / "counted" / f"{run}.jsonl")

    async def find(self, asked: Asked) -> Answer | None:
        return await self._here.find(asked)

    async def ask(self, asked: Asked, messages: Messages) -> Answer:
        if self._driver_has_key:
            check_key(self.replies.server.key)
            self._driver_has_key = False  # once is enough
        return await self._here.ask(asked, messages)

    async def count(self, key: str, id: str, cost: float) -> bool:
        """Whether a question is counted for this case: the first of the run, whichever worker had
        it, and again when its shard is repeated.
        """
        return self._counted.count(key, id, cost)

    async def usage(self) -> dict[str, float]:
        """As that of the annotator llm, of all workers; called when no shard is missing any more.
        The cost includes that of earlier runs that were stopped.
        """
        self._counted.forget()
        usage: dict[str, float] = dict(self._here.sent()._asdict())
        usage["seconds"] = round(time.monotonic() - self._start, 1)
        if self.replies.price is not None:
            usage["cost_usd"] = round(self._counted.cost, 6)
        return usage

    async def close(self, reason: str) -> None:
        await self._here.stop(UserError(reason))
        await self._here.close()


class Elsewhere(Asking):
    """By that process; this one is a worker's."""

    def __init__(self, shared: Shared, concurrency: int) -> None:
        super().__init__(concurrency)
        self.shared = shared

    async def find(self, asked: Asked) -> Answer | None:
        return await self.shared.ask("find", asked)

    async def ask(self, asked: Asked, messages: Messages) -> Answer:
        return await self.shared.ask("ask", asked, messages)

    def sent(self) -> Sent:
        return Sent()

    async def stop(self, error: BaseException) -> None:
        """Other workers may go on; the driver ends the run."""

    async def close(self) -> None:
        """What has been handed over is not this process's any more."""
