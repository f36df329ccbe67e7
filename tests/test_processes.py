"""Several processes for one training, and for one annotator: the same result as one by one or by
hand, all of them ended by whatever ends one, and errors in one line.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import copying
import forked
import pytest
from conftest import ROOT, project_of

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, write_jsonl
from xraygen.core.study import Case
from xraygen.engines.copies import Copies, InProcess
from xraygen.params import load
from xraygen.sources.phantom import phantom

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("dvclive")

import test_finetune
from test_finetune import results

from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.local import Local
from xraygen.annotators.vlm import Vlm, VlmSettings
from xraygen.annotators.vlm_model import Answered, VlmModel
from xraygen.engines import model
from xraygen.training.processes import _count, in_processes

TESTS = Path(__file__).parent
VARIABLES = {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
RUN = """
from pathlib import Path
import copying
from xraygen.core.json_lines import read_jsonl, write_json
from xraygen.core.study import Study
from xraygen.training.finetune import finetune
from xraygen.training.params import FinetuneParams

def main():
    train, dev = (list(read_jsonl(f"{split}.jsonl", Study)) for split in ("train", "dev"))
    metrics = finetune(settings, train, dev, Path(), Path("adapter"), Path("curves"))
    if metrics:
        write_json("metrics.json", metrics)

settings = FinetuneParams.model_validate_json(Path("settings.json").read_bytes())
if __name__ == "__main__":
    copying.run(settings.processes, "run", main)
