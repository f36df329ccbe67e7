"""How far readers agree, and the references that follow from their decisions."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraygen.commands.options import FILE, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xraygen.readers.agreement import Row
    from xraygen.readers.exports import Review
    from xraygen.readers.references import Former, Outcome, References
    from xraygen.sources.reviewed import ReviewedReference


@click.command()
@click.argument("reviews", metavar="READER...", type=FILE, nargs=-1, required=True)
@click.option("--page", type=OUTPUT, help="HTML file to write, for settling what differs.")
@click.option("--settled", type=FILE, help="What that page exported.")
@click.option(
    "--approach",
    help="Whose texts the readers were shown, to be given where the review was blind.",
)
@click.option(
    "--out",
    type=FILE,  # a link is replaced: with DVC's `cache.type symlink` it leads into the cache
    help="JSON Lines file to write, data/references/references.jsonl for the pipeline. What it has "
    "stays where these decisions do not replace it.",
)
def adjudicate(
    reviews: tuple[Path, ...],
    page: Path | None,
    settled: Path | None,
    approach: str | None,
    out: Path | None,
) -> None:
    """Print how far readers agree by their exports READER... from one page of `xraygen review`, and
    make references of what they agree on and what was settled. docs/review.md shows the whole way.
    """
    from xraygen import params
    from xraygen.core.files import replacing
    from xraygen.core.json_lines import write_jsonl
    from xraygen.readers import agreement, references, settle_page
    from xraygen.readers.exports import read_reviews

    _refuse_overwriting([*reviews, settled], [page, out])
    settings = params.load() if Path("params.yaml").exists() else None
    regions = settings.regions.names if settings else ()
    read = read_reviews(reviews, regions)
    shown = _approaches(read)
    if approach is not None:
        _check_approach(approach, shown, settings.approaches if settings else [approach])
        shown = [approach]
    found = references.outcome(read)
    by_hand = references.read_settled(settled, read, regions) if settled else None
    made = references.references(found, by_hand, regions, approach)
    rows = agreement.agreement(read, regions)
    click.echo(_summary(read, rows, found, made, shown))
    if page is not None:
        root = Path.cwd()
        studies = settle_page.prepared_studies(root, {item.key[0] for item in found.differing})
        html, problems = settle_page.page(found.differing, read[0].sample, by_hand, studies, root)
        with replacing(page) as file:
            file.write(html)
        click.echo(f"{page}: written, {len(found.differing):,} items to settle", err=True)
        for problem in problems:
            click.echo(problem, err=True)
    if out is not None:
        records, former = references.with_former(made.records, out, read, by_hand, regions)
        write_jsonl(out, records)
        click.echo(f"{out}: {_written(records, former)}", err=True)


def _refuse_overwriting(inputs: "Sequence[Path | None]", outs: "Sequence[Path | None]") -> None:
    """UserError: a file to write is one that is read, or two are the same."""
    from xraygen.core.errors import UserError

    taken = {path.resolve() for path in inputs if path is not None}
    for path in outs:
        if path is None:
            continue
        if path.resolve() in taken:
            raise UserError(f"{path}: would be overwritten; name another file to write")
        taken.add(path.resolve())


def _approaches(reviews: "Sequence[Review]") -> list[str]:
    named = {one.approach for review in reviews for one in review.decisions.values()}
    return sorted(name for name in named if name)


def _check_approach(approach: str, shown: "Sequence[str]", known: "Iterable[str]") -> None:
    """UserError: the exports name other approaches, or params.yaml has no such one."""
    from xraygen.core.errors import UserError

    if other := [name for name in shown if name != approach]:
        raise UserError(
            f"--approach {approach}: the readers were shown texts of {', '.join(other)}; the "
            "option is for blind reviews"
        )
    if approach not in known:
        raise UserError(
            f"params.yaml: no approach '{approach}'; there are: {', '.join(sorted(known))}"
        )


def _summary(
    read: "Sequence[Review]",
    rows: "Sequence[Row]",
    found: "Outcome",
    made: "References",
    approaches: "Sequence[str]",
) -> str:
    from xraygen.readers.agreement import DECISIONS, agreement_table

    lines = []
    for review in read:
        given = Counter(one.decision for one in review.decisions.values())
        counts = ", ".join(f"{given[decision]:,} {decision}" for decision in DECISIONS)
        lines.append(
            f"{review.reader}: {len(review.decisions):,} of {review.shown:,} regions decided "
            f"({counts})"
        )
    if rows:
        lines += ["", agreement_table(rows, len(read)), ""]
    elif len(read) > 1:
        lines.append("No region was decided by two readers: there is no agreement to measure.")
    counts = f"{len(found.agreed):,} agreed, {len(found.differing):,} differ or are rejected"
    if len(read) == 1:
        counts = f"{len(found.agreed):,} accepted or edited, {len(found.differing):,} rejected"
    left_out = {
        "unsettled": made.unsettled,
        "excluded by the adjudicator": made.excluded,
        "decided by too few readers": found.undecided,
    }
    lines.append(
        f"Regions: {counts}. Left out of references: "
        + ", ".join(f"{count:,} {why}" for why, count in left_out.items())
        + "."
    )
    shown = ", ".join(approaches) or "one approach (blind; name it with --approach)"
    lines.append(
        f"The readers were shown texts of {shown}. References made by correcting an approach "
        "favour it over others: docs/review.md."
    )
    return "\n".join(lines)


def _written(records: "Sequence[ReviewedReference]", former: "Former") -> str:
    regions = sum(len(record.reference) for record in records)
    counts = {
        "of them from the file as it was": former.kept,
        "former ones with another text": former.replaced,
        "former ones excluded": former.excluded,
    }
    said = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    text = f"{regions:,} regions of {len(records):,} studies{said}"
    if former.unsettled:
        text += f"; on {former.unsettled:,} of the former ones these readers do not agree: settle"
        text += " them with --page and --settled"
    return text
