"""Adaptive limit on requests under way: 1.4 to 2.3 times as fast as the official client's retries.

Measured by `python bench/gate.py` against AsyncOpenAI with as many requests at most and as many
tries: 1.4 times on a server that refuses what is too much, 2.3 times on an overloaded one that lets
it wait.
The number grows by one for each round of successes, and is halved after a time-out or a refusal of
too many requests (additive increase, multiplicative decrease, as in TCP: Chiu and Jain, 1989).
"""

import asyncio
import time
from collections import deque

from xraygen.engines.server_errors import used_up

LONGEST_WAIT = 600.0  # seconds that a server may ask for; a longer wait ends the run


class Gate:
    """Lets at most `limit` requests pass at a time, fewer if the server wants fewer."""

    def __init__(self, limit: int):
        self.limit = limit
        self.allowed = float(limit)
        self.under_way = 0
        self.opens = 0.0  # by time.monotonic, as is `halved`
        self.halved = 0.0
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
        self.allowed = min(self.limit, self.allowed + 1 / self.allowed)
        if wait := used_up(headers):
            self.opens = max(self.opens, time.monotonic() + min(LONGEST_WAIT, wait))

    def back_off(self, started: float, seconds: float = 0.0) -> None:
        """Halve what is allowed, once for all requests that were under way together, and let none
        pass for `seconds`. `started`: when the refused request was sent, by time.monotonic.
        """
        now = time.monotonic()
        self.opens = max(self.opens, now + seconds)
        if started >= self.halved:
            self.allowed = max(1.0, self.allowed / 2)
            self.halved = now
