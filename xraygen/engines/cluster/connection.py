"""A Ray cluster, started on this machine or joined, that stays silent."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

from xraygen.core.errors import UserError

_STORE = 100 * 2**20  # bytes of Ray's object store; little goes through it
_PATIENCE = 5  # seconds for an address to accept a connection


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Ray in this process, until the end of the block. `address`: host:port, or auto; "" = a
    cluster of this machine, which ends with the block. UserError: Ray is not installed, or no
    cluster can be reached there.
    """
    check(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address:  # one attempt of 40 s, where another kind of server answers, instead of 20
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(
            f"--ray needs more packages ({error}); install them with "
            "`pip install -c constraints.txt -e '.[cluster]'`"
        ) from None
    options: dict = {"address": address or "local", "log_to_driver": False}
    if not address:
        options |= {"include_dashboard": False, "object_store_memory": _STORE}
    handler = signal.getsignal(signal.SIGTERM)
    with _silent():
        try:
            ray.init(logging_level=logging.CRITICAL, configure_logging=True, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            problem = " ".join(str(error).split())[:200]
            raise UserError(f"--ray {address}: no cluster can be joined: {problem}") from None
        try:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray has replaced it
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            yield
        finally:
            ray.shutdown()


def check(address: str) -> None:
    """UserError: an address of another kind, or nobody accepts a connection there. Ray itself
    would try for minutes.
    """
    if address.startswith("ray://"):
        raise UserError(
            f"--ray {address}: run the command on a machine of the cluster, with `--ray auto`, "
            "for instance by `ray job submit`"
        )
    if address in ("", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            f"--ray {address}: not an address; give host:port, or auto, or put --ray last"
        )
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: no cluster answers there: {error}") from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drops what Ray says whatever its settings: each death of a worker on Python's stdout, and
    what its C++ part writes to stderr, which takes some of what Ray Data does for an error.
    Python's stderr goes on.
    """
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            is_stderr = sys.stderr.fileno() == 2
        except (AttributeError, OSError, ValueError):  # replaced, as in a notebook
            is_stderr = False
        if not is_stderr:
            yield
            return
        sys.stderr.flush()
        with open(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as kept:
            os.dup2(nowhere.fileno(), 2)
            try:
                with contextlib.redirect_stderr(kept):
                    yield
            finally:
                os.dup2(kept.fileno(), 2)
