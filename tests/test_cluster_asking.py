"""On a Ray cluster one process asks servers and stores answers for all workers: what is asked, how
often, how many at a time and at what cost. A real cluster and a real server, on loopback.
"""

import os
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
from conftest import ROOT, ChatServer, project_of
from test_crimson import PAIRS, Model

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.annotators.cascade import CascadeSettings
from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.params import LlmParams, TokenPrice
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.load import load
from xraygen.annotators.on_cluster import Annotating
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, Evidence
from xraygen.engines.answers import Answers
from xraygen.engines.cluster.shards import Row
from xraygen.engines.cluster.shared import Service, Shared
from xraygen.judges import Opinion, opinions, shared
from xraygen.judges.crimson.crimson import Crimson
from xraygen.judges.crimson.settings import CrimsonSettings

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


class Unsure(Annotator):
    """Of every third case."""

    def __call__(self, cases):
        for case in cases:
            confidence = Evidence(confidence=float(int(case.id[1:]) % 3 > 0))
            texts = {"lung": "first"}
            yield AnnotationRecord(id=case.id, annotation=texts, evidence={"lung": confidence})


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
        """(the answers, this process's folder)"""
        shared.store_answers()
        kept = Answers({"model": "m"})
        kept.keep(prompt, {}, answer)
        return kept.find(["none", prompt]), os.getcwd()

    def judge(
        self, settings: CrimsonSettings, handle: Shared, pairs: list[tuple[str, str]]
    ) -> list[Opinion] | str:
        try:
            return shared.judging("crimson", {"crimson": settings}, handle)(pairs)
        except UserError as error:
            return str(error)


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


def test_the_cost_of_all_workers_together_stays_below_the_limit(workers, chat_server):
    server = chat_server(delay=0.01)
    limit = 1.0  # of about 3 for all
    records, usage = run(workers, job_of(server, max_cost_usd=limit, max_tokens=30))
    stopped = {record for record in records if isinstance(record, str)}
    (line,) = {re.sub(r"[0-9.]+ of", "... of", line) for line in stopped}
    assert line.startswith("Unavailable: stopped before llm.max_cost_usd: ... of 1.0 US dollars")
    assert 0.8 * limit < billed(server) / 1000 <= limit
    asked = len(server.asked)
    assert len(set(server.asked)) == asked < 30
    records, _ = run(workers, job_of(server, max_tokens=30))
    assert len(set(server.asked)) == len(server.asked) == 60, "what was answered is kept"
    assert sum(tokens(records).values()) == billed(server)


def test_a_wrong_key_ends_the_run_with_one_line_and_is_in_no_line_and_no_log(
    workers, chat_server, here, monkeypatch
):
    server = chat_server(delay=0.05, script=lambda number: 401)
    records, usage = run(workers, job_of(server))
    (line,) = set(records)
    assert line == (
        f"Unavailable: {server.url}: rejects the key; set the environment variable SOME_KEY"
    )
    assert len(server.asked) == usage["requests"] <= 6, "nothing more is asked"
    monkeypatch.setenv("SOME_KEY", KEY)  # of the driver alone
    (here / ".env").unlink()
    (line,) = set(run(workers, job_of(server), CASES[:15])[0])
    assert line.startswith("Unavailable: SOME_KEY: is set here, and not in the environment in ")
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert len(texts) > WORKERS
    assert not any(KEY.encode() in text or b"Report 1" in text for text in texts)


def test_questions_of_a_worker_that_is_killed_are_answered_and_paid_for_once(workers, chat_server):
    server = chat_server(delay=0.5)
    job = job_of(server)
    handle = job.share()
    (rows, *_) = shards_of(CASES)
    try:
        dying, other = workers[:2]
        pid, _ = ray.get([worker.start.remote(job, handle) for worker in (dying, other)])
        lost = dying.records.remote(rows)
        until(lambda: len(server.asked) == 6)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(lost)
        records = ray.get(other.records.remote(rows))
    finally:
        job.end(handle)
    assert [record.annotation["lung"] for record in records] == [
        case.report for case in CASES[: len(rows)]
    ]
    assert len(server.asked) == len(server.billed) == len(rows)
    assert sum(tokens(records).values()) == billed(server), "they are counted for the same cases"


