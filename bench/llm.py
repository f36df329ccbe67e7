"""The annotator `llm` against a local server that answers after 200 ms and admits 32 requests at
once. Prints one JSON line.

    python bench/llm.py [--reports 1000] [--one-by-one 50] [--many 100000]

`share_of_limit`: reports a second, as a share of the 160 that the server can answer, once libraries
are loaded. `times_faster`: than the official client in a plain loop over --one-by-one reports.
`requests_per_report`: when 20 % of the requests fail, in turn by 429 with Retry-After, 500, cut
connection, time-out, empty answer and cut JSON. `grown_mib`: growth of resident memory from a tenth
of --many reports to all of them, with a server without delay.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.llm.llm import Llm
from xraygen.core.study import Case

DELAY, MOST = 0.2, 32
TURNS = ("429", "500", "cut connection", "time-out", "empty", "cut JSON")
KEY = "BENCH_KEY"


class ChatServer:
    """`every`: one request in this many fails, in the ways of TURNS by turns."""

    def __init__(self, delay: float, every: int | None):
        self.delay, self.every, self.asked, self.free = delay, every, 0, asyncio.Semaphore(MOST)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(
                    next(
                        line
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ).split(b":")[1]
                )
                body = json.loads(await reader.readexactly(length))
                self.asked += 1
                fails = self.every and self.asked % self.every == 0
                turn = TURNS[self.asked // self.every % len(TURNS)] if fails else None
                async with self.free:
                    await asyncio.sleep(self.delay)
                if turn == "cut connection":
                    break
                if turn == "time-out":
                    await asyncio.sleep(3600)
                writer.write(self.response(body, turn))
                await writer.drain()
        writer.close()

    @staticmethod
    def response(body: dict, turn: str | None) -> bytes:
        status, extra = {
            "429": ("429 Too Many Requests", "Retry-After: 0.1\r\n"),
            "500": ("500 Internal Server Error", ""),
        }.get(turn, ("200 OK", ""))
        report = body["messages"][-1]["content"].split("Report: ")[-1]
        text = json.dumps(
            {"bone": "", "heart": "", "lung": report, "mediastinal": "", "others": ""}
        )
        text = {"empty": "", "cut JSON": text[: len(text) // 2]}.get(turn, text)
        said = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        usage = {"prompt_tokens": 150, "completion_tokens": 40, "total_tokens": 190}
        answer = {
            "id": "a",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [said],
            "usage": usage,
        }
        content = json.dumps(
            answer if status == "200 OK" else {"error": {"message": status}}
        ).encode()
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"{extra}Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )


def serve(delay: float, every: int | None, port, asked) -> None:
    async def main() -> None:
        server = ChatServer(delay, every)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
        port.value = listening.sockets[0].getsockname()[1]
        while True:
            await asyncio.sleep(0.05)
            asked.value = server.asked

    asyncio.run(main())


@contextlib.contextmanager
def server(delay: float = DELAY, every: int | None = None) -> Iterator[tuple[str, object]]:
    """(base_url, number of requests until now) of a server in its own process."""
    context = multiprocessing.get_context("spawn")
    port, asked = context.Value("i", 0), context.Value("i", 0)
    process = context.Process(target=serve, args=(delay, every, port, asked), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port.value}/v1", asked
    finally:
        process.kill()


def annotator(url: str, **changed) -> Llm:
    settings = params.load()
    llm = settings.llm.model_copy(
        update={"provider": "openai", "base_url": url, "model": "model", "key": KEY, **changed}
    )
    return Llm(settings.approaches["brief"], Project(Path.cwd(), Path.cwd(), settings.regions, llm))


def cases(count: int) -> Iterator[Case]:
    """All different, of the length of real reports."""
    for number in range(count):
        words = " ".join(
            f"finding {number} {place}"
            for place in ("of the left lung", "beside the heart", "in the spine", "of the aorta")
        )
        yield Case(
            id=f"case {number}",
            report=f"The lungs are clear. {words}. No pneumothorax and no effusion.",
        )


def annotate(url: str, count: int, **changed) -> tuple[float, int]:
    """(seconds, how many have an annotation)."""
    annotate = annotator(url, **changed)
    start, answered = time.perf_counter(), 0
    for case, record in zip(cases(count), annotate(cases(count)), strict=True):
        assert record.id == case.id
        answered += record.annotation is not None and record.annotation["lung"] == case.report
    return time.perf_counter() - start, answered


def one_by_one(url: str, count: int) -> float:
    """Seconds of a plain loop over the official client."""
    from openai import OpenAI

    approach = params.load().approaches["brief"]
    client, start = OpenAI(base_url=url, api_key="none"), time.perf_counter()
    for case in cases(count):
        turns = [
            {"role": "system", "content": approach.system},
            {"role": "user", "content": approach.user.replace("{report}", case.report)},
        ]
        client.chat.completions.create(model="model", messages=turns, temperature=0, max_tokens=256)
    return time.perf_counter() - start


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def grown(url: str, count: int) -> tuple[float, float]:
    """(MiB after a tenth of the reports, MiB at the end)."""
    early = 0.0
    for number, _ in enumerate(annotator(url)(cases(count))):
        if number == count // 10:
            early = resident()
    return early, resident()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--one-by-one", type=int, default=50)
    parser.add_argument("--many", type=int, default=100_000)
    arguments = parser.parse_args()
    root, home = Path.cwd(), tempfile.TemporaryDirectory()
    os.environ["HOME"] = home.name
    result = {}
    with home, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
        os.chdir(folder)  # where answers are kept
        with server() as (url, _):
            annotate(url, 2)  # loads the libraries
        with server() as (url, _):
            seconds, answered = annotate(url, arguments.reports)
            plain = one_by_one(url, arguments.one_by_one)
            rate, limit = arguments.reports / seconds, MOST / DELAY
            result |= {
                "reports": arguments.reports,
                "answered": answered,
                "reports_per_second": round(rate, 1),
            }
            result |= {
                "share_of_limit": round(rate / limit, 4),
                "times_faster": round(rate * plain / arguments.one_by_one, 1),
            }
        with server(every=5) as (url, asked):
            seconds, answered = annotate(url, arguments.reports, timeout=2.0)
            time.sleep(0.2)
            result["failing"] = {
                "answered": answered,
                "requests_per_report": round(asked.value / arguments.reports, 3),
                "seconds": round(seconds, 1),
            }
        if arguments.many:
            with server(delay=0.0) as (url, _):
                early, late = grown(url, arguments.many)
                result["memory"] = {
                    "reports": arguments.many,
                    "early_mib": round(early),
                    "late_mib": round(late),
                    "grown_mib": round(late - early),
                }
        os.chdir(root)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
