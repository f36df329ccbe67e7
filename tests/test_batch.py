"""The annotator llm by way of OpenAI's batch API, spoken by a server on loopback."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import REGIONS, annotation, project_of, question_of
from PIL import Image as Pictures

from xraygen.annotators.llm.batch import Batches
from xraygen.annotators.llm.dialect import forms_of
from xraygen.annotators.llm.exchange import Exchange
from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.params import LlmParams, TokenPrice
from xraygen.annotators.llm.questions import Questions
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, Image

FORMS = forms_of(REGIONS)
pytest.importorskip("openai")

KEY = "sk-planted-0123456789"
APPROACH = LlmSettings(
    annotator="llm", reads="models/tiny", system="Annotate.", user="In JSON.\nReport: {report}"
)
CASES = [Case(id=f"s{k}", report=f"Report {k}.") for k in range(12)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_KEY", KEY)
    monkeypatch.setattr("xraygen.annotators.llm.batch._PATIENCE", (0.01, 0.02))
    return tmp_path


PICTURED = APPROACH.model_copy(update={"inputs": "image+report"})


def pictured(folder: Path, cases: list[Case]) -> list[Case]:
    Pictures.new("L", (60, 40), 90).save(folder / "view.png")
    return [case.model_copy(update={"images": (Image(path="view.png"),)}) for case in cases]


@pytest.fixture
def annotator(here):
    def make(server, approach=APPROACH, **changes) -> Llm:
        settings = LlmParams(
            provider="openai",
            base_url=server.url,
            model="m",
            api_key_env="SOME_KEY",
            mode="batch",
            concurrency=4,
            timeout=5.0,
            max_tokens=512,
            max_views=2,
            max_pixels=262144,
            max_cost_usd=None,
            max_failed=0.05,
            max_batch_tokens=24000,
            prices={},
        )
        return Llm(approach, project_of(here, here, settings.model_copy(update=changes)))

    return make


def lungs(records: list[AnnotationRecord]) -> list[str | None]:
    return [record.annotation and record.annotation["lung"] for record in records]


REPORTS = [case.report for case in CASES]


def test_a_batch_is_uploaded_waited_for_and_collected_once(chat_server, annotator, capsys, here):
    server = chat_server(looks=3)
    cases = [*CASES, Case(id="again", report="Report 0."), Case(id="silent")]
    llm = annotator(server, prices={"m": TokenPrice(tokens_in=1000, tokens_out=1000)})
    records = list(llm(cases))
    assert (
        lungs(records) == [*REPORTS, "Report 0.", None]
        and records[-1].error == "the report has no text"
    )
    assert [record.id for record in records] == [case.id for case in cases]
    (batch,) = server.batches.values()
    assert (
        batch["looks"] == 3
        and batch["endpoint"] == "/v1/chat/completions"
        and batch["completion_window"] == "24h"
    )
    assert {line["method"] for line in batch["lines"]} == {"POST"} and {
        line["url"] for line in batch["lines"]
    } == {"/v1/chat/completions"}
    assert len({line["custom_id"] for line in batch["lines"]}) == len(batch["lines"]) == 12
    body = next(line["body"] for line in batch["lines"] if "Report 3." in question_of(line["body"]))
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Annotate."},
            {"role": "user", "content": "In JSON.\nReport: Report 3."},
        ],
        "max_tokens": 512,
        "temperature": 0,
        "response_format": FORMS["json_schema"],
    }
    paid = sum(map(sum, server.billed)) * 1000 / 1e6 / 2  # batches cost half
    usage = llm.usage()
    assert usage | {"seconds": 0} == {
        "requests": 12,
        "retries": 0,
        "cache_hits": 1,
        "seconds": 0,
        "cost_usd": pytest.approx(paid),
        "cost_usd_per_1000_reports": pytest.approx(paid / 14 * 1000, rel=1e-3),
    }
    assert "12 requests sent" in capsys.readouterr().err and not list(
        (here / ".cache/batches").iterdir()
    )

    again = annotator(server)
    assert (
        list(again(cases)) == records
        and len(server.batches) == 1
        and again.usage()["cache_hits"] == 13
    )
    direct = annotator(server, mode="direct")
    assert list(direct(cases)) == records and len(server.asked) == 12, (
        "either way of asking keeps the same answers"
    )


def test_what_failed_in_a_batch_is_sent_again_alone(chat_server, annotator):
    server = chat_server(batch_script=[{0, 3, 4}, "expire"])
    llm = annotator(server)
    assert lungs(list(llm(CASES))) == REPORTS
    assert [len(batch["lines"]) for batch in server.batches.values()] == [12, 3, 1]
    assert len(server.answered) == len(set(server.answered)) == 12
    usage = llm.usage()
    assert (usage["requests"], usage["retries"]) == (16, 4)
    assert all(body["response_format"] == FORMS["json_schema"] for body in server.bodies), (
        "server errors of lines do not lower the form"
    )


def test_an_expired_batch_leaves_what_it_answered_even_if_all_of_it_expired(chat_server, annotator):
    server = chat_server(batch_script=["expire"] * 2)
    assert lungs(list(annotator(server)(CASES))) == REPORTS
    assert [len(batch["lines"]) for batch in server.batches.values()] == [12, 6, 3]
    assert Counter(server.answered).most_common(1)[0][1] == 1


def test_batches_that_expire_without_an_answer_do_not_lower_the_form(chat_server, annotator):
    server = chat_server(batch_script=["expire all"] * 3)
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 4
    assert all(body["response_format"] == FORMS["json_schema"] for body in server.bodies)


def test_lines_that_keep_failing_are_failed_records_and_may_be_asked_later(chat_server, annotator):
    server = chat_server(batch_script=[{0}] * 6)
    records = list(annotator(server)(CASES))
    (failed,) = [record for record in records if record.annotation is None]
    assert (
        failed.error == "500: it happens"
        and [len(batch["lines"]) for batch in server.batches.values()] == [12] + [1] * 5
    )
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 7


def test_a_line_that_is_refused_is_not_sent_again(chat_server, annotator, capsys):
    def refuses(body: dict):
        return (400, {"code": "content_filter"}) if "Report 2." in question_of(body) else None

    server = chat_server(refuses=refuses)
    records = list(annotator(server)(CASES))
    assert (
        records[2].error == "400: Bearer [key]: no"
        and lungs(records).count(None) == 1
        and len(server.batches) == 1
    )
    assert KEY not in capsys.readouterr().err


@pytest.mark.parametrize("taken", [["json_object", "plain text"], ["plain text"]])
def test_a_batch_api_that_takes_no_schema_gets_what_it_takes(chat_server, annotator, taken):
    def refuses(body: dict):
        form = next(name for name, form in FORMS.items() if form == body.get("response_format"))
        return (
            None if form in taken else (400, {"message": f"no {form}", "param": "response_format"})
        )

    server = chat_server(refuses=refuses)
    llm = annotator(server)
    assert lungs(list(llm(CASES))) == REPORTS
    assert (
        len(server.batches) == 1 + list(FORMS).index(taken[0])
        and list(FORMS)[llm.exchange.dialect.request_format.form] == taken[0]
    )


def test_a_batch_that_is_refused_in_every_form_ends_with_its_reason(chat_server, annotator):
    server = chat_server(refuses=lambda body: (400, {"message": "no system turns"}))
    records = list(annotator(server)(CASES))
    assert {record.error for record in records} == {"400: no system turns"} and len(
        server.batches
    ) == len(FORMS)


def test_a_batch_that_fails_as_a_whole_is_one_line_and_sent_anew_by_the_next_run(
    chat_server, annotator, here, monkeypatch
):
    monkeypatch.setattr("xraygen.annotators.llm.batch.MOST", 5)
    server = chat_server(batch_script=[None, "fail"])
    with pytest.raises(
        UserError,
        match="batch batch-1 failed, invalid: no such model; what was answered is kept, run again",
    ):
        list(annotator(server)(CASES))
    assert (
        len(server.batches) == 3
        and len(server.answered) == 7
        and not list((here / ".cache/batches").iterdir())
    )
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 4
    assert max(Counter(server.answered).values()) == 1
    assert all(body["response_format"] == FORMS["json_schema"] for body in server.bodies)


def test_all_parts_are_sent_before_one_is_waited_for_and_pictures_are_encoded_once(
    chat_server, annotator, here, monkeypatch
):
    server, there, encoded = chat_server(), [], []

    def wait(self, id, count, wait=Batches._wait):
        there.append(len(server.batches))
        return wait(self, id, count)

    def png(self, path, png=Questions._png):
        encoded.append(path)
        return png(self, path)

    monkeypatch.setattr("xraygen.annotators.llm.batch.MOST", 5)
    monkeypatch.setattr(Batches, "_wait", wait)
    monkeypatch.setattr(Questions, "_png", png)
    llm = annotator(server, PICTURED)
    assert lungs(list(llm(pictured(here, CASES)))) == REPORTS and there == [3, 3, 3]
    assert (
        sorted(len(batch["lines"]) for batch in server.batches.values()) == [2, 5, 5]
        and len(encoded) == 12
    )


@pytest.mark.parametrize("limit, sizes", [(10**9, [12]), (2600, None)])
def test_files_are_no_larger_than_allowed(chat_server, annotator, monkeypatch, limit, sizes):
    monkeypatch.setattr("xraygen.annotators.llm.batch.BYTES", limit)
    server = chat_server()
    assert lungs(list(annotator(server)(CASES))) == REPORTS
    uploaded = [file for name, file in server.files.items() if name and name.startswith("file-")]
    assert all(0 < len(file) <= limit for file in uploaded)
    assert (
        sizes is None
        and len(uploaded) > 3
        or [len(batch["lines"]) for batch in server.batches.values()] == sizes
    )


@pytest.mark.parametrize("times", [1, 3, 9])
def test_an_answer_that_cannot_be_read_is_asked_for_as_often_as_directly(
    chat_server, annotator, monkeypatch, times
):
    from conftest import spoken

    said = Counter()

    def at_times(body: dict) -> str:
        said[question_of(body)] += 1
        return (
            "No."
            if "Report 2." in question_of(body) and said[question_of(body)] <= times
            else spoken(body)
        )

    monkeypatch.setattr("conftest.spoken", at_times)
    server = chat_server()
    llm = annotator(server, prices={"m": TokenPrice(tokens_in=1000, tokens_out=1000)})
    records = list(llm(CASES))
    asked = min(times + 1, 4)
    assert [len(batch["lines"]) for batch in server.batches.values()] == [12] + [1] * (asked - 1)
    paid = sum(map(sum, server.billed)) * 1000 / 1e6 / 2
    assert llm.usage()["cost_usd"] == pytest.approx(
        paid
    ) and llm.exchange.budget.spent == pytest.approx(paid)
    if times < 4:
        assert lungs(records) == REPORTS
    else:
        assert (records[2].error, records[2].raw) == ("no JSON in the answer", "No.") and lungs(
            records
        ).count(None) == 1


# Killed


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def kill(*_, **__):
    raise Killed


def test_killed_while_it_waits_it_goes_on_with_the_same_batch(chat_server, annotator, monkeypatch):
    server = chat_server(looks=2)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("xraygen.annotators.llm.batch.time.sleep", kill)
        list(annotator(server)(CASES))
    llm = annotator(server)
    assert lungs(list(llm(CASES))) == REPORTS and len(server.batches) == 1
    assert (llm.usage()["requests"], llm.usage()["retries"]) == (0, 0), "of this run"


def test_killed_amid_collecting_it_takes_the_rest_from_the_same_batch(
    chat_server, annotator, monkeypatch
):
    server, kept = chat_server(), []

    def keep_five(self, key, id, reply, keep=Exchange.keep):
        if len(kept) == 5:
            raise Killed
        kept.append(key)
        keep(self, key, id, reply)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Exchange, "keep", keep_five)
        list(annotator(server)(CASES))
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 1


def test_killed_between_sending_and_writing_it_down_the_batch_is_found_at_the_server(
    chat_server, annotator, monkeypatch
):
    server = chat_server()

    def send_and_die(self, part, file, name, send=Batches._send):
        send(self, part, file, name)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_send", send_and_die)
        list(annotator(server)(CASES))
    more = [*CASES, Case(id="new", report="New.")]
    assert lungs(list(annotator(server)(more))) == [*REPORTS, "New."]
    assert [len(batch["lines"]) for batch in server.batches.values()] == [12, 1], (
        "though there is more to ask now"
    )


def test_killed_while_it_waits_for_several_it_goes_on_with_them(
    chat_server, annotator, monkeypatch
):
    monkeypatch.setattr("xraygen.annotators.llm.batch.MOST", 5)
    server = chat_server(looks=2)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("xraygen.annotators.llm.batch.time.sleep", kill)
        list(annotator(server)(CASES))
    assert len(server.batches) == 3
    more = [*CASES, Case(id="new", report="New.")]
    assert lungs(list(annotator(server)(more))) == [*REPORTS, "New."] and len(server.batches) == 4


def test_two_at_a_time_send_once(chat_server, annotator, monkeypatch, here):
    server, sending, results = chat_server(), threading.Event(), []

    def slow(self, part, file, name, send=Batches._send):
        sending.set()
        time.sleep(0.5)
        return send(self, part, file, name)

    monkeypatch.setattr(Batches, "_send", slow)
    threads = [
        threading.Thread(target=lambda: results.append(lungs(list(annotator(server)(CASES)))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        sending.wait(5)
    for thread in threads:
        thread.join(20)
    assert (
        results == [REPORTS] * 2
        and len(server.batches) == 1
        and not list((here / ".cache/batches").iterdir())
    )


def test_what_is_collected_while_another_looks_for_it_is_not_sent_again(
    chat_server, annotator, monkeypatch
):
    server, waiting, looking = chat_server(), threading.Event(), threading.Event()
    wait, look = Batches._wait, Batches._under_way

    def wait_on(self, *rest):
        waiting.set()
        looking.wait(5)
        return wait(self, *rest)

    def look_late(self, missing):
        if waiting.is_set() and missing:
            looking.set()
            time.sleep(0.5)
        return look(self, missing)

    monkeypatch.setattr(Batches, "_wait", wait_on)
    monkeypatch.setattr(Batches, "_under_way", look_late)
    beside = threading.Thread(target=lambda: list(annotator(server)(CASES)))
    beside.start()
    waiting.wait(5)
    assert lungs(list(annotator(server)(CASES))) == REPORTS
    beside.join(20)
    assert len(server.batches) == 1


def test_a_killed_process_leaves_no_lock(chat_server, annotator, here):
    (here / ".cache").mkdir()
    code = (
        "import fcntl, os; f = open('.cache/batches.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        " os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=here).returncode == -9
    assert lungs(list(annotator(chat_server())(CASES))) == REPORTS


def test_what_another_process_has_done_with_meanwhile_is_no_error(
    chat_server, annotator, here, monkeypatch
):
    server, folder = chat_server(), here / ".cache/batches"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_wait", kill)
        list(annotator(server)(CASES))
    (state,) = folder.iterdir()
    (folder / "gone.json").symlink_to("nowhere")  # as one that was there when the folder was read
    wait = Batches._wait
    monkeypatch.setattr(
        Batches, "_wait", lambda self, *rest: (state.unlink(), wait(self, *rest))[1]
    )
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 1


def test_killed_before_sending_it_sends(chat_server, annotator, monkeypatch):
    server = chat_server()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_send", kill)
        list(annotator(server)(CASES))
    assert not server.batches
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 1


def test_a_connection_that_is_cut_when_the_batch_is_made_makes_no_second_one(
    chat_server, annotator
):
    server = chat_server(batch_script=["hang up"])
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 1


def test_a_batch_of_another_model_is_not_taken_for_this_ones(chat_server, annotator, monkeypatch):
    server = chat_server()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_wait", kill)
        list(annotator(server)(CASES))
    assert lungs(list(annotator(server, model="another")(CASES))) == REPORTS
    assert [batch["lines"][0]["body"]["model"] for batch in server.batches.values()] == [
        "m",
        "another",
    ]
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 2, (
        "it was still waited for"
    )


def test_a_batch_that_a_server_has_forgotten_is_one_line_that_says_what_to_do(
    chat_server, annotator, monkeypatch, here
):
    server = chat_server()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_wait", kill)
        list(annotator(server)(CASES))
    server.batches.clear()
    with pytest.raises(
        UserError, match=r"has no batch batch-0 any more; remove (.*\.json) to send"
    ) as error:
        list(annotator(server)(CASES))
    (state,) = (here / ".cache/batches").iterdir()
    assert str(state) in str(error.value) and KEY not in state.read_text()
    state.unlink()
    assert lungs(list(annotator(server)(CASES))) == REPORTS


def test_answers_that_a_server_has_lost_are_asked_for_anew(
    chat_server, annotator, monkeypatch, here
):
    server = chat_server()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_wait", kill)
        list(annotator(server)(CASES))
    del server.files["batch-0-output_file_id"]
    assert lungs(list(annotator(server)(CASES))) == REPORTS and len(server.batches) == 2

    def lose(self, id, count, wait=Batches._wait):
        server.files.pop(f"{id}-output_file_id", None)
        return wait(self, id, count)

    monkeypatch.setattr(Batches, "_wait", lose)
    with pytest.raises(
        UserError,
        match="has lost the answers of batch batch-2; run again to send its questions again,"
        " and pay for them again",
    ):
        list(annotator(server, model="another")(CASES))
    assert len(server.batches) == 3 and not list((here / ".cache/batches").iterdir()), (
        "it is not paid for again and again"
    )


# What it says and costs


def test_a_package_that_is_missing_is_one_line(chat_server, annotator, monkeypatch):
    llm = annotator(chat_server())
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match="asking a server needs one more package .*pip install"):
        list(llm(CASES))


def views_of(body: dict) -> int:
    content = body["messages"][-1]["content"]
    return 0 if isinstance(content, str) else len(content) - 1


DEAR_VIEWS = {
    "prices": {"m": TokenPrice(tokens_in=1, tokens_out=0)}
}  # a dollar for a million tokens


def bills(body: dict) -> tuple[int, int]:
    """As gpt-4o-mini does."""
    return 20 + 8500 * views_of(body), 5


def dollars(server) -> float:
    return sum(tokens_in for tokens_in, _ in server.billed) / 1e6


def test_a_batch_sends_few_with_views_until_it_has_seen_what_they_cost(
    chat_server, annotator, here
):
    server, cases = (
        chat_server(tokens=bills),
        [Case(id=f"s{k}", report=f"Report {k}.") for k in range(100)],
    )
    cases = [*pictured(here, cases[:80]), *cases[80:]]
    for _ in range(2):  # then the answers that are kept tell it
        with pytest.raises(
            UserError, match="92 questions may cost up to .* more than llm.max_cost_usd leaves"
        ):
            list(annotator(server, PICTURED, **DEAR_VIEWS, max_cost_usd=0.1)(cases))
        assert [len(batch["lines"]) for batch in server.batches.values()] == [8] and dollars(
            server
        ) / 2 <= 0.1
    assert lungs(list(annotator(server, PICTURED, **DEAR_VIEWS, max_cost_usd=0.5)(cases))) == [
        case.report for case in cases
    ]
    assert [len(batch["lines"]) for batch in server.batches.values()] == [8, 92] and dollars(
        server
    ) / 2 <= 0.5


def test_where_no_question_with_views_is_answered_the_rest_is_not_sent(
    chat_server, annotator, here
):
    server = chat_server(
        refuses=lambda body: (400, {"code": "content_filter"}) if views_of(body) else None
    )
    cases = pictured(here, [Case(id=f"s{k}", report=f"Report {k}.") for k in range(100)])
    records = list(annotator(server, PICTURED, **DEAR_VIEWS, max_cost_usd=1.0)(cases))
    assert Counter(record.error.partition(":")[0] for record in records) == {
        "400": 48,
        "not sent": 52,
    }
    assert len(server.batches) == 6


@pytest.mark.parametrize("texts", [0, 1, 50])
def test_directly_too_views_are_asked_one_at_a_time_until_the_first_bill(
    chat_server, annotator, here, texts
):
    server = chat_server(tokens=bills, delay=0.02)
    cases = [Case(id=f"s{k}", report=f"Report {k}.") for k in range(100)]
    cases = [*cases[:texts], *pictured(here, cases[texts:])]
    llm = annotator(server, PICTURED, **DEAR_VIEWS, max_cost_usd=0.2, concurrency=64, mode="direct")
    with pytest.raises(UserError, match="stopped before llm.max_cost_usd"):
        list(llm(cases))
    assert (
        0.15 < dollars(server) <= 0.2
        and llm.exchange.budget.spent == pytest.approx(dollars(server))
        and server.most > 8
    )


def test_characters_that_end_lines_elsewhere_do_no_harm(chat_server, annotator, monkeypatch):
    server = chat_server()
    odd = Case(id="odd", report="First.\u2028second.\x85third.")
    monkeypatch.setattr("conftest.spoken", lambda body: '{"lung": "First.\u2028second.\x85third."}')
    (record,) = annotator(server)([odd])
    assert (
        record.annotation == annotation(lung="First.\u2028second.\x85third.")
        and len(server.batches) == 1
    )


def test_lines_that_are_none_have_no_answer_and_are_sent_again(chat_server, annotator, monkeypatch):
    server = chat_server()

    def spoil(self, id: str, count: int, wait=Batches._wait):
        if id == "batch-0":
            first, second, third, *lines = server.files[f"{id}-output_file_id"].split(b"\n")
            nothing = json.loads(second) | {
                "response": {"status_code": 200, "body": {"choices": None}}
            }
            odd = json.loads(third) | {"response": "odd"}
            none = [
                b"",
                b"{",
                b"[]",
                b'"x"',
                b'{"custom_id": ["x"]}',
                b'{"custom_id": "unknown"}',
                first[:-1],
            ]
            lines = [*none, json.dumps(nothing).encode(), json.dumps(odd).encode(), *lines]
            server.files[f"{id}-output_file_id"] = b"\n".join(lines)
        return wait(self, id, count)

    monkeypatch.setattr(Batches, "_wait", spoil)
    assert lungs(list(annotator(server)(CASES))) == REPORTS
    assert [len(batch["lines"]) for batch in server.batches.values()] == [12, 3]


def test_the_most_that_it_may_cost_is_reckoned_before_anything_is_sent(chat_server, annotator):
    server = chat_server()
    price = {
        "prices": {"m": TokenPrice(tokens_in=0, tokens_out=1000)},
        "max_tokens": 100,
    }  # 0.05 a question at half the price
    with pytest.raises(
        UserError,
        match="12 questions may cost up to 0.6000 US dollars,"
        " more than llm.max_cost_usd.*none of them is sent",
    ):
        list(annotator(server, **price, max_cost_usd=0.59)(CASES))
    assert not server.batches and not server.files
    llm = annotator(server, **price, max_cost_usd=0.35)
    assert lungs(list(llm(CASES[:6]))) == REPORTS[:6]
    with pytest.raises(
        UserError, match="6 questions may cost up to 0.3000"
    ):  # and 6 * 20 tokens have cost 0.06
        list(llm(CASES))
    assert (
        lungs(list(annotator(server, **price, max_cost_usd=0.3)(CASES))) == REPORTS
        and len(server.batches) == 2
    )


@pytest.mark.parametrize(
    "status, said",
    [(401, "set the environment variable SOME_KEY"), (404, "no batch API; set llm.mode: direct")],
)
def test_what_will_not_pass_is_one_line(chat_server, annotator, monkeypatch, status, said):
    from conftest import _Chat

    server = chat_server()
    monkeypatch.setattr(
        _Chat,
        "do_POST",
        lambda self: (self.rfile.read(int(self.headers["Content-Length"])), self.say({}, status)),
    )
    with pytest.raises(UserError, match=said):
        list(annotator(server)(CASES))


def test_a_server_that_cannot_be_reached_is_one_line(chat_server, annotator, monkeypatch):
    server = chat_server()
    server.url = "http://127.0.0.1:9/v1"
    monkeypatch.setattr(
        "openai._base_client.BaseClient._calculate_retry_timeout", lambda *_, **__: 0.01
    )
    with pytest.raises(UserError, match="cannot be reached"):
        list(annotator(server)(CASES))
