"""Progress bars with a rate and the time left, on a terminal only."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    from tqdm import tqdm

    return iter(
        tqdm(items, desc=what, unit=f" {unit}", total=total, disable=None, dynamic_ncols=True)
    )


@contextlib.contextmanager
def progress_bar(total: int, what: str, unit: str) -> Iterator[Callable[..., object]]:
    """The same for work with callbacks: yields a function to be called once for each item."""
    from tqdm import tqdm

    with tqdm(
        desc=what, unit=f" {unit}", total=total, disable=None if total else True, dynamic_ncols=True
    ) as bar:
        yield bar.update
