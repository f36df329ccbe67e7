"""Annotate single files, and write the model that does it as one."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraygen.commands.options import FILE, OUTPUT_OR_URL, cluster, ray_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xraygen.core.study import Case
    from xraygen.engines.cluster.formats import Format
    from xraygen.engines.cluster.run import Cluster
    from xraygen.params import Params


@click.command()
@click.argument("cases", type=click.Path())
@click.option("--approach", required=True, help="A name under `approaches:` in params.yaml.")
@click.option(
    "--out",
    type=OUTPUT_OR_URL,
    help="JSON Lines file to write, one annotation a case, in the order of CASES.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say how many requests, tokens and dollars that takes."
)
@ray_options
def annotate(
    cases: str,
    approach: str,
    out: str | None,
    dry_run: bool,
    address: str | None,
    actors: int | None,
    gpus: float | None,
    form: "Format | None",
) -> None:
    """Annotate CASES, a CSV, TSV, JSONL or Parquet file with id, report and optionally images, with
    the models that the pipeline left. With --ray, CASES may also be a folder of such files, and a
    URL; a row that cannot be used fails alone.
    """
    from xraygen import params

    if dry_run == (out is not None):
        raise click.UsageError("Give either --out or --dry-run.")
    where = cluster(address, actors, gpus, form, cases, out)
    settings = params.load()
    if where is not None:
        _on_cluster(cases, approach, out, where, form or "jsonl", settings)
    else:
        _in_this_process(Path(cases), approach, out, settings)


def _on_cluster(
    cases: str, approach: str, out: str | None, where: "Cluster", form: "Format", settings: "Params"
) -> None:
    from xraygen.annotators.base import Project
    from xraygen.annotators.load import load
    from xraygen.annotators.on_cluster import Annotating
    from xraygen.core.errors import UserError
    from xraygen.engines.cluster.run import dry_run, run
    from xraygen.engines.cluster.urls import local_folder, shown

    folder = local_folder(cases)
    project = Project(Path.cwd(), folder or Path.cwd(), settings.regions, settings.llm)
    if folder is None and load(settings.approaches, approach, project).shows_pictures:
        raise UserError(
            f"{shown(cases)}: {approach} is shown pictures, which are read from a folder; copy the "
            "input and its pictures to one that every node has"
        )
    job = Annotating(settings.approaches, approach, project)
    if out is None:
        click.echo(dry_run(job, cases))
        return
    done = run(job, cases, out, where, form)
    click.echo(_said(done.records, done.failed, shown(out)), err=True)


def _said(records: int, failed: int, out: str) -> str:
    without = f", {failed:,} of them without an annotation" if failed else ""
    return f"{records:,} cases annotated{without}: {out}"


def _in_this_process(cases: Path, approach: str, out: str | None, settings: "Params") -> None:
    from xraygen.annotators.base import Project
    from xraygen.annotators.load import load
    from xraygen.core.cases import read_cases
    from xraygen.core.json_lines import read_jsonl, write_jsonl
    from xraygen.core.progress import progress
    from xraygen.core.study import AnnotationRecord

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
        click.echo(_said(count, failed, out), err=True)
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
