"""Questions to a server: a real one on loopback, which delays, refuses, hangs up and talks
nonsense.
"""

import asyncio
import time
from collections import Counter
from email.utils import formatdate

import pytest

from xraygen.core.errors import UserError
from xraygen.engines.server import Gate, Refusal, Server, complete, hidden, no_password, secret
from xraygen.engines.server_errors import retry_after as _retry_after
from xraygen.engines.server_errors import used_up as _used_up

pytest.importorskip("openai")


def ask(server, prompts, concurrency: int = 4, url: str | None = None) -> dict:
    answers = {}
    complete(
        Server(url or server.url, "model", "SOME_KEY", concurrency),
        prompts,
        50,
        answers.__setitem__,
    )
    return answers


def test_each_prompt_gets_its_own_answer_and_no_more_are_under_way_than_allowed(
    completion_server, monkeypatch
):
    monkeypatch.setenv("SOME_KEY", "sesame")
    server = completion_server(delay=0.02)
    prompts = [f"prompt {number}" for number in range(40)]
    answers = ask(server, prompts, concurrency=8)
    assert len(set(answers.values())) == 40 and sorted(answers) == list(range(40))
    assert sorted(server.asked) == sorted(prompts) and 4 <= server.most <= 8
    again = ask(server, prompts[::-1])
    assert [again[39 - index] for index in range(40)] == [answers[index] for index in range(40)]
    assert server.keys == {"Bearer sesame"}
    assert all(
        body == {"model": "model", "max_tokens": 50, "temperature": 0} for body in server.bodies
    )


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
    "act, said",
    [
        ({"text": ""}, "an empty answer"),
        ({"finish_reason": "length"}, "the answer had not ended after 50 tokens"),
    ],
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
    ],
)
def test_what_will_not_pass_ends_with_what_to_do_after_what_is_under_way(
    completion_server, act, said
):
    server = completion_server(delay=0.05, script=[act])
    got, prompts = {}, [f"prompt {number}" for number in range(100)]
    with pytest.raises(UserError, match="base_url|variable|serve") as error:
        complete(Server(server.url, "model", "SOME_KEY", 4), prompts, 50, got.__setitem__)
    assert said in str(error.value) and server.url in str(error.value)
    assert 3 <= len(got) < 20, "what was asked at the same time is answered, nothing new is asked"
    assert len(got) + 1 == len(server.asked)


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Hardly any wait between two tries."""
    monkeypatch.setattr("xraygen.engines.server.random.uniform", lambda *_: 0.01)


NONSENSE = ["not JSON", "no choices", {"text": None}]


@pytest.mark.parametrize("act", NONSENSE)
def test_a_server_that_talks_nonsense_ends_with_what_to_do_after_three_tries(
    completion_server, impatient, act
):
    server = completion_server(delay=0.01, script=[act] * 400)
    got, prompts = {}, [f"prompt {number}" for number in range(100)]
    with pytest.raises(UserError, match="base_url mostly ends in /v1") as error:
        complete(Server(server.url, "model", "SOME_KEY", 4), prompts, 50, got.__setitem__)
    assert "not that of an OpenAI-compatible server" in str(error.value) and server.url in str(
        error.value
    )
    tries = Counter(server.asked)
    assert not got and max(tries.values()) == 3 and len(tries) == 4, (
        "those that were asked together, and nothing new"
    )


@pytest.mark.parametrize("act", NONSENSE)
def test_nonsense_in_place_of_one_answer_is_named_after_three_tries_and_the_others_go_on(
    completion_server, impatient, act
):
    server = completion_server()
    server.spoilt["b"] = act
    got = ask(server, ["a", "b", "c"])
    assert "not that of an OpenAI-compatible server" in got[1].reason
    assert (
        isinstance(got[0], str)
        and isinstance(got[2], str)
        and Counter(server.asked) == {"a": 1, "b": 3, "c": 1}
    )


def test_no_server_is_one_line(monkeypatch):
    monkeypatch.setattr("xraygen.engines.server.TRIES", 2)
    with pytest.raises(UserError, match="127.0.0.1:9/v1: cannot be reached, 2 times"):
        ask(None, ["a"], url="http://127.0.0.1:9/v1")


def test_an_answer_that_never_comes_is_a_time_out(completion_server, monkeypatch):
    monkeypatch.setattr("xraygen.engines.server.TRIES", 2)
    server, start = completion_server(delay=5), time.monotonic()
    with pytest.raises(UserError, match="answered too late, 2 times"):
        complete(Server(server.url, "model", "SOME_KEY", 4, timeout=0.2), ["a"], 50, {}.__setitem__)
    assert len(server.asked) == 2 and time.monotonic() - start < 3


def test_a_mistake_of_the_caller_stops_the_asking_and_keeps_its_name(completion_server):
    server = completion_server(delay=0.02)

    def answered(index, answer):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        complete(
            Server(server.url, "model", "SOME_KEY", 4),
            [f"prompt {number}" for number in range(100)],
            50,
            answered,
        )
    assert len(server.asked) < 20


# How many at a time


def test_the_gate_halves_once_per_round_of_requests_and_grows_by_one_per_round_of_successes():
    gate = Gate(16)
    start = time.monotonic()
    gate.back_off(start)
    gate.back_off(start)
    assert gate.allowed == 8, "sixteen requests that are refused together are one sign"
    for expected in (4, 2, 1, 1):
        gate.back_off(time.monotonic())
        assert gate.allowed == expected
    gate.went_well({})
    assert gate.allowed == 2
    gate.allowed = 8.0
    for _ in range(8):
        gate.went_well({})
    assert 8.9 < gate.allowed < 9
    for _ in range(1000):
        gate.went_well({})
    assert gate.allowed == 16, "never more than the most"


def test_the_gate_lets_in_as_many_as_it_allows_and_the_next_when_one_leaves():
    async def crowd() -> None:
        gate, inside = Gate(4), []

        async def visit(number: int) -> None:
            await gate.enter()
            inside.append(number)

        gate.back_off(0.0)
        visits = [asyncio.create_task(visit(number)) for number in range(6)]
        await asyncio.sleep(0.01)
        assert inside == [0, 1]
        gate.leave()
        await asyncio.sleep(0.01)
        assert inside == [0, 1, 2]
        gate.allowed = 4.0
        gate.leave()
        await asyncio.sleep(0.01)
        assert len(inside) == 6 and gate.under_way == 4, (
            "one that leaves wakes as many as have room"
        )
        await asyncio.gather(*visits)

    asyncio.run(crowd())


def test_the_gate_stays_shut_as_long_as_was_asked_for():
    async def wait() -> float:
        gate = Gate(4)
        gate.back_off(time.monotonic(), 0.3)
        gate.back_off(time.monotonic(), 0.1)
        start = time.monotonic()
        await gate.enter()
        return time.monotonic() - start

    assert 0.28 < asyncio.run(wait()) < 1


def test_waits_are_read_in_every_form_that_servers_have():
    assert _retry_after({"retry-after": "1.5"}) == 1.5
    assert 28 < _retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)}) <= 30
    for nothing in ("", "soon", "-3", "nan", formatdate(0, usegmt=True)):
        assert _retry_after({"retry-after": nothing}) == 0
    assert _retry_after({}) == 0

    def used_up(reset: str, remaining: str = "0") -> float:
        return _used_up(
            {"x-ratelimit-remaining-tokens": remaining, "x-ratelimit-reset-tokens": reset}
        )

    assert (
        used_up("6m0s") == 360
        and used_up("1.5s") == 1.5
        and used_up("20ms") == 0.02
        and used_up("1h2m3.5s") == 3723.5
    )
    assert used_up("6m0s", remaining="1") == used_up("1.2.x") == used_up("") == _used_up({}) == 0
    both = {
        f"x-ratelimit-{what}": value
        for what, value in (("remaining-requests", "0"), ("reset-requests", "1s"))
    }
    assert (
        _used_up(both | {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s"})
        == 9
    )


@pytest.mark.parametrize(
    "told",
    [
        (429, {"Retry-After": "0.5"}),
        (503, {"Retry-After": "0.5"}),
        (429, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "500ms"}),
        (200, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "500ms"}),
    ],
)
def test_while_a_server_wants_to_be_left_alone_nobody_asks(chat_completions, told):
    server, ask = chat_completions
    server.script, server.delay = [told], lambda number: 0.1 * (0 < number < 4)
    ask([f"prompt {number}" for number in range(12)], 4)
    waited = [time - server.times[0] for time in server.times]
    assert sum(seconds < 0.49 for seconds in waited) <= 4 and max(waited) < 3


def test_a_wait_that_is_too_long_and_a_quota_that_is_spent_end_at_once(chat_completions):
    server, ask = chat_completions
    server.script = [(429, {"Retry-After": "3600"})]
    with pytest.raises(UserError, match="asks to wait 3,600 seconds; what was answered is kept"):
        ask(["a"], 1)
    server.script = [
        (429, {}, {"message": "You exceeded your quota", "code": "insufficient_quota"})
    ]
    with pytest.raises(UserError, match="no quota left"):
        ask(["a"], 1)
    assert len(server.asked) == 2


def test_an_answer_that_drips_is_a_time_out_too(chat_completions):
    server, ask = chat_completions
    server.script, start = ["drip"], time.monotonic()
    assert len(ask(["a", "b"], 2, timeout=0.4)) == 2 and len(server.asked) == 3
    assert time.monotonic() - start < 3, "though no pause between two letters is long"


@pytest.fixture
def chat_completions(chat_server):
    """A chat server, and what asks it."""
    from xraygen.engines.server import Asker

    server = chat_server()

    def ask(prompts: list[str], concurrency: int, **limits) -> list:
        async def all_of_them() -> list:
            async with Asker(
                Server(server.url, "model", "SOME_KEY", concurrency, **limits)
            ) as asker:

                def send(client, prompt: str):
                    turns = [{"role": "user", "content": prompt}]
                    return asker.in_time(
                        client.chat.completions.with_raw_response.create(
                            model="model", messages=turns
                        )
                    )

                waiting = [
                    asker.ask(lambda client, prompt=prompt: send(client, prompt), lambda body: body)
                    for prompt in prompts
                ]
                return await asyncio.gather(*waiting)

        return asyncio.run(all_of_them())

    return server, ask


# Keys


def test_a_key_stands_in_the_environment_or_else_in_the_file_env(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert secret("SOME_KEY") == ""
    (tmp_path / ".env").write_text("OTHER=x\nSOME_KEY='from the file' # mine\n")
    assert secret("SOME_KEY") == "from the file"
    monkeypatch.setenv("SOME_KEY", "from the environment")
    assert secret("SOME_KEY") == "from the environment"


def test_a_queued_experiment_has_the_key_of_its_project(tmp_path, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    (tmp_path / ".env").write_text("SOME_KEY=sesame\n")
    (copy := tmp_path / ".dvc" / "tmp" / "exps" / "copy").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert secret("SOME_KEY") == "sesame"


def test_a_file_of_keys_that_cannot_be_read_is_one_line_without_what_is_in_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOME_KEY", raising=False)
    (tmp_path / ".env").write_text("SOME_KEY=sesame\n", encoding="utf-16")
    with pytest.raises(
        UserError,
        match=r"\.env: cannot be read: not UTF-8; .*set the environment variable SOME_KEY",
    ) as error:
        secret("SOME_KEY")
    assert (
        "sesame" not in str(error.value)
        and "0x" not in str(error.value)
        and "\n" not in str(error.value)
    )
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").symlink_to("/proc/self/mem")  # which nobody can read from its beginning
    with pytest.raises(UserError, match=r"\.env: cannot be read: Input/output error; "):
        secret("SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "from the environment")
    assert secret("SOME_KEY") == "from the environment"


@pytest.mark.parametrize(
    "url",
    [
        "user@host/v1",
        ":sesame@host/v1",
        "sesame:@host/v1",
        "host/v1?api-key=sesame",
        "host/v1?",
        "host/v1#sesame",
        "a:sesame@host:x",
    ],
)
@pytest.mark.parametrize("scheme", ["https", "http", "no"])
def test_a_url_has_no_place_for_a_key_and_none_is_repeated(scheme, url):
    with pytest.raises(ValueError) as error:
        no_password(f"{scheme}://{url}")
    assert "sesame" not in str(error.value) and "\n" not in str(error.value)


def test_a_url_of_a_server_is_taken_as_it_is():
    for url in (
        "http://127.0.0.1:9/v1",
        "https://name.openai.azure.com/openai/v1",
        "https://host/a@b/v1",
    ):
        assert no_password(url) == url


def test_a_key_is_hidden_and_a_word_that_servers_without_keys_are_given_is_no_key():
    assert hidden("Bearer sk-12345 is wrong", "sk-12345") == "Bearer [key] is wrong"
    assert (
        hidden("none of the lobes", "none")
        == hidden("none of the lobes", "")
        == "none of the lobes"
    )


def test_half_a_key_at_the_end_of_a_long_reason_is_hidden_too(chat_completions, monkeypatch):
    monkeypatch.setenv("SOME_KEY", key := "sk-0123456789abcdefghij")
    server, ask = chat_completions
    server.script = ["tell"]
    (refusal,) = ask(["a"], 1)
    assert (
        server.keys == {f"Bearer {key}"}
        and len(refusal.reason) <= 205
        and "sk-" not in refusal.reason
    )
