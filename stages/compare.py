"""compare: the judgements of all approaches ->
reports/{comparison.md,comparison.svg,comparison.json,scores.csv},
metrics/confidence.json.
"""

from pathlib import Path

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json, read_jsonl, write_json, write_metrics
from xraygen.core.study import Agreement
from xraygen.core.tables import write_csv
from xraygen.evaluation import compare, confidence, overview, picture_audit_table, report, results


def main() -> None:
    settings = params.load()
    names = list(settings.approaches)
    results.refuse_leftovers(set(names))
    usage = {name: read_json(f"metrics/usage/{name}.json") for name in names}
    results.refuse_stale(usage, settings.approaches)
    summaries = {name: read_json(f"data/judgements/{name}/summary.json") for name in names}
    source = read_json("metrics/data.json")["source"]
    agreement = list(read_jsonl("data/prepared/agreement.jsonl", Agreement))
    scores = results.scores(names, settings.regions.scored)
    comparison = compare.report_of(scores, summaries, agreement, settings.compare)
    comparison["confidence"] = confidence.of_approaches(names, settings.compare)

    constants = [name for name in names if settings.approaches[name].annotator == "constant"]
    floor = constants[0] if constants else None
    shared = comparison, overview.table(comparison, usage, floor), source, settings.compare
    audits = {name: read_json(f"data/judgements/{name}/audit.json") for name in names}
    committed = report.comparison_markdown(*shared) + picture_audit_table.section(audits)
    texts = {
        "reports/comparison.md": committed,
        "reports/comparison.svg": overview.figure(comparison, floor),
    }
    write_json("reports/comparison.json", comparison)
    write_metrics("metrics/confidence.json", confidence.metrics(comparison["confidence"]))
    write_csv(Path("reports/scores.csv"), report.scores_rows(summaries))
    for path, text in texts.items():
        with replacing(path) as file:
            file.write(text)


if __name__ == "__main__":
    with one_line():
        main()
