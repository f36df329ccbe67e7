"""What processes of test_processes.py do; imports nothing slow."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from xraygen.core.errors import UserError, one_line
from xraygen.training.processes import in_processes


def build(device: str):
    """Doubles numbers; a text is an order."""
    if device == "broken":
        raise ValueError("cannot be built")

    def work(job):
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "fail":
            raise KeyError("a bug")
        if job == "fail strangely":
            raise type("Local", (Exception,), {})("cannot be pickled")
        yield job, 2 * job, device, os.getpid()

    return work


def answering(device: str):
    """Answers a batch with what it is shown."""

    def work(job):
        index, rows = job
        shown = ["".join(map(chr, row["input_ids"].tolist())) for row in rows]
        yield index, [[[text], {}, [""], []] for text in shown]

    return work


def rank() -> None:
    """Does what the file named after the rank says."""
    own = os.environ["RANK"]
    Path(f"{own}.pid").write_text(str(os.getpid()))
    order = Path(own).read_text()
    if order == "user error":
        raise UserError(f"rank {own} lacks\nsomething")
    if order == "bug":
        raise KeyError(f"a bug of rank {own}")
    print(f"rank {own} speaks", file=sys.stderr)
    while order == "wait":
        time.sleep(0.1)


def run(processes: int, module: str, main: Callable[[], None]) -> None:
    """As a stage does, with stderr in a file."""
    if "WORLD_SIZE" not in os.environ:
        os.dup2(os.open("stderr", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
    # A shell that starts the tests in the background makes them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line():
        in_processes(processes, module, main)


if __name__ == "__main__":
    run(2, "copying", rank)
