"""The actors of a run on a cluster, and the shards that they are handed by Ray Data."""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xraygen.core.errors import UserError
from xraygen.engines.cluster.actors import Actor, Attempts, Setting
from xraygen.engines.cluster.job import Counts, Job
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.shards import Shard


class Cluster(NamedTuple):
    """Where to run. `address`: host:port or auto; "" = a cluster of this machine alone, which ends
    with the run. `actors`: None = one a core, or the GPUs divided by `gpus`. `gpus`: of
    each actor; may be a fraction.
    """

    address: str = ""
    actors: int | None = None
    gpus: float = 0


def results(
    missing: Sequence[Shard], job: Job, shared: Any, parts: Parts, cluster: Cluster
) -> Iterator[Counts]:
    """What is counted of each shard, as it is finished; Ray is running. UserError: the cluster
    cannot be used, or the job cannot be done.
    """
    import ray
    import ray.data
    from ray.exceptions import RayError

    size = _size([node["Resources"] for node in ray.nodes() if node["Alive"]], cluster)
    actors = min(size.actors, len(missing))
    _say_if_busy(size.cpus, cluster.gpus)
    setting = Setting(job, shared, parts, Path.cwd(), _attempts(), actors)
    items = [{"shard": shard.model_dump_json()} for shard in missing]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Actor,
        fn_constructor_args=(setting,),
        batch_size=None,
        num_cpus=size.cpus,
        num_gpus=cluster.gpus,
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    waiting = {shard.index for shard in missing}
    try:
        for row in dataset.iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            waiting.remove(row["shard"])
            yield Counts.model_validate_json(row["counts"])
    except RayError as error:
        if "No module named 'xraygen'" in str(error):
            raise UserError(
                f"{Path.cwd()}: is not on every node of the cluster; the project has to be at the "
                "same path on every node, or be installed there"
            ) from None
        raise
    if waiting:
        raise UserError(f"{len(waiting):,} shards have no results; run again to go on")


def _attempts() -> Any:
    """The handle of an actor on the driver's node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Attempts).options(
        num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
    )
    return actor.remote()


def _say_if_busy(cpus: float, gpus: float) -> None:
    """Ray waits silently while others use the cluster."""
    import ray

    free = ray.available_resources()
    if free.get("CPU", 0) < cpus or free.get("GPU", 0) < gpus:
        print("the cluster is in use by others; waiting until an actor fits", file=sys.stderr)


class _Size(NamedTuple):
    """`cpus`: of each actor, from which Ray sets its number of threads."""

    actors: int
    cpus: float


def _size(nodes: list[dict[str, float]], cluster: Cluster) -> _Size:
    """`nodes`: the resources of each. UserError: none has the GPUs that an actor needs, or Ray
    does not take their number.
    """
    share = cluster.gpus
    if share > 1 and share % 1:
        raise UserError(f"--gpus {share:g}: above 1, GPUs are given as a whole number")
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
