"""Seconds of the whole graph from nothing, of a run with nothing to do, and of one changed setting,
in a temporary clone.

    python bench/graph.py [--runs N]

Clones the last commit, runs `dvc repro` there three times with this environment, and prints one
JSON line. `stage_seconds`: from the start of a stage to that of the next, with what dvc does
between them. `clean`: git status was empty after the first run, so that the committed lock and
metrics are what the run gives. As in `make repro`, Python may keep what it compiles.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONUNBUFFERED": "1",  # dvc's lines come as it writes them
}
ENVIRONMENT.pop(
    "PYTHONDONTWRITEBYTECODE", None
)  # to compile torch and transformers again takes longer than most stages


def repro(folder: Path) -> tuple[float, dict[str, float]]:
    """(seconds, seconds by stage that ran) of one `dvc repro`."""
    start = time.perf_counter()
    starts: list[tuple[str, float]] = []
    with subprocess.Popen(
        ["dvc", "repro"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as running:
        for line in running.stdout:
            if stage := re.match(r"Running stage '(.+)':", line):
                starts.append((stage[1], time.perf_counter()))
    end = time.perf_counter()
    if running.returncode:
        raise SystemExit(running.returncode)  # dvc has said why
    ends = [at for _, at in starts[1:]] + [end]
    stages = {name: round(until - at, 1) for (name, at), until in zip(starts, ends, strict=False)}
    return round(end - start, 2), stages


def cpu() -> str:
    """Its name, and the best instructions that torch uses of it."""
    import torch

    names = re.findall(r"^model name\s*: (.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, torch uses {torch.backends.cpu.get_cpu_capability()}"


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).is_file() else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="no-op runs; the median is reported")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(
            ["git", "clone", "-q", str(Path(__file__).parents[1]), str(clone)], check=True
        )
        whole, stages = repro(clone)
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True
        ).stdout
        noop = sorted(repro(clone)[0] for _ in range(arguments.runs))
        precision = json.loads((clone / "metrics/finetune_speed.json").read_text())["precision"]
        params = clone / "params.yaml"
        params.write_text(params.read_text().replace("wording: learned ", "wording: verbatim ", 1))
        one_setting, _ = repro(clone)
    result = {
        "graph_seconds": whole,
        "clean": not status,
        "noop_seconds": noop[len(noop) // 2],
        "one_setting_seconds": one_setting,
        "cpu": cpu(),
        "precision": precision,
        "stage_seconds": stages,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
