"""Annotating on a real Ray cluster of two nodes: the same records whatever is killed, and nothing
done twice.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REGIONS, ROOT, project_of

pytest.importorskip("ray")
from service import made_project

from xraygen import params
from xraygen.annotators.base import Settings
from xraygen.annotators.load import load
from xraygen.annotators.on_cluster import Annotating
from xraygen.core.cases import read_cases
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord
from xraygen.engines.cluster.actors import Attempts
from xraygen.engines.cluster.connection import check
from xraygen.engines.cluster.run import Cluster, _size, run

# Ray uses what it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
_PATIENCE = 60  # seconds; the machine may be busy

# An annotator that writes down each case that it begins, and does what the report says.
CARELESS = """
import os, signal, time
from xraygen.annotators.base import Annotator
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord

class Careless(Annotator):
    def __init__(self, settings, project):
        super().__init__(settings, project)
        if (project.root / "models/careless").read_text() == "missing":
            raise UserError("models/careless: has no weights")
        self.log = open(project.root / "begun" / str(os.getpid()), "a", buffering=1)

    def counts_as_failed(self, record):
        return True

    def __call__(self, cases):
        for case in cases:
            print(case.id, file=self.log)
            if "slow" in case.report:
                time.sleep(0.05)
            if "raise" in case.report:
                raise ValueError(case.report)
            if "die" in case.report:
                os.kill(os.getpid(), signal.SIGKILL)
            said = None if "fail" in case.report else {"lung": case.report}
            yield AnnotationRecord(id=case.id, annotation=said, error=None if said else "no answer")
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    size = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=size)
    cluster.second = cluster.add_node(**size)
    yield cluster
    cluster.shutdown()
    patch.undo()


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """With the annotator above as the approach `careless`."""
    for folder in ("begun", "models", "input"):
        (tmp_path / folder).mkdir()
    (tmp_path / "models/careless").write_text("complete")
    (tmp_path / "careless.py").write_text(CARELESS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job_of(project: Path, max_failed: float = 0.5) -> Annotating:
    settings = Settings(annotator="careless:Careless", reads="models/careless")
    of = project_of(project)
    llm = of.llm.model_copy(update={"max_failed": max_failed})
    return Annotating({"careless": settings}, "careless", of._replace(llm=llm))


def write_cases(path: Path, reports: list[str]) -> None:
    rows = [{"id": f"{path.stem}-{at}", "report": text} for at, text in enumerate(reports)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def records(out: Path) -> list[AnnotationRecord]:
    parts = sorted(out.glob("part-*"))
    lines = [line for part in parts for line in part.read_text().splitlines()]
    return [AnnotationRecord.model_validate_json(line) for line in lines]


def begun(project: Path) -> Counter[str]:
    return Counter(id for log in (project / "begun").iterdir() for id in log.read_text().split())


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_poisoned_case_fails_alone(nodes, project, capfd):
    """One that raises, one that kills the process, one that is no case, and one that is too
    long. That most cases of one file fail does not end the run.
    """
    write_cases(project / "input/a.jsonl", ["fine", "please raise", "fine"])
    write_cases(project / "input/b.jsonl", ["fine", "now die", "fine"])
    write_cases(project / "input/c.jsonl", ["fine", "word " * 20_000, "fine"])
    with (project / "input/c.jsonl").open("a") as file:
        file.write('{"id": "c-3", "report": 3}\n')
    write_cases(project / "input/d.jsonl", ["fail"] * 25 + ["fine"])
    write_cases(project / "input/e.jsonl", ["fine"] * 40)
    out = project / "out"
    counts = run(job_of(project), "input", str(out), Cluster(nodes.address))
    found = records(out)
    assert [one.id for one in found] == [
        *(f"{name}-{at}" for name in "abc" for at in range(3)),
        "c-3",
        *(f"d-{at}" for at in range(26)),
        *(f"e-{at}" for at in range(40)),
    ]
    failed = {one.id: one.error for one in found if one.error and one.id[0] in "abc"}
    assert failed == {
        "a-1": "raises ValueError",
        "b-1": "it ended the process that worked on it",
        "c-1": "report has 100,000 characters; at most 50,000 are taken",
        "c-3": failed["c-3"],
    }
    assert "report" in failed["c-3"]
    assert (counts.records, counts.failed) == (76, 29)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["shards"], manifest["records"], manifest["failed"]) == (5, 76, 29)


def test_what_is_killed_changes_nothing(nodes, project):
    """A worker, and a node with its worker. Repeated is at most what they had under way."""
    files = 8
    for number in range(files):
        write_cases(project / f"input/{number}.jsonl", ["slow"] * 40)
    done: list[BaseException | None] = []

    def killer() -> None:
        try:
            wait_for(lambda: len(begun(project)) > 20)
            os.kill(int(next((project / "begun").iterdir()).name), signal.SIGKILL)
            wait_for(lambda: len(begun(project)) > 120)
            nodes.remove_node(nodes.second, allow_graceful=False)
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=killer)
    thread.start()
    out = project / "out"
    counts = run(job_of(project), "input", str(out), Cluster(nodes.address))
    thread.join()
    assert done == []
    found = records(out)
    assert [one.id for one in found] == [f"{n}-{at}" for n in range(files) for at in range(40)]
    assert all(one.annotation for one in found) and counts.records == 320
    again = [id for id, times in begun(project).items() if times > 1]
    assert {id.split("-")[0] for id in again} and len({id.split("-")[0] for id in again}) <= 3
    assert not list(out.glob(".*.part"))
