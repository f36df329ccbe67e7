"""compare: the judgements of all approaches -> metrics/comparison.json, reports/{comparison.md,index.html,scores.csv}."""

from pathlib import Path

from xraygen import compare, evaluate, judges, params, report
from xraygen.errors import UserError, one_line
from xraygen.files import replacing
from xraygen.rows import write_csv
from xraygen.study import AnnotationRecord, Judgement, Study, read_json, write_json


def main() -> None:
    settings = params.load()
    refuse_leftovers(set(settings.approaches))
    studies = evaluate.read_splits(Path("data/prepared"), Study)
    judgements = {name: evaluate.read_splits(Path("data/judgements") / name, Judgement) for name in settings.approaches}
    annotations = {name: evaluate.read_splits(Path("data/annotations") / name, AnnotationRecord)["test"] for name in judgements}
    scores = {name: read_json(f"metrics/scores/{name}.json") for name in judgements}
    data = read_json("metrics/data.json")

    by_set = {name: evaluate.scores_of(judged, studies) for name, judged in judgements.items()}
    comparison = compare.compare_all(by_set, settings.compare)
    about = judges.load(settings.evaluate.judge, settings.evaluate.green).about()
    markdown = report.comparison_markdown(scores, comparison, data, about, settings.compare)
    worst = report.examples(studies["test"], annotations, {name: judged["test"] for name, judged in judgements.items()})

    write_json("metrics/comparison.json", comparison)
    write_csv(Path("reports/scores.csv"), report.scores_rows(scores))
    for path, text in {"reports/comparison.md": markdown, "reports/index.html": report.page(markdown, scores, worst)}.items():
        with replacing(path) as file:
            file.write(text)


def refuse_leftovers(approaches: set[str]) -> None:
    """What an approach left that params.yaml no longer has would go on counting in dvc.lock, differently in every clone."""
    kept = [path for folder in ("data/annotations", "data/judgements", "metrics/scores") for path in Path(folder).glob("[!.]*")]
    leftovers = sorted(str(path) for path in kept if path.stem not in approaches)
    if leftovers:
        raise UserError(
            f"{leftovers[0]} is of no approach in params.yaml; remove what is left of it: rm -r {' '.join(leftovers)}"
        )


if __name__ == "__main__":
    with one_line():
        main()
