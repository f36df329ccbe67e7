"""Compare two revisions of the project."""

from pathlib import Path

import click


@click.command()
@click.argument("rev", default="HEAD")
@click.argument("rev2", required=False)
@click.option("--md", "markdown", is_flag=True, help="Markdown for a comment on GitHub.")
@click.option(
    "--gate",
    "gated",
    is_flag=True,
    help="Exit with status 1 where compare.gate in REV's params.yaml says so.",
)
def diff(rev: str, rev2: str | None, markdown: bool, gated: bool) -> None:
    """Say what changed since REV, a git revision, and whether it holds: in the working tree, or at
    REV2.

    Reads what git and DVC's cache hold; nothing is fetched and no stage is run.
    """
    from xraygen.core.errors import UserError
    from xraygen.revisions import difference, rendering
    from xraygen.revisions.escaping import plain
    from xraygen.revisions.rules import gate

    found = difference.difference(Path.cwd(), rev, rev2)
    click.echo(rendering.markdown(found) if markdown else rendering.terminal(found))
    result = gate(found.rules, found.old, found.changes, plain)
    if gated and not result.known:
        raise UserError(result.text)
    if gated:
        click.echo(result.text, err=True)
        raise SystemExit(1 if result.failed else 0)
