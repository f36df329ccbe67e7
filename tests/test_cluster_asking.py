"""On a Ray cluster one process asks servers and stores answers for all workers: what is asked, how
often, how many at a time and at what cost. A real cluster and a real server, on loopback.
"""

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from cluster_worker import Worker
from conftest import REGIONS, ROOT, ChatServer, project_of
from test_crimson import PAIRS, Model

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.cascade import CascadeSettings
from xraygen.annotators.llm.counted import Counted
from xraygen.annotators.llm.exchange import Asked
from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.params import LlmParams, TokenPrice
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.llm.shared import ForAll
from xraygen.annotators.load import load
from xraygen.annotators.on_cluster import Annotating
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines.answers import Answers
from xraygen.engines.cluster.job import Job
from xraygen.engines.cluster.shards import Row
from xraygen.judges import opinions
from xraygen.judges.crimson.crimson import Crimson
from xraygen.judges.crimson.settings import CrimsonSettings
from xraygen.judges.green.green import Green, GreenSettings
from xraygen.judges.on_cluster import Judging

pytest.importorskip("openai")
ray = pytest.importorskip("ray")

KEY = "sk-planted-0123456789"
APPROACH = LlmSettings(
    annotator="llm", reads="models/tiny", system="Annotate.", user="In JSON.\nReport: {report}"
)
DEAR = TokenPrice(tokens_in=1000, tokens_out=1000)
WORKERS = 4
SHARD = 15
# Each report occurs in two shards that are worked on at the same time.
CASES = [
    Case(id=f"s{k:03}", report=f"Report {k // (2 * SHARD) * SHARD + k % SHARD}.")
    for k in range(8 * SHARD)
]


@pytest.fixture(scope="module")
def workers():
    """On a cluster that has no key in its environment."""
    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
    environment.delenv("SOME_KEY", raising=False)
    environment.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")  # of the workers
    ray.init(
        address="local",
        num_cpus=WORKERS,
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
        "prices": {"m": DEAR},
    }
    here = Path.cwd()
    llm: LlmParams = project_of(here).llm.model_copy(update=given | changes)
    project: Project = project_of(here, llm=llm)
    return Annotating({"brief": APPROACH}, "brief", project)


def alone(job: Annotating, cases: Sequence[Case] = CASES) -> list[AnnotationRecord]:
    """The records of this process, without a cluster."""
    return list(load(job.approaches, job.name, job.project)(cases))


def rows_of(cases: Sequence[Case]) -> list[Row]:
    return [Row(case.id, {"id": case.id, "report": case.report}) for case in cases]


def run(workers, job: Job, shards: Sequence[Sequence[Row]]) -> tuple[list, dict]:
    """(the records, or why a shard has none, in order; what the run has used)"""
    shared = job.share("run")
    try:
        ray.get([worker.start.remote(job, shared) for worker in workers])
        pool = ray.util.ActorPool(workers)
        records = []
        for found in pool.map(lambda worker, rows: worker.records.remote(rows), shards):
            records += [found] if isinstance(found, str) else found
        return records, job.usage(shared)
    finally:
        job.end(shared)


def shards_of(cases: Sequence[Case] = CASES) -> list[list[Row]]:
    return [rows_of(cases[at : at + SHARD]) for at in range(0, len(cases), SHARD)]


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
    records, usage = run(workers, job, shards_of())
    assert 2 <= server.most <= 6 and server.keys == {f"Bearer {KEY}"}
    asked = len(server.asked)
    assert len(set(server.asked)) == 60 and asked == usage["requests"] == 60 + usage["retries"]
    assert usage["cache_hits"] == 60 and usage["cost_usd"] == pytest.approx(billed(server) / 1000)
    expected = alone(job)
    assert without_tokens(records) == without_tokens(expected)
    assert tokens(records) == tokens(expected) and sum(tokens(records).values()) == billed(server)

    records, usage = run(workers, job, shards_of()[::2])
    assert usage["requests"] == 0 and len(server.asked) == asked
    firsts = [one for at in range(0, len(CASES), 2 * SHARD) for one in expected[at : at + SHARD]]
    assert records == firsts, "tokens of the same cases too, if no question occurs twice"


