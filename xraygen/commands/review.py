"""A page for readers, who accept, edit or reject what an approach says."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraygen.commands.options import OUTPUT

if TYPE_CHECKING:
    from xraygen.readers.selection import By


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
    type=click.Choice(["risk", "uncertainty", "disagreement", "random"]),
    default="risk",
    show_default=True,
    help="What comes first. risk = likely wrong, as learned on dev; uncertainty = the lowest "
    "confidence; disagreement = the furthest from the other approaches.",
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
def review(approach: str, n: int, by: "By", split: str, blind: bool, seed: int, out: Path) -> None:
    """Write a page on which a reader accepts, edits or rejects scored regions of an approach, and
    exports the decisions. It opens from disk and needs no network. docs/review.md says how to
    choose.
    """
    from xraygen import params
    from xraygen.core.errors import UserError
    from xraygen.core.files import replacing
    from xraygen.evaluation import results
    from xraygen.readers import review_page, selection
    from xraygen.readers.pool import Pool

    settings = params.load()
    if approach not in settings.approaches:
        known = ", ".join(sorted(settings.approaches))
        raise UserError(f"params.yaml: no approach '{approach}'; there are: {known}")
    regions = settings.regions
    pool = Pool(approach, tuple(settings.approaches), regions, split)
    chosen = selection.first(selection.candidates(pool, by, seed), n)
    if not chosen:
        raise UserError(f"{approach} has not annotated a study of {split}; nothing to review")
    shuffled = seed if blind or by == "random" else None
    names = selection.by_study(chosen, shuffled)
    ids = set(names)
    studies = results.only(ids, results.studies(split))
    records = results.only(ids, pool.records())
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
