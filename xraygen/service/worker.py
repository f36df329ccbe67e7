"""A process with one model. It reads frames of items from a socket and answers each with a frame of
results, in order; it ends with the service, whatever ended that.

A frame is its kind, one byte, its length, four bytes, and its content. Items and results are lines
of JSON. What libraries print is thrown away once the model is loaded: it may quote a text.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from io import BufferedRWPair
from typing import Protocol

from xraygen.core.errors import UserError
from xraygen.core.lifetime import end_with_parent
from xraygen.engines import answers
from xraygen.engines.generation import OutOfMemory
from xraygen.engines.server_errors import Unavailable
from xraygen.service.logs import places

HEAD = struct.Struct(">cI")
ITEMS = b"i"
RESULTS = b"r"
READY = b"y"  # the first frame that the process sends, without content
REFUSED = b"n"  # or this one: why there is no model, in a line
UNAVAILABLE = b"u"  # for RESULTS: what is behind the model does not answer, whatever the items
LOG = b"l"  # an exception, as JSON: its type and where it came from

# Of torch, which is not imported here: after them a GPU is of no use to the process.
_TORCH = ("OutOfMemoryError", "AcceleratorError")


class Work(Protocol):
    """What the process does with its model."""

    def __call__(self, items: list[bytes], /) -> list[bytes]:
        """One result for each item, in order."""
        ...

    def failed(self, item: bytes, bug: bool) -> bytes:
        """The result of an item on which the call raised: a UserError, or, if it is a `bug`,
        another exception.
        """
        ...


Build = Callable[[], Work]


def no_core_dumps() -> None:
    """For this process and those that it starts: a dump would contain texts of patients."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(connection: socket.socket, build: Build) -> None:
    """The main function of the process. `build` loads the model."""
    no_core_dumps()
    answers.store_nothing()
    for number in (signal.SIGINT, signal.SIGTERM):  # they are the service's to handle
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    with connection, connection.makefile("rwb") as file:
        try:
            work = build()
        except UserError as error:
            _write(file, REFUSED, " ".join(str(error).split()).encode())
            return
        _silence()
        _write(file, READY)
        while items := _read(file):
            try:
                results = _results(work, items.split(b"\n"), file)
            except Unavailable as error:
                _log(error, file)
                _write(file, UNAVAILABLE)
            else:
                _write(file, RESULTS, b"\n".join(results))


def _results(work: Work, items: list[bytes], file: BufferedRWPair) -> list[bytes]:
    """If the items together make it raise, one by one, so that only those at fault fail."""
    try:
        results = work(items)
        if len(results) == len(items):
            return results
        raise RuntimeError("as many results as items are needed")
    except Unavailable:
        raise
    except Exception as error:
        _log(error, file)
        if _is_fatal(error):
            os._exit(1)
        if len(items) > 1:
            return [result for item in items for result in _results(work, [item], file)]
        return [work.failed(items[0], bug=not isinstance(error, UserError))]


def _is_fatal(error: Exception) -> bool:
    if isinstance(error, MemoryError | OutOfMemory):
        return True
    return any(kind.__name__ in _TORCH for kind in type(error).__mro__)


def _log(error: Exception, file: BufferedRWPair) -> None:
    """The type and the places in the code, never the message, which may quote a text."""
    what = {"type": type(error).__qualname__, "places": places(error)}
    _write(file, LOG, json.dumps(what).encode())


def _silence() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def _read(file: BufferedRWPair) -> bytes:
    """The items of a frame; none at the end."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return b""
    _, length = HEAD.unpack(head)
    return file.read(length)


def _write(file: BufferedRWPair, kind: bytes, content: bytes = b"") -> None:
    file.write(HEAD.pack(kind, len(content)) + content)
    file.flush()
