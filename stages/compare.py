"""compare: the judgements of all approaches ->
reports/{comparison.md,comparison.json,index.html,scores.csv}."""

from pathlib import Path

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.files import replacing
from xraygen.core.study import Agreement, read_json, read_jsonl, write_json
from xraygen.core.tables import write_csv
from xraygen.evaluation import compare, report, results
from xraygen.evaluation.scores import scores_of

JUDGED = ("dev", "test")


def main() -> None:
    settings = params.load()
    names = list(settings.approaches)
    results.refuse_leftovers(set(names))
    summaries = {name: read_json(f"data/judgements/{name}/summary.json") for name in names}
    source = read_json("metrics/data.json")["source"]
    agreement = list(read_jsonl("data/prepared/agreement.jsonl", Agreement))
    studies = {
        split: [results.without_texts(study) for study in results.studies(split)]
        for split in JUDGED
    }
    scores = {
        name: scores_of(
            {split: results.judgements(name, split) for split in JUDGED},
            studies,
            settings.regions.scored,
        )
        for name in names
    }
    del studies
    comparison = compare.report_of(scores, summaries, agreement, settings.compare)

    shown = report.worst({name: by_set["test"] for name, by_set in scores.items()})
    examples = report.examples(
        results.only(shown, results.studies("test")),
        {name: results.only(shown, results.annotations(name, "test")) for name in names},
        {name: results.only(shown, results.judgements(name, "test")) for name in names},
    )
    in_git = report.comparison_markdown(comparison, source, settings.compare)
    complete = report.comparison_markdown(comparison, source, settings.compare, complete=True)
    texts = {
        "reports/comparison.md": in_git,
        "reports/index.html": report.page(complete, summaries, examples),
    }
    write_json("reports/comparison.json", comparison)
    write_csv(Path("reports/scores.csv"), report.scores_rows(summaries))
    for path, text in texts.items():
        with replacing(path) as file:
            file.write(text)


if __name__ == "__main__":
    with one_line():
        main()
