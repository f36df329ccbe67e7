"""Streams: a case a line in, an annotation a line out, both at the same time."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")

from service import REPORT, Service, made_project, started

from xraygen.service.bodies import Bodies
from xraygen.service.options import Options
from xraygen.service.problems import Problem
from xraygen.service.stream import Annotating, Line, Splitter, blocks

PATH = "/v1/annotations:stream"
HEADERS = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = made_project(tmp_path_factory.mktemp("project"))
    with started(folder, "--max-body", "1", "--max-bodies", "2", "--batch-size", "16") as service:
        yield service


def line(id: object) -> bytes:
    return json.dumps({"id": id, "report": REPORT}).encode() + b"\n"


def stream(service: Service, body: object) -> list[dict]:
    answer = service.request("POST", PATH, body, HEADERS)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.body.endswith(b"\n") or not answer.body
    return [json.loads(one) for one in answer.body.splitlines()]


class Client:
    """A request that is still being sent, in chunks, and its response as it comes."""

    def __init__(self, service: Service) -> None:
        self.socket = service.connect()
        self.socket.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        self.head: list[bytes] = []

    def send(self, content: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(content), content))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def read_head(self) -> None:
        while (one := self.file.readline()) != b"\r\n":
            self.head.append(one)

    def lines(self) -> Iterator[dict]:
        """Those of the response, to its end."""
        if not self.head:
            self.read_head()
        rest = b""
        while size := int(self.file.readline(), 16):
            *ended, rest = (rest + self.file.read(size)).split(b"\n")
            self.file.readline()
            yield from map(json.loads, ended)
        assert rest == b""


@contextlib.contextmanager
def client(service: Service) -> Iterator[Client]:
    one = Client(service)
    with one.socket, one.file:
        yield one


def until(holds) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def queued(service: Service) -> float:
    text = service.request("GET", "/metrics").body.decode()
    [value] = [one for one in text.splitlines() if one.startswith('xraygen_queued{model="r')]
    return float(value.split()[-1])


def test_lines_are_answered_in_order_and_broken_ones_by_their_number(service):
    body = line("a") + b"\n  \n" + b"{broken\n" + line("b") + b'{"id": ""}\n' + b'{"id": "c"}'
    first, broken, second, nameless, last = stream(service, body)
    assert (first["id"], second["id"], last["id"]) == ("a", "b", "c")
    assert "regions" in first and "line" not in first
    assert (broken["id"], broken["line"], broken["error"]["status"]) == (None, 4, 400)
    assert (nameless["id"], nameless["line"]) == (None, 6)
    assert last["error"]["status"] == 422  # no report, and read though no line break follows


def test_the_lines_of_many_blocks_keep_their_order(service):
    count = 500
    body = b"".join(b"?\n" if one % 7 == 0 else line(str(one)) for one in range(count))
    pieces = iter([body[start : start + 997] for start in range(0, len(body), 997)])
    found = stream(service, pieces)
    assert len(found) == count
    for number, one in enumerate(found):
        if number % 7 == 0:
            assert one["line"] == number + 1
        else:
            assert one["id"] == str(number) and "regions" in one


def test_a_line_is_answered_before_the_next_one_is_sent(service):
    with client(service) as one:
        answers = one.lines()
        for number in range(3):
            one.send(line(str(number)))
            assert next(answers)["id"] == str(number)
        one.end()
        assert list(answers) == []


def test_a_line_that_is_too_long_is_an_error_and_not_kept(service):
    before = rss(service)
    with client(service) as one:
        one.send(line("a") + b'{"id": "b", "report": "')
        for _ in range(100):
            one.send(b"x" * 2**20)
        one.send(b'"}\n' + line("c"))
        one.end()
        first, long, last = one.lines()
    assert (first["id"], last["id"]) == ("a", "c")
    assert (long["id"], long["line"], long["error"]["status"]) == (None, 2, 413)
    assert rss(service) - before < 50


def rss(service: Service) -> float:
    """Of the process that speaks HTTP, in MiB."""
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_client_that_does_not_read_is_not_read_either(service):
    """And when it goes away, nothing waits for the model any more."""
    with client(service) as one:
        one.socket.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 100 * 2**20:
                one.send(line("a") * 500)
                sent += 500 * len(line("a"))
        until(lambda: queued(service) == 0)
    assert service.request("POST", "/v1/annotations", {"cases": [json.loads(line("b"))]}).json()
    until(lambda: '"complete":false' in service.log())


def test_an_unknown_approach_is_a_problem(service):
    answer = service.request("POST", PATH + "?approach=other", line("a"), HEADERS)
    assert answer.status == 422
    assert service.request("POST", PATH + "?approach=router", line("a"), HEADERS).status == 200


def test_lines_without_an_end_count_towards_the_bytes_that_are_held(service):
    """Any number of clients could fill the memory with them."""
    unended = b" " * 900_000
    with client(service) as first, client(service) as second, client(service) as third:
        for one in (first, second):
            one.send(line("a") + unended)
            assert next(one.lines())["id"] == "a"
        third.send(unended + line("b"))
        third.end()
        (refused,) = third.lines()
        assert (refused["error"]["status"], refused["line"]) == (503, 1)
    for _ in range(100):
        answers = stream(service, unended + line("c"))
        if answers[0]["id"] == "c":  # as soon as the clients are seen to have left
            break
        time.sleep(0.05)
    assert [one["id"] for one in answers] == ["c"]


def test_a_stream_of_long_lines_waits_for_room(service):
    """Its own lines must not fill what is for all bodies, and end it."""
    body = b"".join(b" " * 900_000 + line(str(number)) for number in range(8))
    assert [one["id"] for one in stream(service, body)] == [str(number) for number in range(8)]


def test_an_empty_stream_has_an_empty_answer(service):
    assert stream(service, b"") == stream(service, b"\n\n") == []


def test_a_model_that_dies_in_the_middle_costs_the_lines_on_their_way_alone(service):
    with client(service) as one:
        answers = one.lines()
        one.send(line("a"))
        assert "regions" in next(answers)
        pid = model_process(service)
        os.kill(pid, signal.SIGSTOP)  # it has the next lines when it dies
        one.send(line("b"))
        until(lambda: queued(service) == 1)
        os.kill(pid, signal.SIGKILL)
        assert next(answers)["error"]["status"] == 503
        one.send(line("c"))
        assert "regions" in next(answers)  # by the process that took its place
        one.end()
        assert list(answers) == []


def model_process(service: Service) -> int:
    """The id of the process that holds the approach: the last but one to start, before the
    judge's.
    """
    process = service.process.pid
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(children[-2])


def test_sigterm_answers_what_was_read_and_says_where_it_stopped(service):
    """The last test: it ends the service."""
    with client(service) as one:
        answers = one.lines()
        one.send(line("a") + line("b") + b'{"id": "half')
        assert [next(answers)["id"] for _ in range(2)] == ["a", "b"]
        service.process.send_signal(signal.SIGTERM)
        [end] = answers
        assert (end["line"], end["error"]["status"]) == (3, 503)
    assert service.process.wait(30) == 0


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_do_not_depend_on_where_pieces_end(size):
    body = b"one\n\ntoo long a line\r\n \t\nlast"
    splitter = Splitter(limit=8)
    found = []
    for start in range(0, len(body), size):
        found += splitter.lines(body[start : start + size])
    found += splitter.last()
    assert found == [Line(1, b"one"), Line(3, None), Line(5, b"last")]


def test_blocks_are_bounded_by_lines_and_by_bytes():
    small = [Line(number, b"x") for number in range(5)]
    assert [len(block) for block in blocks(iter(small), 2)] == [2, 2, 1]
    large = [Line(number, b"x" * 2**20) for number in range(3)]
    assert [len(block) for block in blocks(iter(large), 9)] == [2, 1]


def test_the_time_of_a_line_starts_with_the_line():
    options = Options(body_timeout=0.05)
    loaded = SimpleNamespace(options=options, bodies=Bodies(options))

    async def read() -> None:
        response = Annotating(None, None, loaded)

        async def arrive(piece: bytes) -> None:
            list(response.splitter.lines(piece))
            response._check_unended()
            await asyncio.sleep(0.1)

        await arrive(line("a"))
        await arrive(b"{")  # a client may take its time between two lines
        with pytest.raises(Problem, match="request-timed-out"):
            await arrive(b" ")

    asyncio.run(read())
