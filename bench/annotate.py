"""Cases a second and peak memory of `xraygen annotate` over a long stream of generated cases.

    python bench/annotate.py [--cases 1000000] [--approach router]

Run in the project's folder after `dvc repro`. Writes the cases and the annotations to a temporary
folder; prints one JSON line.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--approach", default="router")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases, out = Path(folder) / "cases.jsonl", Path(folder) / "annotations.jsonl"
        generate = [
            sys.executable,
            "bench/phantom.py",
            "--cases",
            str(arguments.cases),
            "--out",
            str(cases),
        ]
        subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "xraygen",
            "annotate",
            str(cases),
            "--approach",
            arguments.approach,
            "--out",
            str(out),
        ]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        with out.open("rb") as file:
            lines = sum(1 for _ in file)
    # ru_maxrss of children is the largest of all so far: the generator's, if that was larger.
    result = {
        "cases": lines,
        "cases_per_second": round(lines / seconds),
        "peak_mib": round(peak / 1024),
        "generator_mib": round(before / 1024),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
