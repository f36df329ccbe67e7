"""A model in its process: batches, the queue, and what becomes of cases when it dies or hangs."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import REGIONS, project_of
from scripted_model import SECRET, Scripted, dies
from test_router import practice

from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.load import load
from xraygen.annotators.router.annotator import RouterSettings
from xraygen.annotators.router.router import RouterParams, fit
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.study import Case, Image
from xraygen.engines import answers
from xraygen.engines.server_errors import Unavailable
from xraygen.service import annotating, judging, worker
from xraygen.service.model import Model
from xraygen.service.options import Options
from xraygen.service.problems import Problem
from xraygen.service.schemas import AnnotatedCase, FailedCase, JudgedPair

SIZES = {"batch_size": 8, "queue": 20}


@pytest.fixture(scope="module")
def runner():
    """One event loop for the tests that share a process."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def shared(runner):
    model = Model("scripted", Scripted, Options(**SIZES, reload_interval=0))
    runner.run(model.start())
    yield model
    runner.run(model.close())


def lines(*items: str) -> list[bytes]:
    return [json.dumps(item).encode() for item in items]


async def asked(model: Model, *items: str) -> list[dict]:
    return [json.loads(line) for line in await model.ask(lines(*items))]


async def problem_of(model: Model, *items: str) -> Problem:
    with pytest.raises(Problem) as caught:
        await model.ask(lines(*items))
    return caught.value


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_what_comes_together_is_worked_on_together_and_answered_in_order(shared, runner):
    async def many():
        return await asyncio.gather(*(asked(shared, str(k), f"{k}'") for k in range(10)))

    found = runner.run(many())
    assert [[one["item"] for one in pair] for pair in found] == [
        [str(k), f"{k}'"] for k in range(10)
    ]
    sizes = [one["size"] for pair in found for one in pair]
    batches = {one["batch"] for pair in found for one in pair}
    assert max(sizes) == SIZES["batch_size"] and len(batches) == 3


def test_a_large_request_does_not_keep_a_small_one_waiting(shared, runner):
    async def together():
        return await asyncio.gather(asked(shared, *map(str, range(19))), asked(shared, "single"))

    large, (single,) = runner.run(together())
    assert single["batch"] == large[0]["batch"] < large[-1]["batch"]


def test_long_items_make_small_batches(shared, runner):
    long = ["x" * 90_000] * 4

    async def together():
        return await asyncio.gather(
            asked(shared, *long), asked(shared, "x" * 300_000), asked(shared, *"abc")
        )

    found = runner.run(together())
    assert [[one["item"] for one in part] for part in found] == [long, ["x" * 300_000], [*"abc"]]
    assert [[one["size"] for one in part] for part in found] == [[1, 5, 5, 1], [1], [5, 5, 5]]


def test_a_full_queue_refuses_a_request_as_a_whole_or_lets_it_wait(shared, runner):
    async def fill():
        first = asyncio.create_task(asked(shared, "slow", *map(str, range(15))))
        await asyncio.sleep(0)
        refused = await problem_of(shared, *["refused"] * 5)
        assert shared.queued == 16
        patient = asyncio.create_task(shared.ask_patiently(lines(*["patient"] * 5)))
        await first
        return refused, await patient, await asked(shared, "seen"), await asked(shared, *"x" * 30)

    refused, patient, (seen,), many = runner.run(fill())
    assert (refused.status, refused.code) == (429, "queue-full") and refused.retry_after >= 1
    assert len(patient) == 5 and len(many) == 30  # more than the queue, but that was empty
    assert "refused" not in seen["seen"] and shared.queued == 0


def test_patient_requests_leave_half_of_the_queue_to_others(shared, runner):
    async def fill():
        items = ["slow", *map(str, range(1, SIZES["queue"]))]
        streams = [asyncio.create_task(shared.ask_patiently(lines(item))) for item in items]
        await asyncio.sleep(0.05)
        assert shared.queued == SIZES["queue"] // 2
        single = await asked(shared, *map(str, range(5)))
        return single, await asyncio.gather(*streams)

    single, streams = runner.run(fill())
    assert len(single) == 5 and len(streams) == SIZES["queue"]


def test_a_case_whose_client_has_gone_is_not_worked_on(shared, runner):
    async def gone():
        busy = asyncio.create_task(asked(shared, "slow"))
        await asyncio.sleep(0.1)
        leaving = asyncio.create_task(asked(shared, "gone"))
        await asyncio.sleep(0)
        leaving.cancel()
        await busy
        return await asked(shared, "seen")

    ((seen),) = runner.run(gone())
    assert "slow" in seen["seen"] and "gone" not in seen["seen"] and shared.queued == 0


