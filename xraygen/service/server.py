"""The process that speaks HTTP: its socket, its limits, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import socket
import sys
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from xraygen.core.errors import UserError
from xraygen.service.app import create_app
from xraygen.service.loaded import Loaded
from xraygen.service.options import Options
from xraygen.service.protocol import Connection

# File descriptors that are not connections: of models, logs, and what a library opens.
SPARE_FILES = 100

# Seconds between two looks at the clock while the service drains.
TICK = 0.05


def serve(loaded: Loaded, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C. UserError: there is no such address, the port is in use, or a
    model cannot be loaded.
    """
    with listen(host, port) as listener:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold what clients sent
        os.umask(0o077)
        server = Server(create_app(loaded), loaded, loaded.options)
        _event("listening", host=host, port=listener.getsockname()[1])
        server.run([listener])
    if server.failure:
        raise server.failure


def listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: {error.strerror}; choose another one"
        ) from None


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
        connection = partial(Connection, options, _max_connections(options))
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=connection,  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
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
        await self._stop_listening(sockets or [])
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._connections_end(end)
        for task in list(self.server_state.tasks):
            task.cancel()  # it answers with 503
        await self._connections_end(loop.time() + 1)
        self._models.cancel()
        await asyncio.wait([self._models])

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
        return self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state={}
        )

    async def _connections_end(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        state = self.server_state
        while (state.connections or state.tasks) and loop.time() < end and not self.force_exit:
            self._check_connections()
            await asyncio.sleep(TICK)


def _event(event: str, **fields: object) -> None:
    print(json.dumps({"event": event} | fields), file=sys.stderr, flush=True)
