"""The log: JSON lines on stderr, of requests and of events.

No line has a text, an image, a key, a path or a header's value: callers pass numbers, names from
params.yaml and the words of this package, never what a client sent or an exception's message.

A thread writes the lines, so that a slow reader of stderr never delays a request. Lines that it
does not read in time are dropped and counted. After SIGKILL the lines of the last moments are lost.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Log:
    """Lines to a file descriptor. `limit`: of lines that wait. `interval`: how long lines are
    gathered before they are written together, in seconds.
    """

    def __init__(self, descriptor: int, limit: int = 10_000, interval: float = 0.05) -> None:
        self.descriptor, self.limit, self.interval = descriptor, limit, interval
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._arrived = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def line(self, fields: dict) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="xraygen log")
            self._thread.start()
        if len(self._lines) >= self.limit:
            self._dropped += 1
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._lines.append(_encode({"time": now} | fields))
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self, timeout: float = 1) -> None:
        """Write what waits, for at most `timeout` seconds."""
        if self._thread is not None:
            self._closing.set()
            self._arrived.set()
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._arrived.wait()
            self._closing.wait(self.interval)
            self._arrived.clear()
            self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if self._dropped:
            lines.append(_encode({"event": "lines-dropped", "count": self._dropped}))
            self._dropped = 0
        rest = "".join(line + "\n" for line in lines).encode()
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except BlockingIOError:  # someone made stderr non-blocking
            time.sleep(self.interval)
        except OSError:
            pass  # nobody reads stderr any more; the service goes on


_log = Log(2)
close = _log.close


def event(name: str, **fields: str | int | float | bool | list[str] | None) -> None:
    """What happens to the service: start, listening, model-died, reload, drain, stop."""
    _log.line({"event": name} | fields)


def request(fields: dict) -> None:
    _log.line(fields)


def bug(error: BaseException, **fields: str | None) -> None:
    """An exception that should not have happened: its type and where, never its message, which may
    quote a text.
    """
    event("bug", **fields, type=type(error).__qualname__, places=places(error))


def places(error: BaseException) -> list[str]:
    """Where an exception came through the package, outermost first, and where it was raised; of a
    group, those of its exceptions too.
    """
    frames = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    found = [
        f"{path.relative_to(_PACKAGE)}:{line}"
        for path, line in frames
        if path.is_relative_to(_PACKAGE)
    ]
    if frames and not frames[-1][0].is_relative_to(_PACKAGE):
        path, line = frames[-1]
        found.append(f"{path.parent.name}/{path.name}:{line}")
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found += [type(inner).__qualname__, *places(inner)]
    return found
