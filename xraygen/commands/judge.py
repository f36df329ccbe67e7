"""Judge single files, examine judges, and share what a judge has answered."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xraygen.commands.options import FILE, OUTPUT, OUTPUT_OR_URL, cluster, ray_options

if TYPE_CHECKING:
    from xraygen.core.study import Record
    from xraygen.engines.cluster.formats import Format
    from xraygen.engines.cluster.run import Cluster
    from xraygen.judges import Judge


@click.command()
@click.argument("pairs", type=click.Path())
@click.option(
    "--judge",
    "name",
    default="proxy",
    show_default=True,
    help="proxy, green, crimson, or a class: package.module:Class.",
)
@click.option(
    "--out",
    type=OUTPUT_OR_URL,
    help="CSV file to write: the rows of PAIRS with score, verdict, counts and abnormal findings "
    "added.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say how many pairs a model would be asked about, and the time or cost.",
)
@ray_options
def judge(
    pairs: str,
    name: str,
    out: str | None,
    dry_run: bool,
    address: str | None,
    actors: int | None,
    gpus: float | None,
    form: "Format | None",
) -> None:
    """Judge PAIRS, a CSV, TSV, JSONL or Parquet file with reference and candidate, row by row. With
    --ray, PAIRS may also be a folder of such files, and a URL; a row that cannot be used fails
    alone.

    With --judge green or crimson, a column completion is read instead of asking the model. Which
    model is asked, evaluate.settings in params.yaml says.
    """
    if dry_run == (out is not None):
        raise click.UsageError("Give either --out or --dry-run.")
    where = cluster(address, actors, gpus, form, pairs, out)
    if where is not None:
        _on_cluster(pairs, name, out, where, form or "jsonl")
    else:
        _in_this_process(Path(pairs), name, out)


def _on_cluster(pairs: str, name: str, out: str | None, where: "Cluster", form: "Format") -> None:
    from xraygen.engines.cluster.run import dry_run, run
    from xraygen.engines.cluster.urls import shown
    from xraygen.judges.on_cluster import Judging

    judge = _judge(name)
    job = Judging(name, _settings(), Path.cwd())
    if out is None:
        if judge.plan([]) is None:
            raise _asks_no_model(name)
        click.echo(dry_run(job, pairs))
        return
    done = run(job, pairs, out, where, form)
    about = judge.reads_answers if done.usage.get("answers_read") else judge.about()
    click.echo(_said(done.records, done.verdicts, shown(out), about), err=True)


def _said(pairs: int, verdicts: Mapping[str, int], out: str, about: str) -> str:
    counts = ", ".join(
        f"{count:,} {verdict}"
        for verdict, count in sorted(verdicts.items(), key=lambda item: -item[1])
    )
    return f"{pairs:,} pairs judged: {out}" + (f" ({counts}). {about}" if pairs else "")


def _asks_no_model(name: str) -> click.UsageError:
    return click.UsageError(f"--dry-run is for judges that ask a model; {name} asks no model.")


def _in_this_process(pairs: Path, name: str, out: str | None) -> None:
    from xraygen import judges
    from xraygen.core.cases import read_pairs
    from xraygen.core.tables import write_csv

    rows = read_pairs(pairs)
    sides = [(row["reference"], row["candidate"]) for row in rows]
    judge = _judge(name)
    if out is None:
        plan = judge.plan(sides)
        if plan is None:
            raise _asks_no_model(name)
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
    write_csv(Path(out), judged, columns)
    verdicts = Counter[str](opinion.verdict for opinion in opinions)
    click.echo(_said(len(rows), verdicts, out, about), err=True)


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
    from xraygen import judges

    return judges.load(name, _settings(), where)


def _settings() -> "Mapping[str, Record] | None":
    """Of judges by name, in params.yaml; None outside a project."""
    from xraygen import params

    return params.load().evaluate.settings if Path("params.yaml").exists() else None
