"""What a cascade costs and what it is worth at each threshold: score and token F1 on test, the
share of the cases passed on, and CPU seconds for 1,000 reports.

    python bench/cascade.py [FIRST [THEN ...]]

By default router, and then rules, vlm-finetuned and vlm-base, as `dvc repro` annotated test; no
model is run for the scores. For the seconds each approach annotates some test studies, with no
answer stored. The dollars are what the tokens of the second approach would cost at `llm.prices` of
`llm.model`. Prints one JSON line for each second approach, with that approach alone at the end.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from xraygen import judges, params
from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.cascade import Cascade, CascadeSettings
from xraygen.annotators.load import load
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.evaluation.evaluate import judge_annotations
from xraygen.evaluation.scores import scores_of, summarise

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
TIMED = 60  # studies


class Replayed(Annotator):
    """An approach whose annotations have been made."""

    def __init__(self, name: str, project: Project) -> None:
        super().__init__(None, project)  # type: ignore[arg-type]
        path = f"data/annotations/{name}/test.jsonl"
        self.records = {record.id: record for record in read_jsonl(path, AnnotationRecord)}

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            yield self.records[case.id]


def scored(studies: list[Study], records: list[AnnotationRecord], settings: params.Params) -> dict:
    judge = judges.load("proxy")
    judged = judge_annotations(studies, records, judge, settings.regions)
    scores = scores_of({"test": judged}, {"test": studies}, settings.regions.scored)["test"]
    macro = summarise(scores, resamples=200, seed=0)["macro"]
    return {key: round(macro[key], 4) for key in ("score", "token_f1")}


def seconds_per_case(name: str, studies: list[Study], settings: params.Params) -> float:
    """CPU seconds, loading not included."""
    here = Path.cwd()
    annotate = load(settings.approaches, name, Project(here, here, settings.regions, settings.llm))
    cases = [study.case() for study in studies[:TIMED]]
    start = time.process_time()
    for _ in annotate(cases):
        pass
    return (time.process_time() - start) / len(cases)


def in_empty_cache(name: str, studies: list[Study], settings: params.Params) -> float:
    """As `seconds_per_case`, with no stored answers: .cache is looked for in the current folder."""
    project = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for shared in ("models", "data"):
            (Path(folder) / shared).symlink_to(project / shared)
        os.chdir(folder)
        try:
            return seconds_per_case(name, studies, settings)
        finally:
            os.chdir(project)


def main(first: str = "router", *then: str) -> None:
    settings = params.load()
    studies = list(read_jsonl("data/prepared/test.jsonl", Study, settings.regions))
    here = Path.cwd()
    base_seconds = in_empty_cache(first, studies, settings)
    price = settings.llm.prices.get(settings.llm.model)
    for second in then or ("rules", "vlm-finetuned", "vlm-base"):
        second_seconds = in_empty_cache(second, studies, settings)
        project = Project(here, here, settings.regions, settings.llm)
        parts = {name: Replayed(name, project) for name in (first, second)}
        points = []
        for below in THRESHOLDS:
            entry = CascadeSettings(
                annotator="cascade", reads="models", first=first, then=second, below=below
            )
            cascade = Cascade(entry, project._replace(approach=parts.__getitem__))
            records = list(cascade(study.case() for study in studies))
            share = sum(record.usage["passed_on"] for record in records) / len(records)
            point = {"below": below} | scored(studies, records, settings)
            point |= {"passed_on": round(share, 4)}
            point["seconds_per_1000"] = round(1000 * (base_seconds + share * second_seconds), 1)
            if price:
                tokens = [
                    sum(record.usage.get(key, 0) for record in records)
                    for key in ("tokens_in", "tokens_out")
                ]
                cost = (tokens[0] * price.tokens_in + tokens[1] * price.tokens_out) / 1e6
                point["cost_usd_per_1000"] = round(1000 * cost / len(records), 4)
            points.append(point)
        alone = scored(studies, list(parts[second].records.values()), settings)
        alone |= {"passed_on": None, "seconds_per_1000": round(1000 * second_seconds, 1)}
        line = {"first": first, "then": second, "studies": len(studies), "points": points}
        print(json.dumps(line | {"then_alone": alone}))


if __name__ == "__main__":
    main(*sys.argv[1:])
