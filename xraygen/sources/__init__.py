"""Where studies come from: a source hands over what it read and what it had to repair or
exclude.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import Record, Study


class Incident(Record):
    """One thing wrong in raw data: `repaired` and used all the same, or `excluded`. `kind` is a
    stable snake_case name to count by, `id` the study, image or row it concerns, `detail` what was
    wrong and what was done.
    """

    action: Literal["repaired", "excluded"]
    kind: str
    id: str
    detail: str


class Collection(NamedTuple):
    studies: list[Study]
    incidents: list[Incident]


def check_regions(source: str, regions: Regions, sets: Sequence[Sequence[str]]) -> None:
    """UserError: the declared regions are none of the sets in which a source has references."""
    if all(set(names) != set(regions) for names in sets):
        given = "; or ".join(", ".join(names) for names in sets)
        raise UserError(
            f"params.yaml: regions: {', '.join(regions)}: the source {source} has references for "
            f"other regions; declare {given} (docs/regions.md has them ready)"
        )
