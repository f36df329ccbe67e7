"""What stands between the network and the routes: keys, limits, headers, the log, the metrics."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from xraygen.service import logs
from xraygen.service.access import Access
from xraygen.service.guard import Guard
from xraygen.service.keys import Keys
from xraygen.service.metrics import Metrics, measured
from xraygen.service.options import Options
from xraygen.service.problems import Problem

SECRET = "Patient Doe has a large tumour"
KEYS = {"lab": "xrg_first-key", "clinic": "xrg_second-key"}
BODY = b"12345"
PAGE = "https://viewer.example"


async def echo(request: Request) -> PlainTextResponse:
    await request.body()
    quoted = json.dumps({"text": '"error":{"type":"urn:xraygen:problem:internal"}'})
    failed = b'{"id":"a","error":' + Problem("not-annotated", "").body() + b"}"
    measured().answered("router", [quoted.encode(), failed])
    measured().answered("router", [b"{}"])
    measured().took(0.25, 0.5)
    return PlainTextResponse("fine", headers={"X-Frame-Options": "SAMEORIGIN"})


async def crash(_: Request) -> PlainTextResponse:
    raise ValueError(SECRET)


async def crash_in_group(_: Request) -> PlainTextResponse:
    async with asyncio.TaskGroup() as group:
        group.create_task(crash(_))
    raise AssertionError


async def crash_late(_: Request) -> StreamingResponse:
    def parts() -> Iterator[str]:
        yield "fine"
        raise ValueError(SECRET)

    return StreamingResponse(parts())


async def never(_: Request) -> PlainTextResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def never_to_the_end(_: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "fine"
        await asyncio.Event().wait()

    return StreamingResponse(parts())


class Answer(NamedTuple):
    """`complete`: whether the response has an end."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    def json(self) -> dict:
        return json.loads(self.body)


class Service:
    """A small application behind the guard."""

    def __init__(self, keys=KEYS, local: bool = False, **options) -> None:
        hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in keys.items()}
        endpoints = {
            "/": echo,
            "/healthz": echo,
            "/v1/annotations": echo,
            "/crash": crash,
            "/crash-in-group": crash_in_group,
            "/crash-late": crash_late,
            "/never": never,
            "/never-to-the-end": never_to_the_end,
        }
        routes = [
            Route(path, handler, methods=["GET", "POST"]) for path, handler in endpoints.items()
        ]
        self.counts = Metrics()
        guard = Middleware(
            Guard,
            access=Access(Keys(hashes), [], local),
            options=Options(**options),
            counts=self.counts,
            paths=endpoints,
        )
        self.app = Starlette(routes=routes, middleware=[guard])

    def request(
        self,
        method: str = "POST",
        path: str = "/v1/annotations",
        key: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        gone: bool = False,
        stopped: bool = False,
    ) -> Answer:
        """`gone`: the client leaves before its body has arrived. `stopped`: the server cancels the
        request.
        """
        given = (*headers, ("authorization", f"Bearer {key}")) if key else headers
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": SECRET.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given],
        }
        sent = []
        messages = [{"type": "http.disconnect"} if gone else {"type": "http.request", "body": BODY}]

        async def receive() -> dict:
            if not messages:
                await asyncio.Event().wait()  # the client waits for the response
            return messages.pop()

        async def send(message: dict) -> None:
            sent.append(message)

        async def answer() -> None:
            task = asyncio.create_task(self.app(scope, receive, send))
            if stopped:
                await asyncio.sleep(0.01)
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(answer())
        if not sent:
            return Answer(0, {}, b"", False)
        start, *parts = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert len(headers) == len(start["headers"])
        body = b"".join(part.get("body", b"") for part in parts)
        complete = bool(parts) and not parts[-1].get("more_body", False)
        return Answer(start["status"], headers, body, complete)


def lines(capfd) -> list[dict]:
    logged = capfd.readouterr().err
    assert SECRET not in logged and "xrg_" not in logged
    return [json.loads(line) for line in logged.splitlines()]


SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def test_a_key_lets_a_request_through_and_its_name_is_logged(capfd):
    service = Service()
    answer = service.request(key="xrg_second-key", headers=(("x-request-id", SECRET),))
    assert (answer.status, answer.body, answer.complete) == (200, b"fine", True)
    assert answer.headers.items() >= (SECURITY_HEADERS | {"x-frame-options": "SAMEORIGIN"}).items()
    (line,) = lines(capfd)
    assert line.pop("time").endswith("+00:00")
    assert line.pop("ms") >= 0
    assert line.pop("request") == answer.headers["x-request-id"]
    assert line == {
        "key": "clinic",
        "method": "POST",
        "route": "/v1/annotations",
        "status": 200,
        "received": 5,
        "sent": 4,
        "cases": 3,
        "queued_ms": 250.0,
        "computed_ms": 500.0,
    }


