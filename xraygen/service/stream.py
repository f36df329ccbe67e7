"""POST /v1/annotations:stream: a case a line in, an annotation a line out, both at the same time.

Lines are read in blocks, of which a few are on their way through the model at any time. While a
client does not read, or a model is slow or reloaded, no more blocks are read, so that memory stays
flat whatever the number of lines.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from xraygen.service.bodies import MIN_RATE
from xraygen.service.intake import Failed
from xraygen.service.loaded import Loaded
from xraygen.service.metrics import measured
from xraygen.service.model import Model
from xraygen.service.problems import Problem
from xraygen.service.schemas import failed_case

NDJSON = "application/x-ndjson"

BLOCKS = 3  # of a stream, that are worked on or wait to be sent
BLOCK_BYTES = 2**20  # a block has at most one line that ends beyond this


class Line(NamedTuple):
    """`number`: from 1, blank lines counted. `content`: None = too long, and not kept."""

    number: int
    content: bytes | None


class Block(NamedTuple):
    """`size`: bytes of its lines."""

    answer: asyncio.Task[bytes]
    size: int = 0


Results = asyncio.Queue[Block | None]


class Splitter:
    """Lines out of the pieces of a body. `limit`: bytes of a line."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.number = 1  # of the line that is being read
        self._pieces: list[bytes] = []
        self._size = 0

    def held(self) -> int:
        """Bytes of the line that is being read."""
        return sum(map(len, self._pieces))

    def lines(self, piece: bytes) -> Iterator[Line]:
        """Those that end in this piece, without blank ones."""
        *ended, rest = piece.split(b"\n")
        for end in ended:
            self._add(end)
            yield from self.last()
            self.number += 1
        self._add(rest)

    def last(self) -> Iterator[Line]:
        """The line so far, which need not end with a line break."""
        content = b"".join(self._pieces)
        if self._size > self.limit:
            yield Line(self.number, None)
        elif content and not content.isspace():
            yield Line(self.number, content)
        self._pieces.clear()
        self._size = 0

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self.limit:
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)


def blocks(lines: Iterator[Line], count: int) -> Iterator[list[Line]]:
    """At most `count` lines and not much more than BLOCK_BYTES each."""
    block: list[Line] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line.content or b"")
        if len(block) == count or size > BLOCK_BYTES:
            yield block
            block = []
            size = 0
    if block:
        yield block


class Annotating(Response):
    """The response. The line that says why a stream ends early has the number of the first line
    that was not read.
    """

    def __init__(self, request: Request, model: Model, loaded: Loaded) -> None:
        self.request, self.model, self.loaded = request, model, loaded
        self.options = loaded.options
        self.splitter = Splitter(self.options.max_body)
        self._held = 0  # bytes that count among those of all bodies
        self._unended = 0  # of them, those of the line that is being read
        self._began = 0.0  # when that line did
        self._in_flight = 0  # bytes of the blocks that are worked on or wait to be sent
        self._freed = asyncio.Event()  # by a block that has been sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A client that goes away cancels everything that is on its way."""
        results: Results = asyncio.Queue(BLOCKS - 1)
        head = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", NDJSON.encode())],
        }
        with _until_disconnect(), self._held_until_the_end():
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(group, results))
                await asyncio.sleep(0)  # reading sends 100 Continue, if the client waits for it
                await send(head)
                while block := await results.get():
                    await send(_body(await block.answer))
                    self._hold(-block.size)
                    self._in_flight -= block.size
                    self._freed.set()
            await send(_body(b"", more=False))

    async def _read(self, group: asyncio.TaskGroup, results: asyncio.Queue) -> None:
        try:
            async for piece in self._pieces():
                for block in blocks(self.splitter.lines(piece), self.options.batch_size):
                    size = sum(len(line.content or b"") for line in block)
                    await self._room(size)
                    self._hold(size - self._unended)
                    self._unended = 0
                    self._in_flight += size
                    answer = group.create_task(self._annotated(block))
                    await results.put(Block(answer, size))
                self._check_unended()
            for block in blocks(self.splitter.last(), 1):
                await results.put(Block(group.create_task(self._annotated(block))))
        except Problem as problem:
            end = self._failed(Failed(None, problem), Line(self.splitter.number, None))
            await results.put(Block(group.create_task(_value(end + b"\n"))))
        await results.put(None)

    def _check_unended(self) -> None:
        """Problem: too many bytes are held, or a line does not end, which would hold them for
        ever.
        """
        size = self.splitter.held()
        before = self._unended
        self._hold(size - before)
        self._unended = size
        now = asyncio.get_running_loop().time()
        if not before:  # a line begins, however long ago the last one ended
            self._began = now
        if size and now > self._began + self.options.body_timeout + size / MIN_RATE:
            raise Problem("request-timed-out", "The line did not end in time.")

    async def _room(self, size: int) -> None:
        """Waits until the blocks on their way leave room for another one of this size, so that a
        stream of long lines does not fill what is for all bodies.
        """
        while self._in_flight and self._in_flight + size > self.options.max_body:
            self._freed.clear()
            await self._freed.wait()

    def _hold(self, added: int) -> None:
        self._held += added
        self.loaded.bodies.hold(added)

    @contextlib.contextmanager
    def _held_until_the_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._hold(-self._held)

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Problem: the service stops, or as in Bodies.pieces."""
        pieces = self.loaded.bodies.pieces(self.request)
        stopping = asyncio.create_task(self.loaded.stopping.wait())
        arriving = None
        try:
            while True:
                arriving = asyncio.ensure_future(anext(pieces, None))
                await asyncio.wait((arriving, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not arriving.done():
                    raise Problem("shutting-down", "Send this line and those after it again.")
                piece = arriving.result()
                if piece is None:
                    return
                yield piece
        finally:
            stopping.cancel()
            if arriving:
                arriving.cancel()

    async def _annotated(self, lines: list[Line]) -> bytes:
        """The lines of the response for a block of lines."""
        with contextlib.ExitStack() as stack:
            items: list[bytes | Failed] = []
            for line in lines:
                if line.content is None:
                    limit = f"A line has at most {self.splitter.limit} bytes."
                    items.append(Failed(None, Problem("body-too-large", limit)))
                    continue
                asked = await self.loaded.intake.line(line.content, self.model.name)
                stack.enter_context(asked)
                items += asked.items
            answers = iter(await self._asked([one for one in items if isinstance(one, bytes)]))
        found = (one if isinstance(one, Failed) else next(answers) for one in items)
        answered = [
            self._failed(one, line) if isinstance(one, Failed) else one
            for one, line in zip(found, lines, strict=True)
        ]
        measured().answered(self.model.name, answered)
        return b"".join(line + b"\n" for line in answered)

    async def _asked(self, items: list[bytes]) -> Sequence[bytes | Failed]:
        """Waits for a model that is being reloaded, and for a place in its queue."""
        while items:
            try:
                return await self.model.ask_patiently(items)
            except Problem as problem:
                if problem.code != "queue-full":
                    return [Failed(None, problem)] * len(items)
        return []

    def _failed(self, failed: Failed, line: Line) -> bytes:
        number = line.number if failed.id is None else None
        model = self.loaded.hash_of(self.model)
        return failed_case(self.model.name, model, failed.id, failed.problem, number)


@contextlib.contextmanager
def _until_disconnect() -> Iterator[None]:
    try:
        yield
    except* ClientDisconnect:
        pass


async def _value(value: bytes) -> bytes:
    return value


def _body(body: bytes, more: bool = True) -> dict:
    return {"type": "http.response.body", "body": body, "more_body": more}
