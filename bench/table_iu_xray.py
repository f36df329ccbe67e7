"""The router on IU X-Ray, read by its own source and through a table.

    python bench/table_iu_xray.py [FOLDER]

FOLDER has IU X-Ray's raw files, by default ../shared/iu-xray. The studies are written as a JSON
Lines table without images, which the router is not shown, and read back. Prints the macro token F1
on dev and test both ways; exit status 1 where they differ in the first four digits.
"""

import json
import sys
import tempfile
from pathlib import Path

from xraygen import params
from xraygen.annotators.router import router
from xraygen.core.regions import Regions
from xraygen.core.study import Study
from xraygen.language.text import token_f1
from xraygen.sources import prepare
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.table.table import Table, TableSettings

SETTINGS = params.load(Path(__file__).parents[1] / "params.yaml")


def through_a_table(studies: list[Study], regions: Regions) -> list[Study]:
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "iu.jsonl").open("w") as file:
            for study in studies:
                row = study.model_dump(include={"id", "report", "split", "reference"})
                file.write(json.dumps(row) + "\n")
        settings = TableSettings(file="iu.jsonl", split="split", reference="reference")
        return Table(settings, regions).read(Path(folder), Path(folder), Path(folder)).studies


def scores(studies: list[Study]) -> dict[str, float]:
    """Macro token F1 of the router on dev and test."""
    splits = prepare.split(studies, SETTINGS.data.seed, SETTINGS.data.dev_share)
    model = router.fit(splits["train"], SETTINGS.fit_router, SETTINGS.regions)
    found = {}
    for split in ("dev", "test"):
        said = [model.annotate(study.report) for study in splits[split]]
        means = []
        for region in SETTINGS.regions.scored:
            pairs = zip(splits[split], said, strict=True)
            f1 = [token_f1(study.reference[region], text[region]) for study, text in pairs]
            scored = [score for score in f1 if score is not None]
            means.append(sum(scored) / len(scored))
        found[split] = round(sum(means) / len(means), 4)
    return found


def main(folder: str = "../shared/iu-xray") -> None:
    raw = Path(folder)
    studies = iu_xray.read(raw, raw, SETTINGS.regions).studies
    direct, table = scores(studies), scores(through_a_table(studies, SETTINGS.regions))
    print(json.dumps({"studies": len(studies), "iu-xray": direct, "table": table}))
    sys.exit(0 if direct == table else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
