"""fit_constant: data/prepared/train.jsonl -> models/constant."""

from pathlib import Path

from xraygen import judges, params
from xraygen.annotators.constant import save
from xraygen.core.errors import one_line
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import Study
from xraygen.judges.constant import fit

if __name__ == "__main__":
    with one_line():
        settings = params.load()
        evaluate, regions = settings.evaluate, settings.regions
        judge = judges.load(evaluate.judge, evaluate.settings)
        studies = read_jsonl("data/prepared/train.jsonl", Study, regions)
        texts = fit(studies, judge, regions, evaluate.measure)
        save(texts, Path("models/constant"))