def test_only_the_case_at_fault_fails_and_no_text_is_logged(shared, runner, capfd):
    found = runner.run(asked(shared, "a", "user", "b", "bug", "print"))
    assert [one.get("item") for one in found] == ["a", None, "b", None, "print"]
    assert found[1] == {"failed": "user", "bug": False}
    assert found[3] == {"failed": "bug", "bug": True}
    out, logged = capfd.readouterr()
    assert SECRET not in out + logged and out == ""
    events = [json.loads(line) for line in logged.splitlines()]
    assert {"UserError", "ValueError"} == {event["type"] for event in events}
    assert all("scripted_model.py" in event["places"][-1] for event in events)


class Recorded:
    """In place of the process: what it is sent."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def send(self, content: bytes) -> None:
        self.sizes.append(len(content.split(b"\n")))


def test_a_batch_that_is_given_early_is_not_followed_by_one_that_is_not_full():
    async def run():
        model = Model("recorded", Scripted, Options(**SIZES, batch_window=0))
        model._child = child = Recorded()
        model.ready = True
        first = asyncio.create_task(asked(model, "first"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(asked(model, *map(str, range(SIZES["batch_size"] + 4))))
        # In the pass of the event loop in which the next batch becomes due, the answers arrive.
        asyncio.get_running_loop().call_soon(model._received, worker.RESULTS, b"1")
        await first
        await asyncio.sleep(0.01)
        assert child.sizes == [1, SIZES["batch_size"]]
        model._received(worker.RESULTS, b"\n".join([b"1"] * SIZES["batch_size"]))
        await asyncio.sleep(0.01)
        assert child.sizes == [1, SIZES["batch_size"], 4]
        model._received(worker.RESULTS, b"\n".join([b"1"] * 4))
        await second

    asyncio.run(run())


def test_a_server_that_does_not_answer_is_no_fault_of_a_case_nor_of_the_process(shared, runner):
    problem = runner.run(problem_of(shared, "a", "server"))
    assert (problem.status, problem.code) == (503, "model-unavailable")
    assert problem.retry_after and shared.ready and not shared.reloads
    assert runner.run(asked(shared, "after"))[0]["item"] == "after"


def test_no_process_dumps_core(shared, runner):
    (process,) = runner.run(asked(shared, "process"))
    assert process["core"] == [0, 0] == list(resource.getrlimit(resource.RLIMIT_CORE))


@pytest.mark.parametrize("how", ["kill", "memory", "gpu"])
def test_a_process_that_dies_is_started_again_and_its_cases_get_503(shared, runner, how, capfd):
    async def die():
        dying = asyncio.create_task(problem_of(shared, "a", how))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(problem_of(shared, *map(str, range(10))))
        problems = [await dying, await waiting]
        assert not shared.ready and shared.queued == 0
        problems.append(await problem_of(shared, "while it is loaded"))
        return problems, await shared.ask_patiently(lines("after"))

    reloads = shared.reloads
    problems, (after,) = runner.run(die())
    assert {(one.status, one.code) for one in problems} == {(503, "model-unavailable")}
    assert all(one.retry_after >= 1 for one in problems)
    assert json.loads(after)["batch"] == 1 and shared.reloads == reloads + 1
    assert SECRET not in "".join(capfd.readouterr())


def test_a_hanging_process_is_killed_and_started_again_once_in_the_interval():
    async def run():
        model = Model("scripted", Scripted, Options(timeout=1, reload_interval=3600, batch_size=1))
        await model.start()
        late = await problem_of(model, *["slow"] * 5)
        assert (late.status, late.code) == (504, "timed-out") and model.ready
        hung = await problem_of(model, "stuck")
        assert (hung.status, hung.code) == (503, "model-unavailable")
        await until(lambda: model.ready)
        assert await asked(model, "after")
        assert await problem_of(model, "kill")
        await asyncio.sleep(0.5)  # longer than a load takes
        refused = await problem_of(model, "later")
        assert not model.ready and model.reloads == 1 and refused.retry_after > 60
        await model.close()

    asyncio.run(run())


def test_a_reload_that_fails_is_tried_again(tmp_path, capfd):
    refusing = tmp_path / "refusing"

    async def run():
        build = partial(Scripted, str(refusing))
        model = Model("scripted", build, Options(reload_interval=0.01))
        await model.start()
        refusing.touch()
        await problem_of(model, "kill")
        await until(lambda: model.reloads == 2)
        assert not model.ready
        refusing.unlink()
        await until(lambda: model.ready)
        assert await asked(model, "after")
        await model.close()

    asyncio.run(run())
    assert "that cannot be loaded" in capfd.readouterr().err


def test_a_reload_for_which_there_are_no_descriptors_is_tried_again(capfd):
    async def run():
        model = Model("scripted", Scripted, Options(reload_interval=0.01))
        await model.start()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await problem_of(model, "kill")
            await until(lambda: model.reloads == 2)
            await model.close()  # there is no process to end
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    asyncio.run(run())
    assert '"reason":"OSError"' in capfd.readouterr().err


def test_a_model_that_cannot_be_loaded_is_a_users_error(tmp_path):
    async def start(build):
        model = Model("scripted", build, Options())
        try:
            await model.start()
        finally:
            await model.close()

    (tmp_path / "refusing").touch()
    with pytest.raises(UserError, match="a model that cannot be loaded"):
        asyncio.run(start(partial(Scripted, str(tmp_path / "refusing"))))
    with pytest.raises(UserError, match="ended while it loaded"):
        asyncio.run(start(dies))


def test_the_process_ends_with_a_service_that_is_killed():
    script = """
        import asyncio, json
        from scripted_model import Scripted
        from xraygen.service.model import Model
        from xraygen.service.options import Options

        async def main():
            model = Model("scripted", Scripted, Options())
            await model.start()
            (line,) = await model.ask([b'"process"'])
            print(json.loads(line)["pid"], flush=True)
            await model.ask([b'"stuck"'])

        if __name__ == "__main__":
            asyncio.run(main())
    """
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    service = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    with service:
        pid = int(service.stdout.readline())
        time.sleep(0.2)  # until it is stuck
        service.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # nobody has waited for it
        time.sleep(0.01)
    else:
        assert not Path(f"/proc/{pid}").exists()


REPORTS = [
    "The cardiomediastinal outline is smooth. There is no effusion.",
    "The left lung is clear. Heart size is normal.",
    " ",
    "A nodule of the upper lobe is seen. The ribs are intact.",
]
CASES = [Case(id=f"c{k}", report=report) for k, report in enumerate(REPORTS)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """With a router, and no answers anywhere."""
    folder = tmp_path_factory.mktemp("project")
    fit(practice()[::6], RouterParams(epochs=1), REGIONS).save(folder / "models/router")
    return project_of(folder)


ROUTER = {"router": RouterSettings(annotator="router", reads="models/router", wording="learned")}


def test_the_response_has_what_the_annotator_says(project):
    given = [case.model_dump_json().encode() for case in CASES]
    answered = annotating.Approach(ROUTER, "router", project, 0.8)(given)
    records = list(load(ROUTER, "router", project)(CASES))
    for record, line in zip(records, answered, strict=True):
        if record.annotation is None:
            failed = FailedCase.model_validate_json(line)
            assert (failed.id, failed.error.detail) == (record.id, "The report has no text.")
            assert record.error == "the report has no text"
            assert failed.error.type.endswith("not-annotated")
            continue
        case = AnnotatedCase.model_validate_json(line)
        assert (case.id, case.approach) == (record.id, "router")
        assert list(case.regions) == list(REGIONS)
        for region, found in case.regions.items():
            evidence = record.evidence[region]
            assert found.text == record.annotation[region]
            assert (found.support, found.spans) == (evidence.support, evidence.spans)
            assert found.confidence == evidence.confidence
            scored = region in REGIONS.scored
            assert found.review == ((evidence.confidence < 0.8) if scored else None)
    assert case.model.startswith("sha256:") and len(case.model) == 19
    reviews = {found.review for found in case.regions.values()}
    assert reviews == {True, False, None}


def test_errors_name_no_path_and_no_server(project, tmp_path):
    approach = annotating.Approach(ROUTER, "router", project, None)
    case = CASES[0].model_copy(update={"images": (Image(path="ab/1.png"), Image(path="2.png"))})
    broken = next(iter(approach.annotate([case]))).model_copy(update={"annotation": None})

    def detail(error: str) -> str:
        line = approach._line(case, broken.model_copy(update={"error": error}))
        return FailedCase.model_validate_json(line).error.detail

    root = project.images
    assert detail(f"study c0: {root}/2.png: no such picture") == "Image 2: no such picture."
    assert detail("no row in models/router") == "No row in the project."
    assert detail("401: see http://127.0.0.1:9/v1?key=k.") == "401: see [address]."
    found = detail("heart/lung, 3/4: /etc/x, not there")
    assert found == "Heart/lung, 3/4: [address], not there."


def test_pairs_are_judged_and_one_that_cannot_be_fails():
    judge = judging.build("proxy", {})()
    pairs = [("Clear lungs.", "Clear lungs."), ("No effusion.", "Small left effusion.")]
    given = [json.dumps({"reference": a, "candidate": b}).encode() for a, b in pairs]
    same, other = map(JudgedPair.model_validate_json, judge(given))
    assert (same.score, same.verdict) == (1, "identical")
    assert other.verdict == "judged" and other.score < 1 and other.errors is not None
    assert JudgedPair.model_validate_json(judge.failed(given[0], True)).verdict == "failed"


BRIEF = LlmSettings(annotator="llm", reads="models/none", system="Annotate.", user="{report}")


def test_batches_that_take_a_day_cannot_be_served(project):
    llm = project.llm.model_copy(update={"provider": "openai", "mode": "batch"})
    with pytest.raises(UserError, match="llm.mode"):
        annotating.Approach({"brief": BRIEF}, "brief", project._replace(llm=llm), None)


def test_the_language_model_stores_nothing_and_its_budget_is_for_the_life_of_the_process(
    project, chat_server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(answers, "_stored", False)
    prices = {project.llm.model: {"tokens_in": 1.0, "tokens_out": 1.0}}
    given = {"provider": "openai", "base_url": chat_server().url, "prices": prices}
    llm = type(project.llm).model_validate(
        project.llm.model_dump() | given | {"max_cost_usd": 0.001, "concurrency": 1}
    )
    approach = annotating.Approach({"brief": BRIEF}, "brief", project._replace(llm=llm), None)
    asked = 0
    with pytest.raises(Unavailable):
        for number in range(100):
            case = Case(id=str(number), report=f"Report {number} on a clear lung.")
            (line,) = approach([case.model_dump_json().encode()])
            assert AnnotatedCase.model_validate_json(line)
            asked += 1
    assert asked > 1 and not list(tmp_path.rglob("*.sqlite"))
    llm_annotator = approach.annotate.annotate
    assert not llm_annotator._counted and not llm_annotator.exchange._final


def test_answers_in_memory_are_few(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "_stored", False)
    monkeypatch.setattr(answers, "_FORGET", answers._FORGET.replace("1000", "3"))
    kept = answers.Answers({"model": "m"}, tmp_path)
    for number in range(10):
        kept.keep(f"question {number}", {}, "yes")
    assert list(kept.find(f"question {k}" for k in range(10))) == [
        "question 7",
        "question 8",
        "question 9",
    ]
    assert not list(tmp_path.iterdir())


def test_a_vision_language_model_answers_as_in_the_pipeline(root, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(answers, "_stored", False)
    settings = VlmSettings(
        annotator="vlm",
        reads="models/tiny-qwen2-vl",
        prompt="Annotate the study by region, in JSON.",
        inputs="image+report",
        max_views=1,
        max_pixels=12544,
        max_batch_tokens=24000,
        max_new_tokens=24,
    )
    project = project_of(root, images=tmp_path)
    missing = CASES[1].model_copy(update={"id": "m", "images": (Image(path="no.png"),)})
    cases = [*CASES, missing]
    approach = annotating.Approach({"vlm": settings}, "vlm", project, None)
    given = [case.model_dump_json().encode() for case in cases]
    found = [json.loads(line) for line in approach(given)]
    assert not list(tmp_path.iterdir())  # no stored answers
    monkeypatch.setattr(answers, "_stored", True)
    annotator = load({"vlm": settings}, "vlm", project)
    for line, record in zip(found, annotator(cases), strict=True):
        if record.annotation is None:
            assert line["error"]["status"] == 422
        else:
            assert {k: v["text"] for k, v in line["regions"].items()} == record.annotation
            confidence = {k: v["confidence"] for k, v in line["regions"].items()}
            assert confidence == {k: e.confidence for k, e in record.evidence.items()}
    assert found[-1]["error"]["detail"].startswith("Image 1: no such picture")