"""
# What torchrun starts are forked processes: `python` is forked.py's.
BY_HAND = "torch.distributed.run --standalone --nproc_per_node=2 --no-python python -m".split()

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def start(folder: Path, *command: str):
    variables = VARIABLES | {"PATH": forked.path()}
    return forked.start(*command, cwd=folder, variables=variables)


def status(process) -> int:
    process.join(60)
    return process.exitcode


def wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# Training


@pytest.fixture
def project(tmp_path, tiny_vlm) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(tiny_vlm, folder / "models" / "tiny")
    write_jsonl(folder / "train.jsonl", test_finetune.made(folder, range(16), "train"))
    write_jsonl(folder / "dev.jsonl", test_finetune.made(folder, range(30, 34), "dev"))
    (folder / "run.py").write_text(RUN)
    settings = test_finetune.params(processes=2, epochs=4, precision="float32")
    (folder / "settings.json").write_text(settings.model_dump_json())
    return folder


@pytest.mark.slow
@linux
def test_killed_and_resumed_it_is_what_torchrun_by_hand_makes(project):
    copied = shutil.copytree(project, project.with_name("copied"))
    by_hand = start(copied, *BY_HAND, "run")
    killed = start(project, "run")
    wait_for(lambda: test_finetune.steps_kept(project) > 0)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    assert status(killed) == 2 and not any(map(is_alive, map(int, children)))
    said = (project / "stderr").read_text()
    assert said.splitlines()[-1].startswith("error: finetune: process 1 was killed by SIGKILL; ")
    assert "Traceback" not in said and said.count("finetune: precision float32") == 1
    assert status(start(project, "run")) == 0, (project / "stderr").read_text()
    assert status(by_hand) == 0
    metrics = read_json(project / "metrics.json")
    assert 0 < metrics["speed"]["steps"] < metrics["steps"]
    assert metrics["speed"]["device"].startswith("2 processes on ")
    assert results(project) == results(copied)
    assert read_json(project / "adapter/training.json")["params"]["processes"] == 2


def launch(folder: Path, *orders: str):
    for rank, order in enumerate(orders):
        (folder / str(rank)).write_text(order)
    return start(folder, "copying")


def pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("?.pid")]


def test_an_error_in_one_process_ends_all_and_is_said_once(tmp_path):
    assert status(launch(tmp_path, "wait", "user error")) == 2
    said = (tmp_path / "stderr").read_text().replace("rank 0 speaks\n", "")
    assert said == "error: rank 1 lacks something\n"
    assert not any(map(is_alive, pids(tmp_path)))


def test_a_bug_in_a_process_keeps_its_traceback(tmp_path):
    assert status(launch(tmp_path, "done", "bug")) == 1
    said = (tmp_path / "stderr").read_text()
    assert said.count("Traceback") == 1 and "KeyError: 'a bug of rank 1'" in said
    assert "rank 1 speaks" not in said and not any(map(is_alive, pids(tmp_path)))


@linux
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_whatever_ends_the_launcher_ends_its_processes(tmp_path, number, expected):
    launcher = launch(tmp_path, "wait", "wait")
    wait_for(lambda: len(pids(tmp_path)) == 2)
    os.kill(launcher.pid, number)
    assert status(launcher) == expected
    said = (tmp_path / "stderr").read_text().replace("rank 0 speaks\n", "")
    assert said == ("interrupted\n" if number == signal.SIGINT else "")
    wait_for(lambda: not any(map(is_alive, pids(tmp_path))))


def test_there_is_a_process_for_each_gpu(monkeypatch):
    for gpus, processes, expected in ((0, "auto", 1), (0, 2, 2), (4, "auto", 4), (4, 2, 2)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert _count(processes, "", "") == expected


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "8"}, r"finetune.processes is 5, more than GPUs here \(4\)"),
        (
            {"WORLD_SIZE": "8", "RANK": "0", "LOCAL_WORLD_SIZE": "8"},
            r"torchrun: --nproc_per_node is 8, more than GPUs here \(4\)",
        ),
    ],
)
def test_too_many_processes_are_refused_where_they_were_asked_for(monkeypatch, variables, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        in_processes(5, "", lambda: None)


# Annotation


@pytest.mark.parametrize(("parent", "expected"), [(None, ["cuda:0", "cuda:1"]), ("x", ["cuda"])])
def test_all_gpus_are_used_except_by_one_of_several_processes(monkeypatch, parent, expected):
    monkeypatch.setattr(model, "placement", lambda: ("cuda", torch.bfloat16))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(model.multiprocessing, "parent_process", lambda: parent)
    assert model.devices() == expected


def test_batches_and_answers_are_the_same_on_any_number_of_devices(tmp_path, tiny_vlm, monkeypatch):
    shutil.copytree(tiny_vlm, tmp_path / "models" / "tiny")
    cases = [Case(id=str(k), report=phantom(0, k).report) for k in range(12)]
    settings = VlmSettings(
        annotator="vlm",
        reads="models/tiny",
        inputs="report",
        max_views=1,
        max_pixels=56 * 56,
        max_batch_tokens=350,
        max_new_tokens=12,
    )
    found = []
    for devices in (["cpu"], ["cpu", "cpu"]):
        cache = tmp_path / str(len(devices))
        monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda at=cache: at)
        annotate = Vlm(settings, project_of(tmp_path), devices)
        records = list(annotate(cases))
        found.append((records, sorted(answer for _, answer in annotate.kept.all())))
    assert found[0] == found[1] and len(found[0][1]) > 3
    assert [record.id for record in records] == [case.id for case in cases]
    assert list(Vlm(settings, project_of(tmp_path), ["cpu"] * 3)(cases)) == records, "kept"


class Frugal(VlmModel):
    """Has memory for two rows, which it counts."""

    def __init__(self, *_):
        self.model = torch.nn.Identity()

    def _generate(self, rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [Answered([str(len(rows))], {}, [""], []) for _ in rows]


def test_memory_that_runs_out_on_several_devices_loses_no_case(tmp_path, tiny_vlm, monkeypatch):
    shutil.copytree(tiny_vlm, tmp_path / "models" / "tiny")
    monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda: tmp_path)
    asked = LlmSettings(annotator="llm", reads="models/tiny", user="{report}")
    llm = load(ROOT / "params.yaml").llm.model_copy(update={"provider": "local"})
    annotate = Local(asked, project_of(tmp_path, llm=llm), ["a", "b", "c"])
    assert len(annotate._copies._devices) == 3 and not hasattr(annotate, "model")
    annotate._copies = InProcess(Frugal().answer)
    annotate.max_batch_tokens = much = 5 * (llm.max_tokens + 100)
    cases = [Case(id=str(k), report=f"Heart is large. {k}") for k in range(20)]
    records = list(annotate(cases))
    assert [record.id for record in records] == [case.id for case in cases]
    assert {record.raw for record in records} <= {"1", "2"} and annotate.max_batch_tokens < much


def test_answers_that_were_under_way_at_an_error_are_not_those_of_other_cases(
    tmp_path, tiny_vlm, monkeypatch
):
    """When an answer cannot be stored, and the caller goes on."""
    shutil.copytree(tiny_vlm, tmp_path / "models" / "tiny")
    monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda: tmp_path)
    asked = LlmSettings(annotator="llm", reads="models/tiny", user="{report}")
    llm = load(ROOT / "params.yaml").llm.model_copy(
        update={"provider": "local", "max_batch_tokens": 1}
    )
    annotate = Local(asked, project_of(tmp_path, llm=llm), ["a", "b"])
    annotate._copies = Copies(copying.answering, ["a", "b"], "models/tiny")
    row = lambda text: {"input_ids": torch.tensor([ord(letter) for letter in text])}  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(annotate.kept, "keep", lambda *_: [][0])
        with pytest.raises(IndexError):
            annotate._answers([row("one"), row("two")])
    said = [answer[0] for answer in annotate._answers([row("six"), row("ten")])]
    annotate._copies.end()
    assert said == [["six"], ["ten"]]


def doubled(copies, jobs: list[int]) -> list[tuple]:
    for job in jobs:
        copies.put(job)
    return [copies.get() for _ in jobs]


def test_copies_share_the_jobs_and_end_when_nobody_refers_to_them():
    copies = Copies(copying.build, ["a", "b", "b"], "models/x")
    results = doubled(copies, list(range(20)))
    assert sorted(result[:2] for result in results) == [(job, 2 * job) for job in range(20)]
    processes = copies._processes
    assert len(processes) == 3 and all(process.is_alive() for process in processes)
    del copies
    assert not any(process.is_alive() for process in processes)
    here = doubled(InProcess(copying.build("a")), [3, 1])
    assert here == [(3, 6, "a", os.getpid()), (1, 2, "a", os.getpid())]


@pytest.mark.parametrize(
    ("device", "job", "error", "said"),
    [
        ("a", "die", UserError, "models/x: its process on a ended by SIGKILL, probably"),
        ("broken", 1, ValueError, "cannot be built"),
        ("a", "fail", KeyError, "a bug"),
        ("a", "fail strangely", RuntimeError, "cannot be pickled"),
    ],
)
def test_a_copy_that_fails_ends_all(device, job, error, said):
    copies = Copies(copying.build, [device, device], "models/x")
    copies.put(job)
    with pytest.raises(error, match=said) as raised:
        copies.get()
    assert not any(process.is_alive() for process in copies._processes)
    if job == "fail":
        assert doubled(copies, [4])[0][:2] == (4, 8), "they start again"
    if error in (ValueError, KeyError):
        assert "copying.py" in raised.value.__notes__[0], "the traceback"
