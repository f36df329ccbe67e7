"""The process of a model (worker.py), as the service sees it."""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import signal
import socket
from collections.abc import Callable
from typing import cast

from xraygen.core.errors import UserError
from xraygen.service import worker


class Child(asyncio.Protocol):
    """`received`: called with the kind and the content of each frame after the first. `ended`:
    called once if the process ends by itself. Neither is called after `kill`.
    """

    def __init__(
        self,
        name: str,
        received: Callable[[bytes, bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self.name = name
        self.received = received
        self.ended = ended
        self._buffer = bytearray()
        self._closed = True  # there is no process to kill
        self._transport: asyncio.Transport | None = None

    async def start(self, build: worker.Build) -> None:
        """Returns when the model is loaded. UserError: it cannot be. OSError: there is no room for
        another process.
        """
        loop = asyncio.get_running_loop()
        self._first: asyncio.Future[tuple[bytes, bytes]] = loop.create_future()
        worker.no_core_dumps()
        ours, theirs = socket.socketpair()
        # Not a daemon: those may not start processes, which the judge green does on several GPUs.
        self._process = multiprocessing.get_context("spawn").Process(
            target=worker.run, args=(theirs, build), name=f"xraygen {self.name}"
        )
        with theirs:
            try:
                self._process.start()
            except BaseException:
                ours.close()
                raise
        self._closed = False
        atexit.register(self._process.kill)  # else the interpreter waits for it at its end
        try:
            await loop.create_unix_connection(lambda: self, sock=ours)
            kind, content = await self._first
        except BaseException:
            await self.kill()
            raise
        if kind != worker.READY:
            await self.kill()
            raise UserError(content.decode())

    def send(self, content: bytes) -> None:
        assert self._transport is not None  # nothing is sent before the start
        self._transport.write(worker.HEAD.pack(worker.ITEMS, len(content)) + content)

    async def kill(self) -> str:
        """Ends the process. How it ended, for the log; "" if there was none."""
        if self._closed:
            return ""
        self._closed = True
        if self._transport:
            self._transport.abort()
        self._process.kill()
        await asyncio.to_thread(self._process.join)
        atexit.unregister(self._process.kill)
        code = self._process.exitcode or 0
        self._process.close()
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        size = worker.HEAD.size
        while len(self._buffer) >= size:
            kind, length = worker.HEAD.unpack_from(self._buffer)
            if len(self._buffer) < size + length:
                return
            content = bytes(self._buffer[size : size + length])
            del self._buffer[: size + length]
            if not self._first.done():
                self._first.set_result((kind, content))
            elif not self._closed:
                self.received(kind, content)

    def connection_lost(self, _: Exception | None) -> None:
        if not self._first.done():
            why = "its process ended while it loaded the model; is there not enough memory?"
            self._first.set_exception(UserError(f"{self.name}: {why}"))
        elif not self._closed:
            self.ended()
