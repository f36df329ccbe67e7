"""How fast `xraygen serve` is with the router: rates as ratios to what bounds them, and latencies.

    python -m bench.serve [--rounds 5] [--seconds 3] [-- OPTIONS OF xraygen serve]

Needs wrk (`apt-get install wrk`), a generator of load in C, because one in Python costs as much as
the service. Everything runs on the same cores, in alternation, and rates are medians over rounds:

  single      POST /v1/annotations with one report, on 128 connections
  constant    the same requests to a FastAPI app in the same uvicorn (uvloop, httptools, no access
              log), whose route awaits `request.json()` and returns constant bytes, as long as the
              service's mean answer. It validates nothing: no route of FastAPI is faster.
  batch       with 100 reports, on 4 connections; in reports per second
  in_process  the same reports through the annotator, in one process without HTTP, and its records
              as JSON; in reports per second

Reports are generated and distinct. `latency_ms`: of single reports that arrive at random at half
the rate of `single`, each from the time when it was due, whether or not it could be sent then.
`healthz_ms`: of GET /healthz every 20 ms under each load; `large` are bodies of just under 32 MiB
on two connections. `cpu_ms`: CPU time of each process of the service for a thousand reports, in the
order in which they were started. `resident_mib`: of each process, at the end.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import http.client
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.running_service import ROOT, Service, cpu_name, free_port, process, xraygen_serve
from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.load import load
from xraygen.core.errors import UserError, one_line
from xraygen.core.study import Case
from xraygen.sources.phantom import phantom

REPORTS = 5000
BATCH = 100
SINGLES = 128  # connections
BATCHES = 4
LARGE = 32 * 2**20 - 1024  # bytes
PATH = "/v1/annotations"

_CONSTANT = """
import sys, uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI(docs_url=None, redoc_url=None)
answer = b'"' + b"x" * (int(sys.argv[2]) - 2) + b'"'

@app.get("/healthz")
async def health():
    return Response(b"{}", media_type="application/json")

@app.post("/v1/annotations")
async def constant(request: Request):
    await request.json()
    return Response(answer, media_type="application/json")

uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
            log_level="warning", server_header=False)
"""

# wrk formats no request: it sends those of the file in turn, each after a line with its length.
_WRK = """
local requests, next_one = {}, 0

