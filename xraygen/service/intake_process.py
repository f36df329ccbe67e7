"""The intake: what reads bodies, so that neither the event loop nor a model meets a bad one.

Small bodies without images are read in the event loop, in microseconds. All others are read in
processes of their own, under limits on memory and time: what kills one of them, an image that makes
a decoder crash, say, costs its own request alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from xraygen.service import intake_worker, logs
from xraygen.service.intake import (
    Failed,
    TooMuch,
    read_annotations,
    read_judgements,
    read_line,
)
from xraygen.service.intake_worker import LENGTHS, Reply, Request
from xraygen.service.options import Options
from xraygen.service.problems import Problem

# Bytes, and brackets, of what is read in the event loop: at worst in about 5 ms.
_SMALL = 64 * 1024
_FEW = 400
_LONG = 8 * 1024
_RETRY = 1.0  # seconds until a process that does not start is tried again


class Asked:
    """What a request asks of an approach. `items`: for each case or pair, in order, the JSON line
    that the model is sent, or why there is none.

    A context manager: at its end the request's images are removed.
    """

    def __init__(
        self, approach: str, items: list[bytes | Failed], images: Path | None = None
    ) -> None:
        self.approach, self.items, self._images = approach, items, images

    def release(self) -> None:
        if self._images:
            shutil.rmtree(self._images, ignore_errors=True)

    def __enter__(self) -> Asked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Intake:
    """`pictures`: by approach, the default one first, whether it shows pictures; if not, images are
    checked but neither decoded nor kept. It is read for each request, so that it may be filled when
    the models have been loaded. `folder`: the private folder for images, to which the paths of a
    case's images are relative (`Project.images` of the models).
    """

    def __init__(self, options: Options, pictures: Mapping[str, bool], folder: Path) -> None:
        self.options, self.pictures, self.folder = options, pictures, folder
        self._idle: asyncio.Queue[_Process] = asyncio.Queue()
        self._all: set[_Process] = set()
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        """Starts the processes."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.options.intakes):
                group.create_task(self._add())

    async def close(self) -> None:
        """Ends the processes. The folder is the caller's to remove (`images.private_folder`)."""
        while self._tasks:  # one that is cancelled may start another, to replace its process
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        ended = list(self._all)
        for process in ended:
            self._remove(process)
        for process in ended:
            await asyncio.to_thread(process.join)

    def ready(self) -> bool:
        """Whether one of the processes runs."""
        return bool(self._all)

    async def annotations(self, body: bytes, content_type: str) -> Asked:
        """For `with await intake.annotations(...) as asked:`. Problem: the request cannot be read
        as a whole, or names an approach that is not loaded.
        """
        if _is_small(body):
            try:
                return Asked(*read_annotations(body, content_type, self.pictures, self.options))
            except TooMuch:
                pass
        return await self._elsewhere(
            Request("annotations", content_type, dict(self.pictures)), body
        )

    async def line(self, line: bytes, approach: str) -> Asked:
        """A line of a stream: one item. It raises nothing: what is wrong with the line, and an
        intake process that fails, is a Failed.
        """
        pictures = self.pictures[approach]
        if len(line) > _LONG:  # a block of lines is read without a pause
            await asyncio.sleep(0)
        if _is_small(line):
            try:
                return Asked(approach, [read_line(line, pictures, self.options)])
            except TooMuch:
                pass
        try:
            return await self._elsewhere(Request("line", "", {approach: pictures}), line)
        except Problem as problem:
            return Asked(approach, [Failed(None, problem)])

    async def judgements(self, body: bytes, content_type: str) -> Asked:
        """Pairs of /v1/judgements; `approach` is empty. Problem: as in `annotations`. A pair that
        is not usable is a Failed without an id.
        """
        if _is_small(body):
            return Asked(*read_judgements(body, content_type, self.options))
        return await self._elsewhere(Request("judgements", content_type, {}), body)

    async def _elsewhere(self, request: Request, body: bytes) -> Asked:
        """In a process. A request that is cancelled is read to its end, since a process cannot be
        interrupted.
        """
        task = self._task(self._exchange(request, body))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_release)
            raise
        finally:
            del task  # its exception would keep this frame alive, and the body with it

    async def _exchange(self, request: Request, body: bytes) -> Asked:
        process = await self._free()
        images = self.folder / secrets.token_hex(8)
        try:
            async with asyncio.timeout(self.options.intake_timeout):
                reply, lines = await process.ask(request._replace(images=images.name), body)
        except BaseException as error:
            shutil.rmtree(images, ignore_errors=True)
            self._replace(process)
            if isinstance(error, TimeoutError | ConnectionError):
                raise Problem("too-costly", "Send fewer or smaller images at a time.") from None
            raise
        self._idle.put_nowait(process)
        asked = Asked(reply.approach, _items(reply, lines), images if reply.images else None)
        if reply.bug:
            kind, places = reply.bug
            logs.event("bug", process="intake", type=kind, places=places)
        if reply.problem:
            asked.release()
            raise Problem(*reply.problem)
        return asked

    async def _free(self) -> _Process:
        try:
            async with asyncio.timeout(self.options.timeout):
                while not (process := await self._idle.get()).is_alive():
                    self._replace(process)
                return process
        except TimeoutError:
            raise Problem("timed-out", "Other requests are being read; try again.") from None

    async def _add(self) -> None:
        process = _Process(self.options, self.folder)
        self._all.add(process)
        try:
            await process.start()
        except BaseException:
            self._remove(process)
            raise
        self._idle.put_nowait(process)

    def _replace(self, process: _Process) -> None:
        logs.event("intake-died")
        self._remove(process)
        self._task(self._keep_adding(process))

    async def _keep_adding(self, ended: _Process) -> None:
        await asyncio.to_thread(ended.join)
        while True:
            try:
                return await self._add()
            except (OSError, TimeoutError) as error:
                logs.event("intake-start-failed", type=type(error).__name__)
                await asyncio.sleep(_RETRY)

    def _remove(self, process: _Process) -> None:
        self._all.discard(process)
        process.kill()

    def _task(self, coroutine) -> asyncio.Task:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_small(body: bytes) -> bool:
    return len(body) <= _SMALL and body.count(b"{") + body.count(b"[") <= _FEW


