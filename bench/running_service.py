"""`xraygen serve` as serve.py, serve_stream.py, serve_hostile.py and serve_contract.py run it: a
process group on a free port of the loopback interface, which ends with the block.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xraygen.core.errors import UserError

ROOT = Path(__file__).parents[1]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Service(NamedTuple):
    """`log`: the file with what it writes to stdout and stderr."""

    process: subprocess.Popen
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_bytes(self) -> dict[int, int]:
        """Resident memory by process id, of the service and all its descendants."""
        sizes = {}
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                statm = Path(f"/proc/{pid}/statm").read_text()
                sizes[pid] = int(statm.split()[1]) * _PAGE
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
        return sizes

    def resident_mib(self) -> float:
        return sum(self.resident_bytes().values()) / 2**20

    def cpu_seconds(self) -> dict[int, float]:
        """By process id."""
        return {pid: _cpu_seconds(pid) for pid in self.resident_bytes()}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def process(
    command: Sequence[str], port: int, ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """A process that serves HTTP on the port, once GET of the path `ready` is answered with 200.
    UserError: it ended before that, or is not there within a minute.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as file:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=ROOT,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )
        service = Service(started, port, log)
        try:
            _wait(service, ready)
            yield service
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _wait(service: Service, ready: str) -> None:
    end = time.monotonic() + 60
    while service.process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(service.port, ready)[0] == 200:
                return
        time.sleep(0.1)
    lines = service.log.read_text(errors="replace").split("\n")
    raise UserError("The service did not start: " + " ".join(lines[-4:]))


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """(status, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()


@contextlib.contextmanager
def xraygen_serve(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """The service on the project, by what `dvc repro` left, once it is ready."""
    port = free_port()
    command = [sys.executable, "-c", "from xraygen.cli import main; main()"]
    command += ["serve", "--port", str(port), *options]
    with process(command, port, "/readyz", environment) as service:
        yield service


def cpu_name() -> str:
    """The model of the CPU and how many cores there are."""
    lines = Path("/proc/cpuinfo").read_text().split("\n")
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {len(os.sched_getaffinity(0))} cores"
