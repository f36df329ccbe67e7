"""The process that speaks HTTP: its socket, its limits, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import socket
from collections.abc import Sequence
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from xraygen.core.errors import UserError
from xraygen.service import logs
from xraygen.service.app import create_app
from xraygen.service.loaded import Loaded
from xraygen.service.options import Options
from xraygen.service.protocol import Connection

# File descriptors that are not connections: of models, logs, and what a library opens.
SPARE_FILES = 100

# Seconds between two looks at the clock while the service drains.
TICK = 0.05


def serve(loaded: Loaded, addresses: Sequence[str], port: int) -> None:
    """Serves until SIGTERM or Ctrl-C. UserError: an address cannot be bound to, or a model cannot
    be loaded.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold what clients sent
    os.umask(0o077)
    with contextlib.ExitStack() as stack:
        listeners: list[socket.socket] = []
        for address in addresses:
            listeners.append(stack.enter_context(listen(address, port)))
            port = listeners[0].getsockname()[1]
            logs.event("listening", host=address, port=port)
        server = Server(create_app(loaded), loaded, loaded.options)
        server.run(listeners)
    if server.failure:
        raise server.failure


def listen(address: str, port: int) -> socket.socket:
    """`port`: 0 = a free one. UserError: it is in use, or this machine has no such address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise UserError(f"--host {address} --port {port}: {reason}; choose another") from None


def _max_connections(options: Options) -> int:
    """As many as there are file descriptors for, which is up to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return options.max_connections
    return min(options.max_connections, max(1, hard - SPARE_FILES))


class Server(uvicorn.Server):
    """`failure`: why it ended before it was told to."""

    def __init__(self, app: FastAPI, loaded: Loaded, options: Options) -> None:
        self.connection = partial(Connection, options, _max_connections(options))
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=self.connection,  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL + 1,  # what matters is in our own log
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=options.keep_alive,  # type: ignore[arg-type]
            )
        )
        self.api, self.loaded, self.options = app, loaded, options
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Connections are accepted while models load, so that /readyz can say so."""
        asyncio.get_running_loop().set_exception_handler(_log_bug)
        await super().startup(sockets)
        self._models = asyncio.create_task(self._keep_models())

    async def _keep_models(self) -> None:
        async with self.api.router.lifespan_context(self.api):
            gc.collect()
            gc.freeze()
            await asyncio.Event().wait()

    async def on_tick(self, counter: int) -> bool:
        if counter % 5 == 0:
            self._check_connections()
        if self._models.done():
            self.failure = self._models.exception()
            return True
        return await super().on_tick(counter)

    def _check_connections(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            connection.check(now)  # type: ignore[union-attr]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self.loaded.draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.options.grace
        if self.failure is None:
            logs.event("drain", requests=len(self.server_state.tasks))
        self.loaded.stopping.set()
        await self._stop_listening(sockets or [])
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._connections_end(end)
        for task in list(self.server_state.tasks):
            task.cancel()  # it answers with 503
        await self._connections_end(loop.time() + 1)
        self._models.cancel()
        await asyncio.wait([self._models])
        logs.event("stop")

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """A client whose connection waits to be accepted may have sent its request already."""
        loop = asyncio.get_running_loop()
        again = [one.dup() for one in sockets]
        for server in self.servers:
            server.close()
        waiting = []
        for listener in again:
            with listener, contextlib.suppress(OSError):
                listener.setblocking(False)
                while True:
                    waiting.append(listener.accept()[0])
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._connection, connection)

    def _connection(self) -> Connection:
        return self.connection(config=self.config, server_state=self.server_state, app_state={})

    async def _connections_end(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        state = self.server_state
        while (state.connections or state.tasks) and loop.time() < end and not self.force_exit:
            self._check_connections()
            await asyncio.sleep(TICK)


def _log_bug(_: asyncio.AbstractEventLoop, context: dict) -> None:
    logs.bug(context.get("exception") or RuntimeError())
