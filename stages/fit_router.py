"""fit_router: data/prepared/train.jsonl -> models/router."""

from pathlib import Path

from xraygen import params
from xraygen.annotators.router import router
from xraygen.core.errors import one_line
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import Study

if __name__ == "__main__":
    with one_line():
        settings = params.load()
        studies = read_jsonl("data/prepared/train.jsonl", Study, settings.regions)
        fitted = router.fit(studies, settings.fit_router, settings.regions)
        fitted.save(Path("models/router"))
