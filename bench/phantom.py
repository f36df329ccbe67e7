"""Speed of the phantom source, and how often its reports repeat; or a long stream of generated
cases.

    python bench/phantom.py [--studies 1000] [--size 224]         # one JSON line
    python bench/phantom.py --cases 1000000 --out cases.jsonl     # cases, in constant memory

`studies_per_second` and `seconds` are for studies with both views written, on all cores;
`texts_per_second` for findings, report and reference alone, on one. `*_repeated`: share of reports
that another of the first 1,000 studies has word for word.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.json_lines import write_jsonl
from xraygen.core.study import Case
from xraygen.sources.phantom import PhantomSettings, phantom, read


def write_cases(path: Path, seed: int, n: int) -> int:
    """Stream cases 0 to n - 1 of a seed to a JSON Lines file; returns how many."""
    made = (phantom(seed, k) for k in range(n))
    return write_jsonl(path, (Case(id=each.id, report=each.report) for each in made))


def repeated(reports: list[str]) -> float:
    times = Counter(reports)
    return round(sum(times[report] > 1 for report in reports) / len(reports), 3)


def measure(studies: int, size: int, texts: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        settings = PhantomSettings(train=studies - 2, test=1, val=1, size=size)
        start = time.perf_counter()
        regions = params.load().regions
        read(settings, Path(folder) / "images", Path(folder), regions)
        seconds = time.perf_counter() - start
        mib = sum(path.stat().st_size for path in Path(folder, "images").iterdir()) / 2**20
    start = time.perf_counter()
    made = [phantom(0, k) for k in range(texts)]
    per_second = texts / (time.perf_counter() - start)
    made = made[:1000]
    return {
        "studies": studies,
        "size": size,
        "cores": os.cpu_count(),
        "seconds": round(seconds, 1),
        "studies_per_second": round(studies / seconds, 1),
        "images_mib": round(mib, 1),
        "texts_per_second": round(per_second),
        "reports_repeated": repeated([each.report for each in made]),
        "normal_reports_repeated": repeated(
            [each.report for each in made if not each.findings.abnormal()]
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--cases", type=int, help="write this many cases instead")
    parser.add_argument("--out", type=Path, default=Path("cases.jsonl"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.cases:
        start = time.perf_counter()
        cases = write_cases(arguments.out, arguments.seed, arguments.cases)
        print(
            json.dumps(
                {"cases": cases, "cases_per_second": round(cases / (time.perf_counter() - start))}
            )
        )
    else:
        print(json.dumps(measure(arguments.studies, arguments.size, arguments.texts)))


if __name__ == "__main__":
    with one_line():
        main()
