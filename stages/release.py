"""release: the best approach on dev annotates val -> data/release/{val.jsonl,val.csv,README.md},
metrics/release.json.
"""

from pathlib import Path

from xraygen import params
from xraygen.annotators import release, release_card
from xraygen.annotators.base import Project
from xraygen.annotators.engine import annotator
from xraygen.core import cards
from xraygen.core.errors import one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json, read_jsonl, write_jsonl, write_metrics
from xraygen.core.progress import progress
from xraygen.core.study import Study
from xraygen.core.tables import write_csv

VAL = Path("data/prepared/val.jsonl")
OUT = Path("data/release")


def main() -> None:
    settings = params.load()
    source = cards.read_source()
    comparison = read_json("reports/comparison.json")
    facts = release.choose(
        settings.approaches,
        comparison["approaches"],
        comparison["pairs"].get("dev", {}),
        settings.evaluate.measure,
    )
    facts["confidence"] = comparison.get("confidence", {}).get(facts["approach"])
    project = Project(Path.cwd(), Path.cwd(), settings.regions, settings.llm)
    annotate = annotator(settings.annotate, settings.approaches, facts["approach"], project)
    cases = (study.case() for study in read_jsonl(VAL, Study))
    members = [
        release.released(
            record, facts, release.to_review(record, facts["confidence"], settings.regions)
        )
        for record in progress(annotate(cases), f"{facts['approach']} val", "studies")
    ]
    facts |= {
        "studies": len(members),
        "failed": sum(member.annotation is None for member in members),
        "scored": len(members) * len(settings.regions.scored),
        "to_review": sum(len(member.review) for member in members),
        "references": sum(study.reference is not None for study in read_jsonl(VAL, Study)),
    }
    write_jsonl(OUT / "val.jsonl", members)
    regions = settings.regions
    write_csv(OUT / "val.csv", release.rows(members, regions), release.columns(regions))
    with replacing(OUT / "README.md") as file:
        file.write(release_card.release_card(facts, source, regions.names))
    write_metrics("metrics/release.json", release.metrics(facts))


if __name__ == "__main__":
    with one_line():
        main()
