"""A cache for functions of a text."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

T = TypeVar("T")
_LEAST = 50  # characters that a text counts as, because what is found for it takes memory as well


def remembered(characters: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """A decorator that keeps results until the texts together have that many characters, and then
    drops all: unlike in functools.lru_cache, long texts do not fill the memory. None is not kept.
    """

    def decorate(function: Callable[[str], T]) -> Callable[[str], T]:
        kept: dict[str, T] = {}
        size = 0

        @wraps(function)
        def lookup(text: str) -> T:
            nonlocal size
            found = kept.get(text)
            if found is None:
                if size > characters:
                    lookup.cache_clear()  # type: ignore[attr-defined]
                found = kept[text] = function(text)
                size += max(len(text), _LEAST)
            return found

        def cache_clear() -> None:
            nonlocal size
            kept.clear()
            size = 0

        lookup.cache_clear = cache_clear  # type: ignore[attr-defined]
        return lookup

    return decorate
