"""What servers and gateways say in practice, as people report it: errors with status 200, refusals
that name nothing, empty answers.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import annotation, project_of

from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.params import LlmParams, TokenPrice
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.recorded import Recorded, RecordedSettings
from xraygen.annotators.vlm import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.study import Case
from xraygen.engines.server import Refusal, Server, complete
from xraygen.engines.server_errors import error_in, finish, wait_in

pytest.importorskip("openai")
pytest.importorskip("json_repair")
APPROACH = LlmSettings(
    annotator="llm", reads="models/tiny", system="Annotate.", user="In JSON.\nReport: {report}"
)
CASES = [Case(id=f"s{k}", report=f"Report {k}.") for k in range(40)]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "cases"
WHOLE = '{"bone": "", "heart": "", "lung": "Clear.", "mediastinal": "", "others": ""}'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder in which answers are kept, a key, and hardly any wait between two tries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_KEY", "sk-planted-0123456789")
    monkeypatch.setattr("xraygen.engines.server.random.uniform", lambda *_: 0.001)
    monkeypatch.setattr("xraygen.annotators.llm.batch._PATIENCE", (0.01, 0.02))
    return tmp_path


@pytest.fixture
def annotator(here):
    def make(server, **changes) -> Llm:
        settings = {
            "provider": "openai",
            "base_url": server.url,
            "model": "m",
            "api_key_env": "SOME_KEY",
            "mode": "direct",
            "concurrency": 2,
            "timeout": 5.0,
            "max_tokens": 512,
            "max_views": 2,
            "max_pixels": 262144,
            "max_cost_usd": None,
            "max_failed": 0.05,
            "max_batch_tokens": 24000,
            "prices": {"m": TokenPrice(tokens_in=1000, tokens_out=1000)},
        }
        return Llm(APPROACH, project_of(here, here, LlmParams(**settings | changes)))

    return make


def says(server, *bodies: dict, for_good: bool = False):
    """Has the server say these bodies with status 200, before it answers as usual; `for_good`: the
    first without end.
    """
    usual, left = server.completion, list(bodies)

    def completion(body: dict, text: str | None = None, **choice) -> dict:
        if for_good:
            return {"usage": usual(body)["usage"]} | bodies[0]
        return {"usage": None} | left.pop(0) if left else usual(body, text, **choice)

    server.completion = completion
    return server


def answer(finish_reason: str | None = "stop", **message) -> dict:
    return {
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": None} | message,
            }
        ]
    }


# Errors with status 200

PASSING = [
    {"error": {"message": "The provider failed", "code": 429}},
    {"error": {"message": "The provider failed", "code": "429", "metadata": {"raw": "slow down"}}},
    {"error": {"message": "The provider failed", "code": 502}},
    {"error": {"message": "Overloaded", "type": "overloaded_error"}},
    {"error": "rate limit reached"},
    {"object": "error", "message": "busy", "code": 503},
    {"error": {"message": "The provider failed", "metadata": {"status_code": 529}}},
    {"error": {"message": "The provider failed", "code": 429}} | answer(),
    {
        "choices": [
            {
                "index": 0,
                "finish_reason": "error",
                "error": {"code": 502, "message": "x"},
                "message": {"content": '{"lung": "Cl'},
            }
        ]
    },
]


@pytest.mark.parametrize("body", PASSING)
def test_a_passing_error_with_status_200_is_waited_for(chat_server, annotator, body):
    server = says(chat_server(), *[body] * 3)
    records = list(annotator(server, concurrency=1)(CASES[:3]))
    assert [record.annotation["lung"] for record in records] == [
        "Report 0.",
        "Report 1.",
        "Report 2.",
    ] and len(server.asked) == 6


def test_an_error_with_status_200_that_stays_has_the_servers_message(chat_server, annotator):
    server = says(
        chat_server(), {"error": {"message": "The provider failed", "code": 429}}, for_good=True
    )
    with pytest.raises(
        UserError,
        match=r"status 429 after 8 tries \(The provider failed\); what was answered is kept",
    ):
        list(annotator(server, concurrency=1)(CASES[:1]))
    assert len(server.asked) == 8


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error": {"message": "No such user.", "code": 401}},
            "rejects the key; set the environment variable SOME_KEY",
        ),
        (
            {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}},
            "rejects the key",
        ),
        (
            {"error": {"message": "No credits", "code": 402}},
            r"the account has no credit left \(No credits\)",
        ),
        (
            {"error": {"message": "No endpoint for m", "code": 404}},
            r"does not serve m \(No endpoint for m\)",
        ),
        (
            {"error": {"message": "Spent", "code": "insufficient_quota"}},
            r"the account has no quota left \(Spent\)",
        ),
        (
            {
                "error": {
                    "message": "Later",
                    "code": 429,
                    "metadata": {"headers": {"Retry-After": "7200"}},
                }
            },
            "asks to wait 7,200 seconds",
        ),
    ],
)
def test_an_error_with_status_200_that_cannot_pass_ends_the_run_at_once(
    chat_server, annotator, body, said
):
    server = says(chat_server(), body, for_good=True)
    with pytest.raises(UserError, match=said):
        list(annotator(server, concurrency=1)(CASES))
    assert len(server.asked) == 1


def test_a_question_that_is_refused_with_status_200_is_a_failed_record(chat_server, annotator):
    server = says(chat_server(), {"error": {"message": "The prompt is too long", "code": 400}})
    records = list(annotator(server, concurrency=1)(CASES[:2]))
    assert [record.error for record in records] == ["400: The prompt is too long", None] and len(
        server.asked
    ) == 2


def test_a_parameter_that_is_refused_with_status_200_is_left_out(chat_server, annotator):
    refusal = {"error": {"message": "temperature is not supported", "code": 400}}
    server = says(chat_server(), refusal)
    assert not [
        record.error for record in annotator(server, concurrency=1)(CASES[:2]) if record.error
    ]
    assert ["temperature" in body for body in server.bodies] == [True, False, False]


def test_in_a_batch_too_an_error_with_status_200_is_one(chat_server, annotator):
    server = says(chat_server(), PASSING[0])
    records = list(annotator(server, mode="batch")(CASES[:3]))
    assert not [record.error for record in records if record.error] and len(server.asked) == 4
    server = says(chat_server(), {"error": {"message": "The prompt is too long", "code": 400}})
    records = list(annotator(server, mode="batch")(CASES[:3]))
    assert [record.error for record in records if record.error] == [
        "400: The prompt is too long"
    ] and len(server.asked) == 3


def test_for_a_judge_too_an_error_with_status_200_is_one(chat_server, completion_server):
    server, answers = completion_server(), {}
    server.script = [
        {"finish_reason": "error", "error": {"code": 502, "message": "x"}},
        {"finish_reason": "error"},
        200,
    ]
    complete(Server(server.url, "m", "SOME_KEY", 1), ["p"], 50, answers.__setitem__)
    assert len(server.asked) == 3 and not isinstance(answers[0], Refusal)
    server = completion_server(script=[{"finish_reason": "content_filter", "text": ""}])
    complete(Server(server.url, "m", "SOME_KEY", 1), ["p"], 50, answers.__setitem__)
    assert (
        answers[0] == Refusal("a content filter stopped the answer (content_filter)")
        and len(server.asked) == 1
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}], 429),
        ({"error": {"message": "x", "code": "rate_limit_exceeded"}}, 429),
        ({"error": {"message": "x", "type": "invalid_request_error"}}, 400),
        ({"error": {"message": "The request timed out"}}, 504),
        ({"error": {"message": "x", "code": None}}, 502),
        ({"detail": "Not authenticated"}, 401),
        ({"error": {"code": 429}, "choices": []}, 429),
        ({"error": None, "choices": [{}]}, None),
        ({"choices": []}, None),
        ("words", None),
        (None, None),
    ],
)
def test_the_status_of_an_error_is_found(body, status):
    assert (error_in(body) or (None,))[0] == status


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"message": "Rate limit reached. Please try again in 1.5s."}, 1.5),
        ({"message": "Please retry after 20 seconds"}, 20),
        ({"message": "Try again in 6m0s"}, 360),
        ({"message": "Please wait 250 ms"}, 0.25),
        ({"message": "x", "retry_after": 3}, 3),
        ({"message": "x", "retryAfterMs": "1500"}, 1.5),
        ({"message": "x", "metadata": {"headers": {"Retry-After": "4"}}}, 4),
        ({"message": "x", "details": [{"@type": "RetryInfo", "retryDelay": "7s"}]}, 7),
        ({"message": "You sent 3 messages in 2 s"}, 0),
        ({"retry_after": None, "message": None}, 0),
        ("words", 0),
        (None, 0),
    ],
)
def test_an_error_may_ask_to_wait(error, seconds):
    assert wait_in(error) == seconds


# Refused parameters


def refusing(name: str, message: str, status: int = 400, bare: bool = False, **fields):
    def refuses(body: dict):
        if name not in body:
            return None
        error = {
            "message": message,
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        } | fields
        return (status, json.dumps({"message": message}).encode()) if bare else (status, error)

    return refuses


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."),
        ("max_tokens", "Use max_completion_tokens in the place of max_tokens"),
        ("temperature", "`temperature` does not accept 0, leave it at 1"),
        ("temperature", "The field temperature is not known to this model."),
    ],
)
@pytest.mark.parametrize(
    "changes", [{}, {"bare": True}, {"status": 422}, {"status": 500}, {"code": "400"}]
)
def test_a_refused_parameter_is_found_in_the_message(
    chat_server, annotator, name, message, changes
):
    server = chat_server(refuses=refusing(name, message, **changes))
    records = list(annotator(server, concurrency=1)(CASES[:4]))
    assert not [record.error for record in records if record.error] and len(server.asked) == 5
    assert all("response_format" in body for body in server.bodies), (
        "the form of the answer is not lowered"
    )
    instead = (
        {"max_completion_tokens": 512, "temperature": 0}
        if name == "max_tokens"
        else {"max_tokens": 512}
    )
    limits = ("max_tokens", "max_completion_tokens", "temperature")
    assert {key: value for key, value in server.bodies[-1].items() if key in limits} == instead


def test_several_parameters_are_refused_one_after_the_other(chat_server, annotator):
    refusals = [
        refusing(name, f"{name}: not taken")
        for name in ("max_tokens", "temperature", "response_format")
    ]
    server = chat_server(
        refuses=lambda body: next((said for refuses in refusals if (said := refuses(body))), None)
    )
    assert not [
        record.error for record in annotator(server, concurrency=1)(CASES[:4]) if record.error
    ]
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}


@pytest.mark.parametrize("name", ["max_tokens", "temperature"])
def test_a_refused_parameter_is_found_in_the_message_of_a_batch(chat_server, annotator, name):
    server = chat_server(refuses=refusing(name, f"{name} is not supported"))
    assert not [
        record.error for record in annotator(server, mode="batch")(CASES[:4]) if record.error
    ]
    assert (
        len(server.asked) == 8
        and name not in server.bodies[-1]
        and "response_format" in server.bodies[-1]
    )


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 512",
        "The context length is 512 tokens, the request has 600; lower max_tokens",
        "The prompt was stopped by the content management policy",
    ],
)
def test_a_question_that_is_too_long_or_filtered_is_not_asked_in_other_ways(
    chat_server, annotator, message
):
    server = chat_server()
    server.spoilt = {"Report 0.": (400, {}, {"message": message, "param": None})}
    records = list(annotator(server, concurrency=1)(CASES[:3]))
    assert records[0].error == f"400: {message}" and len(server.asked) == 3
    assert all(
        body.keys() == server.bodies[0].keys() and "max_tokens" in body for body in server.bodies
    )


# Answers that are empty or were stopped


@pytest.mark.parametrize(
    ("body", "tries", "error"),
    [
        (answer(reasoning_content=f"I think {WHOLE}"), 4, "only reasoning came, and no answer"),
        (answer(content="", reasoning="Hm."), 4, "only reasoning came, and no answer"),
        (
            answer(
                content=[{"type": "thinking", "thinking": [{"type": "text", "text": WHOLE}]}],
                thinking="x",
            ),
            4,
            "only reasoning came, and no answer",
        ),
        (
            answer(
                "tool_calls",
                tool_calls=[
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            ),
            4,
            "only a tool call came",
        ),
        (answer(None), 4, "no JSON in the answer"),
        (
            answer("content_filter"),
            1,
            "a content filter stopped the answer (finish_reason content_filter)",
        ),
        (
            answer("content_filter", content='{"bone": "", "heart": "Lar'),
            1,
            "a content filter stopped the answer",
        ),
        (answer("SAFETY"), 1, "a content filter stopped the answer (finish_reason SAFETY)"),
        (
            answer("refusal", content="I will not."),
            1,
            "a content filter stopped the answer (finish_reason refusal)",
        ),
        (answer(refusal="I must not."), 1, "the model refused to answer"),
        (
            {"choices": [], "promptFeedback": {"blockReason": "SAFETY"}},
            1,
            "a content filter stopped the question",
        ),
        (
            {
                "choices": [],
                "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}],
            },
            1,
            "a content filter stopped",
        ),
        (answer("length"), 1, "the answer had not ended after 512 tokens"),
        (
            answer("max_tokens", content='{"bone": "", "heart": "Lar'),
            1,
            "the answer had not ended after 512 tokens",
        ),
        (
            answer("length", content='{"bone":' + "\n" * 50),
            1,
            "the answer had not ended after 512 tokens",
        ),
        (
            answer("length", reasoning_content="So"),
            1,
            "the answer had not ended after 512 tokens; only reasoning came, and no answer",
        ),
        (
            answer("error", content='{"bone": "", "heart": "Lar'),
            4,
            "the server broke off the answer (finish_reason error)",
        ),
        (
            answer("network_error"),
            4,
            "the server broke off the answer (finish_reason network_error)",
        ),
        (
            answer("stop", content='{"bone": "", "heart": "Lar'),
            4,
            "the JSON of the answer ends too early",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_an_answer_that_is_none_has_its_reason_and_is_asked_for_again_only_where_that_may_help(
    chat_server, annotator, mode, body, tries, error
):
    server = says(chat_server(), body, for_good=True)
    llm = annotator(server, mode=mode, concurrency=1)
    (record,) = llm(CASES[:1])
    assert (
        record.annotation is None and record.error.startswith(error) and len(server.asked) == tries
    )
    assert record.usage["tokens_out"] == 20 * tries, "what was paid for counts"
    assert list(llm(CASES[:1]))[0].error == record.error and len(server.asked) == tries, (
        "not again in the same run"
    )
    server = says(server)
    del server.completion
    (later,) = annotator(server, mode=mode)(CASES[:1])
    assert later.annotation == annotation(lung="Report 0.") and len(server.asked) == tries + 1, (
        "a failure is never final"
    )


@pytest.mark.parametrize(
    "body",
    [
        answer(reasoning_content="Hm."),
        answer("error", content='{"lung": "Cl'),
        answer("stop", content='{"lung": "Cl'),
    ],
)
def test_an_answer_that_comes_at_the_second_try_is_the_answer(chat_server, annotator, body):
    server = says(chat_server(), body)
    (record,) = annotator(server, concurrency=1)(CASES[:1])
    assert record.annotation == annotation(lung="Report 0.") and len(server.asked) == 2


@pytest.mark.parametrize(
    "finish_reason", ["length", "content_filter", "error", "stop", None, "STOP", "end_turn"]
)
def test_a_whole_annotation_is_one_whatever_stopped_the_rest(chat_server, annotator, finish_reason):
    server = says(chat_server(), answer(finish_reason, content=f"{WHOLE} As to the"))
    (record,) = annotator(server)(CASES[:1])
    assert record.annotation == annotation(lung="Clear.") and len(server.asked) == 1


def test_content_in_parts_is_put_together_without_its_reasoning(chat_server, annotator):
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": WHOLE[:20]},
        {"type": "text", "text": WHOLE[20:]},
    ]
    (record,) = annotator(says(chat_server(), answer(content=parts)))(CASES[:1])
    assert record.annotation == annotation(lung="Clear.") and record.raw == WHOLE


def test_answers_that_an_earlier_version_has_kept_are_found(chat_server, annotator):
    server = chat_server()
    llm = annotator(server)
    old = {
        "text": WHOLE,
        "cut": False,
        "tokens_in": 9,
        "tokens_out": 9,
        "tries": 1,
        "batch_in": 0,
        "batch_out": 0,
    }
    llm.exchange.kept.keep(llm.exchange.question(CASES[0]).key, {"id": "s0"}, json.dumps(old))
    assert [record.annotation for record in llm(CASES[:1])] == [
        annotation(lung="Clear.")
    ] and not server.asked


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("length", "limit"),
        ("MAX_TOKENS", "limit"),
        ("FinishReason.MAX_TOKENS", "limit"),
        ("model_length", "limit"),
        ("content_filter", "filter"),
        ("content-filter", "filter"),
        ("RECITATION", "filter"),
        ("guardrail_intervened", "filter"),
        ("error", "error"),
        ("abort", "error"),
        ("insufficient_system_resource", "error"),
        ("stop", ""),
        ("eos", ""),
        ("tool_calls", ""),
        (None, ""),
        ("", ""),
        (float("nan"), ""),
    ],
)
def test_finish_reasons(reason, kind):
    assert finish(reason) == kind


@pytest.mark.skipif(not SHARED.is_dir(), reason="no cases at ../shared/cases")
def test_the_shared_cases(chat_server, annotator):
    def bodies(case: str) -> list[dict]:
        return [
            json.loads(line)
            for line in (SHARED / case / "bodies.jsonl").read_text(encoding="utf-8").splitlines()
        ]

    first, second, third, fourth = [told["body"] for told in bodies("19-error-in-200")]
    for body in (first, second, fourth):
        server = says(chat_server(), body)
        assert [record.error for record in annotator(server, concurrency=1)(CASES[:1])] == [
            None
        ] and len(server.asked) == 2
    with pytest.raises(UserError, match="rejects the key"):
        list(annotator(says(chat_server(), third))(CASES[:1]))
    for told in bodies("20-refused-parameter-unnamed"):
        name, said = told["when"].split()[-1], json.dumps(told["body"]).encode()
        server = chat_server(
            refuses=lambda body, name=name, said=said, told=told: (
                (told["status"], said) if name in body else None
            )
        )
        assert [record.error for record in annotator(server, concurrency=1)(CASES[:1])] == [
            None
        ] and len(server.asked) == 2
    for told, tries, error in zip(
        bodies("23-empty-content"),
        (4, 1),
        ("only reasoning came", "a content filter stopped"),
        strict=True,
    ):
        server = says(chat_server(), told["body"], for_good=True)
        (record,) = annotator(server)(CASES[:1])
        assert record.error.startswith(error) and len(server.asked) == tries


# Answers from elsewhere and in this process


def test_recorded_answers_that_were_cut_fail_with_their_reason(tmp_path):
    rows = [
        ("S1", '{"bone": "", "heart": "Lar', "length"),
        ("S2", WHOLE, "length"),
        ("S3", WHOLE, "stop"),
        ("S4", "", "content_filter"),
        ("S5", '{"heart": "Lar', "stop"),
        ("S6", '{"heart": "Large."}\n{"lung": "Clear."}', "length"),
    ]
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "answer", "finish_reason"), *rows])
    (tmp_path / "a.jsonl").write_text(
        "\n".join(
            json.dumps(dict(zip(("id", "answer", "finish_reason"), row, strict=True)))
            for row in rows
        )
    )
    for name in ("a.csv", "a.jsonl"):
        recorded = Recorded(
            RecordedSettings(annotator="recorded", reads=name, answer="answer"),
            project_of(tmp_path),
        )
        records = list(recorded(Case(id=id, report="r") for id, *_ in rows))
        assert [record.error for record in records] == [
            "the answer had not ended (finish_reason length)",
            None,
            None,
            "the answer had not ended (finish_reason content_filter)",
            "the JSON of the answer ends too early",
            "the answer had not ended (finish_reason length)",
        ]


@pytest.mark.parametrize("form", [{}, {"samples": 3}])
def test_an_answer_that_is_cut_in_this_process_fails(tiny_vlm, here, form):
    pytest.importorskip("torch")
    from xraygen.annotators.vlm import Vlm

    approach = VlmSettings(
        annotator="vlm",
        reads="models/m",
        inputs="report",
        max_views=1,
        max_pixels=56 * 56,
        max_batch_tokens=4000,
        max_new_tokens=6,
        **form,
    )
    annotate = Vlm(approach.model_copy(update={"reads": str(tiny_vlm)}), project_of(here))
    records = list(annotate(CASES[:3]))
    assert {record.error for record in records} == {"the answer had not ended after 6 tokens"}
    tokenizer, end = annotate.processor.tokenizer, min(annotate.ends)
    answers = ['{"bone": "", "heart": "Lar', WHOLE, f"{WHOLE} And", '{"heart": "Large."} And']
    for text, ended in zip(answers * 2, [False] * 4 + [True] * 4, strict=True):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        annotate.settings = approach.model_copy(update={"max_new_tokens": len(tokens)})
        (said,), _, (why,) = annotate._decode({"input_ids": [0]}, [tokens + [end] * ended])
        assert said == text and bool(why) == (not ended and WHOLE not in text)


def test_an_answer_that_is_cut_by_the_limit_of_a_local_model_fails(tiny_vlm, here, annotator):
    pytest.importorskip("torch")
    from xraygen.annotators.local import Local

    shutil.copytree(tiny_vlm, here / "models/tiny")
    llm = LlmParams(
        provider="local",
        base_url="http://127.0.0.1:9/v1",
        model="m",
        api_key_env="SOME_KEY",
        mode="direct",
        concurrency=2,
        timeout=5.0,
        max_tokens=6,
        max_views=1,
        max_pixels=56 * 56,
        max_cost_usd=None,
        max_failed=0.05,
        max_batch_tokens=4000,
        prices={},
    )
    records = list(Local(APPROACH, project_of(here, here, llm))(CASES[:3]))
    assert {record.error for record in records} == {"the answer had not ended after 6 tokens"}
