"""A long stream through POST /v1/annotations:stream: order, memory, and rate.

    python -m bench.serve_stream [--reports 50000] [-- OPTIONS OF xraygen serve]

Generated, distinct reports are written to a temporary file. One thread sends them
as one request while the other reads the response; each line must have the id that is next.
`resident_mib`: of all processes of the service together, after each tenth of the lines.
`growth_mib`: from the first tenth to the end. `of_in_process`: the rate, against the annotator and
its records as JSON in one process without HTTP, over --sample of the reports before and after.
Prints one JSON line.
A million takes about 5 minutes, and 230 MB in the folder of temporary files.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.running_service import ROOT, Service, cpu_name, xraygen_serve
from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.load import load
from xraygen.core.errors import UserError, one_line
from xraygen.core.study import Case
from xraygen.sources.phantom import phantom

_BLOCK = 2**16  # bytes that are sent and read at a time
_HEAD = (
    b"POST /v1/annotations:stream?approach=router HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def line(number: int) -> bytes:
    case = {"id": str(number), "report": phantom(0, 10**8 + number).report}
    return json.dumps(case).encode() + b"\n"


def write_reports(path: Path, count: int) -> None:
    with multiprocessing.Pool() as pool, path.open("wb") as file:
        file.writelines(pool.imap(line, range(count), chunksize=1000))


def send(connection: socket.socket, path: Path) -> None:
    connection.sendall(_HEAD)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            connection.sendall(b"%x\r\n%b\r\n" % (len(block), block))
    connection.sendall(b"0\r\n\r\n")


def received(connection: socket.socket) -> Iterator[bytes]:
    """Lines of the response. UserError: it is refused."""
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    if response.status != 200:
        raise UserError(f"status {response.status}: {response.read(1000)!r}")
    rest = b""
    while block := response.read1(_BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        raise UserError("the response ends within a line")


def stream(service: Service, path: Path, count: int) -> dict:
    """UserError: a line is missing, or out of order."""
    memory = []
    failed = 0
    number = 0
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        sender = threading.Thread(target=send, args=(connection, path), daemon=True)
        sender.start()
        for number, answer in enumerate(received(connection), 1):
            if not answer.startswith(b'{"id":"%d",' % (number - 1)):
                raise UserError(f"line {number} is not the answer to line {number} of the body")
            failed += b'"error":{' in answer
            if number * 10 // count > len(memory):
                memory.append(round(service.resident_mib()))
        sender.join()
    seconds = time.perf_counter() - start
    if number != count:
        raise UserError(f"{number:,} lines for {count:,} reports")
    return {
        "reports": count,
        "failed": failed,
        "in_order": True,
        "resident_mib": memory,
        "growth_mib": memory[-1] - memory[0],
        "per_second": round(count / seconds),
    }


class InProcess:
    def __init__(self) -> None:
        settings = params.load(ROOT / "params.yaml")
        project = Project(ROOT, ROOT, settings.regions, settings.llm)
        self.annotate = load(settings.approaches, "router", project).unlimited()

    def per_second(self, path: Path, count: int) -> float:
        start = time.perf_counter()
        with path.open("rb") as file:
            cases = map(Case.model_validate_json, itertools.islice(file, count))
            for record in self.annotate(cases):
                record.model_dump_json().encode()
        return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=50_000)
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    count = arguments.reports
    sample = min(arguments.sample, count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reports.jsonl")
        write_reports(path, count)
        inside = InProcess()
        before = inside.per_second(path, sample)
        with xraygen_serve("--approach", "router", *arguments.options) as service:
            result = stream(service, path, count)
        rate = statistics.mean([before, inside.per_second(path, sample)])
    ratio = round(result["per_second"] / rate, 3)
    print(json.dumps({"cpu": cpu_name(), **result, "of_in_process": ratio}))


if __name__ == "__main__":
    with one_line():
        main()
