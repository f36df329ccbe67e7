"""Several processes for one training, one to a GPU, started by torchrun's launcher
(torch.distributed.launcher).

Each process runs the command that the user has started, as under `torchrun`. They end together,
whatever ends one of them or their launcher. The one that failed first is reported, by the launcher
alone.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.lifetime import end_with_parent
from xraygen.training.params import Processes

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_LAUNCHER = "XRAYGEN_LAUNCHER"  # the environment variable with the process id of `_launch`
_REPORT = "TORCHELASTIC_ERROR_FILE"  # of torchrun: the file in which a process says why it failed


def in_processes(processes: Processes, module: str, main: Callable[[], None]) -> None:
    """Run `main` here, or in several processes that each run `python -m module`, which calls this
    function again. Started by torchrun, this is one of them already.

    UserError: there are fewer GPUs, a process was killed, or whatever `main` raised in one of them.
    SystemExit: a bug in one of them, of which the traceback is printed; or SIGTERM, in all.
    """
    if {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        with _as_one_of_several():
            main()
    elif (count := _count(processes, "params.yaml: finetune.processes", "set it to auto")) > 1:
        _launch(count, module)
    else:
        main()


def _count(processes: Processes, stated: str, remedy: str) -> int:
    """`stated`, `remedy`: where the number is from and how to change it, for errors."""
    try:
        import torch
    except ImportError:
        return 1  # `finetune` says what is missing
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if processes == "auto":
        return max(1, gpus)
    if processes > gpus > 0:
        raise UserError(f"{stated} is {processes}, more than GPUs here ({gpus}); {remedy}")
    return processes


def _launch(count: int, module: str) -> None:
    try:
        import torch
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.elastic.rendezvous import RendezvousError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch
    except ImportError as error:
        raise UserError(
            f"finetune: torch cannot start several processes here ({error}); "
            "set finetune.processes to 1, or install torch as constraints.txt says"
        ) from None
    logging.disable()  # the launcher's, which repeats what is reported below
    os.environ[_LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    with tempfile.TemporaryDirectory(prefix="xraygen-finetune-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=Path(logs).name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # a free port
            local_addr="localhost",
            max_restarts=0,
            # What `nohup` or a shell lets this process ignore stays ignored.
            signals_to_handle=",".join(
                number.name
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
                if signal.getsignal(number) != signal.SIG_IGN
            ),
            # Only the first process writes to the terminal.
            logs_specs=DefaultLogsSpecs(logs, dict.fromkeys(range(1, count), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-m", module)
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + error.sigval) from None
        except ChildFailedError as error:
            _raise_first(error.failures, Path(logs))
        except (OSError, RendezvousError, torch.distributed.DistError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"finetune: its processes cannot be started: {reason}") from None


def _raise_first(failures: Mapping[int, "ProcessFailure"], logs: Path) -> None:
    """Of the processes that failed, report the one that failed by itself: it ends the others, in
    which communication fails or which the launcher then ends by SIGTERM.
    """

    def order(rank: int) -> tuple[bool, bool, bool, float]:
        failure = failures[rank]
        reported = Path(failure.error_file)
        time = reported.stat().st_mtime if reported.is_file() else 0.0
        return failure.exitcode != 2, failure.exitcode == -signal.SIGTERM, time > 0, time

    rank = min(failures, key=order)
    failure = failures[rank]
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        if failure.exitcode != -signal.SIGKILL:
            _print_log(rank, logs)
        raise UserError(
            f"finetune: process {rank} was killed by {name}; if memory ran out, lower "
            "max_batch_tokens; started again, training goes on from its last checkpoint"
        )
    if not Path(failure.error_file).is_file():
        _print_log(rank, logs)
        raise UserError(f"finetune: process {rank} ended with status {failure.exitcode}")
    if failure.exitcode == 2:
        raise UserError(failure.message)
    print(failure.message, end="", file=sys.stderr)
    raise SystemExit(failure.exitcode)


def _print_log(rank: int, logs: Path) -> None:
    """What a process said that had no time to report; that of the first one was seen."""
    for log in logs.glob(f"*/*/{rank}/stderr.log"):
        print(log.read_text(errors="replace"), end="", file=sys.stderr)


@contextlib.contextmanager
def _as_one_of_several() -> Iterator[None]:
    """In a process that torchrun started, or the function above."""
    launcher = os.environ.get(_LAUNCHER)
    if launcher:
        # At once, because a process that waits for another one would not notice.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        end_with_parent(int(launcher))
    else:
        count = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        _count(count, "torchrun: --nproc_per_node", "set it to gpu")
    try:
        yield
    except Exception as error:
        if not launcher:
            raise
        known = isinstance(error, UserError)
        _end(2 if known else 1, str(error) if known else traceback.format_exc())
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_initialized():
        distributed.destroy_process_group()


def _end(status: int, message: str) -> None:
    """Report, and end without waiting for the other processes."""
    Path(os.environ[_REPORT]).write_text(json.dumps({"message": message}))
    for child in multiprocessing.active_children():
        child.kill()
    sys.stderr.flush()
    os._exit(status)
