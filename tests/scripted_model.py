"""What test_service_model.py has in place of a model: each item says what to do. In a module of its
own, so that processes start fast.
"""

import json
import os
import re
import resource
import signal
import time
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.engines.generation import OutOfMemory
from xraygen.engines.server_errors import Unavailable

SECRET = "a planted sentence on a pneumothorax"


class Scripted:
    """A result has the item, the number of its batch and the size of that."""

    def __init__(self, refusing: str | None = None) -> None:
        if refusing and Path(refusing).exists():
            raise UserError(f"{refusing}: a model\nthat cannot be loaded")
        self.batch = 0
        self.seen: list[str] = []

    def __call__(self, lines: list[bytes]) -> list[bytes]:
        self.batch += 1
        return [self._result(json.loads(line), len(lines)) for line in lines]

    def failed(self, line: bytes, bug: bool) -> bytes:
        return json.dumps({"failed": json.loads(line), "bug": bug}).encode()

    def _result(self, item: str, size: int) -> bytes:
        made = {"item": item, "batch": self.batch, "size": size}
        if item == "seen":
            made["seen"] = list(self.seen)
        self.seen.append(item)
        if item == "user":
            raise UserError(SECRET)
        if item == "bug":
            raise ValueError(SECRET)
        if item == "memory":
            raise MemoryError(SECRET)
        if item == "gpu":
            raise OutOfMemory(SECRET)
        if item == "server":
            raise Unavailable(SECRET)
        if item == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "stuck":  # in C, with the interpreter's lock
            re.fullmatch("(a+)+b", "a" * 60)
        if item == "slow":
            time.sleep(0.4)
        if item == "print":
            print(SECRET, flush=True)
            os.write(1, SECRET.encode())
            os.write(2, SECRET.encode())
        if item == "process":
            made |= {"pid": os.getpid(), "core": resource.getrlimit(resource.RLIMIT_CORE)}
        return json.dumps(made).encode()


def dies() -> Scripted:
    os._exit(7)
