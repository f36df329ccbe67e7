"""Words in the singular, and measures of length, in the words of a clause."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

_MILLIMETERS = {"mm": 1, "millimeter": 1, "cm": 10, "centimeter": 10}


@lru_cache(maxsize=1 << 14)
def singular(word: str) -> str:
    """The word without its plural ending; enough for this vocabulary."""
    if len(word) < 4 or word[-1] != "s" or word[-2] in "sui":
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith("sses") else word[:-1]


def lengths(words: Sequence[str]) -> Iterator[float]:
    """Every measure of length, in mm."""
    for number, unit in pairwise(words):
        if number[0].isdigit() and singular(unit) in _MILLIMETERS:
            yield float(number) * _MILLIMETERS[singular(unit)]


def largest(words: Sequence[str]) -> float:
    """The largest measure in mm, 0 if there is none."""
    return max(lengths(words), default=0)
