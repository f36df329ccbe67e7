"""Figures of a GPU: fine-tuning and annotation by Qwen2-VL-2B, a Llama of GREEN's size, pretraining
of the small model. Random weights; nothing is downloaded.

    python bench/gpu.py [--minutes 8] [--only NAME ...] [--try NAME ...]
    python bench/gpu.py --smoke          the same in miniature, on a CPU too

Run in the project's folder. Prints JSON lines as they are measured, the most important first.
`measurement` and `setting` say what a line is of; the first is about the machine. Each measurement
has a process and a share of the time; one that fails, hangs or does not fit ends alone, with a line
that says so (`problem`, `skipped`). `--try`: what may be faster. docs/vlm.md explains the fields.
Where git does not know the commit, the variable XRAYGEN_COMMIT gives it.
"""

import argparse
import contextlib
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from xraygen.core.errors import one_line

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "numpy", "pillow")


class Measurement(NamedTuple):
    """`seconds`: its share of the eight minutes, to which is added what those before it left;
    `least`: below which it is not begun. `needs`: a package that not every machine has.
    """

    function: str
    arguments: tuple = ()
    seconds: float = 60
    least: float = 20
    needs: str | None = None


# In order of importance. Loading libraries and a model takes some 15 seconds of each. The shares up
# to `profile` are eight minutes together, so that these are begun whatever those before them do;
# the others get the time that is left over.
MEASUREMENTS = {
    "machine": Measurement("machine", (), 40, 5),
    "models": Measurement("models", (), 50, 15),
    "lora-256": Measurement("gpu_training.lora", (1,), 100),
    "generation": Measurement("gpu_generation.generation", (), 85),
    "qlora-256": Measurement("gpu_training.lora", (1, "qlora"), 60, needs="bitsandbytes"),
    "green": Measurement("gpu_generation.green", (), 55),
    "lora-1024": Measurement("gpu_training.lora", (4,), 50),
    "profile": Measurement("gpu_profile.profile", (), 40),
    "docs-16-gb": Measurement("gpu_training.documented", ("gpu-16-gb",), 40, needs="bitsandbytes"),
    "docs-80-gb": Measurement("gpu_training.documented", ("gpu-80-gb",), 45),
    "pretraining": Measurement("gpu_training.pretraining", (), 30),
    "qlora-1024": Measurement("gpu_training.lora", (4, "qlora"), 60, needs="bitsandbytes"),
    "confidence": Measurement("gpu_generation.confidence", (), 50),
}
# What may be faster, and has to be measured before it is adopted.
EXPERIMENTS = {
    "compile": Measurement("gpu_training.compiled", (), 120),
    "static-cache": Measurement("gpu_generation.static_cache", (), 120),
}
ALWAYS = ("machine", "models")
# In miniature they take no path that the others do not take.
NOT_IN_SMOKE = ("lora-1024", "qlora-256", "qlora-1024")


class Measure:
    """What a measurement is given, in its process. `ended()`: its time is nearly up."""

    def __init__(self, name: str, folder: Path, smoke: bool, until: float, out: IO[str]):
        import torch

        self.name, self.folder, self.smoke = name, folder, smoke
        self._until, self._out = until, out
        self.cuda = torch.cuda.is_available()
        self.memory_gib = 0.0
        self._card = None
        if self.cuda:
            import gpu_counts

            self.memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
            self._card = gpu_counts.card(torch.cuda.get_device_name())

    def line(self, setting: str | None, **fields) -> None:
        line = {"measurement": self.name, "setting": setting} | fields
        print(json.dumps(_rounded(line)), file=self._out, flush=True)

    def part(self, setting: str, function: Callable[..., dict], *arguments) -> dict:
        """What `function(*arguments)` measures, as a line; {} if it fails or there is no time left,
        with a line that says so.
        """
        if self.ended():
            self.line(setting, skipped="no time left")
            return {}
        problem = ""
        try:
            fields = function(*arguments)
        except Exception as error:
            problem = (str(error).strip() or type(error).__name__).splitlines()[0]
            if "OutOfMemory" in type(error).__name__:
                problem = "out of memory"
            else:
                traceback.print_exc()
        if problem:
            self._empty()
            self.line(setting, problem=problem)
            return {}
        self.line(setting, **fields)
        return fields

    def ended(self) -> bool:
        return time.monotonic() > self._until

    def now(self) -> float:
        """Seconds, once the device has done what it was given."""
        import plain_loop

        return plain_loop.now()

    def memory(self) -> dict[str, float | None]:
        """The peak of what was allocated on the GPU since `empty_cache`; None on a CPU."""
        import torch

        peak = torch.cuda.max_memory_allocated() if self.cuda else None
        reserved = torch.cuda.max_memory_reserved() if self.cuda else None
        return {
            "peak_memory_gb": peak and peak / 1e9,
            "peak_memory_gib": peak and peak / 2**30,
            "reserved_memory_gib": reserved and reserved / 2**30,
        }

    def speed(self, flops: float, seconds: float) -> dict[str, float | None]:
        done = flops / seconds / 1e12
        return {"tflops": done, "share_of_peak": self._card and done / self._card.tflops}

    def roofline(self, needed: float, seconds: float) -> dict[str, float | None]:
        """`needed`: bytes read in that time, at least."""
        done = needed / seconds / 1e9
        share = self._card and done / self._card.gb_per_second
        return {"gb_per_second": done, "share_of_roofline": share}

    def _empty(self) -> None:
        from gpu_training import empty_cache

        empty_cache()


