"""The annotator `cascade`: what the first approach is unsure of is left to the second, region by
region, in the order of the cases.
"""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from itertools import count

import pytest
import yaml
from conftest import ROOT, annotation, project_of
from test_graph import run

from xraygen import params
from xraygen.annotators import cascade, release
from xraygen.annotators.base import Annotator, Settings
from xraygen.annotators.load import load, settings_of
from xraygen.annotators.on_cluster import Annotating
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, write_jsonl
from xraygen.core.study import AnnotationRecord, Case, Evidence, Study
from xraygen.engines.cluster.job import Counts
from xraygen.engines.cluster.shards import Row
from xraygen.evaluation import overview, results

PLACES = {"reads": "plugins"}


class FirstSettings(Settings):
    sure: bool = True


class First(Annotator):
    """Is as sure of the lungs as the report says in its first word, and of the heart always; gives
    none for the mediastinum. Fails where the report is "lost".
    """

    Settings = FirstSettings

    def __call__(self, cases):
        for case in cases:
            if case.report.startswith("lost"):
                yield AnnotationRecord(id=case.id, annotation=None, error="no text")
                continue
            confidence = float(case.report.split()[0])
            evidence = {
                "lung": Evidence(confidence=confidence),
                "heart": Evidence(confidence=1.0),
                "mediastinal": Evidence(),
            }
            texts = annotation(lung=f"first {case.id}", heart="first")
            yield AnnotationRecord(
                id=case.id,
                annotation=texts,
                evidence=evidence if self.settings.sure else {},
                usage={"tokens_in": 1},
            )


class SecondSettings(Settings):
    fails: str = ""  # cases whose report ends in this
    counts: bool = True


class Second(Annotator):
    """Answers with a batch at a time, as models do. `calls`: the cases of each call."""

    Settings = SecondSettings
    calls: list[list[str]]

    def __init__(self, settings, project):
        super().__init__(settings, project)
        Second.calls = []

    def __call__(self, cases):
        cases = list(cases)
        Second.calls.append([case.id for case in cases])
        for case in cases:
            if self.settings.fails and case.report.endswith(self.settings.fails):
                yield AnnotationRecord(id=case.id, annotation=None, error="unreadable")
                continue
            yield AnnotationRecord(
                id=case.id,
                annotation=annotation(lung=f"second {case.id}", heart="second", bone="second"),
                evidence={"lung": Evidence(confidence=0.9), "heart": Evidence(confidence=0.1)},
                raw="{}",
                usage={"tokens_in": 10, "tokens_out": 5},
            )

    def counts_as_failed(self, record):
        return self.settings.counts

    def usage(self):
        return {"requests": 4, "seconds": 2.0, "cost_usd": 0.5, "cost_usd_per_1000_reports": 250.0}

    @property
    def shows_pictures(self):
        return True


def approaches_of(below: float = 0.8, **changes) -> dict:
    content = {
        "sure": {"annotator": "test_cascade:First", **PLACES, **changes.get("sure", {})},
        "good": {"annotator": "test_cascade:Second", **PLACES, **changes.get("good", {})},
        "both": {
            "annotator": "cascade",
            "reads": "models",
            "first": "sure",
            "then": "good",
            "below": below,
        },
    }
    return {name: settings_of(entry, name) for name, entry in content.items()}


def made(tmp_path, **changes) -> Annotator:
    return load(approaches_of(**changes), "both", project_of(tmp_path))


def case(number: int, report: str) -> Case:
    return Case(id=f"c{number}", report=report)


def test_a_dry_run_says_how_much_is_passed_on_where_no_server_is_asked_too(tmp_path):
    said = made(tmp_path).plan([case(0, "0.9"), case(1, "0.79"), case(2, "0.8")])
    assert said == ("1 of 3 cases are passed on by sure; good: asks no server; nothing to pay")
    assert Second.calls == [], "the second approach is not run"


def test_only_the_regions_below_the_threshold_are_replaced_and_the_order_stays(tmp_path):
    both = made(tmp_path)
    cases = [case(0, "0.9"), case(1, "0.79"), case(2, "0.8"), case(3, "0.1")]
    records = list(both(cases))
    assert [record.id for record in records] == ["c0", "c1", "c2", "c3"]
    assert [record.annotation["lung"] for record in records] == [
        "first c0",
        "second c1",
        "first c2",
        "second c3",
    ], "a confidence that equals the threshold is enough"
    assert {record.annotation["heart"] for record in records} == {"first"}
    assert {record.annotation["bone"] for record in records} == {""}, "no confidence, no change"
    assert [record.evidence["lung"].confidence for record in records] == [0.9, 0.9, 0.8, 0.9]
    assert all(record.evidence["heart"].confidence == 1.0 for record in records)
    assert Second.calls == [["c1", "c3"]]


