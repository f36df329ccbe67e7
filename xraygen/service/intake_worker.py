"""A process of the intake. It reads requests from a socket, one at a time, and ends when the socket
is closed, whatever ended the service.

A frame is the lengths of a head, in JSON, and of a body. That of a request is the client's; that of
a reply has the lines of the usable items.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import socket
import struct
import warnings
from collections.abc import Sequence
from io import BufferedRWPair
from pathlib import Path
from typing import Literal, NamedTuple

from xraygen.core.lifetime import end_with_parent
from xraygen.service import logs
from xraygen.service.images import Images
from xraygen.service.intake import Failed, Read, read_annotations, read_judgements, read_line
from xraygen.service.options import Options
from xraygen.service.problems import Problem

READY = b"ready"
LENGTHS = struct.Struct(">II")
# In bytes. A DICOM image of 16 bits to which a window is applied takes 40 a pixel; with nothing to
# read, the process takes 150 MiB of addresses, and a body of 32 MiB up to ten times its size.
_MEMORY_A_PIXEL = 48
_MEMORY = 512 * 2**20


class Request(NamedTuple):
    """`pictures`: by approach, whether it shows them. `images`: the name of the request's folder,
    which does not exist yet.
    """

    kind: Literal["annotations", "line", "judgements"]
    content_type: str
    pictures: dict[str, bool]
    images: str = ""

    def to_json(self) -> bytes:
        return json.dumps(self).encode()


class Reply(NamedTuple):
    """`size`: how many items. `failed`: those of them that are not usable, as (number, id, (code,
    detail) of the problem). `images`: whether there are any. `problem`: code and detail, of the
    request as a whole. `bug`: the type of an exception and its `logs.places`.
    """

    approach: str = ""
    size: int = 0
    failed: Sequence[tuple[int, str | None, tuple[str, str]]] = ()
    images: bool = False
    problem: tuple[str, str] | None = None
    bug: tuple[str, list[str]] | None = None

    def to_json(self) -> bytes:
        return json.dumps(self).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Reply:
        return cls(*json.loads(content))


def run(connection: socket.socket, options: Options, folder: Path) -> None:
    """The main function of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are the service's to handle
        signal.signal(number, signal.SIG_IGN)
    _limit(options)
    end_with_parent()
    _silence()
    # What is free goes back to the system: of a large body glibc would keep hundreds of megabytes.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", int)
    with connection, connection.makefile("rwb") as file:
        file.write(READY)
        file.flush()
        while lengths := file.read(LENGTHS.size):
            head, body = (file.read(length) for length in LENGTHS.unpack(lengths))
            _answer(file, Request(*json.loads(head)), body, options, folder)
            del body
            trim(0)


def _limit(options: Options) -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads reserve memory, on import
    memory = _MEMORY + 10 * options.max_body + _MEMORY_A_PIXEL * options.max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _silence() -> None:
    """What decoders and parsers say may quote a file."""
    warnings.simplefilter("ignore")
    logging.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _answer(
    file: BufferedRWPair, request: Request, body: bytes, options: Options, folder: Path
) -> None:
    images = Images(folder, request.images, options)
    lines = b""
    try:
        read = _read(request, body, options, images)
        failed = [
            (number, item.id, (item.problem.code, item.problem.detail))
            for number, item in enumerate(read.items)
            if isinstance(item, Failed)
        ]
        reply = Reply(read.approach, len(read.items), failed)
        lines = b"\n".join(item for item in read.items if isinstance(item, bytes))
    except Problem as problem:
        reply = Reply(problem=(problem.code, problem.detail))
    except MemoryError:
        reply = Reply(problem=("too-costly", "Send fewer or smaller cases at a time."))
    except Exception as error:
        bug = (type(error).__qualname__, logs.places(error))
        reply = Reply(problem=("internal", "It is logged."), bug=bug)
    head = reply._replace(images=(folder / request.images).exists()).to_json()
    file.write(LENGTHS.pack(len(head), len(lines)) + head)
    file.write(lines)
    file.flush()


def _read(request: Request, body: bytes, options: Options, images: Images) -> Read:
    match request.kind:
        case "annotations":
            return read_annotations(body, request.content_type, request.pictures, options, images)
        case "judgements":
            return read_judgements(body, request.content_type, options)
    ((approach, pictures),) = request.pictures.items()
    return Read(approach, [read_line(body, pictures, options, images)])
