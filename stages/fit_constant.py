"""fit_constant: data/prepared/train.jsonl -> models/constant."""

from pathlib import Path

from xraygen import judges, params
from xraygen.annotators.fit_constant import fit
from xraygen.errors import one_line
from xraygen.study import Study, read_jsonl

if __name__ == "__main__":
    with one_line():
        settings = params.load().evaluate
        judge = judges.load(settings.judge, settings.green)
        fit(read_jsonl("data/prepared/train.jsonl", Study), judge).save(Path("models/constant"))
