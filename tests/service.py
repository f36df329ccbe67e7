"""The service as users start it: `xraygen serve` in a separate process, on a free port of the
loopback, in a made-up project with a fitted router.

    @pytest.fixture(scope="module")
    def service(tmp_path_factory):
        folder = made_project(tmp_path_factory.mktemp("project"))
        with started(folder, "--max-body", "1") as service:
            yield service

    def test_health(service):
        assert service.request("GET", "/healthz").json() == {"status": "ok"}

Starting one takes about 4 s of CPU time, so share it among the tests of a file. What it wrote to
its log is in `service.log()`.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from conftest import REGIONS, ROOT
from test_router import practice

from xraygen.annotators.router.router import RouterParams, fit
from xraygen.core.json_lines import write_json

_PATIENCE = 60  # seconds; the machine may be busy
REPORT = "The cardiomediastinal outline is smooth. There is no effusion. The left lung is clear."


def made_project(folder: Path, **approaches: dict) -> Path:
    """A project after compare and release: params.yaml, a router, its scores and review threshold.
    `approaches`: more entries under `approaches:`. Returns the folder.
    """
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    router = {"annotator": "router", "reads": "models/router", "wording": "learned"}
    content["approaches"] = {"router": router, **approaches}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    fit(practice()[::3], RouterParams(epochs=2), REGIONS).save(folder / "models/router")
    write_json(folder / "metrics/release.json", {"approach": "router", "judge": "proxy"})
    score = {"score": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 30}
    test = {"macro": score} | dict.fromkeys(REGIONS.scored, score)
    review = {"threshold": 0.8, "risk": 0.05, "delta": 0.05}
    none_found = review | {"threshold": None}  # as compare writes it
    write_json(
        folder / "reports/comparison.json",
        {
            "approaches": {"router": {"judge": "proxy", "test": test}},
            "confidence": {"router": {"review": review}}
            | dict.fromkeys(approaches, {"review": none_found}),
        },
    )
    return folder


class Answer(NamedTuple):
    """`headers`: by their name in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class Service:
    """A service that answers. `key`: sent with each request unless that has a header of its
    own.
    """

    def __init__(self, process: subprocess.Popen, port: int, folder: Path, key: str | None) -> None:
        self.process, self.port, self.folder, self.key = process, port, folder, key
        self.url = f"http://127.0.0.1:{port}"

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body`: bytes (or an iterator of them, sent in chunks) as they are, anything else as
        JSON. Each request opens a new connection.
        """
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None and not isinstance(body, bytes | Iterator):
            body = json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent | dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())

    def connect(self) -> socket.socket:
        """For requests that http.client would not send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)

    def log(self) -> str:
        return (self.folder / "service.log").read_text(encoding="utf-8")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextlib.contextmanager
def started(
    folder: Path,
    *options: str,
    key: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """`xraygen serve OPTIONS` in a project's folder, once it is ready. It is stopped with SIGTERM
    at the end, if it has not ended before. `variables`: of the environment, in addition.
    """
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment |= dict(variables or {})
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "xraygen", "serve", "--port", str(port), *options],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, port, folder, key)
    try:
        _wait(service)
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _wait(service: Service) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and service.process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if service.request("GET", "/readyz").status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the service is not ready: {service.log()}")
