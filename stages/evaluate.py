"""evaluate@<approach>: annotations, references -> data/judgements/<approach>/{dev,test}.jsonl,
summary.json and audit.json, metrics/scores/<approach>.json.
"""

import sys
from pathlib import Path

from xraygen import judges, params
from xraygen.core.errors import one_line
from xraygen.core.json_lines import read_jsonl, write_json, write_jsonl, write_metrics
from xraygen.core.study import AnnotationRecord, AuditRecord, Study
from xraygen.evaluation import evaluate, picture_audit, support


def main(name: str) -> None:
    loaded = params.load()
    settings, regions = loaded.evaluate, loaded.regions
    judge = judges.load(settings.judge, settings.settings)
    studies = evaluate.read_splits(Path("data/prepared"), Study, regions)
    annotations = evaluate.read_splits(Path("data/annotations") / name, AnnotationRecord, regions)
    judgements = evaluate.judge_splits(studies, annotations, judge, regions)
    summary = evaluate.details(
        judgements, studies, judge, regions, settings.resamples, settings.seed
    )
    summary = support.added(summary, studies, annotations, settings.resamples, settings.seed)
    audited = read_jsonl(f"data/annotations/{name}/audit.jsonl", AuditRecord, regions)
    test = studies["test"], annotations["test"], list(audited)
    audit = picture_audit.judged(*test, judge, regions, settings.resamples, settings.seed)
    out = Path("data/judgements") / name
    for split, judged in judgements.items():
        write_jsonl(out / f"{split}.jsonl", judged)
    write_json(out / "summary.json", summary)
    write_json(out / "audit.json", audit)
    scores = evaluate.metrics(summary) | picture_audit.metrics(audit)
    write_metrics(f"metrics/scores/{name}.json", scores)


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
