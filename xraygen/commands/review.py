"""A page for readers, who accept, edit or reject what an approach says."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraygen.commands.options import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xraygen.core.regions import Regions
    from xraygen.core.study import AnnotationRecord
    from xraygen.params import Params
    from xraygen.readers.selection import Region


@click.command()
@click.option("--approach", required=True, help="A name under `approaches:` in params.yaml.")
@click.option(
    "--n",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many regions; those of one study are shown together.",
)
@click.option(
    "--by",
    type=click.Choice(["uncertainty", "disagreement", "random"]),
    default="uncertainty",
    show_default=True,
    help="uncertainty = the least confident regions; disagreement = those that differ most from "
    "the other approaches.",
)
@click.option(
    "--split",
    type=click.Choice(["test", "val", "dev"]),
    default="test",
    show_default=True,
    help="val has the texts of the released approach alone.",
)
@click.option("--blind", is_flag=True, help="Keep the approach's name out of the page.")
@click.option("--seed", default=0, show_default=True, help="Draws random regions and breaks ties.")
@click.option("--out", type=OUTPUT, required=True, help="HTML file to write.")
def review(
    approach: str, n: int, by: str, split: str, blind: bool, seed: int, out: Path
) -> None:
    """Write a page on which a reader accepts, edits or rejects scored regions of an approach, and
    exports the decisions. It opens from disk and needs no network. docs/review.md says how to
    choose.
    """
    from xraygen import params
    from xraygen.core.errors import UserError
    from xraygen.core.files import replacing
    from xraygen.evaluation import results
    from xraygen.readers import review_page, selection

    settings = params.load()
    if approach not in settings.approaches:
        known = ", ".join(sorted(settings.approaches))
        raise UserError(f"params.yaml: no approach '{approach}'; there are: {known}")
    regions = settings.regions
    candidates = _candidates(settings, approach, by, split, seed)
    chosen = selection.first(candidates, n)
    if not chosen:
        raise UserError(f"{approach} has not annotated a study of {split}; nothing to review")
    shuffled = seed if blind or by == "random" else None
    names = selection.by_study(chosen, shuffled)
    ids = set(names)
    studies = results.only(ids, results.studies(split))
    records = results.only(ids, _records(approach, split, regions))
    shown, problems = review_page.shown_studies(
        names,
        {study.id: study for study in studies},
        {record.id: record for record in records},
        regions.names,
        Path.cwd(),
    )
    page = review_page.page(shown, None if blind else approach)
    with replacing(out) as file:
        file.write(page)
    fewer = f", all that {split} has" if len(chosen) < n else ""
    click.echo(f"{len(chosen):,} regions of {len(shown):,} studies{fewer}: {out}", err=True)
    if problems:
        click.echo(f"{len(problems):,} pictures cannot be read: {problems[0]}", err=True)


def _candidates(
    settings: "Params", approach: str, by: str, split: str, seed: int
) -> "Iterable[Region]":
    from xraygen.core.errors import UserError
    from xraygen.readers import selection

    regions = settings.regions
    records = _records(approach, split, regions)
    if by == "uncertainty":
        return selection.by_uncertainty(records, regions.scored, seed, approach)
    if by == "random":
        return selection.at_random(records, regions.scored, seed)
    if split == "val":
        raise UserError(
            "val has the texts of the released approach alone; choose with --by uncertainty or "
            "--by random"
        )
    others = {
        name: _records(name, split, regions) for name in settings.approaches if name != approach
    }
    return selection.by_disagreement(records, others, regions.scored, seed)


def _records(approach: str, split: str, regions: "Regions") -> "Iterator[AnnotationRecord]":
    """What an approach said of the studies of a split. UserError: val, and another approach is
    released.
    """
    from xraygen.annotators.release import Released
    from xraygen.core.errors import UserError
    from xraygen.core.json_lines import read_jsonl
    from xraygen.core.study import AnnotationRecord

    if split != "val":
        path = f"data/annotations/{approach}/{split}.jsonl"
        yield from read_jsonl(path, AnnotationRecord, regions)
        return
    path = "data/release/val.jsonl"
    for released in read_jsonl(path, Released, regions):
        if released.approach != approach:
            raise UserError(
                f"{path}: is by {released.approach}; give --approach {released.approach}, or "
                "another split"
            )
        yield AnnotationRecord(
            id=released.id, annotation=released.annotation, evidence=released.evidence
        )
