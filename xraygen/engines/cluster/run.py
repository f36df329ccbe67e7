"""The shards that have no results yet, put to actors on a Ray cluster."""

import os
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from xraygen.core.progress import progress_bar
from xraygen.engines.cluster.job import Counts, Job
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.shards import Shard, plan


class Cluster(NamedTuple):
    """Where to run. `address`: host:port or auto; "" = a cluster of this machine alone, which ends
    with the run. `actors`: None = as many as the cores, or the GPUs divided by `gpus`. `gpus`: of
    each actor; may be a fraction.
    """

    address: str = ""
    actors: int | None = None
    gpus: float = 0


class _Actor:
    def __init__(self, job: Job, out: Path, shared: object) -> None:
        self.parts = Parts(out)
        self.work = job.start(shared)

    def __call__(self, batch: dict) -> dict:
        counts = []
        for item in batch["item"]:
            shard = Shard(*item)
            counts.append(self.parts.write(shard, self.work(shard.rows())))
        return {"records": counts}


def run(job: Job, source: str, out: str, cluster: Cluster, form: str = "jsonl") -> Counts:
    """Work on what is missing in the folder `out`. `form`: jsonl or parquet. Returns the counts of
    all shards, also those of earlier runs.
    """
    shards = plan(source, job.columns)
    parts = Parts(Path(out))
    parts.begin({"input": source, "job": job.identity()})
    missing = parts.missing(shards)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    done = Counts()
    if not missing:
        return done
    ray.init(
        address=cluster.address or "local",
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
            fn_constructor_args=(job, Path(out).resolve(), job.share()),
            batch_size=None,
            num_cpus=0.5,
            compute=ray.data.ActorPoolStrategy(size=cluster.actors or 2),
        )
        with progress_bar(len(missing), "annotate", "shards") as step:
            for row in results.iter_rows():
                done.records += row["records"]
                step()
    finally:
        ray.shutdown()
    return done


def dry_run(job: Job, source: str) -> str:
    """What a run would do, without starting Ray."""
    shards = plan(source, job.columns)
    asked = job.plan(chain.from_iterable(shard.rows() for shard in shards))
    return f"{len(shards):,} shards; {asked}"
