"""Annotate single files, and write the model that does it as one."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraygen.commands.options import FILE, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xraygen.core.study import Case


@click.command()
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
@click.option(
    "--ray",
    "address",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="",
    help="Annotate on the Ray cluster at ADDRESS, by default on one of this machine alone; --out is "
    "a folder then.",
)
def annotate(
    cases: Path, approach: str, out: Path | None, dry_run: bool, address: str | None
) -> None:
    """Annotate CASES, a CSV, TSV or JSONL file with id, report and optionally images, with the
    models that the pipeline left.
    """
    from xraygen import params
    from xraygen.annotators.base import Project
    from xraygen.annotators.load import load
    from xraygen.core.cases import read_cases
    from xraygen.core.json_lines import read_jsonl, write_jsonl
    from xraygen.core.progress import progress
    from xraygen.core.study import AnnotationRecord

    if dry_run == (out is not None):
        raise click.UsageError("Give either --out or --dry-run.")
    settings = params.load()
    project = Project(Path.cwd(), cases.parent, settings.regions, settings.llm)
    if address is not None and out is not None:
        from xraygen.annotators.on_cluster import Annotating
        from xraygen.engines.cluster.run import Cluster, run

        job = Annotating(settings.approaches, approach, project)
        done = run(job, str(cases.resolve()), str(out), Cluster(address))
        click.echo(f"{done.records:,} cases annotated: {out}", err=True)
        return
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


@click.command()
@click.argument("adapter", type=FILE)
@click.argument("out", type=FILE)
def merge(adapter: Path, out: Path) -> None:
    """Add ADAPTER, as `dvc repro finetune` leaves it in models/adapter, to its base and write the
    whole model to the folder OUT.
    """
    from xraygen.training.merge import merge

    merge(adapter, out)
    click.echo(f"{out}: written", err=True)
