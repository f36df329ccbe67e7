"""report: the comparison and every test study -> reports/index.html, reports/studies."""

from pathlib import Path

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json
from xraygen.evaluation import overview, picture_audit_table, results
from xraygen.evaluation.report import comparison_markdown
from xraygen.pages import report


def main() -> None:
    settings = params.load()
    names = list(settings.approaches)
    comparison = read_json("reports/comparison.json")
    usage = {name: read_json(f"metrics/usage/{name}.json") for name in names}
    audits = {name: read_json(f"data/judgements/{name}/audit.json") for name in names}
    source = read_json("metrics/data.json")["source"]
    constants = [name for name in names if settings.approaches[name].annotator == "constant"]
    floor = constants[0] if constants else None
    table = overview.table(comparison, usage, floor)
    body = comparison_markdown(comparison, table, source, settings.compare, complete=True)
    body += picture_audit_table.section(audits, complete=True)
    scores = results.scores(names, settings.regions.scored)
    shown = report.worst({name: by_set["test"] for name, by_set in scores.items()})
    examples = report.examples(
        results.only(shown, results.studies("test")),
        {name: results.only(shown, results.annotations(name, "test")) for name in names},
        {name: results.only(shown, results.judgements(name, "test")) for name in names},
    )
    page = report.page(body, comparison["approaches"], examples, comparison["confidence"])
    with replacing("reports/index.html") as file:
        file.write(page)
    Path("reports/studies").mkdir(exist_ok=True)


if __name__ == "__main__":
    with one_line():
        main()
