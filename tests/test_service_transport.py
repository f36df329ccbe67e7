"""Connections of the service, spoken to byte by byte: what arrives slowly, wrongly or in excess,
and the end of the process. Run as a program, this file is the server: a small app behind the
service's own server, with the options that are given as JSON.
"""

import asyncio
import contextlib
import http.client
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from xraygen.core.errors import UserError
from xraygen.service.server import Server, listen

PATIENCE = 30  # seconds; the machine may be busy
FILES = 140  # file descriptors of the server
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def small_app(options, service):
    from fastapi import FastAPI, Request, Response
    from starlette.requests import ClientDisconnect

    from xraygen.service.bodies import Bodies
    from xraygen.service.problems import Problem

    app = FastAPI()
    bodies = Bodies(options)
    released = asyncio.Event()

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response()

    @app.get("/healthz")
    async def health() -> Response:
        return Response(b"ok")

    @app.get("/state")
    async def state() -> dict:
        connections = service.server.server_state.connections
        return {"held": bodies.held, "connections": len(connections), "gone": service.gone}

    @app.get("/big")
    async def big() -> Response:
        return Response(bytes(20_000_000))

    @app.get("/held")
    async def held() -> Response:
        await released.wait()
        return Response(b"released")

    @app.get("/release")
    async def release() -> Response:
        released.set()
        return Response(b"ok")

    @app.get("/forever")
    async def forever() -> Response:
        await asyncio.Event().wait()
        return Response()

    @app.post("/refused")
    async def refused() -> Response:
        raise Problem("invalid-request", "Whatever it is.")

    @app.post("/echo")
    async def echo(request: Request) -> dict:
        try:
            async with bodies.read(request) as body:
                return {"size": len(body), "headers": sorted(request.headers)}
        except ClientDisconnect:
            service.gone += 1
            raise

    return app


def main() -> None:
    from types import SimpleNamespace

    from xraygen.service.options import Options

    options = Options.model_validate_json(sys.argv[1])
    service = SimpleNamespace(draining=False, gone=0, stopping=asyncio.Event(), options=options)
    listener = listen("127.0.0.1", 0)
    service.server = Server(small_app(options, service), service, options)
    print(listener.getsockname()[1], flush=True)
    service.server.run([listener])


