"""On a Ray cluster one process asks servers and stores answers for all workers: what is asked, how
often, how many at a time and at what cost. A real cluster and a real server, on loopback.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import REGIONS, ROOT, ChatServer, project_of

from xraygen.annotators.base import Project
from xraygen.annotators.llm.params import LlmParams, TokenPrice
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.load import load
from xraygen.annotators.on_cluster import Annotating
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines.answers import Answers
from xraygen.engines.cluster.shards import Row
from xraygen.engines.cluster.shared import Service, Shared

pytest.importorskip("openai")
ray = pytest.importorskip("ray")

KEY = "sk-planted-0123456789"
APPROACH = LlmSettings(
    annotator="llm", reads="models/tiny", system="Annotate.", user="In JSON.\nReport: {report}"
)
DEAR = TokenPrice(tokens_in=1000, tokens_out=1000)
WORKERS = 4
# Each report occurs twice, in different shards.
CASES = [Case(id=f"s{k:03}", report=f"Report {k % 60}.") for k in range(120)]
SHARD = 15


class Worker:
    """What an actor of a run does, without Ray Data."""

    def start(self, job: Annotating, shared: Shared) -> int:
        self.work = job.start(shared)
        return os.getpid()

    def records(self, rows: list[Row]) -> list[AnnotationRecord] | str:
        try:
            return list(self.work(rows))
        except UserError as error:
            return f"{type(error).__name__}: {error}"

    def keep(self, shared: Shared, prompt: str, answer: str) -> tuple[dict[str, str], str]:
        """(the answers, its folder)"""
        shared.store_answers()
        kept = Answers({"model": "m"})
        kept.keep(prompt, {}, answer)
        return kept.find(["none", prompt, *map(str, range(50))]), os.getcwd()


@pytest.fixture(scope="module")
def workers():
    """On a cluster that has no key in its environment."""
    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
    environment.delenv("SOME_KEY", raising=False)
    environment.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")  # of the workers
    ray.init(
        address="local",
        num_cpus=WORKERS + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=80 * 2**20,
    )
    kind = ray.remote(Worker).options(num_cpus=1, max_restarts=1)
    yield [kind.remote() for _ in range(WORKERS)]
    ray.shutdown()
    environment.undo()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A project's folder, with the key in its file .env."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOME_KEY", raising=False)
    (tmp_path / ".env").write_text(f"SOME_KEY={KEY}\n")
    return tmp_path


def job_of(server: ChatServer, **changes) -> Annotating:
    given = {
        "provider": "openai",
        "mode": "direct",
        "base_url": server.url,
        "model": "m",
        "api_key_env": "SOME_KEY",
        "concurrency": 6,
        "max_cost_usd": None,
        "max_failed": 1.0,
        "prices": {"m": DEAR},
    }
    here = Path.cwd()
    llm: LlmParams = project_of(here).llm.model_copy(update=given | changes)
    project: Project = project_of(here, llm=llm)
    return Annotating({"brief": APPROACH}, "brief", project)


def shards_of(cases: Sequence[Case]) -> list[list[Row]]:
    rows = [Row(case.id, {"id": case.id, "report": case.report}) for case in cases]
    return [rows[at : at + SHARD] for at in range(0, len(rows), SHARD)]


def run(workers, job: Annotating, cases: Sequence[Case] = CASES) -> tuple[list, dict]:
    """(the records, or the errors of shards, in order; what the run used)"""
    shared = job.share()
    try:
        ray.get([worker.start.remote(job, shared) for worker in workers])
        pool = ray.util.ActorPool(workers)
        found = pool.map(lambda worker, rows: worker.records.remote(rows), shards_of(cases))
        records = []
        for one in found:
            records += [one] if isinstance(one, str) else one
        return records, job.usage(shared)
    finally:
        job.end(shared)


def billed(server: ChatServer) -> int:
    return sum(tokens for bill in server.billed for tokens in bill)


def tokens(records: Sequence[AnnotationRecord]) -> Counter[str]:
    """By report."""
    found: Counter[str] = Counter()
    for record in records:
        usage = record.usage
        found[record.annotation["lung"]] += usage.get("tokens_in", 0) + usage.get("tokens_out", 0)
    return found


def without_tokens(records: Sequence[AnnotationRecord]) -> list[AnnotationRecord]:
    left = ("tokens_in", "tokens_out")
    return [
        record.model_copy(
            update={"usage": {key: n for key, n in record.usage.items() if key not in left}}
        )
        for record in records
    ]


MISHAPS = [(429, {"Retry-After": "0.05"}), 500, "hang up", "empty", "truncated"]


def test_four_workers_ask_each_question_once_and_as_many_at_a_time_as_one(workers, chat_server):
    def script(number: int):
        return MISHAPS[number // 5 % 5] if number % 5 == 4 else 200

    server = chat_server(delay=0.03, script=script)
    job = job_of(server)
    records, usage = run(workers, job)
    assert server.most <= 6 and server.keys == {f"Bearer {KEY}"}
    assert Counter(server.answered).total() == len(server.billed) and len(set(server.asked)) == 60
    assert usage["requests"] == len(server.asked) == 60 + usage["retries"]
    assert usage["cache_hits"] == 60 and usage["cost_usd"] == pytest.approx(billed(server) / 1000)
    assert sum(tokens(records).values()) == billed(server), "each question once"

    asked = len(server.asked)
    again, usage = run(workers, job)
    assert len(server.asked) == asked and usage["requests"] == 0
    alone = list(load({"brief": APPROACH}, "brief", job.project)(CASES))
    assert len(server.asked) == asked, "answers that a cluster stored are any run's"
    assert without_tokens(records) == without_tokens(again) == without_tokens(alone)
    assert tokens(again) == tokens(alone)
    once = CASES[:60]
    assert run(workers, job, once)[0] == alone[:60], "usage too, if no question occurs twice"
