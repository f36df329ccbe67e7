"""What requests cost: estimated before they are sent, and never more than the limit."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from pydantic import NonNegativeFloat

from xraygen.core.errors import UserError
from xraygen.core.study import Record
from xraygen.engines.server_errors import Unavailable

# Tokens that a view is assumed to take until a bill tells; gpt-4o-mini bills 8,500 and more.
VIEW = 1000
DISCOUNT = 0.5  # OpenAI's price of a batch, as a share of the direct price


class TokenPrice(Record):
    """As in params.yaml: US dollars for a million tokens."""

    tokens_in: NonNegativeFloat
    tokens_out: NonNegativeFloat


class Price(NamedTuple):
    """US dollars per million tokens."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


def estimate(turns: Sequence[dict[str, str]], letters: float = 4.0) -> int:
    """Tokens of a conversation. `letters`: characters of English per token."""
    return round(sum(len(turn["content"]) for turn in turns) / letters) + 8 * len(turns)


class Budget:
    """`spent`: US dollars. Together with what the requests under way may cost at most, it never
    exceeds `limit`. `section`: of params.yaml, for errors. UserError: there is a limit, but no
    price.
    """

    def __init__(
        self, price: Price | None, limit: float | None, model: str, section: str = "llm"
    ) -> None:
        if limit is not None and price is None:
            raise UserError(
                f"params.yaml: {section}.max_cost_usd needs the price of {model} under "
                f"{section}.prices"
            )
        self.section = section
        self.price = price or Price(0, 0)
        self.limit = limit
        self.spent = 0.0
        # Of each request whether it has views, and its maximum cost.
        self._under_way: list[tuple[bool, float]] = []
        # The largest ratio of tokens billed to tokens expected, of requests without views.
        self._ratio: float | None = None
        self._view: float | None = None  # the most tokens that a view was billed as
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reserve(
        self, tokens_in: int, tokens_out: int, views: int = 0
    ) -> AsyncIterator[Callable[[int, int], None]]:
        """Waits until there is room for one request. `tokens_in`, `tokens_out`: what it is expected
        to take at most, VIEW for each of its `views` included. Yields a function to call with the
        tokens billed; a request that ends without a bill counts at its maximum cost.

        UserError: there is no room, and nothing under way that could make some.
        """
        while not self._has_room(tokens_in, tokens_out, views):
            if not self._under_way:
                raise Unavailable(
                    f"stopped before {self.section}.max_cost_usd: {self.spent:.4f} of {self.limit} "
                    "US dollars are spent, and the next question may cost "
                    f"{self.most(tokens_in, tokens_out, views):.4f}; what was answered is kept, "
                    f"raise {self.section}.max_cost_usd to go on"
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
        """The first bill of its kind is awaited: views may cost many times what is assumed."""
        if self.limit is None:
            return True
        if not self.knows(views > 0) and any(kind == (views > 0) for kind, _ in self._under_way):
            return False
        reserved = sum(cost for _, cost in self._under_way)
        return self.spent + reserved + self.most(tokens_in, tokens_out, views) <= self.limit

    def knows(self, views: bool) -> bool:
        """Whether a question with views, or one without, has been billed."""
        return (self._view if views else self._ratio) is not None

    def learn(self, billed: float, tokens_in: int, views: int) -> None:
        """Updates the estimates from a bill. The tokens expected of a text are at most twice the
        true number, so the views are charged with all but half of them.
        """
        if billed and views:
            text = (tokens_in - VIEW * views) / 2
            self._view = max(self._view or VIEW, (billed - text) / views)
        elif billed:
            self._ratio = max(self._ratio or 1.0, billed / tokens_in)

    def most(self, tokens_in: int, tokens_out: int, views: int = 0) -> float:
        """The maximum cost of a request, in US dollars."""
        text = (tokens_in - VIEW * views) * (self._ratio or 1.0)
        return self.price.of(text + views * (self._view or VIEW), tokens_out)
