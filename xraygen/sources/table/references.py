"""Which columns hold references, and the regions that they name."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from xraygen.core.errors import UserError
from xraygen.language.text import tokens
from xraygen.sources.table.names import REFERENCE_NAMES, is_section, parts, region_of
from xraygen.sources.table.profile import Profile

_OVERLAP = 0.5  # of a reference's words that are in the report
_MOST_REGIONS = 40
_RARE = 0.05  # of the JSON objects
# A column with this share of the report's length, and of its own words in the report, is a copy.
_COPY_LENGTH = 0.8
_COPY_OVERLAP = 0.9


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


def json_regions(profile: Profile, name: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """The keys of the objects, without those that hardly any has next to others that many have,
    which are slips of the pen; and in how many objects each of those is.
    """
    objects = [found for cell in profile.cells[name] if (found := _object(cell))]
    counts = Counter(key for found in objects for key in found)
    rare = {key: count for key, count in counts.items() if count < _RARE * len(objects)}
    if len(counts) - len(rare) < 2:
        rare = {}
    keys = tuple(key for key in counts if key not in rare)
    if len(keys) > _MOST_REGIONS:
        raise UserError(
            f"the objects in {name!r} have {len(keys):,} different keys, more than a report has "
            "regions; name other columns with --reference"
        )
    return keys, rare


def references(profile: Profile, names: Sequence[str], report: str) -> list[str]:
    """Text columns that are named as references, or else those that repeat what the report says;
    without copies of the report.
    """
    overlaps = {name: _overlap(profile, name, report) for name in names if is_text(profile, name)}
    texts = [
        name
        for name, (said, length) in overlaps.items()
        if said < _COPY_OVERLAP or length < _COPY_LENGTH
    ]
    named = [name for name in texts if REFERENCE_NAMES.intersection(parts(name))]
    if len(named) > 1:
        return named
    repeated = [name for name in texts if not is_section(name) and overlaps[name][0] >= _OVERLAP]
    if not repeated:
        raise UserError(
            "no column seems to hold references, that is text by region, and without them there is "
            "nothing to compare with; name each with --reference"
        )
    return repeated


def is_text(profile: Profile, name: str) -> bool:
    return profile.words(name) >= 1.5


def _overlap(profile: Profile, name: str, report: str) -> tuple[float, float]:
    """The mean share of a cell's words that are in the report, and the mean length of a cell that
    is not empty over that of its report.
    """
    shares, lengths = [], []
    for row in profile.rows:
        cell, text = row.get(name), row.get(report)
        if isinstance(cell, str) and isinstance(text, str) and (said := tokens(cell)):
            words = tokens(text)
            shares.append(len(set(said).intersection(words)) / len(set(said)))
            lengths.append(len(said) / max(1, len(words)))
    return (fmean(shares), fmean(lengths)) if shares else (0.0, 0.0)


def by_region(columns: Iterable[str]) -> dict[str, str]:
    """{region: column}; whole names where two columns would be one region."""
    columns = list(columns)
    short = {column: region_of(column) for column in columns}
    if len({name.casefold() for name in short.values()}) < len(columns):
        return {column: column for column in columns}
    return {name: column for column, name in short.items()}
