"""Processes that end with the one that started them."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def end_with_parent(parent: int | None = None) -> None:
    """Kill this process when its parent ends, whatever ends that. On Linux the kernel does it, also
    while this process holds the interpreter's lock, where a thread would have to wait.

    `parent`: its process id, where known; it may have ended before this is called.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_wait_for_the_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_the_end(parent: int) -> None:
    if process := multiprocessing.parent_process():
        wait([process.sentinel])
    else:
        while os.getppid() == parent:
            time.sleep(0.2)
    os._exit(1)
