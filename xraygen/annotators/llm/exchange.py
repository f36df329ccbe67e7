"""What the ways of asking, direct.py and batch.py, work on: the questions of an approach, the
replies that are kept, and what they may cost.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from xraygen.annotators.base import Project
from xraygen.annotators.llm.dialect import Dialect, RequestFormat
from xraygen.annotators.llm.params import LlmParams
from xraygen.annotators.llm.questions import Question, Questions
from xraygen.annotators.llm.reply import Reply
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.core.regions import Regions
from xraygen.core.study import Case
from xraygen.engines.answers import Answers
from xraygen.engines.budget import DISCOUNT, Budget, Price
from xraygen.engines.chat import Chat
from xraygen.engines.server import Server
from xraygen.prompting.region_names import RegionNames


class Asked(NamedTuple):
    """What is known of a question without its text. `id`: of the case. `tokens_in`: an upper
    estimate of those of the prompt, with its `views`.
    """

    key: str
    id: str
    tokens_in: int
    views: int


class Replies:
    """The replies of one model that are kept, whatever the prompt, and what they may cost.

    `price`: of this mode, None if params.yaml has none. `cost`: of the replies counted so far, in
    US dollars. UserError: there is a limit, but no price.
    """

    def __init__(self, llm: LlmParams, regions: Regions) -> None:
        self.llm = llm
        self.names = RegionNames(regions)
        self.server = Server(llm.base_url, llm.model, llm.api_key_env, llm.concurrency, llm.timeout)
        asked = {
            "base_url": llm.base_url,
            "model": llm.model,
            "max_tokens": llm.max_tokens,
            "temperature": 0,
        }
        self.kept = Answers(asked | {"regions": list(regions)})
        # Replies paid for before regions were declared; they count where they can be read.
        self.earlier = Answers(asked)
        self._direct_price = Price(0, 0)
        self.price: Price | None = None
        if price := llm.prices.get(llm.model):
            factor = DISCOUNT if llm.mode == "batch" else 1
            self._direct_price = Price(price.tokens_in, price.tokens_out)
            self.price = Price(factor * price.tokens_in, factor * price.tokens_out)
        self.budget = Budget(self.price, llm.max_cost_usd, llm.model)
        self.dialect = Dialect(f"{llm.model} at {llm.base_url}", regions)
        self.chat = Chat(llm.model, llm.max_tokens, self.dialect, self.budget)
        self._final: set[str] = set()  # questions whose reply was stored in this run

    def found(self, asked: Asked) -> Reply | None:
        """The stored reply. An unreadable one of an earlier run does not count: server or model may
        have been fixed since.
        """
        reply = self.paid(asked.key)
        final = asked.key in self._final or not self.kept.stored
        if reply is None or not (final or reply.is_read(self.names)):
            return None
        billed = reply.tokens_in / reply.tries or asked.tokens_in
        self.budget.learn(billed, asked.tokens_in, asked.views)
        return reply

    def paid(self, key: str) -> Reply | None:
        """The stored reply to a question, readable or not."""
        reply, _ = self._stored(key)
        return reply

    def keep(self, key: str, id: str, reply: Reply) -> None:
        """Stores a reply to the question `key`, about the case `id`. It replaces an unreadable one,
        whose cost is added to its own.
        """
        if self.llm.mode == "batch":
            reply = reply._replace(batch_in=reply.tokens_in, batch_out=reply.tokens_out)
        before, text = self._stored(key)
        unreadable = text if before and not before.is_read(self.names) else None
        stored = json.dumps(reply.after(before)._asdict())
        self.kept.keep(key, {"id": id}, stored, instead=unreadable)
        if self.kept.stored:  # else all are of this run, which may be that of a service
            self._final.add(key)

    def _stored(self, key: str) -> tuple[Reply | None, str | None]:
        """(the reply, the text that it is stored as)"""
        text = self.kept.find([key]).get(key) or self.earlier.find([key]).get(key)
        return (Reply(**json.loads(text)) if text else None), text

    def cost(self, reply: Reply) -> float:
        """What a reply cost, in US dollars, at the price of the mode in which it was paid for."""
        price = self._direct_price
        saved = (1 - DISCOUNT) * price.of(reply.batch_in, reply.batch_out)
        return price.of(reply.tokens_in, reply.tokens_out) - saved


class Exchange(Replies):
    """The questions of one approach to one model, and the replies. UserError: as Replies."""

    def __init__(self, settings: LlmSettings, project: Project) -> None:
        super().__init__(project.llm, project.regions)
        self.questions = Questions(settings, project)

    def question(self, case: Case) -> Question | str:
        """The question about a case, or why there is nothing to ask."""
        return self.questions.of(case)

    def asked(self, question: Question) -> Asked:
        tokens_in = self.expected(question)
        return Asked(question.key, question.case.id, tokens_in, self.views(question))

    def views(self, question: Question) -> int:
        return len(self.questions.views(question.case))

    def expected(self, question: Question, letters: float = 3.0) -> int:
        """An upper estimate of the tokens of the prompt. `letters`: characters per token."""
        return self.questions.tokens(question, letters)

    def body(self, question: Question, request_format: RequestFormat) -> dict:
        """The body of a request. UnreadablePicture: a view cannot be read."""
        return self.chat.body(self.questions.messages(question), request_format)

    def find(self, question: Question) -> Reply | None:
        """The stored reply, as `found`."""
        return self.found(self.asked(question))
