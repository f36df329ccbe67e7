"""Questions to a server: a real one on loopback, which delays, refuses, hangs up and talks nonsense."""

import time

import pytest

from xraygen.errors import UserError
from xraygen.server import Refusal, Server, complete

pytest.importorskip("openai")


def ask(server, prompts, concurrency: int = 4, url: str | None = None) -> dict:
    answers = {}
    complete(Server(url or server.url, "model", "SOME_KEY", concurrency), prompts, 50, answers.__setitem__)
    return answers


def test_each_prompt_gets_its_own_answer_and_no_more_are_under_way_than_allowed(completion_server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame")
    server = completion_server(delay=0.02)
    prompts = [f"prompt {number}" for number in range(40)]
    answers = ask(server, prompts, concurrency=8)
    assert len(set(answers.values())) == 40 and sorted(answers) == list(range(40))
    assert sorted(server.asked) == sorted(prompts) and 4 <= server.most <= 8
    again = ask(server, prompts[::-1])
    assert [again[39 - index] for index in range(40)] == [answers[index] for index in range(40)]
    assert server.keys == {"Bearer sesame"}
    assert all(body == {"model": "model", "max_tokens": 50, "temperature": 0} for body in server.bodies)


@pytest.mark.parametrize("act", [(429, {"Retry-After": "0.1"}), 500, 503, "hang up"])
def test_what_passes_is_tried_again(completion_server, act):
    server = completion_server(script=[act, act])
    assert sorted(ask(server, ["a", "b", "c"])) == [0, 1, 2]
    assert len(server.asked) == 5


def test_the_wait_that_the_server_asks_for_is_kept(completion_server):
    server = completion_server(script=[(429, {"Retry-After": "2"})])
    start = time.monotonic()
    ask(server, ["a"])
    assert time.monotonic() - start >= 2


@pytest.mark.parametrize("status", [400, 422])
def test_a_question_that_is_refused_is_named_and_the_others_go_on(completion_server, status):
    server = completion_server(script=[status])
    answers = ask(server, ["a", "b", "c"], concurrency=1)
    assert answers[0] == Refusal(f"{status}: so the server says: {status}")
    assert isinstance(answers[1], str) and isinstance(answers[2], str) and len(server.asked) == 3


@pytest.mark.parametrize(
    "act, said", [({"text": ""}, "an empty answer"), ({"finish_reason": "length"}, "the answer had not ended after 50 tokens")]
)
def test_an_answer_that_is_none_is_refused(completion_server, act, said):
    assert ask(completion_server(script=[act]), ["a"]) == {0: Refusal(said)}


def test_half_a_character_in_an_answer_does_no_harm(completion_server):
    assert ask(completion_server(script=[{"text": "half \ud800"}]), ["a"]) == {0: "half ?"}


def test_a_key_that_is_none_is_named_and_not_shown(completion_server, monkeypatch):
    server = completion_server(script=[400])
    monkeypatch.setenv("SOME_KEY", " sesame\n")
    ask(server, ["a"])
    assert server.keys == {"Bearer sesame"}
    monkeypatch.setenv("SOME_KEY", "s\u00e9same")
    with pytest.raises(UserError, match="SOME_KEY") as error:
        ask(server, ["a"])
    assert "same" not in str(error.value)


@pytest.mark.parametrize(
    "act, said",
    [
        (401, "set the environment variable SOME_KEY"),
        (403, "set the environment variable SOME_KEY"),
        (404, "does not serve model (so the server says: 404)"),
        ("not JSON", "not that of an OpenAI-compatible server"),
        ("no choices", "not that of an OpenAI-compatible server"),
        ({"text": None}, "not that of an OpenAI-compatible server"),
    ],
)
def test_what_will_not_pass_ends_with_what_to_do_after_what_is_under_way(completion_server, act, said):
    server = completion_server(delay=0.05, script=[act])
    got, prompts = {}, [f"prompt {number}" for number in range(100)]
    with pytest.raises(UserError, match="base_url|variable|serve") as error:
        complete(Server(server.url, "model", "SOME_KEY", 4), prompts, 50, got.__setitem__)
    assert said in str(error.value) and server.url in str(error.value)
    assert 3 <= len(got) < 20, "what was asked beside it is answered, nothing new is asked"
    assert len(got) + 1 == len(server.asked)


def test_no_server_is_one_line(monkeypatch):
    monkeypatch.setattr("xraygen.server.TRIES", 2)
    with pytest.raises(UserError, match="127.0.0.1:9/v1: cannot be reached, 2 times"):
        ask(None, ["a"], url="http://127.0.0.1:9/v1")


def test_an_answer_that_never_comes_is_a_time_out(completion_server, monkeypatch):
    monkeypatch.setattr("xraygen.server.TRIES", 1)
    monkeypatch.setattr("xraygen.server.TIMEOUT", 0.2)
    with pytest.raises(UserError, match="answered too late"):
        ask(completion_server(delay=1), ["a"])


def test_a_mistake_of_the_caller_stops_the_asking_and_keeps_its_name(completion_server):
    server = completion_server(delay=0.02)

    def answered(index, answer):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        complete(Server(server.url, "model", "SOME_KEY", 4), [f"prompt {number}" for number in range(100)], 50, answered)
    assert len(server.asked) < 20
