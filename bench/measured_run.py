"""Runs of `xraygen` whose time, progress and memory scale.py measures."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_MIB = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl
_SETTLED = (0.2, 0.9)  # of the output: the rate between is that of a run under way


class Sample(NamedTuple):
    """`written`: bytes of output. `driver_mib`: resident memory of the command's own process.
    `all_mib`: of it and all others; memory that several share counts once (PSS).
    """

    seconds: float
    written: int
    driver_mib: float
    all_mib: float


class Run(NamedTuple):
    """`ended`: 0, the exit status, or "limit" or "killed"."""

    ended: int | str
    seconds: float
    samples: list[Sample]
    errors: str

    def described(self, cases: int) -> dict:
        """What is printed of it. `steady_per_second`: between 20 and 90 % of the output."""
        result: dict = {
            "seconds": round(self.seconds, 1),
            "cases_per_second": round(cases / self.seconds),
            "driver_mib": round(max((one.driver_mib for one in self.samples), default=0)),
            "all_mib": round(max((one.all_mib for one in self.samples), default=0)),
        }
        if steady := self._steady(cases):
            result["steady_per_second"] = round(steady)
        if self.ended != 0:
            result |= {"ended": self.ended, "errors": self.errors}
        return result

    def _steady(self, cases: int) -> float | None:
        total = max((one.written for one in self.samples), default=0)
        low, high = (share * total for share in _SETTLED)
        inside = [one for one in self.samples if low <= one.written <= high]
        if not total or len(inside) < 5:
            return None
        written = inside[-1].written - inside[0].written
        return written / total * cases / (inside[-1].seconds - inside[0].seconds)

    def by_tenths(self, cases: int) -> dict:
        """Memory at the end of each tenth of the output, and the rate in it."""
        total = max((one.written for one in self.samples), default=0)
        ends = []
        for tenth in range(1, 11):
            reached = (one for one in self.samples if one.written >= tenth * total / 10)
            if total and (first := next(reached, None)):
                ends.append(first)
        rates = [
            round((end.written - start.written) / total * cases / (end.seconds - start.seconds))
            for start, end in zip(ends, ends[1:], strict=False)
            if end.seconds > start.seconds
        ]
        return {
            "driver_mib_by_tenth": [round(one.driver_mib) for one in ends],
            "all_mib_by_tenth": [round(one.all_mib) for one in ends],
            "per_second_by_tenth": rates,
        }


def adopt_orphans() -> None:
    """Processes whose parent is killed become children of this one, so that they are counted, and
    end with it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{waiting.pop()}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text().split()]
                yield from children
                waiting += children


def end_descendants() -> None:
    """Kill what a benchmark that was stopped has left."""
    for _ in range(3):
        for pid in list(descendants(os.getpid())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.1)


def _resident_mib(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MIB
    return 0.0


def _proportional_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def written(out: Path) -> int:
    """Bytes in the files below a folder, those under temporary names included."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(out):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total


def xraygen(
    *arguments: str,
    out: Path,
    limit: float,
    project: Path = ROOT,
    meanwhile: Callable[[subprocess.Popen], None] | None = None,
) -> Run:
    """Run a command until it ends, or for `limit` seconds. `out`: the folder that it writes to.
    `meanwhile`: called every 20 ms; it may kill the process.
    """
    command = [sys.executable, "-m", "xraygen", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    samples: list[Sample] = []
    stopped = ""
    start = time.perf_counter()
    log = out.with_name(f"{out.name}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdin=subprocess.DEVNULL, stdout=file,
            stderr=file,
        )  # fmt: skip
    due = 0.0
    while process.poll() is None:
        now = time.perf_counter() - start
        if now > limit:
            stopped = "limit"
            process.kill()
            process.wait()
        elif now >= due:
            samples.append(_sample(now, process.pid, out))
            cost = time.perf_counter() - start - now
            due = now + max(0.25, 30 * cost)
        if meanwhile:
            meanwhile(process)
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    samples.append(Sample(seconds, written(out), *(samples[-1][2:] if samples else (0, 0))))
    ended: int | str = stopped or process.returncode
    if ended == -signal.SIGKILL:
        ended = "killed"
    return Run(ended, seconds, samples, _last_lines(log))


def _sample(now: float, driver: int, out: Path) -> Sample:
    everything = sum(map(_proportional_mib, descendants(os.getpid())))
    return Sample(now, written(out), _resident_mib(driver), everything)


def _last_lines(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-500:]


def annotate(
    cases: Path, out: Path, limit: float, ray: Sequence[str] | None = None, **more: object
) -> Run:
    """`xraygen annotate` by the router. `ray`: None = one process, otherwise what follows --ray."""
    approach = str(more.pop("approach", "router"))
    out.mkdir(parents=True, exist_ok=True)
    to = out if ray is not None else out / "annotations.jsonl"
    arguments = ["annotate", str(cases), "--approach", approach, "--out", str(to)]
    if ray is not None:
        arguments += ["--ray", *ray]
    return xraygen(*arguments, out=out, limit=limit, **more)  # type: ignore[arg-type]