def _release(task: asyncio.Task[Asked]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().release()


def _items(reply: Reply, lines: bytes) -> list[bytes | Failed]:
    found = iter(lines.split(b"\n"))
    failed = {number: Failed(id, Problem(*what)) for number, id, what in reply.failed}
    return [failed.get(number) or next(found) for number in range(reply.size)]


class _Process:
    """A process that reads one body at a time."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._process = multiprocessing.get_context("spawn").Process(
            target=intake_worker.run,
            args=(self._theirs, options, folder),
            daemon=True,
            name="xraygen intake",
        )

    async def start(self) -> None:
        """OSError or TimeoutError: it does not start."""
        self._process.start()
        self._theirs.close()
        async with asyncio.timeout(60):
            await self._receive(len(intake_worker.READY))

    async def ask(self, request: Request, body: bytes) -> tuple[Reply, bytes]:
        """ConnectionError: it has died."""
        loop = asyncio.get_running_loop()
        head = request.to_json()
        await loop.sock_sendall(self._socket, LENGTHS.pack(len(head), len(body)) + head)
        await loop.sock_sendall(self._socket, body)
        lengths = LENGTHS.unpack(await self._receive(LENGTHS.size))
        reply = Reply.from_json(await self._receive(lengths[0]))
        return reply, await self._receive(lengths[1])

    async def _receive(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        buffer = bytearray(size)
        rest = memoryview(buffer)
        while rest:
            count = await loop.sock_recv_into(self._socket, rest)
            if not count:
                raise ConnectionError
            rest = rest[count:]
        return bytes(buffer)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._socket.close()
        self._theirs.close()
        if self._process.pid is not None:
            self._process.kill()

    def join(self) -> None:
        """Waits a moment until it is gone after `kill`, and its memory with it."""
        if self._process.pid is not None:
            self._process.join(1)