def test_usage_is_that_of_both_and_the_share_passed_on_is_counted(tmp_path):
    both = made(tmp_path)
    records = list(both([case(0, "0.9"), case(1, "0.1"), case(2, "0.9"), case(3, "0.9")]))
    assert [record.usage for record in records] == [
        {"tokens_in": 1, "passed_on": 0},
        {"tokens_in": 11, "tokens_out": 5, "passed_on": 1},
        {"tokens_in": 1, "passed_on": 0},
        {"tokens_in": 1, "passed_on": 0},
    ]
    assert both.usage() == {
        "requests": 4,
        "seconds": 2.0,
        "cost_usd": 0.5,
        "cost_usd_per_1000_reports": 125.0,
    }, "the cost of 1,000 reports is that of all reports, not of those passed on"
    assert both.shows_pictures


def test_at_zero_nothing_is_passed_on_and_the_second_is_not_called(tmp_path):
    both = made(tmp_path, below=0.0)
    assert [record.annotation["lung"] for record in both([case(0, "0"), case(1, "0.5")])] == [
        "first c0",
        "first c1",
    ]
    assert Second.calls == []


def test_the_second_gets_windows_of_a_long_stream_and_memory_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(cascade, "_WINDOW", 50)
    read = count()
    both = made(tmp_path)
    stream = (case(k, "0.1" if k % 5 == 0 else "0.9") for k in range(1000) if next(read) >= 0)
    ahead = []
    for number, record in enumerate(both(stream)):
        assert record.id == f"c{number}"
        assert ("second" in record.annotation["lung"]) == (number % 5 == 0)
        ahead.append(next(read) - 2 * number)
    assert max(ahead) <= 60 and len(ahead) == 1000
    assert [len(call) for call in Second.calls] == [10] * 20


def test_a_case_that_the_first_fails_is_left_to_the_second(tmp_path):
    (record,) = made(tmp_path)([case(0, "lost")])
    assert record.annotation["heart"] == "second" and record.error is None
    assert record.usage["passed_on"] == 1


def test_where_the_second_fails_the_answer_of_the_first_stays_and_is_counted(tmp_path):
    both = made(tmp_path, good={"fails": "x"})
    records = list(both([case(0, "0.1 x"), case(1, "0.1"), case(2, "lost")]))
    assert [record.annotation["lung"] for record in records] == [
        "first c0",
        "second c1",
        "second c2",
    ]
    assert [record.usage.get("fell_back", 0) for record in records] == [1, 0, 0]
    assert records[0].evidence["lung"].confidence == 0.1, "that of the answer that stayed"
    assert records[0].usage["tokens_in"] == 1, "an answer that was never made costs nothing"


def test_where_both_fail_the_record_fails_as_the_seconds(tmp_path):
    both = made(tmp_path, good={"fails": "x", "counts": False})
    records = list(both([case(0, "lost x"), case(1, "0.9")]))
    assert records[0].annotation is None and records[0].error == "unreadable"
    assert records[0].usage["passed_on"] == 1 and records[1].annotation


def test_too_many_failures_of_the_second_end_the_run(tmp_path):
    both = made(tmp_path, good={"fails": "x"})
    cases = [case(k, "0.1 x" if k < 20 else "0.1") for k in range(40)]
    with pytest.raises(
        UserError, match="good has no answer to 20 of the 20 cases passed on.*unrea"
    ):
        list(both(cases))
    few = list(made(tmp_path, good={"fails": "x"})([case(k, "0.1 x") for k in range(3)]))
    assert len(few) == 3, "three failures are no reason to stop"
    lenient = made(tmp_path, good={"fails": "x", "counts": False})
    assert len(list(lenient(cases))) == 40, "as the second approach alone would not stop"


def test_on_a_cluster_its_driver_judges_the_failures_of_the_second(tmp_path):
    """By the same rule, over all shards; the actors have no limit."""
    cases = [case(k, "0.1 x" if k < 20 else "0.1") for k in range(40)]
    for share, ends in ((0.4, True), (0.5, False)):
        of = project_of(tmp_path)
        project = of._replace(llm=of.llm.model_copy(update={"max_failed": share}))
        job = Annotating(approaches_of(good={"fails": "x"}), "both", project)
        work = job.start(None)
        counts = Counts()
        for record in work(Row("", {"id": one.id, "report": one.report}) for one in cases):
            counts.records += 1
            work.count(record, counts)
        job.check(counts, 80)  # others may still be answered
        refused = pytest.raises(UserError, match="both.then: good has no answer to 20 of the 40 .*")
        with refused if ends else nullcontext():
            job.check(counts, 40)