def test_each_request_has_its_own_random_id():
    service = Service()
    ids = {service.request(path="/healthz").headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20 and all(len(bytes.fromhex(one)) == 8 for one in ids)


def test_without_a_right_key_all_answers_are_the_same(capfd):
    service = Service()
    digest = hashlib.sha256(b"xrg_first-key").hexdigest()
    wrong = (
        (),
        (("authorization", "Bearer xrg_third-key"),),
        (("authorization", f"Bearer {digest}"),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", "Basic xrg_first-key"),),
        (("authorization", "xrg_first-key"),),
        (("authorization", "Bearer xrg_first-key\xff"),),
        (("authorization", "Bearer xrg_first-key"), ("authorization", "Bearer xrg_second-key")),
    )
    answers = [service.request(headers=headers) for headers in wrong]
    for answer in answers:
        del answer.headers["x-request-id"]
        assert answer == answers[0]
    assert answers[0].status == 401
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert answers[0].headers.items() >= SECURITY_HEADERS.items()
    assert {line["key"] for line in lines(capfd)} == {"-"}


def test_the_scheme_is_case_insensitive():
    assert Service().request(headers=(("authorization", "bearer xrg_first-key"),)).status == 200


@pytest.mark.parametrize("path", ("/", "/healthz"))
def test_public_routes_need_no_key(path):
    assert Service().request("GET", path).status == 200


@pytest.mark.parametrize(
    "path", ("/metrics", "/healthz/", "//healthz", "/HEALTHZ", "/healthz/../v1/annotations", "")
)
def test_every_other_path_needs_one(path):
    assert Service().request("GET", path).status == 401


def test_a_limit_holds_for_each_key_and_not_for_public_routes(capfd):
    service = Service(requests_per_minute=2)
    for key in KEYS.values():
        assert [service.request(key=key).status for _ in range(3)] == [200, 200, 429]
    refused = service.request(key="xrg_first-key")
    assert refused.json()["type"] == "urn:xraygen:problem:rate-limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert service.request("GET", "/healthz").status == 200
    assert [line["key"] for line in lines(capfd)][:4] == ["lab"] * 3 + ["clinic"]


def test_without_keys_the_limit_holds_for_all_clients_together():
    service = Service(keys={}, requests_per_minute=2)
    assert [service.request().status for _ in range(3)] == [200, 200, 429]


def test_a_refused_request_does_not_lengthen_the_wait():
    service = Service(requests_per_minute=1)
    waits = [service.request(key="xrg_first-key").headers.get("retry-after") for _ in range(20)]
    assert waits[0] is None and int(waits[-1]) <= 60


@pytest.mark.parametrize("path", ("/crash", "/crash-in-group"))
def test_a_bug_is_a_problem_and_its_log_line_says_where_but_not_what(path, capfd):
    service = Service()
    answer = service.request(path=path, key="xrg_first-key")
    assert (answer.status, answer.complete) == (500, True)
    assert answer.json()["type"] == "urn:xraygen:problem:internal"
    assert SECRET not in answer.body.decode()
    assert answer.headers.items() >= SECURITY_HEADERS.items()
    bug, line = lines(capfd)
    assert bug["event"] == "bug" and "ValueError" in (bug["type"], *bug["places"])
    assert bug["places"][0].startswith("service/guard.py:")
    assert bug["places"][-1].startswith("tests/test_service_guard.py:")
    assert bug["request"] == line["request"] == answer.headers["x-request-id"]
    assert line["status"] == 500


def test_a_response_that_fails_half_way_has_no_end(capfd):
    """So the server closes the connection and the client sees that something is missing."""
    answer = Service().request(path="/crash-late", key="xrg_first-key")
    assert (answer.status, answer.body, answer.complete) == (200, b"fine", False)
    bug, line = lines(capfd)
    assert (bug["event"], line["complete"]) == ("bug", False)


def test_a_client_that_leaves_is_no_bug(capfd):
    assert Service().request(key="xrg_first-key", gone=True).status == 0
    (line,) = lines(capfd)
    assert (line["status"], line["complete"]) == (499, False)


def test_a_request_that_the_server_stops_is_told_so_if_it_still_can_be(capfd):
    service = Service(keys={})
    answer = service.request(path="/never", stopped=True)
    assert (answer.status, answer.complete) == (503, True)
    assert answer.json()["type"] == "urn:xraygen:problem:shutting-down"
    assert answer.headers.items() >= SECURITY_HEADERS.items()
    begun = service.request(path="/never-to-the-end", stopped=True)
    assert (begun.status, begun.body, begun.complete) == (200, b"fine", False)
    assert [line["status"] for line in lines(capfd)] == [503, 200]


def test_logs_and_metrics_have_no_path_or_method_of_a_clients_own(capfd):
    service = Service(keys={})
    assert service.request("TUMOUR", f"/{SECRET}").status == 404
    assert service.request("GET", "/v1/annotations").status == 200
    assert [(line["method"], line["route"]) for line in lines(capfd)] == [
        ("-", "-"),
        ("GET", "/v1/annotations"),
    ]
    text = service.counts.render().decode()
    assert 'xraygen_requests_total{method="-",route="-",status="404"} 1.0' in text
    assert 'xraygen_received_bytes_total{route="/v1/annotations"} 5.0' in text
    assert 'xraygen_cases_total{model="router",outcome="answered"} 2.0' in text
    assert 'xraygen_cases_total{model="router",outcome="not-annotated"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert "TUMOUR" not in text and SECRET not in text


def test_models_are_measured_when_they_are_asked_about():
    class Model:
        name = "router"
        ready = True
        queued = 7
        reloads = 2

    model = Model()
    counts = Metrics([model])
    assert 'xraygen_queued{model="router"} 7.0' in counts.render().decode()
    model.ready = False
    assert 'xraygen_model_ready{model="router"} 0.0' in counts.render().decode()


PREFLIGHT = (
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "authorization, content-type"),
)


def test_a_named_origin_may_ask_before_it_has_a_key():
    service = Service(origins=(PAGE,))
    answer = service.request("OPTIONS", headers=(("origin", PAGE), *PREFLIGHT))
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "Origin" in answer.headers["vary"]
    assert answer.headers.items() >= SECURITY_HEADERS.items()


@pytest.mark.parametrize("key", ("xrg_first-key", "xrg_wrong"))
def test_its_page_may_read_answers_and_errors(key):
    service = Service(origins=(PAGE,))
    answer = service.request(key=key, headers=(("origin", PAGE),))
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ("https://evil.example", "null", f"{PAGE}.evil.example", "*"))
@pytest.mark.parametrize("origins", ((), (PAGE,)))
def test_no_other_origin_may(origin, origins):
    service = Service(origins=origins)
    asked = service.request("OPTIONS", headers=(("origin", origin), *PREFLIGHT))
    answer = service.request(key="xrg_first-key", headers=(("origin", origin),))
    assert asked.status in (400, 401)
    assert "access-control-allow-origin" not in asked.headers | answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ("*", "null", "viewer.example", f"{PAGE}/", f"{PAGE}/path"))
