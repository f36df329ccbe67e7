"""A model in its own process, as the service sees it: cases that arrive at the same time are put to
it together.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.service import worker
from xraygen.service.options import Options
from xraygen.service.problems import Problem


class _Waiting(NamedTuple):
    item: bytes
    result: asyncio.Future[bytes]


class Model:
    """`build`: loads the model, in its process. `queued`: items that wait or are worked on."""

    def __init__(self, name: str, build: Callable[[], worker.Work], options: Options) -> None:
        self.name, self.build, self.options = name, build, options
        self.ready = False
        self.queued = 0
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task | None = None

    async def start(self) -> None:
        """UserError: the model cannot be loaded."""
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=worker.run, args=(theirs, self.build), daemon=True, name=f"xraygen {self.name}"
        )
        self._process.start()
        theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        said = await self._read()
        if said != worker.READY:
            raise UserError(said.decode())
        self.ready = True
        self._task = asyncio.create_task(self._serve())

    async def ask(self, items: Sequence[bytes]) -> list[bytes]:
        """One result for each item, in order. Problem: the queue is full, or the model has gone or
        takes too long.
        """
        if self.queued + len(items) > self.options.queue:
            raise Problem("queue-full", "Try again later.", retry_after=1)
        self.queued += len(items)
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(item, loop.create_future()) for item in items]
        self._waiting.extend(waiting)
        self._arrived.set()
        try:
            async with asyncio.timeout(self.options.timeout):
                return [await one.result for one in waiting]
        except TimeoutError:
            raise Problem("timed-out", "Send fewer cases at a time.") from None
        finally:
            self.queued -= len(items)

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
        self._writer.close()
        self._process.kill()

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if len(self._waiting) < self.options.batch_size and self.options.batch_window:
                await asyncio.sleep(self.options.batch_window)
            while self._waiting:
                count = min(self.options.batch_size, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                frame = b"\n".join(one.item for one in batch)
                self._writer.write(worker.LENGTH.pack(len(frame)) + frame)
                await self._writer.drain()
                results = (await self._read()).split(b"\n")
                for one, result in zip(batch, results, strict=True):
                    if not one.result.done():
                        one.result.set_result(result)

    async def _read(self) -> bytes:
        head = await self._reader.readexactly(worker.LENGTH.size)
        return await self._reader.readexactly(*worker.LENGTH.unpack(head))
