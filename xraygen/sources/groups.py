"""Drawing studies by patient, so that no patient is in two of the splits that are compared."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable

from xraygen.core.study import Study


def place(key: str, seed: int, purpose: str) -> bytes:
    """Where a study or patient stands in a draw: it depends on these three alone, so that one that
    comes or goes leaves the others where they are.
    """
    return hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode()).digest()


def draw_share(studies: Iterable[Study], share: float, seed: int, purpose: str) -> set[str]:
    """The ids of about `share` of the studies: all studies of a patient or none, and of at least
    one patient none. A study without a patient is drawn by its id.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for study in studies:
        groups[study.patient or study.id].append(study.id)
    wanted = round(share * sum(map(len, groups.values())))
    drawn: set[str] = set()
    for key in sorted(groups, key=lambda key: place(key, seed, purpose))[:-1]:
        if len(drawn) >= wanted:
            break
        drawn.update(groups[key])
    return drawn


def fewest(share: float) -> int:
    """The smallest number of studies of which `draw_share` draws one."""
    return math.floor(0.5 / share) + 1
