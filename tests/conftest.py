"""What several tests share: the project's folder, a small language model, a server of completions."""

import hashlib
import importlib.util
import json
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# The models of the tests are so small that threads only wait for one another, long where others use the machine too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """A folder with a small Llama of random weights, as bench/green.py makes it."""
    pytest.importorskip("green_score")
    from xraygen.judges.green_answers import prompt

    spec = importlib.util.spec_from_file_location("bench_green", ROOT / "bench" / "green.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    folder = tmp_path_factory.mktemp("model") / "llama"
    bench.random_llama(folder, [prompt("Small left effusion, heart size normal.", "No focal consolidation or pneumothorax.")])
    return folder


ANSWER = """\
[Explanation]:
The candidate names {extra}, which the reference lacks.

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 1. {extra}.

[Clinically Insignificant Errors]:
None.

[Matched Findings]:
1. {matched}."""


class CompletionServer(ThreadingHTTPServer):
    """Speaks /v1/completions on loopback. `asked`: the prompts in order of arrival; `answered`: those whose answer found its asker
    still there; `script`: what to do with the next requests instead of answering: a status, or (status, headers), or "hang up",
    "not JSON", "no choices"."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, delay: float = 0.0, script: Sequence = ()):
        super().__init__(("127.0.0.1", 0), _Completions)
        self.delay, self.script = delay, list(script)
        self.asked, self.answered, self.keys = [], [], set()
        self.now, self.most, self.lock = 0, 0, threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # an asker that was killed


class _Completions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(asked["prompt"])
            server.keys.add(self.headers["Authorization"])
            server.now += 1
            server.most = max(server.most, server.now)
            act = server.script.pop(0) if server.script else 200
        time.sleep(server.delay)
        try:
            self.act(act, asked)
        finally:
            with server.lock:
                server.now -= 1

    def act(self, act, asked: dict) -> None:
        status, headers = act if isinstance(act, tuple) else (act, {})
        body = {"choices": [{"text": answer_to(asked["prompt"]), "index": 0, "finish_reason": "stop"}]}
        if act == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if act == "no choices":
            body["choices"] = []
        elif isinstance(status, int) and status >= 400:
            body = {"error": {"message": f"so the server says: {status}"}}
        content = b"<html>" if act == "not JSON" else json.dumps(body).encode()
        self.send_response(status if isinstance(status, int) else 200)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not select.select([self.connection], [], [], 0)[0]:  # readable now = closed by its asker
            self.server.answered.append(asked["prompt"])
            self.wfile.write(content)


def answer_to(prompt: str) -> str:
    """An answer in GREEN's form that hangs on the prompt alone."""
    mark = hashlib.sha256(prompt.encode()).hexdigest()[:6]
    return ANSWER.format(extra=f"opacity {mark}", matched=f"finding {mark}")


@pytest.fixture
def completion_server():
    """Starts servers; they stop with the test."""
    servers = []

    def start(**settings) -> CompletionServer:
        servers.append(CompletionServer(**settings))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
