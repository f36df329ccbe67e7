"""The adaptive limit on requests under way against a fixed one and the official client's retries.

    python bench/gate.py [--questions 600] [--concurrency 64] [--rounds 3]

A local server in its own process answers 8 requests at a time in 100 ms each, so at most 80 a
second. `refuses`: it answers 429 to any more. `queues`: it keeps them waiting and works on those
that nobody waits for any more, and the client's time-out is 0.5 s, as with an overloaded vLLM.
Prints one JSON line: of each server and side the median seconds, requests per question and
questions without an answer. `openai` is AsyncOpenAI(max_retries=7) behind a semaphore of the same
size.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import sys
import time

from xraygen.core.errors import UserError, one_line
from xraygen.engines import server as asking

WORKERS, SECONDS, TIMEOUT = 8, 0.1, 0.5
BODY = {"id": "a", "object": "text_completion", "created": 0, "model": "m"}
ANSWER = BODY | {"choices": [{"index": 0, "finish_reason": "stop", "text": "answer"}]}


def serve(refuses: bool, port, asked) -> None:
    async def main() -> None:
        free = asyncio.Semaphore(WORKERS)

        async def work() -> None:
            async with free:
                await asyncio.sleep(SECONDS)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    lines = head.lower().split(b"\r\n")
                    length = next(
                        int(line[15:]) for line in lines if line.startswith(b"content-length:")
                    )
                    await reader.readexactly(length)
                    asked.value += 1
                    if refuses and free.locked():
                        status, content = (
                            "429 Too Many Requests",
                            {"error": {"message": "too many"}},
                        )
                    else:
                        await work()
                        status, content = "200 OK", ANSWER
                    body = json.dumps(content)
                    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                    await writer.drain()
            writer.close()

        listening = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
        port.value = listening.sockets[0].getsockname()[1]
        await asyncio.Event().wait()

    asyncio.run(main())


def ours(url: str, questions: int, concurrency: int, fixed: bool) -> int:
    """Questions without an answer."""
    given = asking.Server(url, "m", "BENCH_KEY", concurrency, TIMEOUT)
    answered = []
    kept = asking.Gate.back_off
    if fixed:
        asking.Gate.back_off = lambda *_: None
    try:
        asking.complete(
            given, ["q"] * questions, 8, lambda index, text: answered.append(text == "answer")
        )
    except UserError as error:
        print(error, file=sys.stderr)
    finally:
        asking.Gate.back_off = kept
    return questions - sum(answered)


async def client(url: str, questions: int, concurrency: int) -> int:
    from openai import AsyncOpenAI, OpenAIError

    places, failed = asyncio.Semaphore(concurrency), 0

    async def ask() -> None:
        nonlocal failed
        async with places:
            try:
                await asker.completions.create(model="m", prompt="q", max_tokens=8, temperature=0)
            except OpenAIError:
                failed += 1

    async with AsyncOpenAI(
        base_url=url, api_key="none", timeout=TIMEOUT, max_retries=asking.TRIES - 1
    ) as asker:
        await asyncio.gather(*(ask() for _ in range(questions)))
    return failed


def measure(side: str, refuses: bool, questions: int, concurrency: int) -> dict:
    context = multiprocessing.get_context("spawn")
    port, asked = context.Value("i", 0), context.Value("i", 0)
    process = context.Process(target=serve, args=(refuses, port, asked), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    url, start = f"http://127.0.0.1:{port.value}/v1", time.perf_counter()
    try:
        if side == "openai":
            failed = asyncio.run(client(url, questions, concurrency))
        else:
            failed = ours(url, questions, concurrency, side == "fixed")
        return {
            "seconds": round(time.perf_counter() - start, 2),
            "requests_per_question": round(asked.value / questions, 2),
            "unanswered": failed,
        }
    finally:
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asking.client_library()
    kinds = {"refuses": True, "queues": False}
    every = {(kind, side): [] for kind in kinds for side in ("adaptive", "fixed", "openai")}
    for _ in range(arguments.rounds):
        for kind, side in every:
            every[kind, side].append(
                measure(side, kinds[kind], arguments.questions, arguments.concurrency)
            )
    result = {
        "questions": arguments.questions,
        "concurrency": arguments.concurrency,
        "at_best_seconds": arguments.questions * SECONDS / WORKERS,
    }
    for (kind, side), done in every.items():
        result.setdefault(kind, {})[side] = {
            name: statistics.median(one[name] for one in done) for name in done[0]
        }
    print(json.dumps(result))


if __name__ == "__main__":
    with one_line():
        main()
