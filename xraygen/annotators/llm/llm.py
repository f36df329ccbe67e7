"""The annotator `llm` on a server: each distinct question is asked once, its reply stored as it
arrives, and never asked again.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import ClassVar

from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.llm.asking import Asking, Here
from xraygen.annotators.llm.batch import Batches
from xraygen.annotators.llm.direct import Direct, Outcome
from xraygen.annotators.llm.exchange import Exchange
from xraygen.annotators.llm.plan import Plan, plan
from xraygen.annotators.llm.questions import Question
from xraygen.annotators.llm.reply import Failed, Reply
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.llm.shared import Elsewhere
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case
from xraygen.prompting import conversation


class Llm(Annotator):
    """Cases to records, in their order."""

    Settings: ClassVar = LlmSettings
    settings: LlmSettings

    @classmethod
    def build(cls, settings: LlmSettings, project: Project) -> Annotator:
        """On the server, or with `provider: local` in this process."""
        if project.llm.provider == "local":
            from xraygen.annotators.local import Local

            return Local(settings, project)
        return cls(settings, project)

    def __init__(self, settings: LlmSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.llm = project.llm
        self.shared = project.shared
        if self.shared and self.llm.mode == "batch":
            raise UserError(
                "params.yaml: llm.mode: batch sends the questions of a run all at once, which "
                "workers on a cluster cannot; set llm.mode: direct, or leave out --ray"
            )
        self.exchange = Exchange(settings, project)
        self._start = time.monotonic()
        self._sent = Counter({"requests": 0, "retries": 0, "cache_hits": 0})
        self._cases = 0
        self._cost = 0.0
        self._counted: set[str] = set()  # questions whose cost has been counted

    @property
    def shows_pictures(self) -> bool:
        return "image" in self.exchange.questions.shown.inputs

    @property
    def asks_server(self) -> bool:
        return True

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        return True

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """UserError: the server cannot be reached, rejects the key, does not have the model, or
        `max_cost_usd` would be exceeded; the replies until then are stored.
        """
        if self.shared:  # which knows of those of other calls
            self._counted.clear()
        asked = self._by_batch(cases) if self.llm.mode == "batch" else self._directly(cases)
        with contextlib.closing(asked) as outcomes:
            for outcome in outcomes:
                yield self._record(outcome)

    def _directly(self, cases: Iterable[Case]) -> Generator[Outcome]:
        asking: Asking
        if self.shared:
            asking = Elsewhere(self.shared, self.llm.concurrency)
        else:
            asking = Here(self.exchange)
        try:
            yield from Direct(self.exchange, asking).outcomes(cases)
        finally:
            self._sent.update(asking.sent()._asdict())

    def _by_batch(self, cases: Iterable[Case]) -> Generator[Outcome]:
        asked = [(case, self.exchange.question(case)) for case in cases]
        questions = [question for _, question in asked if isinstance(question, Question)]
        distinct = {question.key: question for question in questions}
        new = [question for question in distinct.values() if not self.exchange.find(question)]
        reasons: dict[str, str] = {}
        if new:
            batches = Batches(self.exchange)
            reasons = batches.answer(new)
            self._sent.update(requests=batches.sent, retries=batches.sent_again)
        self._sent.update(cache_hits=len(questions) - len(new))
        for case, question in asked:
            if isinstance(question, str):
                yield Outcome(case, question, question)
            else:
                reply = self.exchange.find(question) or reasons[question.key]
                yield Outcome(case, question, reply)

    def _record(self, outcome: Outcome) -> AnnotationRecord:
        """Tokens are counted for the first case with this question; they were paid for once. On a
        cluster that is the first one that any worker reaches.
        """
        id = outcome.case.id
        reply = outcome.reply
        self._cases += 1
        if isinstance(reply, str):
            usage = conversation.counted(reply)
            return AnnotationRecord(id=id, annotation=None, error=reply, usage=usage)
        if isinstance(reply, Failed):
            usage = self._usage_of(outcome.question, reply.paid)
            return AnnotationRecord(id=id, annotation=None, error=reply.reason, usage=usage)
        usage = self._usage_of(outcome.question, reply)
        try:
            annotation, repaired = reply.read(self.exchange.names)
        except ValueError as reason:
            error = self._why_unreadable(reply, reason)
            return AnnotationRecord(
                id=id, annotation=None, error=error, raw=reply.text, usage=usage
            )
        usage["repaired"] = repaired
        return AnnotationRecord(id=id, annotation=annotation, raw=reply.text, usage=usage)

    def _usage_of(self, question: Question | str, paid: Reply) -> dict[str, float]:
        if isinstance(question, str) or not self._counts(question, self.exchange.cost(paid)):
            return {}
        return {"tokens_in": paid.tokens_in, "tokens_out": paid.tokens_out}

    def _counts(self, question: Question, cost: float) -> bool:
        """Whether a question is counted for its case."""
        if question.key in self._counted:
            return False
        if self.exchange.kept.stored:
            self._counted.add(question.key)
        if self.shared:
            return self.shared.call("count", question.key, question.case.id, cost)
        self._cost += cost
        return True

    def _why_unreadable(self, reply: Reply, reason: ValueError) -> str:
        if not reply.cut:
            return str(reason)
        error = f"the answer had not ended after {self.llm.max_tokens:,} tokens"
        return f"{error}; {reply.stopped}" if reply.stopped else error

    def usage(self) -> dict[str, float]:
        """Requests, retries and stored replies of this run. The cost is that of each reply,
        whenever it was paid for, and at the price of the mode of that time.
        """
        usage: dict[str, float] = dict(self._sent)
        usage["seconds"] = round(time.monotonic() - self._start, 1)
        if self.exchange.price is not None:
            per_case = self._cost / max(1, self._cases)
            usage["cost_usd"] = round(self._cost, 6)
            usage["cost_usd_per_1000_reports"] = round(1000 * per_case, 4)
        return usage

    def plan(self, cases: Iterable[Case]) -> Plan:
        """What __call__ would ask; needs no key."""
        return plan(self.exchange, cases)
