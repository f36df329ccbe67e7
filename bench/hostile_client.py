"""Sends hostile requests, with valid ones among them, and judges the answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.hostile_files import MARKER, small_png
from bench.hostile_requests import (
    FORM,
    JUDGEMENTS,
    STREAM,
    Attack,
    Maker,
    all_attacks,
    annotations,
    file_part,
    multipart,
    request_part,
)

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_ALLOWED = frozenset((501, 503, 504, 505))  # of those from 500
_LEAKS = (b"Traceback", b'File "', b"site-packages", b".py", b"Error:")
_PATIENCE = 60.0  # seconds until a complete request must be answered
# Their requests are complete and small, so that a closed connection is no answer.
_ANSWERED = frozenset("wrong_types encodings identifiers texts base64s content_types".split())
_REPORT = (
    "The heart is enlarged. No pneumothorax or pleural effusion. There is an old fracture of the "
    "left fifth rib."
)


class Response(NamedTuple):
    """`head`: with its status line."""

    status: int
    head: bytes
    body: bytes


class Outcome:
    """`answers`: by family and status, or "closed", "refused", "left". `failures`: what must not
    be, with the first of its kind in words. `busy`: valid requests that were told to come back.
    """

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.valid = 0
        self.busy = 0
        self.latencies: list[float] = []
        self.slowest: dict[str, float] = {}

    def fail(self, kind: str, example: str) -> None:
        self.failures[kind] += 1
        self.examples.setdefault(kind, example)


def responses(raw: bytes, *, bodiless: bool = False) -> tuple[list[Response], bytes]:
    """(the complete ones, the rest)"""
    found = []
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        status = _STATUS.match(head)
        if not end or not status:
            break
        if status[1][0:1] == b"1":
            raw = rest
            continue
        low = head.lower()
        if bodiless or status[1] in (b"204", b"304"):
            body = b""
        elif b"\r\ntransfer-encoding: chunked" in low:
            body, rest, complete = _unchunked(rest)
            if not complete:
                break
        else:
            length = re.search(rb"\r\ncontent-length: (\d+)", low)
            count = int(length[1]) if length else len(rest)
            if len(rest) < count:
                break
            body, rest = rest[:count], rest[count:]
        found.append(Response(int(status[1]), head, body))
        raw = rest
    return found, raw


def _unchunked(raw: bytes) -> tuple[bytes, bytes, bool]:
    """(body, what follows, whether it is complete)"""
    parts = []
    while True:
        size, end, rest = raw.partition(b"\r\n")
        if not end:
            return b"", b"", False
        count = int(size, 16)
        if len(rest) < count + 2:
            return b"", b"", False
        if not count:
            return b"".join(parts), rest[2:], True
        parts.append(rest[:count])
        raw = rest[count + 2 :]


class _Received:
    """What has come so far."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader
        self.raw = b""
        self.ended = False

    async def read(self) -> None:
        """Some more."""
        try:
            block = await self.reader.read(2**18)
        except ConnectionError:
            block = b""
        self.raw += block
        self.ended = not block


async def _send(writer: asyncio.StreamWriter, parts: Sequence[bytes], pause: float) -> None:
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)


async def _read(received: _Received, manner: str, *, bodiless: bool, heavy: bool) -> bool:
    """Until the connection ends or, of a complete request, the response is there. Returns whether
    it came in time.
    """
    patience = _PATIENCE if manner == "complete" else 1.0 if heavy else 0.15
    try:
        async with asyncio.timeout(patience):
            while not received.ended:
                await received.read()
                if manner == "complete" and responses(received.raw, bodiless=bodiless)[0]:
                    break
    except TimeoutError:
        return manner != "complete"
    return True


