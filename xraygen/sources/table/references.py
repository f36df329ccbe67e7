"""Which columns hold references, and the regions that they name."""

import json
import re
from collections.abc import Iterable, Sequence

from xraygen.core.errors import UserError
from xraygen.language.text import tokens
from xraygen.sources.table.names import REFERENCE_NAMES, SECTION_NAMES, key, parts
from xraygen.sources.table.profile import Profile

_OVERLAP = 0.5  # of a reference's words that are in the report
_MOST_REGIONS = 40


def json_column(profile: Profile, names: Sequence[str]) -> str | None:
    return next((name for name in names if profile.share(name, _is_object) >= _OVERLAP), None)


def _is_object(cell: object) -> bool:
    return any(isinstance(text, str) for text in _object(cell).values())


def _object(cell: object) -> dict:
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return {}
    return cell if isinstance(cell, dict) else {}


def json_regions(profile: Profile, name: str) -> tuple[str, ...]:
    keys = dict.fromkeys(key for cell in profile.cells[name] for key in _object(cell))
    if len(keys) > _MOST_REGIONS:
        raise UserError(
            f"the objects in {name!r} have {len(keys):,} different keys, more than a report has "
            "regions; name other columns with --reference"
        )
    return tuple(keys)


def references(profile: Profile, names: Sequence[str], report: str) -> list[str]:
    """Text columns that are named as references, or else those that repeat what the report says."""
    texts = [name for name in names if profile.words(name) >= 1.5]
    named = [name for name in texts if REFERENCE_NAMES.intersection(parts(name))]
    if len(named) > 1:
        return named
    repeated = [
        name
        for name in texts
        if not SECTION_NAMES.fullmatch(key(name)) and _overlap(profile, name, report) >= _OVERLAP
    ]
    if not repeated:
        raise UserError(
            "no column seems to hold references, that is text by region, and without them there is "
            "nothing to compare with; name each with --reference"
        )
    return repeated


def _overlap(profile: Profile, name: str, report: str) -> float:
    """The mean share of a cell's words that are in the report."""
    shares = []
    for row in profile.rows:
        cell, text = row.get(name), row.get(report)
        if isinstance(cell, str) and isinstance(text, str) and (said := set(tokens(cell))):
            shares.append(len(said.intersection(tokens(text))) / len(said))
    return sum(shares) / len(shares) if shares else 0.0


def by_region(columns: Iterable[str]) -> dict[str, str]:
    """{region: column}: the columns' names without the words that only say what they are."""
    columns = list(columns)
    short = {}
    for column in columns:
        words = [part for part in re.split(r"[\W_]+", column.strip()) if part]
        kept = [word for word in words if word.casefold() not in REFERENCE_NAMES]
        short[column] = "_".join(kept or words)
    if len({name.casefold() for name in short.values()}) < len(columns):
        return {column: column for column in columns}
    return {name: column for column, name in short.items()}
