"""Seconds of the whole graph from nothing, of a run with nothing to do, and of one changed setting, in a temporary clone.

    python bench/graph.py [--runs N]

Clones the last commit, runs `dvc repro` there three times with this environment, and prints one JSON line. `clean`: git status was
empty after the first run, so that the committed lock and metrics are what the run gives.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def seconds(folder: Path, *command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - start, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="no-op runs; the median is reported")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(Path(__file__).parents[1]), str(clone)], check=True)
        result = {"graph_seconds": seconds(clone, "dvc", "repro")}
        status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True).stdout
        noop = sorted(seconds(clone, "dvc", "repro") for _ in range(arguments.runs))
        result |= {"clean": not status, "noop_seconds": noop[len(noop) // 2]}
        params = clone / "params.yaml"
        params.write_text(params.read_text().replace("wording: learned ", "wording: verbatim ", 1))
        result["one_setting_seconds"] = seconds(clone, "dvc", "repro")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
