"""What stands between the network and the routes: keys, rate limits, security headers, the log."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xraygen.service import logs, metrics
from xraygen.service.access import Access, is_local_name
from xraygen.service.options import Options
from xraygen.service.problems import Problem

PUBLIC = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
CLIENT_CLOSED = 499  # nginx's status for a client that left before it was answered

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Guard:
    """Middleware, the only one. `paths`: of the routes, which have no parameters; any other is "-"
    in logs and metrics, since a path may hold anything.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        options: Options,
        counts: metrics.Metrics,
        paths: Collection[str],
    ) -> None:
        self.app, self.access, self.options, self.counts = app, access, options, counts
        self.paths = frozenset(paths)
        self.origins = frozenset(options.origins)
        self.buckets: dict[str, _Bucket] = {}
        self.cross_origin = CORSMiddleware(
            self._check,
            allow_origins=self.origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=("Retry-After", "X-Request-Id"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        scope["xraygen.exchange"] = exchange
        measured = metrics.begin(self.counts)
        try:
            # A preflight request has no key, so it is answered before keys are checked.
            cross = self.origins and _values(scope, b"origin")
            checked = self.cross_origin if cross else self._check
            await checked(scope, exchange.receive, exchange.send)
        finally:
            self._record(scope, exchange, measured)

    async def _check(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Any exception ends here. Once a response has started, it cannot become an error: the
        server closes the connection of one that is not complete.
        """
        exchange: _Exchange = scope["xraygen.exchange"]
        try:
            self._admit(scope, exchange)
            await self.app(scope, receive, send)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # the server stops, and the grace is over
            if exchange.status:
                raise
            problem = Problem("shutting-down", "Try again later.", retry_after=5)
            await problem.response()(scope, receive, send)
        except Problem as problem:
            if not exchange.status:
                response = problem.response()
                if problem.status == 401:
                    response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
        except Exception as error:
            logs.bug(error, request=exchange.id)
            if not exchange.status:
                bug = Problem("internal", "Report it with the X-Request-Id of this response.")
                await bug.response()(scope, receive, send)

    def _admit(self, scope: Scope, exchange: _Exchange) -> None:
        """Problem: the request is refused."""
        if self.access.local:
            self._refuse_web_pages(scope)
        if scope["path"] in PUBLIC:
            return
        if self.access.keys:
            given = _values(scope, b"authorization")
            scheme, _, key = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
            name = self.access.keys.name_of(key.strip())
            if name is None or scheme.lower() != b"bearer":
                raise Problem("unauthorized", "Send the header Authorization: Bearer KEY.")
            exchange.key = name
        if self.options.requests_per_minute:
            bucket = self.buckets.get(exchange.key)
            if bucket is None:
                bucket = self.buckets[exchange.key] = _Bucket(self.options.requests_per_minute)
            bucket.take()

    def _refuse_web_pages(self, scope: Scope) -> None:
        """Without keys, pages that the user's browser shows may neither read what the service
        answers, by DNS rebinding, nor send it forms.
        """
        hosts = [value.decode("latin-1") for value in _values(scope, b"host")]
        if not all(is_local_name(host) for host in hosts):
            raise Problem(
                "wrong-host", "Without API keys the service is localhost or a loopback address."
            )
        own = {f"http://{host}" for host in hosts}
        for origin in _values(scope, b"origin"):
            if origin.decode("latin-1") not in own | self.origins:
                raise Problem("wrong-origin", "The page's origin is not among those allowed.")

    def _record(self, scope: Scope, exchange: _Exchange, measured: metrics.Measured) -> None:
        seconds = time.perf_counter() - exchange.began
        route = scope["path"] if scope["path"] in self.paths else "-"
        method = scope["method"] if scope["method"] in _METHODS else "-"
        status = exchange.status or CLIENT_CLOSED
        received, sent = exchange.received, exchange.sent
        self.counts.request(route, method, status, seconds, received, sent)
        fields: dict[str, str | int | float | bool] = {
            "request": exchange.id,
            "key": exchange.key,
            "method": method,
            "route": route,
            "status": status,
            "received": received,
            "sent": sent,
            "ms": round(seconds * 1000, 2),
        }
        if measured.cases:
            fields["cases"] = measured.cases
        if measured.queued is not None:
            fields["queued_ms"] = round(measured.queued * 1000, 2)
        if measured.computed is not None:
            fields["computed_ms"] = round(measured.computed * 1000, 2)
        if not exchange.complete:
            fields["complete"] = False
        logs.write(**fields)


class _Exchange:
    """A request and its response: what is counted of them. `status`: 0 = no response yet."""

    __slots__ = (
        "_receive",
        "_send",
        "began",
        "complete",
        "id",
        "key",
        "received",
        "sent",
        "status",
    )

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.began = time.perf_counter()
        self.id = secrets.token_hex(8)
        self.key = "-"
        self.status = 0
        self.received = 0
        self.sent = 0
        self.complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            headers += [header for header in SECURITY_HEADERS if header[0] not in present]
            headers.append((b"x-request-id", self.id.encode()))
            message["headers"] = headers
        else:
            self.sent += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)


class _Bucket:
    """A token bucket. It holds a minute's worth of requests, all of which may come at once."""

    __slots__ = ("per_minute", "tokens", "updated")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self.tokens = float(per_minute)
        self.updated = time.monotonic()

    def take(self) -> None:
        """Problem: the limit is reached."""
        now = time.monotonic()
        added = (now - self.updated) * self.per_minute / 60
        self.tokens = min(self.per_minute, self.tokens + added)
        self.updated = now
        if self.tokens < 1:
            seconds = math.ceil((1 - self.tokens) * 60 / self.per_minute)
            limit = f"The limit is {self.per_minute} requests a minute."
            raise Problem("rate-limited", limit, retry_after=seconds)
        self.tokens -= 1


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]
