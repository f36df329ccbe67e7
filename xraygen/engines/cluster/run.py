"""The shards that have no results yet, put to actors on a Ray cluster."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from xraygen.core.progress import progress_bar
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.shards import Shard, plan

Work = Callable[[Iterable[tuple[str, dict]]], Iterator[BaseModel]]


class Job(ABC):
    """What is done with the rows. It is pickled for the actors."""

    @abstractmethod
    def identity(self) -> dict:
        """Everything that shapes a result apart from the input; JSON."""

    @abstractmethod
    def start(self) -> Work:
        """Loads the model, in an actor. The work makes one record of each row, in order."""


class _Actor:
    def __init__(self, job: Job, out: Path) -> None:
        self.parts = Parts(out)
        self.work = job.start()

    def __call__(self, batch: dict) -> dict:
        counts = []
        for item in batch["item"]:
            shard = Shard(*item)
            counts.append(self.parts.write(shard, self.work(shard.rows())))
        return {"records": counts}


def run(job: Job, source: str, out: Path, address: str = "", actors: int = 2) -> Counter[str]:
    """`address`: of the cluster; "" = a cluster of this machine alone, which ends with the run."""
    shards = plan(source)
    parts = Parts(out)
    parts.begin({"input": source, "job": job.identity()})
    missing = parts.missing(shards)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    done: Counter[str] = Counter(shards=len(shards), computed=len(missing))
    if not missing:
        return done
    ray.init(
        address=address or "local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        dataset = ray.data.from_items([list(s) for s in missing], override_num_blocks=len(missing))
        results = dataset.map_batches(
            _Actor,
            fn_constructor_args=(job, out.resolve()),
            batch_size=None,
            num_cpus=0.5,
            compute=ray.data.ActorPoolStrategy(size=actors),
        )
        with progress_bar(len(missing), "annotate", "shards") as step:
            for row in results.iter_rows():
                done["records"] += row["records"]
                step()
    finally:
        ray.shutdown()
    return done