def test_a_first_approach_without_confidences_is_refused_before_the_second_is_asked(tmp_path):
    for cases in (3, 100):
        both = made(tmp_path, sure={"sure": False})
        with pytest.raises(UserError, match="approaches.both.first: sure gives no confidence"):
            list(both(case(k, "0.1") for k in range(cases)))
        assert Second.calls == []


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"first": "nobody"}, "approaches.both.first: no approach 'nobody'; there are constant"),
        ({"then": "nobody"}, "approaches.both.then: no approach 'nobody'"),
        ({"then": "router"}, "approaches.both.then: router is `first` too"),
        ({"first": "both"}, "approaches.both.first: both is a cascade itself"),
        ({"then": "outer"}, "approaches.both.then: outer is a cascade itself"),
        ({"below": 1.2}, "approaches.both.below"),
        ({"below": None}, "approaches.both.below"),
        ({"reads": "models/router"}, "approaches.both.reads"),
        ({"second": "rules"}, "approaches.both.second"),
    ],
)
def test_a_mistake_in_the_settings_is_named_on_load(changes, said):
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    entry = {"annotator": "cascade", "reads": "models", "first": "router", "then": "rules"}
    content["approaches"]["both"] = entry | {"below": 0.8} | changes
    content["approaches"]["outer"] = entry | {"below": 0.8}
    with pytest.raises(UserError) as error:
        params.parse(yaml.safe_dump(content, sort_keys=False))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_annotations_made_with_other_settings_of_a_part_are_refused():
    """DVC compares the entry of the cascade alone, which has not changed."""
    approaches = approaches_of()
    usage = {name: {"cases": 2} for name in approaches}
    usage["both"]["made_of"] = approaches["both"].made_of(approaches)
    results.refuse_stale(usage, approaches)
    for part in ("sure", "good"):
        changed = approaches | {part: approaches[part].model_copy(update={"reads": "models/x"})}
        with pytest.raises(UserError, match="dvc repro --force --single-item annotate@both"):
            results.refuse_stale(usage, changed)


@pytest.mark.slow
def test_its_stage_depends_on_what_trains_the_models_of_both(root, tmp_path):
    pytest.importorskip("dvc")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(root / name, tmp_path)
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    entry = {"annotator": "cascade", "reads": "models", "first": "router", "then": "vlm-finetuned"}
    content["approaches"]["both"] = entry | {"below": 0.8}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    run(tmp_path, "dvc", "init", "--no-scm", "-q")
    edges = run(tmp_path, "dvc", "dag", "annotate@both", "--dot")
    for stage in ("fit_router", "finetune"):
        assert f'"{stage}" -> "annotate@both"' in edges


def test_a_cascade_of_recorded_answers_is_not_released():
    approaches = approaches_of()
    entry = {"annotator": "recorded", "reads": "a.csv", "answer": "a"}
    approaches["good"] = settings_of(entry, "good")
    macro = {"score": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    scores = {
        name: {"judge": "proxy", "dev": {"macro": macro | {"score": score}}}
        for name, score in (("sure", 0.5), ("good", 0.7), ("both", 0.9))
    }
    chosen = release.choose(approaches, scores, {})
    assert chosen["approach"] == "sure" and chosen["left_out"] == ["both", "good"]


def test_the_table_shows_the_share_passed_on():
    macro = {"score": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    names = ("sure", "both")
    comparison = {
        "repeated": None,
        "approaches": {name: {"test": {"macro": macro}} for name in names},
        "pairs": {"test": {}},
    }
    usage = {"sure": {"cases": 8}, "both": {"cases": 8, "passed_on": 2}}
    table = overview.table(comparison, usage, None)
    assert "passed on" in table and "25.0 %" in table
    assert "passed on" not in overview.table(comparison, {name: {} for name in names}, None)


@pytest.mark.slow
def test_the_stage_asks_the_server_about_what_is_passed_on_and_never_twice(tmp_path, chat_server):
    """python -m stages.annotate: a real server behind the second approach."""
    pytest.importorskip("openai")
    server = chat_server()
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["llm"] |= {"provider": "openai", "base_url": server.url}
    content["approaches"] = {
        "sure": {"annotator": "test_cascade:First", **PLACES},
        "rules": content["approaches"]["rules"],
        "both": {
            "annotator": "cascade",
            "reads": "models",
            "first": "sure",
            "then": "rules",
            "below": 0.5,
        },
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for split in ("dev", "test"):
        studies = [
            Study(
                id=f"{split}{k}",
                uid=str(k),
                split=split,
                report=f"{0.1 if k % 4 == 0 else 0.9} clear {k} in {split}.",
            )
            for k in range(20)
        ]
        write_jsonl(tmp_path / f"data/prepared/{split}.jsonl", studies)

    def stage(*more: str) -> tuple[int, str]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "tests"))),
            "OPENAI_API_KEY": "sesame",
        }
        command = [sys.executable, "-m", "stages.annotate", "both", *more]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    status, said = stage("--dry-run")
    assert status == 0 and not server.asked, said
    assert said.startswith("10 of 40 cases are passed on by sure; rules: 10 cases:"), said
    assert "10 requests to gpt-4o-mini" in said

    status, said = stage()
    assert status == 0 and len(server.asked) == 10, said
    usage = read_json(tmp_path / "metrics/usage/both.json")
    assert (usage["cases"], usage["passed_on"], usage["requests"]) == (40, 10, 10)
    cost = 0.15e-6 * sum(bill[0] for bill in server.billed) + 0.6e-6 * 20 * 10
    assert usage["cost_usd_per_1000_reports"] == pytest.approx(1000 * cost / 40, abs=1e-4)
    assert usage["made_of"]

    status, said = stage()
    assert status == 0 and len(server.asked) == 10, "what was answered is not paid for again"
    assert read_json(tmp_path / "metrics/usage/both.json")["cache_hits"] == 10
