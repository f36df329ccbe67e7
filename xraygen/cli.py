"""The command line: `xraygen --help`. The pipeline itself is run by `dvc repro`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xraygen import __version__
from xraygen.core.errors import UserError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xraygen.core.study import Case
    from xraygen.judges import Judge

FILE = click.Path(path_type=Path)


class Output(click.Path):
    """A file to write. If it is a link, its target is written, because the user named it;
    everywhere else the pipeline replaces links.
    """

    def convert(self, value, param, context) -> Path:
        path = Path(str(super().convert(value, param, context)))
        return path.resolve() if path.is_symlink() else path


OUTPUT = Output(path_type=Path)


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
    """Annotate chest X-ray studies by region, judge annotations, fetch data. Research only; not for
    clinical use.
    """


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
@click.argument("cases", type=FILE)
@click.option("--approach", required=True, help="A name under `approaches:` in params.yaml.")
@click.option(
    "--out",
    type=OUTPUT,
    help="JSON Lines file to write, one annotation a case, in the order of CASES.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say how many requests, tokens and dollars that takes."
)
def annotate(cases: Path, approach: str, out: Path | None, dry_run: bool) -> None:
    """Annotate CASES, a CSV, TSV or JSONL file with id, report and optionally images, with the
    models that the pipeline left.
    """
    from xraygen import params
    from xraygen.annotators.base import Project
    from xraygen.annotators.load import load
    from xraygen.core.json_lines import read_jsonl, write_jsonl
    from xraygen.core.progress import progress
    from xraygen.core.study import AnnotationRecord
    from xraygen.core.tables import read_cases

    if dry_run == (out is not None):
        raise click.UsageError("Give either --out or --dry-run.")
    settings = params.load()
    project = Project(Path.cwd(), cases.parent, settings.regions, settings.llm)
    annotator = load(settings.approaches, approach, project)
    has_images = False

    def counted() -> "Iterator[Case]":
        nonlocal has_images
        for case in read_cases(cases, annotator.shows_pictures):
            has_images = has_images or bool(case.images)
            yield case

    if out is None:
        click.echo(annotator.plan(counted()))
    else:
        count = write_jsonl(out, progress(annotator(counted()), "annotate", "cases"))
        failed = sum(record.annotation is None for record in read_jsonl(out, AnnotationRecord))
        without = f", {failed:,} of them without an annotation" if failed else ""
        click.echo(f"{count:,} cases annotated{without}: {out}", err=True)
    if annotator.shows_pictures and not has_images:
        click.echo(
            f"{cases}: no case has images, which {approach} is shown; "
            "a column `images` names their files",
            err=True,
        )


@main.command()
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
    from xraygen.core.tables import read_pairs, write_csv

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


@main.command()
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


@main.group()
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
    from xraygen.core.tables import read_pairs

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


@main.command()
@click.argument("adapter", type=FILE)
@click.argument("out", type=FILE)
def merge(adapter: Path, out: Path) -> None:
    """Add ADAPTER, as `dvc repro finetune` leaves it in models/adapter, to its base and write the
    whole model to the folder OUT.
    """
    from xraygen.training.merge import merge

    merge(adapter, out)
    click.echo(f"{out}: written", err=True)
