"""What an approach would ask a server, and at what cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xraygen.annotators.llm.exchange import Exchange
from xraygen.annotators.llm.reply import Reply
from xraygen.core.study import Case

_ANSWER = 40  # tokens of an answer apart from the report's text


class Plan(NamedTuple):
    """`silent`: cases with nothing to ask about. `kept`: questions answered before. `cost`: in US
    dollars, None without a price.
    """

    cases: int
    silent: int
    repeated: int
    kept: int
    asked: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    model: str

    def __str__(self) -> str:
        price = f"no price for {self.model} under llm.prices"
        if self.cost is not None:
            price = f"about {self.cost:,.4f} US dollars"
        return (
            f"{self.cases:,} cases: {self.silent:,} with nothing to ask about, "
            f"{self.repeated:,} repeated, {self.kept:,} answered before; "
            f"{self.asked:,} requests to {self.model}, about {self.tokens_in:,} tokens in and "
            f"{self.tokens_out:,} out; {price}"
        )


def plan(exchange: Exchange, cases: Iterable[Case]) -> Plan:
    """Needs no key. Tokens are estimated from the number of characters, scaled by what the stored
    answers took.
    """
    total = silent = repeated = asked = 0
    tokens_in = tokens_out = 0
    stored: list[tuple[int, Reply]] = []  # with the expected tokens of the prompt
    seen: set[str] = set()
    for case in cases:
        total += 1
        question = exchange.question(case)
        if isinstance(question, str):
            silent += 1
            continue
        if question.key in seen:
            repeated += 1
            continue
        seen.add(question.key)
        expected = exchange.expected(question, letters=4)
        if reply := exchange.find(question):
            stored.append((expected, reply))
            continue
        asked += 1
        tokens_in += expected
        tokens_out += len(case.report) // 4 + _ANSWER
    if stored and (expected := sum(tokens for tokens, _ in stored)):
        tokens_in = round(tokens_in * sum(reply.tokens_in for _, reply in stored) / expected)
        tokens_out = round(asked * sum(reply.tokens_out for _, reply in stored) / len(stored))
    cost = exchange.price.of(tokens_in, tokens_out) if exchange.price else None
    return Plan(
        total,
        silent,
        repeated,
        len(stored),
        asked,
        tokens_in,
        tokens_out,
        cost,
        exchange.llm.model,
    )
