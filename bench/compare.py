"""The comparison of approaches at two sizes: seconds and peak memory, each in its own process.

    python bench/compare.py [STUDIES APPROACHES ...]

By default 100,000 studies x 9 approaches and 300 x 20. Prints one JSON line. The approaches differ,
and each is silent in other regions, so that token F1 takes the general code path. `holds`: how many
of regional differences that are significant.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

from xraygen.evaluation.compare import compare_all, permutations
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import StudyScores

REGIONS = ("a", "b", "c", "d")
SIZES = ((100_000, 9), (300, 20))
PARAMS = CompareParams(resamples=5000, alpha=0.05, power=0.8, seed=0)


def invented(studies: int, approaches: int) -> dict[str, dict[str, StudyScores]]:
    rng = np.random.default_rng(0)
    ids = tuple(f"S{number:06d}" for number in range(studies))
    made = {}
    for number in range(approaches):
        score = 0.1 + 0.8 * number / approaches + 0.03 * rng.random((studies, len(REGIONS)))
        token_f1 = np.where(rng.random(score.shape) < 0.2, np.nan, score)
        arrays = score, score, token_f1, score, np.ones_like(score)
        made[f"approach-{number}"] = {"test": StudyScores(ids, *arrays, REGIONS)}
    return made


def measure(studies: int, approaches: int) -> dict:
    made = invented(studies, approaches)
    start = time.perf_counter()
    cpu = time.process_time()
    pairs = compare_all(made, PARAMS)["test"]
    regional = [pair["score"][region]["holds"] for pair in pairs.values() for region in REGIONS]
    return {
        "studies": studies,
        "approaches": approaches,
        "permutations": permutations(approaches, len(REGIONS), PARAMS),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "holds": f"{sum(regional)} of {len(regional)}",
    }


def main() -> None:
    numbers = [int(text) for text in sys.argv[1:]]
    sizes = list(zip(numbers[::2], numbers[1::2], strict=True)) or SIZES
    if len(sizes) == 1:
        print(json.dumps(measure(*sizes[0])))
        return
    runs = [
        [sys.executable, __file__, str(studies), str(approaches)] for studies, approaches in sizes
    ]
    done = [subprocess.run(run, check=True, capture_output=True, text=True).stdout for run in runs]
    print(json.dumps([json.loads(line) for line in done]))


if __name__ == "__main__":
    main()