async def carry_out(port: int, attack: Attack, outcome: Outcome, heavy: bool) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        outcome.answers[attack.family, "refused"] += 1
        return
    start = time.perf_counter()
    received = _Received(reader)
    bodiless = attack.parts[0].startswith(b"HEAD ")
    try:
        if attack.manner == "deaf":
            writer.transport.pause_reading()
        sending = asyncio.create_task(_send(writer, attack.parts, attack.pause))
        if attack.manner in ("leaves", "resets", "deaf"):
            await asyncio.wait([sending], timeout=1 if heavy else 0.1)
            if attack.manner == "deaf":
                await asyncio.sleep(1 if heavy else 0.1)
            if attack.manner == "resets":
                linger = struct.pack("ii", 1, 0)
                made = writer.get_extra_info("socket")
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            outcome.answers[attack.family, "left"] += 1
        else:
            if attack.pause:
                await asyncio.wait([sending], timeout=60)
            in_time = await _read(received, attack.manner, bodiless=bodiless, heavy=heavy)
            if not in_time:
                outcome.fail("no answer in time", _shown(attack))
            judge(attack, received.raw, outcome)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
    finally:
        writer.transport.abort() if attack.manner == "resets" else writer.close()
        took = time.perf_counter() - start
        outcome.slowest[attack.family] = max(took, outcome.slowest.get(attack.family, 0))


def judge(attack: Attack, raw: bytes, outcome: Outcome) -> None:
    found, rest = responses(raw, bodiless=attack.parts[0].startswith(b"HEAD "))
    if not found:
        outcome.answers[attack.family, "closed"] += 1
        if attack.family in _ANSWERED:
            outcome.fail("closed without an answer", _shown(attack))
    if rest and not _STATUS.match(rest):
        outcome.fail("not HTTP", f"{rest[:200]!r} after {_shown(attack)}")
    for response in found:
        outcome.answers[attack.family, str(response.status)] += 1
        for problem in _wrong(response, bodiless=attack.parts[0].startswith(b"HEAD ")):
            outcome.fail(problem, f"{response.body[:300]!r} after {_shown(attack)}")


def _shown(attack: Attack) -> str:
    sent = attack.parts[0]
    return f"{attack.family} {attack.manner}: {sent[:250]!r} ... {sent[-150:]!r}"


def _wrong(response: Response, *, bodiless: bool) -> Iterator[str]:
    """What must not be."""
    if response.status >= 500 and response.status not in _ALLOWED:
        yield f"status {response.status}"
    if MARKER.lower() in response.head.lower():
        yield "a header echoes the marker"
    if response.status < 400:
        yield from _wrong_results(response)
        return
    if MARKER.lower() in response.body.lower():
        yield "an error echoes the marker"
    if any(leak in response.body for leak in _LEAKS):
        yield "an error has a traceback or a path"
    if b"\r\ncontent-type: application/problem+json" not in response.head.lower():
        yield f"an error with status {response.status} is no problem+json"
    elif not bodiless:
        try:
            details = json.loads(response.body)
            right = details["status"] == response.status and details["type"] and details["title"]
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            yield "an error's body is no problem"


def _wrong_results(response: Response) -> Iterator[str]:
    """The errors of single cases."""
    head = response.head.lower()
    if b"x-ndjson" in head:
        results = list(map(json.loads, filter(None, response.body.split(b"\n"))))
    elif b"application/json" in head and response.body.startswith(b'{"annotations"'):
        results = json.loads(response.body)["annotations"]
    else:
        return
    for result in results:
        error = result.get("error")
        if error and MARKER.decode() in json.dumps(error):
            yield "the error of a case echoes the marker"
        if error and error["status"] >= 500 and error["status"] not in _ALLOWED:
            yield f"a case's error has status {error['status']}"


# --- valid requests ---