def test_the_cost_of_all_workers_together_stays_below_the_limit(workers, chat_server):
    server = chat_server(delay=0.01)
    limit = 1.0  # of about 3 for all
    records, _ = run(workers, job_of(server, max_cost_usd=limit, max_tokens=30), shards_of())
    stopped = {record for record in records if isinstance(record, str)}
    (line,) = {re.sub(r"[0-9.]+ of", "... of", line) for line in stopped}
    assert line.startswith("Unavailable: stopped before llm.max_cost_usd: ... of 1.0 US dollars")
    assert 0.8 * limit < billed(server) / 1000 <= limit
    asked = len(server.asked)
    assert len(set(server.asked)) == asked < 30
    records = alone(job_of(server, max_tokens=30))
    assert len(set(server.asked)) == len(server.asked) == 60, "what was answered is kept"
    assert sum(tokens(records).values()) == billed(server)


def test_a_wrong_key_ends_the_run_with_one_line_and_is_in_no_line_and_no_log(workers, chat_server):
    server = chat_server(delay=0.05, script=lambda number: 401)
    records, usage = run(workers, job_of(server), shards_of())
    (line,) = set(records)
    assert line == (
        f"Unavailable: {server.url}: rejects the key; set the environment variable SOME_KEY"
    )
    assert server.keys == {f"Bearer {KEY}"}
    assert len(server.asked) == usage["requests"] <= 6, "nothing more is asked"
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert len(texts) > WORKERS
    assert not any(KEY.encode() in text or b"Report 1" in text for text in texts)


def test_a_key_that_only_the_driver_has_is_missed_before_anything_is_asked(chat_server, here):
    server = chat_server()
    project = job_of(server).project
    (here / ".env").unlink()
    asking = ForAll(project.llm, REGIONS, "run", driver_has_key=True)
    with pytest.raises(UserError, match="SOME_KEY: is set here, and not in the environment in"):
        asyncio.run(asking.ask(Asked("key", "id", 10, 0), []))
    assert not server.asked


def test_questions_of_a_worker_that_is_killed_are_answered_and_paid_for_once(workers, chat_server):
    server = chat_server(delay=0.5)
    job = job_of(server)
    (rows, *_) = shards_of()
    shared = job.share("run")
    try:
        dying, other = workers[:2]
        pid, _ = ray.get([worker.start.remote(job, shared) for worker in (dying, other)])
        lost = dying.records.remote(rows)
        until(lambda: len(server.asked) == 6)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(lost)
        records = ray.get(other.records.remote(rows))
    finally:
        job.end(shared)
    reports = [case.report for case in CASES[:SHARD]]
    assert [record.annotation["lung"] for record in records] == reports
    assert len(server.asked) == len(server.billed) == SHARD
    assert sum(tokens(records).values()) == billed(server), "they are counted for the same cases"


DRIVER = """
import os, pickle, ray, sys
ray.init(sys.argv[1], log_to_driver=False, logging_level="error")
job, rows = pickle.load(sys.stdin.buffer)
shared = job.share("run")
print(ray.get(shared._actor.__ray_call__.remote(lambda actor: os.getpid())), flush=True)
list(job.start(shared)(rows))
"""


def test_the_asking_ends_with_a_driver_that_is_killed_and_a_restart_asks_the_rest(
    workers, chat_server
):
    over = threading.Event()
    server = chat_server(delay=lambda number: 0 if number < 6 else not over.wait(60))
    job = job_of(server)
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, address]
    driver = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pickle.dump((job, shards_of()[0]), driver.stdin)
    driver.stdin.close()
    asking = Path("/proc") / driver.stdout.readline().decode().strip()
    until(lambda: len(server.asked) == 12)
    assert asking.exists()
    driver.kill()
    driver.wait()
    driver.stdout.close()
    until(lambda: not asking.exists())
    over.set()
    until(lambda: server.now == 0)
    assert len(server.answered) == 6, "the others' connections are closed"
    server.delay = 0
    alone(job, CASES[:SHARD])
    assert len(server.billed) == len(set(server.answered)) == SHARD
    assert len(server.asked) == SHARD + 6