DRIVER = """
import pickle, ray, sys
ray.init(sys.argv[1], log_to_driver=False, logging_level="error")
job, rows = pickle.load(sys.stdin.buffer)
print(len(list(job.start(job.share())(rows))))
"""


def test_the_asking_ends_with_a_driver_that_is_killed_and_a_restart_asks_what_is_open(
    workers, chat_server
):
    server = chat_server(delay=lambda number: 0 if number < 6 else 3)
    job = job_of(server)
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, address], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    import pickle

    (rows, *_) = shards_of(CASES)
    pickle.dump((job, rows), driver.stdin)
    driver.stdin.close()
    until(lambda: len(server.asked) == 12)
    driver.kill()
    driver.wait()
    until(lambda: server.now == 0)
    assert len(server.answered) == 6, "its connections are closed"
    server.delay = 0
    records, _ = run(workers[:1], job, CASES[: len(rows)])
    assert len(records) == len(server.billed) == len(set(server.answered)) == len(rows)
    assert len(server.asked) == len(rows) + 6


def test_a_part_of_a_cascade_asks_through_the_same_process(workers, chat_server):
    server = chat_server()
    approaches = {
        "first": Settings(annotator="test_cluster_asking:Unsure", reads="plugins"),
        "brief": APPROACH,
        "both": CascadeSettings(
            annotator="cascade", reads="models", first="first", then="brief", below=0.5
        ),
    }
    job = Annotating(approaches, "both", job_of(server).project)
    records, usage = run(workers[:2], job, CASES[:30])
    assert [record.annotation["lung"] for record in records] == [
        "first" if number % 3 else case.report for number, case in enumerate(CASES[:30])
    ]
    assert len(server.asked) == usage["requests"] == 10


def test_a_batch_is_refused_in_one_line(chat_server):
    project = job_of(chat_server(), mode="batch").project
    with pytest.raises(UserError, match="llm.mode: batch .* set llm.mode: direct, or leave out"):
        Llm(APPROACH, project._replace(shared=object()))


def test_answers_of_models_in_the_workers_are_stored_by_one_process(workers, here):
    handle = Shared(Service, here)
    try:
        said = [
            worker.keep.remote(handle, f"prompt {number % 2}", f"answer {number}" + "x" * 200_000)
            for number, worker in enumerate(workers)
        ]
        found = ray.get(said)
    finally:
        handle.close()
    (path,) = here.rglob("*.sqlite")
    assert path == here / ".cache" / "answers.sqlite"
    kept = Answers({"model": "m"}).find(["prompt 0", "prompt 1"])
    for number, (answers, folder) in enumerate(found):
        prompt = f"prompt {number % 2}"
        assert answers == {prompt: kept[prompt]} and Path(folder) != here


def test_a_judge_that_asks_a_server_judges_the_pairs_of_all_workers(workers, here):
    server = Model(delay=0.02)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    settings = CrimsonSettings(
        base_url=server.url, model="m", api_key_env="SOME_KEY", concurrency=4, prices={"m": DEAR}
    )
    more = [(one, other) for one, _ in PAIRS for _, other in PAIRS]
    parts = [PAIRS, more, PAIRS + more, more]

    def judged(settings: CrimsonSettings) -> list[list[Opinion] | str]:
        handle = shared.share("crimson", {"crimson": settings}, here)
        try:
            given = zip(workers, parts, strict=True)
            return ray.get([one.judge.remote(settings, handle, part) for one, part in given])
        finally:
            handle.close()

    try:
        dear = settings.model_copy(update={"max_cost_usd": 5.0, "max_tokens": 100})
        lines = {line for line in judged(dear) if isinstance(line, str)}
        assert len(lines) == 1 and "stopped before evaluate.settings.crimson.max_cost_usd" in str(
            lines
        )
        assert billed(server) / 1000 <= 5
        given = judged(settings)
        assert server.most <= 4
        assert Counter(server.asked[-len(set(more)) :]).most_common(1)[0][1] == 1
        asked = len(server.asked)
        assert given == [opinions(part, Crimson(settings)) for part in parts]
        assert len(server.asked) == asked
    finally:
        server.shutdown()
        server.server_close()


def until(done) -> None:
    for _ in range(2000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("nothing came")
