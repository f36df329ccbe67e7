"""Drawing studies by patient, so that no patient is in two of the splits that are compared."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from xraygen.core.study import Study


def place(key: str, seed: int, purpose: str) -> bytes:
    """Where a study or patient stands in a draw: it depends on these three alone, so that one that
    comes or goes leaves the others where they are.
    """
    return hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode()).digest()


def draw_share(
    studies: Iterable[Study], share: float, seed: int, purpose: str, least: int = 0
) -> set[str]:
    """The ids of about `share` of the studies, and of `least` if that is more: all studies of a
    patient or none, and of at least one patient none. A study without a patient is drawn by its id.

    Patients are taken in the order of their places. One is skipped if the count would be further
    above what is wanted with them than it is below it without them. If all are, the one with the
    fewest studies is taken.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for study in studies:
        groups[study.patient or study.id].append(study.id)
    wanted = max(least, round(share * sum(map(len, groups.values()))))
    if not wanted or len(groups) < 2:
        return set()
    drawn: set[str] = set()
    remaining = sorted(groups, key=lambda key: place(key, seed, purpose))
    for key in tuple(remaining):
        missing = wanted - len(drawn)
        if missing <= 0 or len(remaining) == 1:
            break
        if len(groups[key]) - missing <= missing:
            drawn.update(groups[key])
            remaining.remove(key)
    return drawn or set(groups[min(remaining, key=lambda key: len(groups[key]))])
