"""Judge single files, examine judges, and share what a judge has answered."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xraygen.commands.options import FILE, OUTPUT

if TYPE_CHECKING:
    from xraygen.judges import Judge


@click.command()
@click.argument("pairs", type=FILE)
@click.option(
    "--judge",
    "name",
    default="proxy",
    show_default=True,
    help="proxy, green, crimson, or a class: package.module:Class.",
)
@click.option(
    "--out",
    type=OUTPUT,
    help="CSV file to write: the rows of PAIRS with score, verdict, counts and abnormal findings "
    "added.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say how many pairs a model would be asked about, and the time or cost.",
)
def judge(pairs: Path, name: str, out: Path | None, dry_run: bool) -> None:
    """Judge PAIRS, a CSV, TSV or JSONL file with reference and candidate, row by row.

    With --judge green or crimson, a column completion is read instead of asking the model. Which
    model is asked, evaluate.settings in params.yaml says.
    """
    from xraygen import judges
    from xraygen.core.cases import read_pairs
    from xraygen.core.tables import write_csv

    if dry_run == (out is not None):
        raise click.UsageError("Give either --out or --dry-run.")
    rows = read_pairs(pairs)
    sides = [(row["reference"], row["candidate"]) for row in rows]
    judge = _judge(name)
    if out is None:
        plan = judge.plan(sides)
        if plan is None:
            raise click.UsageError(
                f"--dry-run is for judges that ask a model; {name} asks no model."
            )
        click.echo(plan)
        return
    about = judge.about()
    if judge.reads_answers and any("completion" in row for row in rows):
        opinions = [
            judge.given(row["reference"], row["candidate"], row.get("completion") or "")
            for row in rows
        ]
        about = judge.reads_answers
    else:
        opinions = judges.opinions(sides, judge)
    columns = list(judges.COLUMNS)
    replaced = sorted({column for row in rows for column in row} & set(columns))
    if replaced:
        click.echo(
            f"{pairs}: has columns that the judgement replaces in {out}: {', '.join(replaced)}",
            err=True,
        )
    judged = [row | opinion.columns() for row, opinion in zip(rows, opinions, strict=True)]
    write_csv(out, judged, columns)
    verdicts = Counter(opinion.verdict for opinion in opinions)
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.most_common())
    summary = f" ({counts}). {about}" if rows else ""
    click.echo(f"{len(rows):,} pairs judged: {out}{summary}", err=True)


@click.command()
@click.argument("name", metavar="JUDGE")
@click.option(
    "--cases", type=FILE, help="A folder with radpref.jsonl or radjudge.jsonl: docs/judges.md."
)
@click.option(
    "--references",
    type=FILE,
    help="A table or JSON Lines file with a column reference, whose texts are damaged and reworded."
    " By default data/prepared/test.jsonl, where it exists and JUDGE asks no model.",
)
@click.option("--out", type=OUTPUT, help="JSON file to write, with every check and case.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say how many pairs a model would be asked about, and the time or cost.",
)
def examine(
    name: str, cases: Path | None, references: Path | None, out: Path | None, dry_run: bool
) -> None:
    """Examine JUDGE, a built-in one or a class: package.module:Class. Prints one table.

    The judge is given the project's own cases, radiologists' judgements (--cases), and damaged and
    reworded references. docs/judges.md says what each row means.
    """
    from xraygen.core.json_lines import write_metrics
    from xraygen.evaluation.examination import examine as examination
    from xraygen.evaluation.examination.perturbations import read_references
    from xraygen.evaluation.examination.report import content, notes, table

    if dry_run and out is not None:
        raise click.UsageError("Give --out or --dry-run, not both.")
    judge = _judge(name, "JUDGE")
    asks_no_model = judge.plan([]) is None
    if dry_run and asks_no_model:
        raise click.UsageError(f"--dry-run is for judges that ask a model; {name} asks no model.")
    prepared = Path("data/prepared/test.jsonl")
    texts = []
    if references is not None:
        texts = read_references(references)
    elif asks_no_model and prepared.exists():
        texts = read_references(prepared, optional=True)
    material = examination.read_material(cases, texts)
    if dry_run:
        click.echo(judge.plan(material.pairs()))
        return
    click.echo(f"{len(material.pairs()):,} pairs are given to {name}", err=True)
    measures = examination.examine(judge, material)
    click.echo(table(examination.rows_of(material, measures)))
    click.echo("\n".join(notes(material, measures)))
    if out is not None:
        write_metrics(out, content(name, material, measures))
        click.echo(f"{out}: written", err=True)


@click.group()
def completions() -> None:
    """Answers of the GREEN model in params.yaml, which are stored in .cache/. Share them, so that a
    team pays once.
    """


@completions.command("export")
@click.argument("out", type=OUTPUT)
def export_completions(out: Path) -> None:
    """Write all stored answers to OUT, a CSV file with reference, candidate, completion."""
    from xraygen.core.tables import write_csv

    green: Any = _judge("green")
    rows = list(green.export())
    write_csv(out, rows, ["reference", "candidate", "completion"])
    click.echo(f"{len(rows):,} completions of {green.settings.model} written: {out}", err=True)


@completions.command("import")
@click.argument("source", type=FILE)
def import_completions(source: Path) -> None:
    """Store the answers in SOURCE, a CSV or JSONL file with reference, candidate, completion, as
    answers of this model.
    """
    from xraygen.core.cases import read_pairs

    green: Any = _judge("green")
    rows = read_pairs(source, "completion")
    new, other = green.take(rows)
    click.echo(
        f"{len(rows):,} rows read: {new:,} new completions of {green.settings.model} kept", err=True
    )
    if other:
        click.echo(
            f"{other:,} rows differ from an answer that is stored already; the stored ones stay",
            err=True,
        )


def _judge(name: str, where: str = "--judge") -> "Judge":
    """A judge with its settings in params.yaml; outside a project with its defaults."""
    from xraygen import judges, params

    settings = params.load().evaluate.settings if Path("params.yaml").exists() else None
    return judges.load(name, settings, where)
