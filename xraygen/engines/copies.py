"""Processes that share jobs: one for each device, with a copy of a model."""

import itertools
import multiprocessing
import pickle
import queue
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from xraygen.core.errors import UserError
from xraygen.core.lifetime import end_with_parent

# What a process does with a job; its results come one by one.
Work = Callable[[Any], Iterable[Any]]


class Copies:
    """Started by the first job. They end when this object is no longer referenced, and with this
    process, whatever ends it. Jobs, results and `build` are pickled.

    `build`: called with its device in each process, where it loads the model. `name`: the model's,
    for errors.
    """

    def __init__(self, build: Callable[[str], Work], devices: Sequence[str], name: str) -> None:
        self._build = build
        self._devices = list(devices)
        self._name = name
        self._end: Callable[[], object] | None = None

    def put(self, job: Any) -> None:
        """A process that is free will take it."""
        if self._end is None:
            self._start()
        # As bytes: torch would share the memory of each tensor, for each a file that stays open.
        self._jobs.put(pickle.dumps(job))

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._jobs, self._results = context.Queue(), context.Queue()
        self._jobs.cancel_join_thread()  # no job that is left has to be sent before this one ends
        self._processes = [
            context.Process(
                target=_work,
                args=(self._build, device, self._jobs, self._results),
                name=device,
                daemon=True,
            )
            for device in self._devices
        ]
        self._end = weakref.finalize(self, _kill, self._processes)
        for process in self._processes:
            process.start()

    def end(self) -> None:
        """Also of the jobs that are under way. Another job starts the processes again."""
        if self._end:
            self._end()
        self._end = None

    def get(self) -> Any:
        """A result, as soon as there is one. Raises what a process raised. UserError: one has been
        killed.
        """
        try:
            while True:
                try:
                    result = self._results.get(timeout=0.5)
                except queue.Empty:
                    self._check()
                    continue
                if isinstance(result, BaseException):
                    raise result
                return result
        except BaseException:
            self.end()
            raise

    def _check(self) -> None:
        for process in self._processes:
            if (code := process.exitcode) is not None:
                how = signal.Signals(-code).name if code < 0 else f"status {code}"
                raise UserError(
                    f"model {self._name}: its process on {process.name} ended by {how}, "
                    "probably because memory ran out; take a smaller batch"
                )


class InProcess:
    """The same without another process: a job is done when its results are asked for."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._results: Iterator[Any] = iter(())

    def put(self, job: Any) -> None:
        self._results = itertools.chain(self._results, self._work(job))

    def get(self) -> Any:
        return next(self._results)


def _kill(processes: list) -> None:
    for process in processes:
        if process.pid:
            process.kill()
            process.join(5)


def _work(build: Callable[[str], Work], device: str, jobs, results) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    end_with_parent()
    try:
        if device.startswith("cuda"):
            import torch

            torch.cuda.set_device(device)
        work = build(device)
        while True:
            for result in work(pickle.loads(jobs.get())):
                results.put(result)
    except Exception as error:
        results.put(_to_raise(error))
        threading.Event().wait()  # until the parent has it, and ends this


def _to_raise(error: Exception) -> Exception:
    """The error, or one like it that can be pickled. A bug keeps its traceback."""
    if not isinstance(error, UserError):
        error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error
