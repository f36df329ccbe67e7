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
import yaml
from conftest import REGIONS, ROOT, project_of
from PIL import Image
from test_router import practice

pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
from xraygen.annotators.base import Settings
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.load import load
from xraygen.annotators.on_cluster import Annotating
from xraygen.annotators.router.annotator import RouterSettings
from xraygen.annotators.router.router import RouterParams, fit
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.cases import read_cases
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord
from xraygen.engines.cluster.actors import Actor, Attempts, Setting, _check_folders
from xraygen.engines.cluster.connection import check, connected
from xraygen.engines.cluster.job import Counts
from xraygen.engines.cluster.parts import Parts
from xraygen.engines.cluster.pool import Cluster, _size
from xraygen.engines.cluster.run import run
from xraygen.engines.cluster.shards import Row, plan
from xraygen.judges import Opinion, opinions
from xraygen.judges import load as load_judge
from xraygen.judges.on_cluster import JudgeRows, Judging

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
            time.sleep(0.02 * case.report.count("slow"))
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

    patch = pytest.MonkeyPatch()  # for what the cluster's processes are started with
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
        assert time.monotonic() < end, "nothing has happened"
        time.sleep(0.02)


def test_a_poisoned_case_fails_alone(nodes, project, monkeypatch):
    """One that raises, one that kills the process, one that is no case, and one that is too
    long. That most cases of one file fail does not end the run, but that too many of all do; a
    higher limit lets it go on, without anything done again.
    """
    write_cases(project / "input/a.jsonl", ["fine", "please raise", "fine"])
    write_cases(project / "input/b.jsonl", ["fine", "now die", "fine"])
    write_cases(project / "input/c.jsonl", ["fine", "word " * 12_000, "fine"])
    with (project / "input/c.jsonl").open("a") as file:
        file.write('{"id": "c-3", "report": 3}\n')
    write_cases(project / "input/d.jsonl", ["fail"] * 25 + ["fine"])
    write_cases(project / "input/e.jsonl", ["fine"] * 40)
    out = project / "out"
    told: list[float] = []
    monkeypatch.setattr(Annotating, "usage", lambda *_: told.append(1) or {"cost_usd": 2})
    with pytest.raises(UserError, match="29 of 76 cases have no annotation.*: 25 no answer"):
        run(job_of(project, 0.3), "input", str(out), Cluster(nodes.address))
    before = begun(project)
    assert not told  # it is told once, for the manifest
    counts = run(job_of(project, 0.4), "input", str(out), Cluster(nodes.address))
    assert begun(project) == before
    written = (out / "_manifest.json").stat().st_mtime_ns
    run(job_of(project, 0.4), "input", str(out), Cluster(nodes.address))
    assert len(told) == 1
    assert (out / "_manifest.json").stat().st_mtime_ns == written  # it has the usage of the first
    found = records(out)
    assert [one.id for one in found] == [
        *(f"{name}-{at}" for name in "abc" for at in range(3)),
        "c-3",
        *(f"d-{at}" for at in range(26)),
        *(f"e-{at}" for at in range(40)),
    ]
    failed = {one.id: one.error for one in found if one.error and one.id[0] in "abc"}
    assert failed == {
        "a-1": "cannot be worked on: ValueError",
        "b-1": "it ended the process that worked on it",
        "c-1": "report has 60,000 characters; at most 50,000 are taken",
        "c-3": failed["c-3"],
    }
    assert "report" in failed["c-3"]
    assert (counts.records, counts.failed) == (76, 29)
    manifest = json.loads((out / "_manifest.json").read_text())
    assert (manifest["shards"], manifest["records"], manifest["failed"]) == (5, 76, 29)
    assert manifest["usage"]["cost_usd"] == 2


def command(project: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "xraygen", "annotate", "input", "--out", "out", *arguments],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def write_params(project: Path, approaches: dict[str, dict]) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    (project / "params.yaml").write_text(yaml.safe_dump(content | {"approaches": approaches}))