function init(arguments)
    local file = io.open(arguments[1], "rb")
    for length in file:lines() do
        requests[#requests + 1] = file:read(tonumber(length))
    end
    file:close()
end

function request()
    next_one = next_one % #requests + 1
    return requests[next_one]
end

function done(summary, latency, _)
    local errors = summary.errors
    print(string.format('{"requests": %d, "seconds": %f, "failed": %d}', summary.requests,
        summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def post(cases: Sequence[Case]) -> bytes:
    """A request."""
    content = {"cases": [{"id": case.id, "report": case.report} for case in cases]}
    body = json.dumps(content).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def wrk(service: Service, requests: Path, connections: int, seconds: float) -> float:
    """Requests per second. UserError: one failed."""
    script = requests.with_suffix(".lua")
    script.write_text(_WRK)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script)]
    command += [service.url + PATH, "--", str(requests)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads(printed.strip().split("\n")[-1])
    if result["failed"]:
        raise UserError(f"{result['failed']} of {result['requests']} requests failed")
    return result["requests"] / result["seconds"]


class _Connection(asyncio.Protocol):
    """Keep-alive, one request at a time. Answers of the service have a Content-Length."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if len(body) == int(length):
            self.received = b""
            self.answered.set_result(head)

    async def ask(self, request: bytes) -> bytes:
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


async def _open_loop(
    port: int, requests: Sequence[bytes], rate: float, seconds: float
) -> list[float]:
    """Seconds from when each request was due to its answer."""
    loop = asyncio.get_running_loop()
    idle: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(128):
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        idle.put_nowait(connection)
    latencies: list[float] = []

    async def one(request: bytes, due: float) -> None:
        connection = await idle.get()
        head = await connection.ask(request)
        latencies.append(loop.time() - due)
        idle.put_nowait(connection)
        if not head.startswith(b"HTTP/1.1 200"):
            raise UserError("A request failed: " + head.split(b"\r\n")[0].decode())

    draw = random.Random(0)
    due = loop.time() + 0.1
    end = due + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(10**9):
            due += draw.expovariate(rate)
            if due > end:
                break
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            group.create_task(one(requests[number % len(requests)], due))
    return latencies


def latencies_at(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> list[float]:
    import uvloop

    gc.collect()
    gc.disable()
    try:
        return uvloop.run(_open_loop(port, requests, rate, seconds))
    finally:
        gc.enable()


def milliseconds(latencies: Sequence[float]) -> dict[str, float]:
    ranked = sorted(latencies)
    at = {"p50": len(ranked) // 2, "p99": len(ranked) * 99 // 100, "max": len(ranked) - 1}
    return {name: round(ranked[index] * 1000, 1) for name, index in at.items()}


@contextlib.contextmanager
def polled(port: int, latencies: list[float]) -> Iterator[None]:
    """Adds the seconds of GET /healthz, every 20 ms during the block."""
    stop = threading.Event()

    def poll() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stop.wait(0.02):
            start = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            latencies.append(time.perf_counter() - start)
        connection.close()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def send_large(port: int, seconds: float) -> int:
    """Bodies with images in base64, which are not images; how many were sent."""
    image = {"data": "A" * (LARGE - 200)}
    body = json.dumps({"cases": [{"id": "1", "report": "Clear.", "images": [image]}]}).encode()
    end = time.monotonic() + seconds
    sent = []

    def send() -> None:
        while time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with contextlib.closing(connection):
                try:
                    connection.request("POST", PATH, body, {"Content-Type": "application/json"})
                    sent.append(connection.getresponse().status)
                except OSError:  # refused before it was read
                    time.sleep(0.01)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(sent)


def in_process(cases: Sequence[Case]) -> Callable[[float], float]:
    """Reports per second, over that many seconds. Warm."""
    settings = params.load(ROOT / "params.yaml")
    project = Project(ROOT, ROOT, settings.regions, settings.llm)
    annotate = load(settings.approaches, "router", project).unlimited()

    def pass_through() -> None:
        for record in annotate(cases):
            record.model_dump_json().encode()

    pass_through()

    def rate(seconds: float) -> float:
        start = time.perf_counter()
        passes = 0
        while time.perf_counter() - start < seconds:
            pass_through()
            passes += 1
        return passes * len(cases) / (time.perf_counter() - start)

    return rate


def mean_answer(service: Service, cases: Sequence[Case]) -> int:
    """Bytes."""
    sizes = []
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    for case in cases:
        body = post([case]).partition(b"\r\n\r\n")[2]
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        sizes.append(len(connection.getresponse().read()))
    connection.close()
    return round(statistics.mean(sizes))


def cpu_ms(service: Service, before: dict[int, float], reports: float) -> list[float]:
    after = service.cpu_seconds()
    return [round((after[pid] - before.get(pid, 0)) / reports * 1e6) for pid in sorted(after)]


def measure(service: Service, cases: Sequence[Case], folder: Path, rounds: int, seconds: float):
    singles = [post([case]) for case in cases]
    batches = [post(cases[at : at + BATCH]) for at in range(0, len(cases), BATCH)]
    paths = {}
    for name, requests in (("single", singles), ("batch", batches)):
        paths[name] = folder / name
        with paths[name].open("wb") as file:
            for request in requests:
                file.write(b"%d\n%b" % (len(request), request))
    port = free_port()
    size = mean_answer(service, cases[:200])
    command = [sys.executable, "-c", _CONSTANT, str(port), str(size)]
    inside = in_process(cases)
    rates: dict[str, list[float]] = {}
    healthz: dict[str, list[float]] = {"single": [], "batch": [], "large": []}
    cpu: dict[str, list[list[float]]] = {"single": [], "batch": []}
    with process(command, port, "/healthz") as constant:
        wrk(service, paths["single"], SINGLES, seconds)  # warms both
        wrk(constant, paths["single"], SINGLES, 1)
        for _ in range(rounds):
            found = wrk(constant, paths["single"], SINGLES, seconds)
            rates.setdefault("constant", []).append(found)
            for name, connections, each in (("single", SINGLES, 1), ("batch", BATCHES, BATCH)):
                before = service.cpu_seconds()
                found = each * wrk(service, paths[name], connections, seconds)
                cpu[name].append(cpu_ms(service, before, found * seconds))
                rates.setdefault(name, []).append(found)
            rates.setdefault("in_process", []).append(inside(seconds))
    rate = {name: statistics.median(found) for name, found in rates.items()}
    latencies = latencies_at(service.port, singles, rate["single"] / 2, 3 * seconds)
    for name, connections in (("single", SINGLES), ("batch", BATCHES)):
        with polled(service.port, healthz[name]):
            wrk(service, paths[name], connections, seconds)
    with polled(service.port, healthz["large"]):
        large = send_large(service.port, 2 * seconds)
    return {
        "single_to_constant": round(rate["single"] / rate["constant"], 3),
        "batch_to_in_process": round(rate["batch"] / rate["in_process"], 3),
        "per_second": {name: round(found) for name, found in rate.items()},
        "latency_ms": milliseconds(latencies),
        "healthz_ms": {name: milliseconds(found) for name, found in healthz.items()},
        "large_bodies": large,
        "cpu_ms": {
            name: [statistics.median(a) for a in zip(*b, strict=False)] for name, b in cpu.items()
        },
        "resident_mib": [size >> 20 for _, size in sorted(service.resident_bytes().items())],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        raise UserError("wrk is not installed; `apt-get install wrk`")
    cases = [Case(id=str(k), report=phantom(0, 10**8 + k).report) for k in range(REPORTS)]
    with (
        tempfile.TemporaryDirectory() as folder,
        xraygen_serve("--approach", "router", *arguments.options) as service,
    ):
        result = measure(service, cases, Path(folder), arguments.rounds, arguments.seconds)
    print(json.dumps({"cpu": cpu_name(), "reports": len(cases), **result}))


if __name__ == "__main__":
    with one_line():
        main()