def valid_requests(maker: Maker) -> dict[str, bytes]:
    png = base64.b64encode(small_png()).decode()
    case = {"id": "right", "report": _REPORT}
    files = [{"file": "a", "projection": "frontal"}]
    form = [request_part(annotations(case | {"images": files})), file_part(b"a", small_png())]
    bad = {"id": "bad", "report": 1}
    pair = {"reference": "The heart is enlarged.", "candidate": "The heart is normal."}
    lines = b"".join(json.dumps(case | {"id": str(k)}).encode() + b"\n" for k in range(5))
    get = {"method": b"GET", "kind": b"", "length": b""}
    return {
        "single": maker.request(annotations(case)),
        "batch": maker.request(annotations(*[case | {"id": str(k)} for k in range(20)], bad, case)),
        "image": maker.request(annotations(case | {"images": [{"data": png}]})),
        "form": maker.request(multipart(form), FORM),
        "judgement": maker.request(json.dumps({"pairs": [pair]}).encode(), path=JUDGEMENTS),
        "stream": maker.request(lines, b"application/x-ndjson", STREAM),
        "approaches": maker.request(path=b"/v1/approaches", **get),
        "healthz": maker.request(path=b"/healthz", **get),
    }


async def ask(port: int, request: bytes) -> Response | None:
    """None: no complete response within a minute."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(request)
                found = responses(await reader.read(-1))[0]
    except (OSError, TimeoutError):
        return None
    return found[0] if found else None


async def probe(port: int, maker: Maker, outcome: Outcome, expected: dict[str, Response]) -> None:
    """Valid requests, one after the other, for as long as it is not cancelled."""
    requests = valid_requests(maker)
    while True:
        for name, request in requests.items():
            start = time.perf_counter()
            response = await ask(port, request)
            outcome.latencies.append(time.perf_counter() - start)
            outcome.valid += 1
            if response and response.status in (429, 503):
                outcome.busy += 1
                if b"\r\nretry-after: " not in response.head.lower():
                    outcome.fail("busy without Retry-After", f"{response}")
            elif not response or response[::2] != expected[name][::2]:
                outcome.fail("a valid request is answered wrongly", f"{name}: {response}")
            await asyncio.sleep(0.05)


async def expectations(port: int, maker: Maker) -> dict[str, Response]:
    """What the valid requests are answered before anything has happened. ValueError: one fails."""
    expected = {}
    for name, request in valid_requests(maker).items():
        response = await ask(port, request)
        if response is None or response.status != 200:
            raise ValueError(f"{name}: {response}")
        expected[name] = response
    return expected


class Idle:
    """Connections on which nothing happens: a third never send anything, a third half a head, and a
    third nothing more after a request. One that is closed is opened again.
    """

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.open = 0
        self.tasks = [asyncio.create_task(self._hold(number)) for number in range(count)]

    async def _hold(self, number: int) -> None:
        starts = (b"", b"POST /v1/annotations HTT", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.open += 1
                try:
                    writer.write(starts[number % 3])
                    await reader.read(-1)
                finally:
                    self.open -= 1
                    writer.close()
            await asyncio.sleep(0.5)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def run(
    port: int, maker: Maker, count: int, idle: int, workers: int = 24, probing: bool = True
) -> Outcome:
    """`count` attacks, `workers` at a time, while `idle` connections are held and valid requests
    are sent. There are more attacks if not each of those has been answered by then.
    """
    outcome = Outcome()
    expected = await expectations(port, maker) if probing else {}
    held = Idle(port, idle)
    attacks = all_attacks(maker, count)
    more = itertools.count(count)

    async def work() -> None:
        for attack in attacks:
            await carry_out(port, attack, outcome, maker.heavy)
        while prober and not prober.done() and outcome.valid <= len(expected):
            await carry_out(port, maker.attack(next(more)), outcome, maker.heavy)

    prober = asyncio.create_task(probe(port, maker, outcome, expected)) if probing else None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
        outcome.answers["idle", "open"] = held.open
    finally:
        if prober:
            prober.cancel()
            await asyncio.gather(prober, return_exceptions=True)
        await held.close()
    if prober and not prober.cancelled() and prober.exception():
        raise prober.exception()
    for name, response in expected.items():
        if (now := await ask(port, valid_requests(maker)[name])) != response:
            same = now and now[::2] == response[::2]
            if not same:
                outcome.fail("a valid request is answered wrongly afterwards", f"{name}: {now}")
    return outcome