def _rounded(line: dict) -> dict:
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in line.items()
    }


def machine(measure: Measure) -> None:
    """The first line."""
    import torch

    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": os.environ.get("XRAYGEN_COMMIT") or _output("git", "rev-parse", "HEAD"),
        "card": None,
        "python": platform.python_version(),
        **versions,
        "cpus": os.cpu_count(),
        "smoke": measure.smoke,
    }
    if measure.cuda:
        import plain_loop

        query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        card = measure._card
        facts |= {
            "card": torch.cuda.get_device_name(),
            "driver": _output(*query),
            "cuda": torch.version.cuda,
            "memory_gib": measure.memory_gib,
            "peak_tflops": card and card.tflops,
            "peak_gb_per_second": card and card.gb_per_second,
            "matrix_product_tflops": plain_loop.measures(torch.bfloat16)["peak"] / 1e12,
        }
    measure.line(None, **facts)


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def models(measure: Measure) -> None:
    import gpu_models

    start = time.perf_counter()
    gpu_models.write(measure.folder, measure.smoke)
    measure.line(None, seconds=time.perf_counter() - start)


def child(names: list[str], folder: Path, smoke: bool, seconds: float) -> None:
    """Take these measurements in this process. Their lines go to what stdout was; whatever else is
    printed goes to stderr.
    """
    until = time.monotonic() + 0.85 * seconds
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if smoke:
        gc.disable()  # a third of its time
    for name in names:
        wanted = (MEASUREMENTS | EXPERIMENTS)[name]
        module, _, function = wanted.function.rpartition(".")
        measure = Measure(name, folder, smoke, until, out)
        try:
            where = importlib.import_module(module) if module else sys.modules["__main__"]
            if smoke:
                gc.freeze()  # libraries collect, too
            getattr(where, function)(measure, *wanted.arguments)
        except Exception as error:
            traceback.print_exc()
            problem = (str(error).strip() or type(error).__name__).splitlines()[0]
            measure.line(None, problem=problem)


def take(names: list[str], folder: Path, smoke: bool, seconds: float) -> bool:
    """Take these measurements in a process, and pass on its lines; after that time it is killed.
    Returns whether it ended by itself.
    """
    command = [sys.executable, __file__, "--child", *names, "--folder", str(folder)]
    command += ["--seconds", str(seconds)] + ["--smoke"] * smoke
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=_environment()
    )
    killer = threading.Timer(seconds, _kill, [process])
    killer.start()
    try:
        for line in process.stdout:
            if line.endswith("\n"):  # not a part of one, where it was killed
                print(line, end="", flush=True)
        status = process.wait()
    finally:
        killer.cancel()
        _kill(process)
    if status:
        over = "stopped at its limit" if status == -signal.SIGKILL else f"ended with {status}"
        problem = {"measurement": ", ".join(names), "problem": f"{over}, {seconds:.0f} s"}
        print(json.dumps(problem), flush=True)
    return not status


def _environment() -> dict[str, str]:
    """With the project's root on the path, where `recipes` is, which is not installed."""
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=[n for n in MEASUREMENTS if n not in ALWAYS])
    parser.add_argument("--try", nargs="+", choices=list(EXPERIMENTS), default=[], dest="tried")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.folder, arguments.smoke, arguments.seconds)
        return
    names = [
        name for name in MEASUREMENTS if name in ALWAYS or name in (arguments.only or MEASUREMENTS)
    ]
    names += arguments.tried
    with tempfile.TemporaryDirectory(prefix="xraygen-gpu-") as made:
        folder = Path(made).resolve()
        if arguments.smoke:
            names = [name for name in names if name not in NOT_IN_SMOKE or arguments.only]
            raise SystemExit(0 if take(names, folder, True, 60 * arguments.minutes) else 1)
        share = start = time.monotonic()
        for name in names:
            share += arguments.minutes / 8 * (MEASUREMENTS | EXPERIMENTS)[name].seconds
            end = min(share, start + 60 * arguments.minutes)
            take_in_time(name, folder, arguments.minutes / 8, end - time.monotonic())


def take_in_time(name: str, folder: Path, scale: float, left: float) -> None:
    """Take a measurement, unless it lacks a package, or there is too little time left."""
    wanted = (MEASUREMENTS | EXPERIMENTS)[name]
    skipped = ""
    if wanted.needs and importlib.util.find_spec(wanted.needs) is None:
        skipped = f"{wanted.needs} is not installed"
    elif left < scale * wanted.least:
        skipped = f"{max(0, left):.0f} s left"
    if skipped:
        print(json.dumps({"measurement": name, "skipped": skipped}), flush=True)
        return
    take([name], folder, False, left)


if __name__ == "__main__":
    with one_line():
        main()
