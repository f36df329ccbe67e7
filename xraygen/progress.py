"""Progress with a rate and the time left, on a terminal only."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    from tqdm import tqdm

    return iter(tqdm(items, desc=what, unit=f" {unit}", total=total, disable=None, dynamic_ncols=True))
