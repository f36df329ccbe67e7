"""A run on a Ray cluster: the shards that have no results yet are worked on."""

import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from xraygen.core.errors import UserError
from xraygen.engines.cluster.connection import check, connected
from xraygen.engines.cluster.formats import Format
from xraygen.engines.cluster.job import Counts, Job
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.pool import Cluster, results
from xraygen.engines.cluster.shards import Row, Shard, plan
from xraygen.engines.cluster.source import fingerprint
from xraygen.engines.cluster.urls import absolute, is_within, shown

_ENOUGH_TO_ESTIMATE = 20  # finished shards to estimate the total number of records


def run(job: Job, source: str, out: str, cluster: Cluster, form: Format = "jsonl") -> Counts:
    """Work on what is missing in the folder `out`. `form`: jsonl or parquet. Returns the counts of
    all shards, also those of earlier runs.

    UserError: `out` holds results of something else or is within `source`, the cluster cannot be
    used, or the job cannot be done; what is finished stays and is not done again.
    """
    check(cluster.address)
    if is_within(out, source):
        raise UserError(
            f"{shown(out)}: is within {shown(source)}, whose files are the input; name a folder "
            "outside it"
        )
    made_from = {"input": fingerprint(source), "format": form} | job.identity()
    shards = plan(source, job.columns, job.shard_size)
    parts = Parts(absolute(out), form)
    with parts.begun(made_from):
        finished = parts.finished(shards)
        missing = [shard for shard in shards if shard.index not in finished]
        total = Counts()
        for counts in finished.values():
            total.add(counts)
        if not missing:
            job.check(total, total.records)
            if parts.is_complete():
                return total
            if not shards:
                parts.complete(made_from, 0, total)
                return total
        with connected(cluster.address):  # also to be told what a run that was killed has used
            shared = job.share(_name(made_from))
            try:
                _work_on(missing, len(shards), job, shared, parts, cluster, total)
                job.check(total, total.records)
                total.use(job.usage(shared))  # which is told once
                parts.complete(made_from, len(shards), total)
            finally:
                job.end(shared)
    return total


def dry_run(job: Job, source: str) -> str:
    """What a run would do, without starting Ray."""
    shards = plan(source, job.columns, job.shard_size)
    cases = 0

    def rows() -> Iterator[Row]:
        nonlocal cases
        for row in chain.from_iterable(shard.rows() for shard in shards):
            cases += 1
            yield row

    asked = job.plan(rows())
    read = f"{cases:,} rows in " if cases else ""  # some jobs have the same plan for any rows
    return f"{read}{len(shards):,} shard{'s' * (len(shards) != 1)}; {asked}"


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
    from tqdm import tqdm

    if not missing:
        return
    finished = shards - len(missing)
    with tqdm(
        total=shards, initial=finished, unit=" shards", disable=None, dynamic_ncols=True
    ) as bar:
        for counts in results(missing, job, shared, parts, cluster):
            finished += 1
            total.add(counts)
            if finished >= _ENOUGH_TO_ESTIMATE:
                job.check(total, round(total.records * shards / finished))
            rate = (bar.format_dict["rate"] or 0) * total.records / finished
            bar.set_postfix_str(f"{rate:,.0f} cases/s", refresh=False)
            bar.update()


def _name(made_from: dict) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