class Served:
    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process, self.port = process, port

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        connection.sendall(sent)
        return connection

    def answers(self, sent: bytes) -> list[int]:
        """The statuses of the responses to these bytes, until the service closes."""
        with self.connect(sent) as connection:
            return statuses(everything(connection))

    def state(self) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/state", headers={"Connection": "close"})
            return json.loads(connection.getresponse().read())

    def wait(self, condition: Callable[[dict], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition(self.state()):
            assert time.monotonic() < end, self.state()
            time.sleep(0.01)


def everything(connection: socket.socket) -> bytes:
    """What is received until the other end closes; a reset is an error."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def response(connection: socket.socket) -> bytes:
    """The next one, which is not the last."""
    received = b""
    while not (whole := re.match(rb"(?s)(.*?content-length: (\d+).*?\r\n\r\n)", received)) or (
        len(received) < len(whole[1]) + int(whole[2])
    ):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", received)]


@contextlib.contextmanager
def served(**options: float) -> Iterator[Served]:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES // 2, FILES))

    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(options)],
        stdout=subprocess.PIPE,
        preexec_fn=few_files,
    )
    assert process.stdout
    try:
        yield Served(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    limits = {"max_body": 200_000, "max_bodies": 300_000}
    with served(head_timeout=2, body_timeout=2, timeout=2, keep_alive=30, **limits) as one:
        yield one


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00 hello\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (CHUNKED + b"zz\r\n", 400),
        (b"GET /" + b"a" * 40_000, 431),
        (GET[:-2] + b"A: " + b"a" * 80_000, 431),
        (GET[:-2] + b"A: a\r\n" * 101 + b"\r\n", 431),
        (CHUNKED + b"1;" + b"a" * 80_000, 431),
        (CHUNKED + b"1\r\na\r\n0\r\nA: " + b"a" * 80_000, 431),
    ],
    ids=[
        *("tls", "connect", "two-lengths", "bad-chunk", "long-url"),
        *("long-header", "many-headers", "chunk-extension", "trailers"),
    ],
)
def test_what_is_not_http_is_a_problem_and_ends_the_connection(service, sent, status):
    with service.connect(sent) as connection:
        received = everything(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert statuses(received) == [status]
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == status


def test_headers_of_any_size_up_to_the_limit_are_read(service):
    closing = GET[:-2] + b"Connection: close\r\nA: "
    at_limit = closing + b"a" * (32 * 1024 - len(closing) - 4) + b"\r\n\r\n"
    assert len(at_limit) == 32 * 1024
    assert service.answers(at_limit) == [200]


def test_a_request_sent_before_the_answer_to_the_last_is_not_read(service):
    """The first is answered nevertheless, and nothing but the first."""
    for second in (GET * 1000, b"\x00not HTTP\r\n\r\n"):
        assert service.answers(GET + second) == [200]


def test_trailers_are_no_headers(service):
    with service.connect(CHUNKED + b"1\r\na\r\n0\r\nAuthorization: b\r\n\r\n") as connection:
        received = response(connection)
    assert statuses(received) == [200]
    assert b'"size":1' in received
    assert b"authorization" not in received


def test_an_upgrade_is_ignored(service):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with service.connect(GET[:-2] + upgrade) as connection:
        assert statuses(response(connection)) == [200]


def test_a_body_that_is_too_large_is_refused_and_the_client_reads_why(service):
    """http.client sends all of it before it reads; a service that just closed would reset it."""
    bodies = [bytes(5_000_000), iter([bytes(100_000)] * 50)]
    for body in bodies:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("POST", "/echo", body)
            response = connection.getresponse()
            assert response.status == 413
            assert json.loads(response.read())["type"] == "urn:xraygen:problem:body-too-large"
            assert response.headers["connection"] == "close"


def test_a_client_that_asks_before_it_sends_the_body(service):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
    with service.connect(head + b"3\r\n\r\n") as connection:
        assert statuses(connection.recv(65536)) == [100]
        connection.sendall(b"abc")
        assert statuses(response(connection)) == [200]
    assert service.answers(head + b"200001\r\n\r\n") == [413]


def test_an_error_before_the_body_has_arrived_ends_the_connection(service):
    head = b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
    assert service.answers(head) == [422]
    with service.connect(head + b"abc") as connection:
        assert statuses(response(connection)) == [422]
        connection.sendall(GET)
        assert statuses(response(connection)) == [200]


def test_the_bodies_of_all_requests_are_bounded(service):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 190000\r\n\r\n"
    with service.connect(head + bytes(180_000)) as first:
        service.wait(lambda state: state["held"] == 180_000)
        with service.connect(head + bytes(190_000)) as second:
            received = everything(second)
        assert statuses(received) == [503]
        assert b"retry-after: " in received
        first.sendall(bytes(10_000))
        assert statuses(everything(first)) == [200]
    assert service.answers(head + bytes(190_000)) == [200]


def test_a_client_that_leaves_in_the_middle_of_a_body(service):
    before = service.state()["gone"]
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    service.connect(head + b"a").close()
    service.wait(lambda state: state["gone"] == before + 1 and not state["held"])


def test_slow_connections_are_ended(service):
    with contextlib.ExitStack() as stack:

        def connect(sent: bytes) -> socket.socket:
            return stack.enter_context(service.connect(sent))

        silent = connect(b"")
        headers = connect(GET[:-2])
        after_a_response = connect(GET)
        body = connect(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\na")
        unread = connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert statuses(response(after_a_response)) == [200]
        after_a_response.sendall(b"\r\n")  # not a request yet
        assert everything(silent) == b""
        assert statuses(everything(headers)) == [408]
        assert statuses(everything(after_a_response)) == [408]
        assert statuses(everything(body)) == [408]
        service.wait(lambda state: state["connections"] <= 5)
        with contextlib.suppress(ConnectionError):
            assert len(everything(unread)) < 20_000_000


def test_idle_connections_make_room_for_others(service):
    """More of them than the process may have files."""
    with contextlib.ExitStack() as stack:
        for _ in range(2 * FILES):
            stack.enter_context(service.connect())
        with service.connect(GET) as connection:
            assert statuses(response(connection)) == [200]
        assert service.state()["connections"] < FILES


def test_sigterm_ends_the_process_when_requests_have_been_answered():
    with served(grace=60) as service, contextlib.ExitStack() as stack:
        held = stack.enter_context(service.connect(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"))
        idle = stack.enter_context(service.connect(GET))
        assert statuses(response(idle)) == [200]
        forever = stack.enter_context(service.connect(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n"))
        begun = stack.enter_context(service.connect(b"GET /release HTTP/1.1\r\n"))
        service.wait(lambda state: state["connections"] == 5)
        service.process.send_signal(signal.SIGTERM)
        idle.sendall(GET)
        assert statuses(everything(idle)) == [200]
        with pytest.raises(ConnectionRefusedError):
            service.connect()
        begun.sendall(b"Host: x\r\n\r\n")
        for connection in (begun, held):
            received = everything(connection)
            assert statuses(received) == [200]
            assert b"connection: close" in received
        assert service.process.poll() is None
        service.process.send_signal(signal.SIGTERM)  # the second ends it at once
        assert statuses(everything(forever)) == [503]
        assert service.process.wait(PATIENCE) == 0


def test_sigterm_under_load_loses_no_request():
    """New connections and kept ones; a request that takes longer than the grace gets a 503."""

    async def client(port: int, keep: bool, seen: Counter) -> None:
        reader = writer = None
        size = 0
        while True:
            size = (size * 31 + 7919) % 100_003
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    return
            head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            writer.write(head + bytes(size))
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            except (asyncio.IncompleteReadError, OSError) as error:
                seen[type(error).__name__] += 1
                return
            seen[statuses(head)[0]] += 1
            if b"connection: close" in head or not keep:
                writer.close()
                writer = None

    async def load(service: Served) -> Counter:
        seen: Counter = Counter()
        clients = [client(service.port, number % 2 == 0, seen) for number in range(20)]
        tasks = [asyncio.create_task(one) for one in clients]
        while seen[200] < 300:
            assert not any(task.done() for task in tasks), "a client has ended before the signal"
            await asyncio.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.wait(tasks)
        return seen

    with served(grace=1) as service:
        with service.connect(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n") as forever:
            seen = asyncio.run(load(service))
            assert statuses(everything(forever)) == [503]
        assert set(seen) <= {200, 503}
        assert service.process.wait(PATIENCE) == 0


def test_a_port_in_use_is_an_error_in_one_line():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"--host 127.0.0.1 --port {port}: address already in"):
            listen("127.0.0.1", port)


if __name__ == "__main__":
    main()
