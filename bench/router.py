"""Seconds to fit the router, reports a second on one core, and the size of its model.

    python bench/router.py [TRAIN.jsonl REPORTS.jsonl]

Both are files of studies. The router is fitted on the first, by default what `dvc repro` prepared,
and annotates the reports of the second, by default 5,000 generated ones that are in no split: cold
(starting with nothing remembered) and warm (the same reports again). Prints one JSON line.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from xraygen import params
from xraygen.annotators.router import router
from xraygen.core.study import Study, read_jsonl
from xraygen.sources.phantom import phantom


def main(train: str = "data/prepared/train.jsonl", reports: str | None = None) -> None:
    settings = params.load(Path(__file__).parents[1] / "params.yaml")
    studies = list(read_jsonl(train, Study))
    if reports:
        texts = [study.report for study in read_jsonl(reports, Study)]
    else:
        texts = [phantom(0, 10**8 + k).report for k in range(5000)]
    start = time.perf_counter()
    model = router.fit(studies, settings.fit_router, settings.regions)
    result = {
        "studies": len(studies),
        "fit_seconds": round(time.perf_counter() - start, 2),
        "reports": len(texts),
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        result["model_bytes"] = sum(path.stat().st_size for path in Path(folder).iterdir())
        for wording in ("learned", "verbatim"):
            model = router.Router.load(Path(folder))
            for state in ("cold", "warm"):
                start = time.perf_counter()
                for text in texts:
                    model.annotate(text, wording)
                result[f"{wording}_{state}_reports_per_second"] = round(
                    len(texts) / (time.perf_counter() - start)
                )
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
