"""CPU seconds to fit the router, reports it annotates per CPU second, and the size of its model.

    python bench/router.py [TRAIN.jsonl [REPORTS.jsonl]]

The router is fitted on the studies of the first file, by default on what `dvc repro` prepared. It
annotates the distinct reports of the second, JSON Lines with a key `report`, by default 5,000
generated ones that are in no split: cold (with nothing in memory) and warm (the same reports
again). Rates are the median of five routers. Prints one JSON line.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from xraygen import params
from xraygen.annotators.router import choice, router
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import Study
from xraygen.sources.phantom import phantom

RUNS = 5


def distinct_reports(path: str | None) -> list[str]:
    if path is None:
        return [phantom(0, 10**8 + k).report for k in range(5000)]
    with open(path, encoding="utf-8") as file:
        return list(dict.fromkeys(json.loads(line)["report"] for line in file))


def reports_per_second(model: router.Router, reports: list[str], wording: router.Mode) -> float:
    start = time.process_time()
    for _ in model.annotate_all(reports, wording):
        pass
    return len(reports) / (time.process_time() - start)


def main(train: str = "data/prepared/train.jsonl", path: str | None = None) -> None:
    settings = params.load(Path(__file__).parents[1] / "params.yaml")
    studies = list(read_jsonl(train, Study))
    reports = distinct_reports(path)
    start = time.process_time()
    model = router.fit(studies, settings.fit_router, settings.regions)
    fitted = time.process_time() - start
    result = {"studies": len(studies), "fit_seconds": round(fitted, 2), "reports": len(reports)}
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        result["model_bytes"] = sum(path.stat().st_size for path in Path(folder).iterdir())
        for wording in ("learned", "verbatim"):
            cold, warm = [], []
            for _ in range(RUNS):
                choice.tokens_of.cache_clear()
                model = router.Router.load(Path(folder))
                cold.append(reports_per_second(model, reports, wording))
                warm.append(reports_per_second(model, reports, wording))
            result[f"{wording}_cold_reports_per_second"] = round(statistics.median(cold))
            result[f"{wording}_warm_reports_per_second"] = round(statistics.median(warm))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
