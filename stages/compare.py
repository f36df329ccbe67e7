"""compare: the judgements of all approaches -> metrics/comparison.json, reports/{comparison.md,index.html,scores.csv}."""

import json
from pathlib import Path

from xraygen import compare, evaluate, judges, params, report
from xraygen.errors import one_line
from xraygen.study import AnnotationRecord, Judgement, Study, read_jsonl, replacing, write_json


def main() -> None:
    settings = params.load()
    studies = evaluate.read_splits(Path("data/prepared"), Study)
    judgements = {name: evaluate.read_splits(Path("data/judgements") / name, Judgement) for name in settings.approaches}
    annotations = {name: list(read_jsonl(f"data/annotations/{name}/test.jsonl", AnnotationRecord)) for name in judgements}
    scores = {name: json.loads(Path(f"metrics/scores/{name}.json").read_text()) for name in judgements}

    by_set = {name: evaluate.scores_of(judged, studies) for name, judged in judgements.items()}
    comparison = compare.compare_all(by_set, settings.compare)
    agreement = judges.load(settings.evaluate.judge).agreement()
    data = json.loads(Path("metrics/data.json").read_text())
    markdown = report.comparison_markdown(scores, comparison, data, agreement, settings.compare)
    worst = report.examples(studies["test"], annotations, {name: judged["test"] for name, judged in judgements.items()})

    write_json("metrics/comparison.json", comparison)
    for path, text in {
        "reports/comparison.md": markdown,
        "reports/scores.csv": report.scores_csv(scores),
        "reports/index.html": report.page(markdown, scores, worst),
    }.items():
        with replacing(path) as file:
            file.write(text)


if __name__ == "__main__":
    with one_line():
        main()
