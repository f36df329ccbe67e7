"""evaluate@<approach>: annotations, references -> data/judgements/<approach>/{dev,test}.jsonl, metrics/scores/<approach>.json."""

import sys
from pathlib import Path

from xraygen import evaluate, judges, params
from xraygen.errors import one_line
from xraygen.study import AnnotationRecord, Study, write_json, write_jsonl


def main(name: str) -> None:
    settings = params.load().evaluate
    judge = judges.load(settings.judge, settings.green)
    studies = evaluate.read_splits(Path("data/prepared"), Study)
    annotations = evaluate.read_splits(Path("data/annotations") / name, AnnotationRecord)
    judgements = evaluate.judge_splits(studies, annotations, judge)
    for split, judged in judgements.items():
        write_jsonl(Path("data/judgements") / name / f"{split}.jsonl", judged)
    write_json(f"metrics/scores/{name}.json", evaluate.metrics(judgements, studies, judge, settings.resamples, settings.seed))


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
