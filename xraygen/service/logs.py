"""The log: JSON lines on stderr, of requests and of events.

No line has a text, an image, a key, a path or a header's value: callers pass numbers, names from
params.yaml and the words of this package, never what a client sent or an exception's message.

Each line is one write to the file descriptor, so that lines of other processes do not mix with it
and none is lost after SIGKILL. A line that would have to wait for a slow reader is dropped and
counted, since the service would wait with it.
"""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_MAX_PLACES = 20  # a line has to fit into what a pipe takes in one piece, 4096 bytes
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Log:
    """Lines to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.dropped = 0

    def line(self, fields: dict) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        fields = {"time": now} | fields
        if self.dropped:
            fields["dropped_before"] = self.dropped
        try:
            if select.select((), (self.descriptor,), (), 0)[1]:
                os.write(self.descriptor, _encode(fields).encode() + b"\n")
                self.dropped = 0
            else:
                self.dropped += 1
        except OSError:  # nobody reads stderr any more; the service goes on
            self.dropped += 1


_log = Log(2)


def write(**fields: str | int | float | bool | list[str] | None) -> None:
    if sys.__stderr__ is not None:  # else 2 is closed, or the number of another file by now
        _log.line(fields)


def event(name: str, **fields: str | int | float | bool | list[str] | None) -> None:
    """What happens to the service: listening, ready, model-died, reload, drain, stop."""
    write(event=name, **fields)


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
    return found[-_MAX_PLACES:]
