"""report: the comparison and every test study -> reports/index.html, reports/studies."""

import sys
from pathlib import Path

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json
from xraygen.core.progress import progress
from xraygen.evaluation import results
from xraygen.pages import report, studies
from xraygen.pages.answered import Answers


def main() -> None:
    settings = params.load()
    names = list(settings.approaches)
    comparison = read_json("reports/comparison.json")
    usage = {name: read_json(f"metrics/usage/{name}.json") for name in names}
    audits = {name: read_json(f"data/judgements/{name}/audit.json") for name in names}
    losses = report.losses(Path("reports/finetune"))
    data = read_json("metrics/data.json")
    constants = [name for name in names if settings.approaches[name].annotator == "constant"]
    floor = constants[0] if constants else None
    written = studies.write(
        Path("reports/studies"),
        progress(results.studies("test"), "report", "studies"),
        {
            name: Answers(results.annotations(name, "test"), results.judgements(name, "test"))
            for name in names
        },
        settings.regions,
        settings.compare.alpha,
        Path(),
    )
    if written.unreadable:
        count, first = len(written.unreadable), written.unreadable[0]
        print(f"{count:,} pictures are not shown: {first}", file=sys.stderr)
    found = report.Results(
        comparison, usage, audits, losses, data["source"], floor, data.get("reviewed")
    )
    page = report.page(found, settings.compare, written.studies)
    with replacing("reports/index.html") as file:
        file.write(page)


if __name__ == "__main__":
    with one_line():
        main()