def test_an_origin_that_no_page_has_is_refused_at_the_start(origin):
    with pytest.raises(ValueError, match="origins"):
        Options(origins=(origin,))


@pytest.mark.parametrize(
    "host", ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.9.9.9", "[::1]:8")
)
def test_without_keys_a_loopback_host_is_served(host):
    assert Service(keys={}, local=True).request(headers=(("host", host),)).status == 200


@pytest.mark.parametrize(
    "host",
    ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "10.0.0.1", "::", ""),
)
def test_without_keys_a_page_that_rebinds_its_host_name_is_refused(host):
    service = Service(keys={}, local=True)
    for path in ("/", "/v1/annotations"):
        answer = service.request(path=path, headers=(("host", host),))
        assert answer.json()["type"] == "urn:xraygen:problem:wrong-host"


def test_without_keys_forms_of_other_pages_are_refused():
    service = Service(keys={}, local=True, origins=(PAGE,))
    host = ("host", "localhost:8000")

    def status(origin: str) -> int:
        return service.request(headers=(host, ("origin", origin))).status

    assert status("https://evil.example") == status("null") == 403
    assert status("http://localhost:3000") == 403  # another program's page on this machine
    assert status("http://localhost:8000") == status(PAGE) == 200


def test_lines_that_nobody_reads_are_dropped_and_counted():
    reader, writer = os.pipe()
    log = logs.Log(writer)
    for _ in range(2000):  # more than a pipe holds
        log.line({"event": "start", "message": "x" * 50})
    dropped = log.dropped
    assert 0 < dropped < 2000
    read = os.read(reader, 2**20).decode().splitlines()
    assert len(read) == 2000 - dropped
    log.line({"event": "stop"})
    assert json.loads(os.read(reader, 2**20))["dropped_before"] == dropped
    os.close(reader)
    log.line({"event": "stop"})  # nobody can read it any more
    os.close(writer)
    log.line({"event": "stop"})
