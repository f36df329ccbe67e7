"""Where studies come from: a source hands over what it read and what it had to repair or
exclude.
"""

from typing import Literal, NamedTuple

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