def test_a_run_that_goes_on_counts_no_question_twice(here):
    path = here / ".cache" / "counted" / "run.jsonl"
    counted = Counted(path)
    assert counted.count("one", "s1", 0.5) and counted.count("two", "s2", 0.25)
    assert not counted.count("one", "s2", 0.5)
    with path.open("a") as file:
        file.write('["three", "s')  # a kill
    counted = Counted(path)
    assert counted.cost == 0.75
    assert counted.count("one", "s1", 0.5), "its shard is repeated"
    assert not counted.count("two", "s3", 0.25)
    assert counted.count("three", "s4", 1.0)
    assert Counted(path).cost == counted.cost == 1.75
    counted.forget()
    assert not path.exists()
    path.mkdir()  # as if the disk were full
    with pytest.raises(UserError, match=r"run.jsonl: cannot be written: Is a directory"):
        counted.count("four", "s5", 1.0)


def test_a_part_of_a_cascade_asks_there_and_other_answers_are_stored_there(
    workers, chat_server, here
):
    server = chat_server()
    approaches = {
        "first": Settings(annotator="cluster_worker:Unsure", reads="plugins"),
        "brief": APPROACH,
        "both": CascadeSettings(
            annotator="cascade", reads="models", first="first", then="brief", below=0.5
        ),
    }
    job = Annotating(approaches, "both", job_of(server).project)
    shared = job.share("run")
    try:
        ray.get(workers[0].start.remote(job, shared))
        records = ray.get(workers[0].records.remote(shards_of()[0]))
        assert [record.annotation["lung"] for record in records] == [
            "first" if number % 3 else case.report for number, case in enumerate(CASES[:SHARD])
        ]
        assert len(server.asked) == job.usage(shared)["requests"] == 5

        long = "x" * 200_000
        given = [(worker, f"prompt {number % 2}") for number, worker in enumerate(workers)]
        found = ray.get([worker.keep.remote(shared, prompt, long) for worker, prompt in given])
    finally:
        job.end(shared)
    assert list(here.rglob("*.sqlite")) == [here / ".cache" / "answers.sqlite"]
    assert Answers({"model": "m"}).find(["prompt 0", "prompt 1"]).keys() == {"prompt 0", "prompt 1"}
    for (_, prompt), (answers, folder) in zip(given, found, strict=True):
        assert answers == {prompt: long} and Path(folder) != here


def test_a_batch_is_refused_in_one_line(chat_server):
    project = job_of(chat_server(), mode="batch").project
    with pytest.raises(UserError, match="llm.mode: batch .* set llm.mode: direct, or leave out"):
        Llm(APPROACH, project._replace(shared=object()))


def test_a_judge_that_asks_a_server_judges_the_pairs_of_all_workers(workers, here):
    server = Model(delay=0.02)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    settings = CrimsonSettings(
        base_url=server.url, model="m", api_key_env="SOME_KEY", concurrency=4
    )
    pairs = PAIRS + [(one, other) for one, _ in PAIRS for _, other in PAIRS]
    rows = [Row("", dict(zip(("reference", "candidate"), pair, strict=True))) for pair in pairs]
    try:
        judging = Judging("crimson", {"crimson": settings}, here)
        records, _ = run(workers, judging, [rows[at:] for at in range(WORKERS)])
        assert server.most <= 4 and len(set(server.asked)) == len(server.asked) == len(set(pairs))
        expected = [opinion.columns() for opinion in opinions(pairs, Crimson(settings))]
        assert len(server.asked) == len(set(pairs))
    finally:
        server.shutdown()
        server.server_close()
    given = [{name: record.root[name] for name in expected[0]} for record in records]
    assert given == [one for at in range(WORKERS) for one in expected[at:]]


def test_a_shard_whose_pairs_are_all_refused_is_no_end_if_others_were_answered(completion_server):
    pytest.importorskip("green_score")
    server = completion_server()
    judge = Green(GreenSettings(model="m", base_url=server.url))
    assert judge.judge([("Large heart.", "Normal heart.")])[0].verdict == "judged"
    server.script = [400]
    assert judge.judge([("Left effusion.", "No effusion.")])[0].verdict == "failed"


def until(done) -> None:
    for _ in range(6000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("nothing came")
