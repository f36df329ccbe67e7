"""What asking costs: known before the first question, and stopped before it is more than
allowed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from xraygen.core.errors import UserError

VIEW = 1000  # tokens that a view is taken for before a bill tells; gpt-4o-mini bills 8,500 and more


class Price(NamedTuple):
    """US dollars for a million tokens."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


class Plan(NamedTuple):
    """What an approach would ask. `silent`: cases that there is nothing to ask about; `cost`: US
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
        counts = f"{self.silent:,} with nothing to ask about, {self.repeated:,} repeated, {self.kept:,} answered before"
        tokens = f"about {self.tokens_in:,} tokens in and {self.tokens_out:,} out"
        price = (
            f"no price for {self.model} under llm.prices"
            if self.cost is None
            else f"about {self.cost:,.4f} US dollars"
        )
        return f"{self.cases:,} cases: {counts}; {self.asked:,} requests to {self.model}, {tokens}; {price}"


def estimate(turns: Sequence[dict[str, str]], letters: float = 4.0) -> int:
    """Tokens of a conversation, at so many characters of English a token."""
    return round(sum(len(turn["content"]) for turn in turns) / letters) + 8 * len(turns)


class Budget:
    """What was spent, in US dollars, and what requests under way may come to; never more than
    `limit` together.
    """

    def __init__(self, price: Price | None, limit: float | None, model: str):
        if limit is not None and price is None:
            raise UserError(
                f"params.yaml: llm.max_cost_usd needs the price of {model} under llm.prices"
            )
        self.price, self.limit, self.spent = price or Price(0, 0), limit, 0.0
        self._under_way: list[
            tuple[bool, float]
        ] = []  # with views or not, and the most that it may cost
        self._ratio: float | None = (
            None  # of tokens billed to tokens expected, without views; the largest seen
        )
        self._view: float | None = None  # tokens of a view, the most seen
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reserve(
        self, tokens_in: int, tokens_out: int, views: int = 0
    ) -> AsyncIterator[Callable[[int, int], None]]:
        """Waits until there is room for one request of so many tokens, VIEW of them for each view;
        what is yielded is to be called with those that were billed. A request that ends without a
        bill counts as the most that it can have cost.

        UserError: there is no room, and nothing under way that could make some.
        """
        while not self._has_room(tokens_in, tokens_out, views):
            if not self._under_way:
                raise UserError(
                    f"stopped before llm.max_cost_usd: {self.spent:.4f} of {self.limit} US dollars are spent, and the next question may "
                    f"cost {self.most(tokens_in, tokens_out, views):.4f}; what was answered is kept, raise llm.max_cost_usd to go on"
                )
            if self._changed.is_set():
                self._changed = asyncio.Event()
            await self._changed.wait()
        cost = self.most(tokens_in, tokens_out, views)
        reserved = (views > 0, cost)
        self._under_way.append(reserved)

        def bill(billed_in: int, billed_out: int) -> None:
            nonlocal cost
            cost = self.price.of(billed_in, billed_out)
            self.learn(billed_in, tokens_in, views)

        try:
            yield bill
        finally:
            self._under_way.remove(reserved)
            self.spent += cost
            self._changed.set()

    def _has_room(self, tokens_in: int, tokens_out: int, views: int) -> bool:
        """The first bill of its kind is waited for: views may cost many times what they are taken
        for.
        """
        if self.limit is None:
            return True
        if not self.knows(views > 0) and any(kind == (views > 0) for kind, _ in self._under_way):
            return False
        return (
            self.spent
            + sum(cost for _, cost in self._under_way)
            + self.most(tokens_in, tokens_out, views)
            <= self.limit
        )

    def knows(self, views: bool) -> bool:
        """Whether there was a bill of a question with views, or of one without."""
        return (self._view if views else self._ratio) is not None

    def learn(self, billed: float, tokens_in: int, views: int) -> None:
        """From a bill. Text is reckoned with rather too many tokens, but not with twice as many;
        the rest is the views'.
        """
        if billed and views:
            self._view = max(self._view or VIEW, (billed - (tokens_in - VIEW * views) / 2) / views)
        elif billed:
            self._ratio = max(self._ratio or 1.0, billed / tokens_in)

    def most(self, tokens_in: int, tokens_out: int, views: int = 0) -> float:
        """What a request of about so many tokens may cost."""
        text = (tokens_in - VIEW * views) * (self._ratio or 1.0)
        return self.price.of(text + views * (self._view or VIEW), tokens_out)
