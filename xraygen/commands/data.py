"""Commands that bring data into the project."""

from pathlib import Path

import click

from xraygen.commands.options import FILE, OUTPUT


@click.command()
@click.argument("collection", type=click.Choice(["iu-xray"]))
@click.option(
    "--from",
    "source",
    type=FILE,
    help="A folder that has the files already; else the text files are downloaded.",
)
def fetch(collection: str, source: Path | None) -> None:
    """Bring the raw files of COLLECTION into data/raw/, checked against the known checksums."""
    from xraygen.sources.iu_xray.fetch import fetch_iu_xray

    fetch_iu_xray(Path("data/raw") / collection, source)


@click.command()
@click.argument("layout")
@click.argument("folder", type=FILE)
@click.option(
    "--out", type=OUTPUT, required=True, help="JSON Lines file to write, one study a line."
)
def convert(layout: str, folder: Path, out: Path) -> None:
    """Write the studies of a public collection, from your own copy of it in FOLDER, to a file that
    `data.source: table` reads.

    LAYOUT is chexpert-plus, kaggle-iu, mimic-cxr, open-i, padchest, padchest-gr, r2gen, rexgradient
    or rexrank. FOLDER lies below the folder of the file that is written. docs/collections.md says
    what is read of each, and what licence you need.
    """
    from xraygen.sources.convert import convert

    click.echo(f"{convert(layout, folder, out)}\n{out}: written", err=True)


@click.command()
@click.argument("file", type=FILE)
@click.option("--id", help="The column with the unique id of each study.")
@click.option("--report", help="The column with the text of the report.")
@click.option("--images", help="The column with paths of images, below the folder of FILE.")
@click.option("--patient", help="The column that tells patients apart.")
@click.option("--split", help="The column with train, dev or test.")
@click.option(
    "--reference",
    multiple=True,
    help="A column with references: JSON by region, or once for each region.",
)
@click.option("--force", is_flag=True, help="Replace the table that params.yaml describes.")
def init(file: Path, reference: tuple[str, ...], force: bool, **named: str | None) -> None:
    """Set the project up for FILE, a .csv, .tsv, .jsonl or .parquet file with a study or an image
    in each row. Columns that are not named are guessed, and printed.
    """
    from xraygen import params
    from xraygen.sources.table.init import init

    given = {purpose: column for purpose, column in named.items() if column}
    settings = params.load()
    approaches = settings.approaches.keys()
    click.echo(
        init(
            file,
            given,
            reference,
            settings.data,
            approaches,
            root=Path.cwd(),
            check=params.parse,
            force=force,
        )
    )
