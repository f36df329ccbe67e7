"""A process with one model. It reads frames of items from a socket and answers each with a frame of
results, in order; it ends when the socket is closed, whatever ended the service.

A frame is its length, four bytes, and lines of JSON. The first frame that it sends is `READY` or
the reason why there is no model.
"""

import signal
import socket
import struct
from collections.abc import Callable
from io import BufferedRWPair

from xraygen.core.errors import UserError

READY = b"ready"
LENGTH = struct.Struct(">I")

Work = Callable[[list[bytes]], list[bytes]]


def run(connection: socket.socket, build: Callable[[], Work]) -> None:
    """The main function of the process. `build` loads the model."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are the service's to handle
        signal.signal(number, signal.SIG_IGN)
    with connection, connection.makefile("rwb") as file:
        try:
            work = build()
        except UserError as error:
            _write(file, " ".join(str(error).split()).encode())
            return
        _write(file, READY)
        while items := _read(file):
            _write(file, b"\n".join(work(items.split(b"\n"))))


def _read(file: BufferedRWPair) -> bytes:
    """A frame; empty at the end."""
    head = file.read(LENGTH.size)
    return file.read(*LENGTH.unpack(head)) if len(head) == LENGTH.size else b""


def _write(file: BufferedRWPair, frame: bytes) -> None:
    file.write(LENGTH.pack(len(frame)) + frame)
    file.flush()
