"""A model in its own process, as the service sees it: cases that arrive at the same time are put to
it together. If the process dies or hangs, it is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.service import logs, worker
from xraygen.service.child import Child
from xraygen.service.metrics import measured
from xraygen.service.options import Options
from xraygen.service.problems import Problem

_AHEAD = 2  # batches with the process at most, the second only if it is full or both are quick
_QUICK = 0.02  # seconds: a batch that takes no longer may have ended before the event loop looks
_ENOUGH = 8  # cases in a quick batch that is sent ahead
# Bytes of a batch at most, unless it is a single item: 64 cases of 50,000 characters take the
# router half a minute and 600 MiB. 64 usual reports have 50,000 bytes.
_MOST_BYTES = 200_000
_PATIENCE = 0.1  # an idle model waits for more cases at most this share of the time of a batch
_SMOOTHING = 0.2  # of the mean seconds per case
_LONGEST_RETRY = 120
_WITHOUT_SERVER = 60  # Retry-After where the server that a model asks does not answer


class _Request:
    """Items that came together. `taken`: how many have been given to the process."""

    def __init__(self, items: Sequence[bytes], answered: asyncio.Future[list[bytes]]) -> None:
        self.items = items
        self.answered = answered
        self.taken = 0
        self.missing = len(items)
        self.results = [b""] * len(items)
        self.asked = self.begun = time.monotonic()  # begun: when the last item was given

    def answer(self, start: int, results: list[bytes]) -> None:
        self.results[start : start + len(results)] = results
        self.missing -= len(results)
        if not self.missing and not self.answered.done():
            self.answered.set_result(self.results)

    def fail(self, problem: Problem) -> None:
        if not self.answered.done():
            self.answered.set_exception(problem)


class _Part(NamedTuple):
    """The items of a request that are in a batch."""

    request: _Request
    start: int
    end: int


class _Batch(NamedTuple):
    parts: list[_Part]
    size: int
    sent: float  # by the loop's clock


class Model:
    """`name`: for messages and the log. `build`: loads the model, in its process. `ready`: whether
    it is loaded. `queued`: items that wait or are with the process. `reloads`: tried since the
    start.
    """

    def __init__(self, name: str, build: worker.Build, options: Options) -> None:
        self.name, self.build, self.options = name, build, options
        self.ready = False
        self.reloads = 0
        self._waiting: deque[_Request] = deque()
        self._unsent = 0  # their items that are not with the process
        self._sent: deque[_Batch] = deque()
        self._freed = asyncio.Event()
        self._next: asyncio.Handle | None = None  # the call of `_give`
        self._watch: asyncio.TimerHandle | None = None
        self._task: asyncio.Task | None = None
        self._child: Child | None = None
        self._answered = 0.0  # when the last batch was, by the loop's clock
        self._last: tuple[int, float] = (0, 0.0)  # its size, and the seconds that it took
        self._seconds_per_item = 0.0
        self._seconds_to_load = 0.0
        self._available = 0.0  # when a model that is being loaded may be there
        self._last_reload = -math.inf

    @property
    def queued(self) -> int:
        return self._unsent + sum(batch.size for batch in self._sent)

    async def start(self) -> None:
        """UserError: the model cannot be loaded."""
        started = time.monotonic()
        child = Child(self.name, self._received, self._ended)
        self._child = child
        await child.start(self.build)
        self._seconds_to_load = time.monotonic() - started
        self.ready = True
        self._freed.set()

    async def close(self) -> None:
        """Ends the process. What was asked is not answered."""
        self.ready = False
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._give_up()
        if self._child:
            await self._child.kill()

    async def ask(self, items: Sequence[bytes]) -> list[bytes]:
        """One result for each item, in order. Problem: the queue is full, the model has gone, or an
        item was not begun in time.
        """
        if not self.ready:
            raise self._unavailable()
        if not self._has_room(len(items), self.options.queue):
            seconds = self.queued * self._seconds_per_item
            raise Problem("queue-full", "Send it again later.", _whole_seconds(seconds))
        loop = asyncio.get_running_loop()
        request = _Request(items, loop.create_future())
        self._waiting.append(request)
        self._unsent += len(items)
        self._schedule()
        timer = loop.call_later(self.options.timeout, self._too_late, request)
        try:
            results = await request.answered
            measured().took(request.begun - request.asked, time.monotonic() - request.begun)
            return results
        finally:
            timer.cancel()
            self._forget(request)

    async def ask_patiently(self, items: Sequence[bytes]) -> list[bytes]:
        """As `ask`, but waits, for at most `timeout`, until a model that is being loaded is there
        and half of the queue is free: the other half is left to those that do not wait.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.timeout):
                while not (self.ready and self._has_room(len(items), self.options.queue // 2)):
                    self._freed.clear()
                    await self._freed.wait()
        return await self.ask(items)

    def _has_room(self, count: int, limit: int) -> bool:
        """A request for which an empty queue is too small would never be answered."""
        return self.queued + count <= limit or not self.queued

    def _schedule(self) -> None:
        """Calls `_give` when the process should get its next batch, if it should."""
        full = self._unsent >= self.options.batch_size
        ahead = full or (self._unsent >= _ENOUGH and self._last[1] < _QUICK)
        if not self.ready or len(self._sent) >= (_AHEAD if ahead else 1):
            return
        wait = 0.0 if full else self._window()
        if self._next is not None:
            if wait:
                return
            self._next.cancel()
        loop = asyncio.get_running_loop()
        # Not at once: others that have arrived as well are about to ask, too.
        self._next = loop.call_later(wait, self._give) if wait else loop.call_soon(self._give)

    def _window(self) -> float:
        """How long to wait for more items. If there was one at a time, there will be no others."""
        size, seconds = self._last
        window = min(self.options.batch_window, _PATIENCE * seconds)
        return window if size > 1 and window >= 0.001 else 0.0

    def _give(self) -> None:
        """Gives the process its next batch."""
        if self._next is not None:  # this may be called before it is due
            self._next.cancel()
            self._next = None
        if not self._unsent or not self.ready or self._child is None:
            return
        loop = asyncio.get_running_loop()
        parts = self._take()
        size = sum(part.end - part.start for part in parts)
        self._unsent -= size
        lines = [line for part in parts for line in part.request.items[part.start : part.end]]
        self._child.send(b"\n".join(lines))
        self._sent.append(_Batch(parts, size, loop.time()))
        if len(self._sent) == 1:
            self._watch = loop.call_later(self.options.timeout, self._hung)
        self._schedule()

    def _take(self) -> list[_Part]:
        """The items of the next batch: of each request in turn the same share, until it is full."""
        room, space = self.options.batch_size, _MOST_BYTES
        share, share_of_space = max(1, room // len(self._waiting)), space // len(self._waiting)
        parts: list[_Part] = []
        while room and self._waiting:
            request = self._waiting[0]
            start = request.taken
            items = request.items[start : start + min(share, room)]
            if parts and len(items[0]) > space:
                break
            count, size = _fitting(items, min(share_of_space, space))
            request.taken = start + count
            request.begun = time.monotonic()
            room -= count
            space -= size
            parts.append(_Part(request, start, request.taken))
            self._waiting.popleft()
            if request.taken < len(request.items):
                self._waiting.append(request)
        return parts

    def _received(self, kind: bytes, content: bytes) -> None:
        if kind == worker.LOG:
            logs.event("model-raised", model=self.name, **json.loads(content))
            return
        if not self._sent:  # the process has been given up, and is about to be killed
            return
        loop = asyncio.get_running_loop()
        batch = self._sent.popleft()
        now = loop.time()
        seconds = now - max(batch.sent, self._answered)
        self._answered = now
        self._last = (batch.size, seconds)
        per_item = seconds / batch.size
        before = self._seconds_per_item or per_item
        self._seconds_per_item = before + _SMOOTHING * (per_item - before)
        self._stop_watch()
        if self._sent:
            self._watch = loop.call_later(self.options.timeout, self._hung)
        elif self._unsent and not self._window():
            self._give()  # before the answers are sent, so that the process does not wait for that
        if kind == worker.RESULTS:
            results = content.split(b"\n")
            at = 0
            for request, start, end in batch.parts:
                request.answer(start, results[at : at + end - start])
                at += end - start
        else:
            detail = "What the model depends on is not available. Send it again later."
            for request, _, _ in batch.parts:
                request.fail(Problem("model-unavailable", detail, _WITHOUT_SERVER))
        self._freed.set()
        self._schedule()

    def _stop_watch(self) -> None:
        if self._watch:
            self._watch.cancel()
            self._watch = None

    def _too_late(self, request: _Request) -> None:
        """Items that the process has begun are answered, or `_hung` fails them."""
        if request.taken < len(request.items):
            request.fail(Problem("timed-out", "Send fewer cases at a time."))

    def _forget(self, request: _Request) -> None:
        """Nobody waits any more for what is not with the process."""
        if request.taken < len(request.items) and request in self._waiting:
            self._waiting.remove(request)
            self._unsent -= len(request.items) - request.taken

    def _hung(self) -> None:
        logs.event("model-hung", model=self.name, seconds=self.options.timeout)
        self._ended()

    def _ended(self) -> None:
        """The process has ended, or is to be ended."""
        self.ready = False
        wait = max(0.0, self._last_reload + self.options.reload_interval - time.monotonic())
        self._available = time.monotonic() + wait + self._seconds_to_load
        self._give_up()
        self._task = asyncio.create_task(self._reload())

    def _give_up(self) -> None:
        """Fails all that was asked."""
        self._stop_watch()
        if self._next:
            self._next.cancel()
            self._next = None
        requests = [*self._waiting, *(part.request for batch in self._sent for part in batch.parts)]
        self._waiting.clear()
        self._sent.clear()
        self._unsent = 0
        for request in requests:
            request.taken = len(request.items)
            request.fail(self._unavailable())

    async def _reload(self) -> None:
        """At once, and after that at most once in `reload_interval`."""
        if self._child:
            how = await self._child.kill()
            self._child = None
            logs.event("model-died", model=self.name, how=how)
        while not self.ready:
            wait = self._last_reload + self.options.reload_interval - time.monotonic()
            await asyncio.sleep(max(0.0, wait))
            self._last_reload = time.monotonic()
            self.reloads += 1
            self._available = self._last_reload + self._seconds_to_load
            try:
                await self.start()
            except UserError as error:  # of the model's files: nothing was asked yet
                logs.event("reload-failed", model=self.name, reason=str(error))
            except OSError as error:  # no process, descriptor or memory is left
                logs.event("reload-failed", model=self.name, reason=type(error).__name__)
            else:
                logs.event("reload", model=self.name, number=self.reloads)

    def _unavailable(self) -> Problem:
        seconds = self._available - time.monotonic()
        detail = "The model is being loaded. Send it again later."
        return Problem("model-unavailable", detail, _whole_seconds(seconds))


def _fitting(items: Sequence[bytes], most: int) -> tuple[int, int]:
    """How many of the items have at most that many bytes together, and how many they have; always
    one item.
    """
    size = len(items[0])
    count = 1
    while count < len(items) and size + len(items[count]) <= most:
        size += len(items[count])
        count += 1
    return count, size


def _whole_seconds(seconds: float) -> int:
    """For Retry-After."""
    return min(max(1, math.ceil(seconds)), _LONGEST_RETRY)