def test_a_driver_that_is_killed_is_followed_by_one_that_goes_on(nodes, project):
    """And says nothing of Ray. Two at the same time are refused, and so is another input."""
    write_params(
        project, {"careless": {"annotator": "careless:Careless", "reads": "models/careless"}}
    )
    for number in range(6):
        write_cases(project / f"input/{number}.jsonl", ["slow slow slow"] * 20)
    out = project / "out"
    arguments = ("--approach", "careless", "--ray", nodes.address)
    killed = command(project, *arguments)
    wait_for((out / "_manifest.json").exists)
    with pytest.raises(UserError, match="another run is writing there"):
        run(job_of(project), "input", str(out), Cluster(nodes.address))
    wait_for(lambda: list(out.glob("part-*")))
    killed.kill()
    killed.communicate()
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert len(there) < 6

    following = command(project, *arguments)
    stdout, stderr = following.communicate(timeout=_PATIENCE)
    # The actors of the one that was killed may still be there.
    said = [line for line in stderr.splitlines() if "the cluster is in use" not in line]
    assert (following.returncode, stdout, said) == (0, "", ["120 cases annotated: out"])
    assert [one.id for one in records(out)] == [f"{n}-{at}" for n in range(6) for at in range(20)]
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    assert sum(begun(project).values()) <= 120 + 2 * 20  # two shards were under way
    assert not list(out.glob(".*"))

    write_cases(project / "input/7.jsonl", ["more"])
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    with pytest.raises(UserError, match="differ in .*input"):
        run(job_of(project), "input", str(out), Cluster(nodes.address))
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


def test_the_records_are_those_of_one_process(nodes, project):
    """Byte for byte, of the router; without a driver's process for each file."""
    settings = RouterSettings(annotator="router", reads="models/router", wording="learned")
    fit(practice()[::9], RouterParams(epochs=1), REGIONS).save(project / "models/router")
    job = Annotating({"router": settings}, "router", project_of(project))
    reports = [study.report for study in practice()]
    for number, part in enumerate((reports[:50], ["", *reports[50:90]], reports[90:])):
        write_cases(project / f"input/{number}.jsonl", part)
    counts = run(job, "input", "out", Cluster(nodes.address))
    annotator = load(job.approaches, "router", job.project)
    files = sorted((project / "input").iterdir())
    cases = [case for file in files for case in read_cases(file)]
    alone = "".join(record.model_dump_json() + "\n" for record in annotator(cases))
    parts = sorted((project / "out").glob("part-*"))
    assert len(parts) == 3 and "".join(part.read_text() for part in parts) == alone
    assert (counts.records, counts.failed) == (len(cases), 1)


def test_a_shard_whose_result_was_lost_is_not_worked_on_again(project):
    """Its part is there. Ray repeats a task whose result went with its node."""
    write_cases(project / "input/a.jsonl", ["fine", "fail"])
    (shard,) = plan("input")
    parts = Parts(str(project / "out"), "jsonl")
    fine = AnnotationRecord(id="a-0", annotation={})
    counts = parts.write(shard, [fine], lambda record, counts: counts.fail("answers", "none"), None)
    actor = Actor.__new__(Actor)  # nothing else is needed, not even a model
    actor.parts, actor.error = parts, ""
    result = actor({"shard": [shard.model_dump_json()]})
    assert result["error"] == [""]
    assert Counts.model_validate_json(result["counts"][0]) == counts
    assert parts.finished([shard]) == {0: counts}
    by_url = Parts("memory://finished", "jsonl")
    assert by_url.finished([shard]) == {}
    by_url.write(shard, [fine], lambda record, counts: counts.fail("answers", "none"), None)
    assert by_url.finished([shard, shard.model_copy(update={"index": 1})]) == {0: counts}


def test_a_row_is_deadly_that_was_under_way_at_two_deaths_and_no_other():
    attempts = Attempts()
    assert [attempts.begin(0), attempts.begin(0), attempts.begin(0)] == [None, None, []]
    attempts.row(0, 3)
    assert attempts.begin(0) == []  # the node may have been taken away
    attempts.row(0, 4)
    assert attempts.begin(0) == []
    attempts.row(0, 3)
    assert attempts.begin(0) == [3]
    attempts.row(0, 4)
    attempts.end(0)
    assert attempts.begin(0) == [3]


def test_results_that_a_node_does_not_see_are_refused(project):
    setting = Setting(None, None, Parts(str(project / "out"), "jsonl"), project, None, 1)
    with pytest.raises(UserError, match="out: .* not seen on the node .*; --out has to be a URL"):
        _check_folders(setting)
    with setting.parts.begun({}):
        _check_folders(setting)


