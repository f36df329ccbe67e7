"""Judging on a cluster, for judges that ask a model.

A judge that asks a server lives in the one process that all workers share: they send it their
pairs, which it judges one shard after another, as many at a time as its settings allow. So its
limits and its stored answers hold for the cluster as a whole. A server is no faster if more
processes ask it. A model in the workers' own processes runs in each of them, and that process only
stores the answers; a pair that two of them have at the same time is judged by both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.study import Record
from xraygen.engines.cluster.shared import Service, Shared, check_key
from xraygen.judges import Judge, Opinion, load, opinions

Pairs = list[tuple[str, str]]


class ForAll(Service):
    """The one process."""

    def __init__(self, judge: Callable[[], Judge], driver_has_key: bool) -> None:
        super().__init__()
        self._make = judge
        self._judge: Judge | None = None
        self._driver_has_key = driver_has_key
        self._failure: UserError | None = None  # once set, nothing more is asked
        # One shard at a time; and connections to SQLite belong to the thread that made them.
        self._thread = ThreadPoolExecutor(1)

    async def opinions(self, pairs: Pairs) -> list[Opinion]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._opinions, pairs)

    def _opinions(self, pairs: Pairs) -> list[Opinion]:
        if self._failure:
            raise self._failure
        try:
            if self._judge is None:
                self._judge = self._make()
                self._judge.may_refuse_all = True
                if self._driver_has_key:
                    check_key(self._judge.server_key)
            return opinions(pairs, self._judge)
        except UserError as error:
            self._failure = error
            raise

    async def close(self, reason: str) -> None:
        """Without waiting for the shard that is being judged, which may take long."""
        self._failure = self._failure or UserError(reason)


def share(name: str, settings: Mapping[str, Record] | None, folder: Path) -> Shared | None:
    """On the driver. `folder`: the project's. None for a judge that asks no model."""
    judge = load(name, settings)
    if key := judge.server_key:
        make = partial(load, name, settings)
        return Shared(partial(ForAll, make, bool(os.environ.get(key))), folder)
    return None if judge.plan([]) is None else Shared(Service, folder)


def judging(
    name: str, settings: Mapping[str, Record] | None, shared: Shared | None
) -> Callable[[Pairs], list[Opinion]]:
    """In a worker: gives one opinion for each pair, in order, as `opinions` does."""
    if shared:
        shared.store_answers()
    judge = load(name, settings)
    judge.may_refuse_all = True
    if shared and judge.server_key:
        return partial(shared.fetch, "opinions")
    return partial(opinions, judge=judge)
