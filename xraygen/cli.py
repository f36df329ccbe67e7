"""The command line: `xraygen fetch`, `xraygen annotate`, `xraygen judge`. The pipeline itself is run by `dvc repro`."""

from pathlib import Path

import click

from xraygen import __version__
from xraygen.errors import UserError, one_line

FILE = click.Path(path_type=Path)


class OneLineErrors(click.Group):
    def invoke(self, context: click.Context) -> None:
        with one_line():
            try:
                super().invoke(context)
            except click.UsageError as error:
                command = error.ctx.command_path if error.ctx else "xraygen"
                raise UserError(f"{error.format_message()} See: {command} --help") from None


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Annotate chest X-ray studies by region, judge annotations, fetch data. Research only; not for clinical use."""


@main.command()
@click.argument("collection", type=click.Choice(["iu-xray"]))
@click.option("--from", "source", type=FILE, help="A folder that has the files already; else the text files are downloaded.")
def fetch(collection: str, source: Path | None) -> None:
    """Bring the raw files of COLLECTION into data/raw/, checked against the known checksums."""
    from xraygen.fetch import fetch_iu_xray

    fetch_iu_xray(Path("data/raw") / collection, source)


@main.command()
@click.argument("cases", type=FILE)
@click.option("--approach", required=True, help="A name under `approaches:` in params.yaml.")
@click.option("--out", required=True, type=FILE, help="JSON Lines file to write, one annotation a case, in the order of CASES.")
def annotate(cases: Path, approach: str, out: Path) -> None:
    """Annotate CASES, a CSV or JSONL file with id, report and optionally images, with the models that the pipeline left."""
    from xraygen import annotators, params
    from xraygen.progress import progress
    from xraygen.rows import read_cases
    from xraygen.study import write_jsonl

    answer = annotators.load(params.load().approach(approach), root=Path.cwd())
    count = write_jsonl(out, progress(answer(read_cases(cases)), "annotate", "cases"))
    click.echo(f"{count:,} cases annotated: {out}", err=True)


@main.command()
@click.argument("pairs", type=FILE)
@click.option("--judge", "name", type=click.Choice(["proxy"]), default="proxy", show_default=True)
@click.option(
    "--out", required=True, type=FILE, help="CSV file to write: the rows of PAIRS with score, verdict and counts added."
)
def judge(pairs: Path, name: str, out: Path) -> None:
    """Judge PAIRS, a CSV or JSONL file with reference and candidate, row by row."""
    from xraygen import judges
    from xraygen.rows import read_pairs, write_csv

    rows = read_pairs(pairs)
    judge = judges.load(name)
    opinions = judges.opinions([(row["reference"], row["candidate"]) for row in rows], judge)
    columns = list(judges.COLUMNS)
    replaced = sorted({column for row in rows for column in row} & set(columns))
    if replaced:
        click.echo(f"{pairs}: has columns of its own that the judgement replaces in {out}: {', '.join(replaced)}", err=True)
    write_csv(out, [row | opinion.columns() for row, opinion in zip(rows, opinions, strict=True)], columns)
    click.echo(f"{len(rows):,} pairs judged: {out}. {judge.agreement()}", err=True)
