"""The shards that have no results yet, put to actors on a Ray cluster."""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from xraygen.core.errors import UserError
from xraygen.engines.cluster.actors import Actor, Attempts
from xraygen.engines.cluster.connection import check, connected
from xraygen.engines.cluster.formats import Format
from xraygen.engines.cluster.job import Counts, Job
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.shards import Shard, fingerprint, plan
from xraygen.engines.cluster.urls import absolute

_TELLING = 20  # shards from which on the number of records can be told from those that are finished


class Cluster(NamedTuple):
    """Where to run. `address`: host:port or auto; "" = a cluster of this machine alone, which ends
    with the run. `actors`: None = as many as the cores, or the GPUs divided by `gpus`. `gpus`: of
    each actor; may be a fraction.
    """

    address: str = ""
    actors: int | None = None
    gpus: float = 0


def run(job: Job, source: str, out: str, cluster: Cluster, form: Format = "jsonl") -> Counts:
    """Work on what is missing in the folder `out`. `form`: jsonl or parquet. Returns the counts of
    all shards, also those of earlier runs.

    UserError: `out` holds results of something else, the cluster cannot be used, or the job cannot
    be done; what is finished stays and is not done again.
    """
    check(cluster.address)
    made_from = {"input": fingerprint(source), "format": form} | job.identity()
    shards = plan(source, job.columns)
    parts = Parts(absolute(out), form)
    with parts.begun(made_from):
        finished = parts.finished(shards)
        missing = [shard for shard in shards if shard.index not in finished]
        total = Counts()
        for counts in finished.values():
            total.add(counts)
        if missing:
            with connected(cluster.address):
                shared = job.share(_name(made_from))
                _work_on(missing, len(shards), job, shared, parts, cluster, total)
        job.check(total, total.records)
        parts.complete(made_from, len(shards), total)
    return total


def dry_run(job: Job, source: str) -> str:
    """What a run would do, without starting Ray."""
    shards = plan(source, job.columns)
    asked = job.plan(chain.from_iterable(shard.rows() for shard in shards))
    return f"{len(shards):,} shards; {asked}"


def _work_on(
    missing: list[Shard],
    shards: int,
    job: Job,
    shared: Any,
    parts: Parts,
    cluster: Cluster,
    total: Counts,
) -> None:
    """Adds what is counted of the missing shards to `total`. `shards`: their number with those that
    are finished.
    """
    try:
        finished = shards - len(missing)
        with tqdm(
            total=shards, initial=finished, unit=" shards", disable=None, dynamic_ncols=True
        ) as bar:
            start = time.monotonic()
            before = total.records
            for counts in _results(missing, job, shared, parts, cluster):
                finished += 1
                total.add(counts)
                if finished >= _TELLING:
                    job.check(total, round(total.records * shards / finished))
                rate = (total.records - before) / (time.monotonic() - start)
                bar.set_postfix_str(f"{rate:,.0f} cases/s", refresh=False)
                bar.update()
        total.use(job.usage(shared))
    finally:
        job.end(shared)


def _name(made_from: dict) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def _results(
    missing: list[Shard], job: Job, shared: Any, parts: Parts, cluster: Cluster
) -> Iterator[Counts]:
    """What is counted of each shard, as it is finished."""
    import ray
    import ray.data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    attempts = (
        ray.remote(Attempts)
        .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        .remote()
    )
    size = _size([node["Resources"] for node in ray.nodes() if node["Alive"]], cluster)
    items = [{"shard": shard.model_dump_json()} for shard in missing]
    results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Actor,
        fn_constructor_args=(job, shared, parts, Path.cwd(), attempts),
        batch_size=None,
        num_cpus=size.cpus,
        num_gpus=cluster.gpus,
        compute=ray.data.ActorPoolStrategy(size=min(size.actors, len(missing))),
    )
    for row in results.iter_rows():
        if row["error"]:
            raise UserError(row["error"])
        yield Counts.model_validate_json(row["counts"])


class _Size(NamedTuple):
    """`cpus`: of each actor, from which Ray sets its number of threads."""

    actors: int
    cpus: float


def _size(nodes: list[dict[str, float]], cluster: Cluster) -> _Size:
    """`nodes`: the resources of each. UserError: none has the GPUs that an actor needs."""
    share = cluster.gpus
    room = math.inf
    if share:
        nodes = [node for node in nodes if node.get("GPU", 0) >= share]
        room = sum(_room(node["GPU"], share) for node in nodes)
        if not room:
            raise UserError(
                f"--gpus {share:g}: no machine of the cluster has "
                f"{'a GPU' if share <= 1 else f'{share:g} GPUs'}; leave it out to use CPUs"
            )
    cores = sum(node.get("CPU", 0) for node in nodes)
    if not cores:
        raise UserError("--ray: the cluster has no CPUs to work with; add a node that has some")
    actors = int(min(cluster.actors or (room if share else cores), room))
    for cpus in range(int(cores / actors), 0, -1):
        if sum(node.get("CPU", 0) // cpus for node in nodes) >= actors:
            return _Size(actors, cpus)
    return _Size(actors, math.floor(100 * cores / actors) / 100)


def _room(gpus: float, share: float) -> int:
    """How many actors these GPUs have room for; one does not use parts of two GPUs."""
    return int(gpus // share) if share > 1 else int(gpus) * int(1 / share)
