"""The bodies of requests, with limits on their size, on the time they take and on all of them
together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from xraygen.service.options import Options
from xraygen.service.problems import Problem

# Bytes a second. A body gets `body_timeout` and what it takes at this rate.
MIN_RATE = 100_000


class Bodies:
    """`held`: bytes of all bodies that are being read or worked on."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.held = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held until the context ends. Problem: it is too large or too
        slow, or too many are held. ClientDisconnect: there is nobody to answer.
        """
        allowed = self.options.max_body
        if int(request.headers.get("content-length", 0)) > allowed:
            raise Problem("body-too-large", f"At most {allowed} bytes.")
        received = bytearray()
        size = 0
        start = asyncio.get_running_loop().time() + self.options.body_timeout
        try:
            try:
                async with asyncio.timeout_at(start) as limit:
                    async for piece in request.stream():
                        if len(received) + len(piece) > allowed:
                            raise Problem("body-too-large", f"At most {allowed} bytes.")
                        if self.held + len(piece) > self.options.max_bodies:
                            raise Problem("busy", "Try again later.", retry_after=1)
                        self.held += len(piece)
                        received += piece
                        limit.reschedule(start + len(received) / MIN_RATE)
            except TimeoutError:
                raise Problem("request-timed-out", "The body did not arrive in time.") from None
            size = len(received)
            body = bytes(received)
            received.clear()
            yield body
        finally:
            self.held -= size or len(received)

    def hold(self, added: int) -> None:
        """Counts bytes that a stream holds as well; negative: it no longer does. Problem: too many
        are held.
        """
        self.held += added
        if added > 0 and self.held > self.options.max_bodies:
            raise Problem("busy", "Try again later.", retry_after=1)

    async def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """The body as it arrives, of any size, for a response that starts before its end. Problem:
        nothing arrives for `timeout` seconds. ClientDisconnect: there is nobody to answer.
        """
        stream = request.stream()
        while True:
            try:
                async with asyncio.timeout(self.options.timeout):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Problem("request-timed-out", "The body did not arrive in time.") from None
            if piece:
                yield piece