def test_what_shapes_a_result_is_in_its_identity(project, monkeypatch):
    """The studies that are shown as examples, and data of a plugin."""
    of = project_of(project)
    shown = LlmSettings(
        annotator="llm", reads="models/careless", nearest={"k": 1, "similarity": "jaccard"}
    )
    job = Annotating({"near": shown}, "near", of)
    found = [job.identity()]
    for name in ("data/prepared/train.jsonl", "plugins/words.csv"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("x")
        found.append(job.identity())
    assert found[0]["models"] != found[1]["models"] == found[2]["models"]
    assert found[0]["code"] == found[1]["code"] != found[2]["code"]
    (project / "plugins/__pycache__").mkdir()
    (project / "plugins/__pycache__/words.pyc").write_text("x")
    assert job.identity() == found[2]


def test_a_judge_that_refuses_every_pair_ends_the_run(project):
    job = Judging("proxy", None, project)
    refused = Opinion(None, verdict="failed", explanation="no such route")
    given = [refused, Opinion(1.0)]
    work = JudgeRows(load_judge("proxy"), lambda pairs: given[: len(pairs)])
    rows = [Row("", {"reference": one, "candidate": "b"}) for one in "ac"]
    counts = Counts()
    for records in (list(work(rows[:1])), list(work(rows))):
        for record in records:
            counts.records += 1
            work.count(record, counts)
        job.check(counts, 99)  # more are to come
        if counts.records == 1:
            with pytest.raises(UserError, match="proxy: answered none of 1 pairs: no such route"):
                job.check(counts, 1)
    job.check(counts, 3)


def test_a_model_that_kills_its_process_while_it_is_loaded_ends_the_run():
    attempts = Attempts()
    assert [attempts.starting() for _ in range(3)] == [1, 2, 3]
    attempts.started()
    assert attempts.starting() == 1


def test_a_model_that_is_shown_pictures_gives_the_same_answers(nodes, project, monkeypatch):
    """In an actor and in this process. Paths of pictures are relative to the file that names
    them, here in a folder of the input.
    """
    pytest.importorskip("torch")
    folder = project / "input/ward"
    folder.mkdir()
    rows = []
    for number, report in enumerate(["The lungs are clear.", "The heart is large. Old fracture."]):
        Image.new("L", (112, 112), 40 * number + 60).save(folder / f"{number}.png")
        rows.append({"id": f"v-{number}", "report": report, "images": [f"{number}.png"]})
    rows.append({"id": "v-2", "report": "No effusion.", "images": ["missing.png"]})
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = VlmSettings(
        annotator="vlm",
        reads="models/tiny-qwen2-vl",
        prompt="Annotate the study by region, in JSON.",
        inputs="image+report",
        max_views=1,
        max_pixels=12544,
        max_batch_tokens=24000,
        max_new_tokens=40,
    )
    (project / "models/tiny-qwen2-vl").symlink_to(ROOT / "models/tiny-qwen2-vl")
    of = project_of(project)._replace(images=project / "input")
    job = Annotating({"vlm": settings}, "vlm", of)
    counts = run(job, "input", "out", Cluster(nodes.address))
    monkeypatch.chdir(folder)  # where no answers are stored
    annotator = load(job.approaches, "vlm", of._replace(images=folder))
    alone = list(annotator(read_cases(folder / "a.jsonl")))
    found = records(project / "out")
    assert [(one.id, one.annotation) for one in found] == [
        (one.id, one.annotation) for one in alone
    ]
    assert (counts.records, counts.failed) == (3, sum(one.annotation is None for one in alone))
    assert [bool(one.usage.get("unreadable_pictures")) for one in found] == [False, False, True]
    assert counts.usage["tokens_out"] == sum(one.usage.get("tokens_out", 0) for one in alone)


def test_what_concerns_all_cases_ends_the_run_at_once(nodes, project):
    (project / "models/careless").write_text("missing")
    write_cases(project / "input/a.jsonl", ["fine"])
    write_cases(project / "input/b.jsonl", ["fine"])
    with pytest.raises(UserError, match="^models/careless: has no weights$"):
        run(job_of(project), "input", "out", Cluster(nodes.address))


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


@pytest.mark.parametrize(
    "address, said",
    [
        ("ray://head:10001", "run the command on a machine of the cluster"),
        ("127.0.0.1:1", "no cluster answers there"),
        ("head", "give host:port, or auto"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(address, said):
    with pytest.raises(UserError, match=said):
        check(address)


@pytest.mark.parametrize(
    "nodes_have, asked, size",
    [
        ([{"CPU": 2}], Cluster(), (2, 1)),
        ([{"CPU": 16}], Cluster(actors=1), (1, 16)),
        ([{"CPU": 8}, {"CPU": 4}], Cluster(actors=2), (2, 4)),
        ([{"CPU": 2}], Cluster(actors=4), (4, 0.5)),
        ([{"CPU": 8}, {"CPU": 8, "GPU": 2}], Cluster(gpus=0.25), (8, 1)),
        ([{"CPU": 8, "GPU": 3}], Cluster(gpus=2), (1, 8)),
        ([{"CPU": 8, "GPU": 2}], Cluster(actors=5, gpus=0.4), (4, 2)),
    ],
)
def test_actors_fit_into_the_cluster(nodes_have, asked, size):
    """And get its cores."""
    assert _size(nodes_have, asked) == size


def test_a_cluster_without_the_gpus_is_refused():
    for gpus, said in ((0.5, "has a GPU"), (2, "has 2 GPUs")):
        with pytest.raises(UserError, match=f"^--gpus {gpus}: no machine of the cluster {said}"):
            _size([{"CPU": 8}, {"CPU": 8, "GPU": min(1, gpus // 1)}], Cluster(gpus=gpus))
    with pytest.raises(UserError, match=r"^--gpus 1.5: above 1, GPUs are given as a whole number"):
        _size([{"CPU": 8, "GPU": 8}], Cluster(gpus=1.5))


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"made_from": 1}', None])
def test_parts_of_unknown_origin_are_refused(tmp_path, manifest):
    (tmp_path / "part-000000.jsonl").write_text("{}")
    if manifest is not None:
        (tmp_path / "_manifest.json").write_text(manifest)
    with (
        pytest.raises(UserError, match="were made from"),
        Parts(str(tmp_path), "jsonl").begun({"input": 1}),
    ):
        pass
    assert (tmp_path / "part-000000.jsonl").read_text() == "{}"


def test_a_run_that_was_stopped_before_its_first_part_leaves_the_folder_free(tmp_path):
    for made_from in ({"input": 1}, {"input": 2}):
        with Parts(str(tmp_path), "jsonl").begun(made_from):
            pass
    assert json.loads((tmp_path / "_manifest.json").read_text()) == {"made_from": {"input": 2}}


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(UserError, match="out: is not a folder"),
        Parts(str(tmp_path / "out"), "jsonl").begun({}),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("out", ["input", "input/out", "memory://in/out"])
def test_results_within_the_input_are_refused(project, out):
    """They would be input of the run that goes on."""
    source = "memory://in" if "://" in out else "input/../input"
    with pytest.raises(UserError, match=f"{out}: is within {source}"):
        run(job_of(project), source, out, Cluster())


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"install them with .*\[cluster\]"), connected(""):
        pass


def test_judged_rows_are_those_of_one_process(nodes, project):
    """As Parquet in a folder by URL, with the same pairs in several shards and a row that is no
    pair.
    """
    pairs = [("The heart is large.", "Heart is normal."), ("Clear.", "Clear."), ("", "Clear.")]
    rows = [{"reference": one, "candidate": other} for one, other in pairs]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("a", "b", "c"):
        (project / f"input/{name}.jsonl").write_text(lines)
    (project / "input/d.jsonl").write_text(lines + '{"reference": 1, "candidate": ""}\n')
    job = Judging("proxy", None, project)
    out = f"file://{project}/out"
    done = run(job, "input", out, Cluster(nodes.address), "parquet")
    parts = sorted((project / "out").glob("part-*.parquet"))
    found = [row for part in parts for row in pq.read_table(part).to_pylist()]
    expected = [
        row | opinion.columns()
        for row, opinion in zip(rows * 4, opinions(pairs * 4, load_judge("proxy")), strict=True)
    ]
    assert found[:-1] == [row | {"judge_error": None} for row in expected]
    assert found[-1]["judge_error"] == f"d.jsonl at byte {len(lines):,}: reference has to be text"
    assert (done.records, done.failed, len(parts)) == (13, 1, 4)
    assert done.verdicts == {"judged": 4, "identical": 4, "reference_empty": 4, "failed": 1}
    assert run(job, "input", out, Cluster(nodes.address), "parquet") == done  # nothing is missing
