"""HTTP/1.1 as uvicorn speaks it, with the limits that uvicorn leaves to a reverse proxy.

A connection is closed if it holds more than `HEAD` bytes that get a request no further (headers,
trailers, extensions of chunks), is slow with its headers, does not read what it is sent, or sends a
request before the one before it has been answered; the latter is answered first.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from xraygen.service import logs
from xraygen.service.guard import SECURITY_HEADERS
from xraygen.service.options import Options
from xraygen.service.problems import Problem

# Bytes of the request line and the headers, and of anything later that is not body.
HEAD = 32 * 2**10
HEADERS = 100

# While the service drains, how long a connection without a request may still send one; seconds.
LAST_REQUEST = 1.0

# How long a connection that the service closes is read on, at most and while nothing arrives.
LINGER = 30.0
LINGER_IDLE = 2.0


class Refused(Exception):
    """Ends the parsing of a connection. `code`: of the problem."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Lingering(asyncio.Transport):
    """What uvicorn gets for a transport. `close` ends what is sent but reads on, for `Connection`
    to discard: a client that is still sending would be sent a reset, and with it lose the response
    that it has not read (RFC 9112, section 9.6).

    What is written in one pass of the event loop, mostly the head and the body of a response, is
    sent together: a system call costs as much as parsing a request.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self.closing = False
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes | bytearray | memoryview] = []
        self.abort = transport.abort  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closing:
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        held = self._held
        if held:
            self._held = []
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._held))

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self.flush()
        self.closing = True
        self._transport.write_eof()
        self._transport.resume_reading()


class Connection(HttpToolsProtocol):
    """`check` is to be called twice a second."""

    transport: Lingering

    def __init__(self, options: Options, max_connections: int, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.options, self.max_connections = options, max_connections
        self.application, self.app = self.app, self._answer
        self.draining = False
        self.since = self.loop.time()  # the start of the connection or the end of a response
        self._head_by = self.since + options.head_timeout
        self._write_by = math.inf
        self._linger_by = math.inf
        self._closed_at: float | None = None
        self._unsent = 0
        self._unparsed = 0
        self._refusal = "bad-request"
        self._stopped = False

    @property
    def idle(self) -> bool:
        """No request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Lingering(cast(asyncio.Transport, transport)))
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.closing = True
        super().connection_lost(exc)

    def eof_received(self) -> None:
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.transport.closing:
            self._linger_by = self.loop.time() + LINGER_IDLE
            return
        if self.idle and self._head_by == math.inf:
            self._head_by = self.loop.time() + self.options.head_timeout
        start = 0
        while start < len(data) and not (self._stopped or self.transport.closing):
            end = start + HEAD - self._unparsed
            piece = data[start:end]
            self._unparsed += len(piece)
            super().data_received(piece)
            if self._unparsed >= HEAD:
                self._refuse("headers-too-large")
            start = end

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this if a request cannot be parsed."""
        self._refuse(self._refusal)

    def on_message_begin(self) -> None:
        if not self.idle:
            raise Refused("pipelined")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.headers) > HEADERS:
            self._refusal = "headers-too-large"
            raise Refused(self._refusal)
        self._unparsed = 0
        self._head_by = math.inf
        super().on_headers_complete()
        self.headers = []  # trailers end up here, not in the scope
        if self.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.transport.flush()
        self.since = self.loop.time()
        super().on_response_complete()
        if self.cycle.more_body:
            self.transport.close()
        elif self.draining:
            self._head_by = self.since + LAST_REQUEST

    def pause_writing(self) -> None:
        self._write_by = self.loop.time() + self.options.timeout
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write_by = math.inf
        super().resume_writing()

    def shutdown(self) -> None:
        """A request that is being read or answered is the last one. A connection without one may
        have sent it already: it has a moment for it to arrive.
        """
        self.draining = True
        self._unset_keepalive_if_required()
        if not self.idle:
            if not self.cycle.response_started:
                self.cycle.keep_alive = False
        elif not self._unparsed:
            self._head_by = self.loop.time() + LAST_REQUEST

    def check(self, now: float) -> None:
        """Ends what takes too long."""
        if self.transport.closing:
            self._check_closing(now)
        elif now > self._write_by:
            self.transport.abort()
        elif now > self._head_by:
            if self._unparsed:
                self._refuse("request-timed-out")
            else:
                self.transport.close()

    def _check_closing(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if self._closed_at is None or unsent < self._unsent:
            self._closed_at, self._unsent = now, unsent
            self._linger_by = now + LINGER_IDLE
        if now > min(self._linger_by, self._closed_at + LINGER):
            self.transport.abort()

    def _make_room(self) -> None:
        """Closes the connections that have been idle for longest, a tenth of all at a time."""
        others = (one for one in self.connections if isinstance(one, Connection) and one.idle)
        for one in sorted(others, key=lambda one: one.since)[: 1 + self.max_connections // 10]:
            one.transport.abort()

    def _refuse(self, code: str) -> None:
        """Reads no more requests. The one that is being answered, if it was complete, still is."""
        cycle = self.cycle
        self._stopped = True
        logs.event("refused", problem=code)
        if not self.idle and not cycle.more_body:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self.idle or not cycle.response_started:
            self.transport.write(_response(Problem(code, DETAILS[code])))
        if not self.idle:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = cast(RequestResponseCycle, receive.__self__)  # type: ignore[attr-defined]

        async def send_before_body(message: Message) -> None:
            if cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        try:
            await self.application(scope, receive, send_before_body if cycle.more_body else send)
        except asyncio.CancelledError:
            if cycle.response_started:
                cycle.disconnected = True
                self.transport.close()
            else:
                problem = Problem("shutting-down", "Try again later.", retry_after=5)
                await problem.response()(scope, receive, send)
        except Exception as error:
            logs.bug(error)
            raise


DETAILS = {
    "bad-request": "See RFC 9112.",
    "headers-too-large": f"At most {HEADERS} headers and {HEAD} bytes are read.",
    "request-timed-out": "The headers did not arrive in time.",
}


def _response(problem: Problem) -> bytes:
    response = problem.response()
    headers = [*response.raw_headers, *SECURITY_HEADERS, (b"connection", b"close")]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return STATUS_LINE[problem.status] + lines + b"\r\n" + bytes(response.body)
