"""The annotator `llm` on a server: each distinct question is asked once, its answer kept as it
arrives, and never asked again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple

from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.llm.batch import DISCOUNT, Batches
from xraygen.annotators.llm.budget import VIEW, Budget, Plan, Price, estimate
from xraygen.annotators.llm.dialect import Dialect, Manner
from xraygen.annotators.llm.reply import Reply, reply_of
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.core.errors import UserError
from xraygen.core.files import sha256
from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines.answers import Answers
from xraygen.engines.server import Asker, Refusal, Server, Unusable
from xraygen.prompting import conversation
from xraygen.prompting.prompts import Prompts
from xraygen.prompting.region_names import RegionNames

_AHEAD = 32  # questions under way or waiting for an earlier one, for each request at a time


class Question(NamedTuple):
    """`key`: a hash of all that the model is shown."""

    case: Case
    turns: list[dict[str, str]]
    key: str


class Failed(NamedTuple):
    """Why there is no answer, and what was paid for those that came and could not be read."""

    reason: str
    paid: Reply


class Llm(Annotator):
    """Cases to records, in their order."""

    Settings: ClassVar = LlmSettings
    settings: LlmSettings
    may_fail: ClassVar = "none"

    @classmethod
    def build(cls, settings: LlmSettings, project: Project) -> Annotator:
        """On the server, or with `provider: local` in this process."""
        if project.llm.provider == "local":
            from xraygen.annotators.local import Local

            return Local(settings, project)
        return cls(settings, project)

    def __init__(self, settings: LlmSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.llm = llm = project.llm
        self.start = time.monotonic()
        self.prompts = Prompts(settings, project.root, project.regions)
        self.names = RegionNames(project.regions)
        self.server = Server(llm.base_url, llm.model, llm.api_key_env, llm.concurrency, llm.timeout)
        self.kept = Answers(
            {
                "base_url": llm.base_url,
                "model": llm.model,
                "max_tokens": llm.max_tokens,
                "temperature": 0,
                "regions": list(project.regions),
            }
        )
        price, factor = llm.prices.get(llm.model), DISCOUNT if llm.mode == "batch" else 1
        self.price = Price(factor * price.tokens_in, factor * price.tokens_out) if price else None
        self.direct_price = Price(price.tokens_in, price.tokens_out) if price else Price(0, 0)
        self.budget, self.dialect = (
            Budget(self.price, llm.max_cost_usd, llm.model),
            Dialect(f"{llm.model} at {llm.base_url}", project.regions),
        )
        self.asker: Asker | None = None
        self._under_way: dict[str, asyncio.Task] = {}
        self._counted: set[str] = set()
        self._final: set[str] = (
            set()
        )  # questions of which this run has kept the reply, whatever it is
        self._requests = self._retries = self._hits = self._cases = 0
        self._cost = 0.0

    @property
    def shows_pictures(self) -> bool:
        return "image" in self.settings.inputs

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """UserError: the server cannot be reached, rejects the key, has no such model, or
        `max_cost_usd` would be passed; the answers until then are kept.
        """
        if self.llm.mode == "batch":
            yield from self._by_batch(list(cases))
            return
        pending: deque[tuple[Case, Question | str, str | Reply | asyncio.Task]] = deque()
        with asyncio.Runner() as runner:
            loop = runner.get_loop()

            def first() -> AnnotationRecord:
                case, question, reply = pending.popleft()
                reply = loop.run_until_complete(reply) if isinstance(reply, asyncio.Task) else reply
                return self._record(case, question, reply)

            try:
                for case in cases:
                    question = self.question(case)
                    pending.append((case, question, self._begin(question, loop)))
                    loop.run_until_complete(asyncio.sleep(0))  # what is under way goes on
                    while (
                        len(pending) > _AHEAD * self.llm.concurrency
                        or pending
                        and _is_there(pending[0][2])
                    ):
                        yield first()
                while pending:
                    yield first()
            except (
                UserError,
                GeneratorExit,
            ) as stop:  # nothing new is asked then; what is under way is paid for
                if self.asker:
                    self.asker.failure = self.asker.failure or UserError(f"stopped: {stop}")
                    loop.run_until_complete(
                        asyncio.gather(*self.asker.under_way, return_exceptions=True)
                    )
                raise
            finally:
                tasks = [reply for *_, reply in pending if isinstance(reply, asyncio.Task)]
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                if self.asker:
                    loop.run_until_complete(self.asker.client.close())
                    self._requests, self._retries = (
                        self._requests + self.asker.requests,
                        self._retries + self.asker.retries,
                    )
                    self.asker = None  # it belongs to this loop

    def _by_batch(self, cases: list[Case]) -> Iterator[AnnotationRecord]:
        asked = [self.question(case) for case in cases]
        distinct = {question.key: question for question in asked if isinstance(question, Question)}
        new = [question for question in distinct.values() if not self.find(question)]
        reasons = {}
        if new:
            batches = Batches(self)
            reasons = batches.answer(new)
            self._requests, self._retries = (
                self._requests + batches.sent,
                self._retries + batches.sent_again,
            )
        self._hits += sum(isinstance(question, Question) for question in asked) - len(new)
        for case, question in zip(cases, asked, strict=True):
            reply = (
                question
                if isinstance(question, str)
                else self.find(question) or reasons[question.key]
            )
            yield self._record(case, question, reply)

    def _begin(
        self, question: Question | str, loop: asyncio.AbstractEventLoop
    ) -> str | Reply | asyncio.Task:
        """Why there is nothing to ask, the answer that is kept, or the asking of it."""
        if isinstance(question, str):
            return question
        if question.key in self._under_way:
            self._hits += 1
            return self._under_way[question.key]
        if reply := self.find(question):
            self._hits += 1
            return reply
        self.asker = asker = self.asker or Asker(self.server)
        task = self._under_way[question.key] = loop.create_task(self._ask(asker, question))
        task.add_done_callback(lambda _: self._under_way.pop(question.key, None))
        return task

    def question(self, case: Case) -> Question | str:
        """Or why there is nothing to ask."""
        if lacking := conversation.lacking(case, self.settings.inputs):
            return lacking
        turns, shown = self.prompts.turns(case), []
        if "image" in self.settings.inputs:
            try:
                shown = [
                    [view.sha256 or self._sha256(view.path), self.llm.max_pixels]
                    for view in self._views(case)
                ]
            except UnreadablePicture as error:
                return conversation.PictureProblem(error)
        return Question(
            case, turns, hashlib.sha256(json.dumps([turns, shown]).encode()).hexdigest()
        )

    def _views(self, case: Case):
        return (
            conversation.views(case)[: self.llm.max_views]
            if "image" in self.settings.inputs
            else []
        )

    def _sha256(self, path: str) -> str:
        try:
            return sha256([self.project.images / path])
        except OSError as error:
            picture = self.project.images / path
            problem = f"{picture}: {error.strerror}; fetch the images, or set inputs: report"
            raise UnreadablePicture(problem) from None

    def find(self, question: Question) -> Reply | None:
        """The reply that is kept; none that cannot be read and is of an earlier run: server or
        model may have been mended.
        """
        reply, _ = self._kept(question.key)
        if reply is None or not (question.key in self._final or reply.is_read(self.names)):
            return None
        expected = self.expected(question)
        self.budget.learn(reply.tokens_in / reply.tries or expected, expected, self.views(question))
        return reply

    def keep(self, key: str, id: str, reply: Reply) -> None:
        """In the place of one that cannot be read, and with what that has cost."""
        if self.llm.mode == "batch":
            reply = reply._replace(batch_in=reply.tokens_in, batch_out=reply.tokens_out)
        before, text = self._kept(key)
        unread = text if before and not before.is_read(self.names) else None
        self.kept.keep(key, {"id": id}, json.dumps(reply.after(before)._asdict()), instead=unread)
        self._final.add(key)

    def _kept(self, key: str) -> tuple[Reply | None, str | None]:
        """The reply, and the text as which it is kept."""
        text = self.kept.find([key]).get(key)
        return (Reply(**json.loads(text)) if text else None), text

    async def _ask(self, asker: Asker, question: Question) -> Reply | Failed | str:
        """The answer, or why there is none."""
        last: Reply | None = None

        def read(body) -> Reply:
            nonlocal last
            reply = reply_of(body, asker.key)
            last = reply.after(last)
            if problem := last.problem(self.names):
                raise Unusable(problem)
            return last

        async with asker.slots:
            try:
                messages = self._messages(question)
            except UnreadablePicture as error:
                return conversation.PictureProblem(error)
            result = await asker.ask(
                lambda client: self._send(asker, client, question, messages), read
            )
        if isinstance(result, Refusal) and not result.unusable:
            before, _ = self._kept(question.key)
            paid = last.after(before) if last else before
            return Failed(result.reason, paid) if paid else result.reason
        assert last is not None  # a reply came, whether it can be used or not
        self.keep(question.key, question.case.id, last)
        return self.find(question) or last

    async def _send(self, asker: Asker, client, question: Question, messages: list[dict]):
        """The raw response, in the strictest form of answer that the server takes."""
        import openai

        expected, views, tried = (
            (self.expected(question), self.llm.max_tokens),
            self.views(question),
            set(),
        )
        while True:
            manner = self.dialect.manner
            tried.add(manner)
            async with self.budget.reserve(*expected, views) as bill:
                await asker.opening()
                if asker.failure:  # meanwhile
                    bill(0, 0)
                    raise asker.failure
                try:
                    raw = await asker.in_time(
                        client.chat.completions.with_raw_response.create(
                            **self._body(messages, manner)
                        )
                    )
                    usage = raw.parse().usage
                    bill(*((usage.prompt_tokens, usage.completion_tokens) if usage else expected))
                    self.dialect.taken(manner)
                    return raw
                except openai.APIStatusError as error:
                    bill(0, 0)
                    if (
                        not self.dialect.refused(manner, error, question.key)
                        or self.dialect.manner in tried
                    ):
                        raise

    def expected(self, question: Question, letters: float = 3.0) -> int:
        """Tokens of the prompt, rather too many."""
        return estimate(question.turns, letters) + VIEW * self.views(question)

    def views(self, question: Question) -> int:
        return len(self._views(question.case))

    def body(self, question: Question, manner: Manner) -> dict:
        return self._body(self._messages(question), manner)

    def _body(self, messages: list[dict], manner: Manner) -> dict:
        fields = manner.fields(self.llm.max_tokens, self.dialect.forms)
        return {"model": self.llm.model, "messages": messages, **fields}

    def _messages(self, question: Question) -> list[dict]:
        """The views stand before the words of the last turn."""
        views = []
        for view in self._views(question.case):
            try:
                url = "data:image/png;base64," + base64.b64encode(self._png(view.path)).decode()
            except UnreadablePicture as error:
                raise UnreadablePicture(f"study {question.case.id}: {error}") from None
            views.append({"type": "image_url", "image_url": {"url": url}})
        if not views:
            return question.turns
        *turns, last = question.turns
        return [*turns, last | {"content": [*views, {"type": "text", "text": last["content"]}]}]

    def _png(self, path: str) -> bytes:
        """Of at most max_pixels, and in the same upright 8 bits that a fine-tuned model is
        shown.
        """
        picture, file = open_picture(self.project.images / path), io.BytesIO()
        scale = (self.llm.max_pixels / (picture.width * picture.height)) ** 0.5
        if scale < 1:
            picture = picture.resize(
                (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
            )
        picture.convert("L").save(file, "PNG")
        return file.getvalue()

    def _record(
        self, case: Case, question: Question | str, reply: Reply | Failed | str
    ) -> AnnotationRecord:
        """Tokens are those of the first case with this question; they were paid for once."""
        self._cases += 1
        if isinstance(reply, str):
            return AnnotationRecord(
                id=case.id, annotation=None, error=reply, usage=conversation.counted(reply)
            )
        paid = reply.paid if isinstance(reply, Failed) else reply
        usage: dict[str, float] = {}
        if isinstance(question, Question) and question.key not in self._counted:
            self._counted.add(question.key)
            usage = {"tokens_in": paid.tokens_in, "tokens_out": paid.tokens_out}
            price = self.direct_price
            self._cost += price.of(paid.tokens_in, paid.tokens_out) - (1 - DISCOUNT) * price.of(
                paid.batch_in, paid.batch_out
            )
        if isinstance(reply, Failed):
            return AnnotationRecord(id=case.id, annotation=None, error=reply.reason, usage=usage)
        try:
            annotation, repaired = reply.read(self.names)
        except ValueError as reason:
            error = str(reason)
            if reply.cut:
                error = f"the answer had not ended after {self.llm.max_tokens:,} tokens"
                error += f"; {reply.stopped}" if reply.stopped else ""
            return AnnotationRecord(
                id=case.id, annotation=None, error=error, raw=reply.text, usage=usage
            )
        return AnnotationRecord(
            id=case.id, annotation=annotation, raw=reply.text, usage=usage | {"repaired": repaired}
        )

    def usage(self) -> dict[str, float]:
        """Of this run: requests, retries and answers that were there already. Cost is that of each
        answer, whenever it was paid for, and at the price of that time's mode.
        """
        sent: dict[str, float] = {
            "requests": self._requests,
            "retries": self._retries,
            "cache_hits": self._hits,
            "seconds": round(time.monotonic() - self.start, 1),
        }
        if self.price is None:
            return sent
        each = self._cost / max(1, self._cases)
        return sent | {
            "cost_usd": round(self._cost, 6),
            "cost_usd_per_1000_reports": round(1000 * each, 4),
        }

    def plan(self, cases: Iterable[Case]) -> Plan:
        """What __call__ would ask; no key is used. Tokens are reckoned from letters, and by those
        of the answers that are kept.
        """
        total = silent = repeated = asked = tokens_in = 0
        seen: set[str] = set()
        found: list[tuple[int, Reply]] = []
        lengths: list[int] = []
        for case in cases:
            total += 1
            question = self.question(case)
            if isinstance(question, str):
                silent += 1
            elif question.key in seen:
                repeated += 1
            else:
                seen.add(question.key)
                expected = self.expected(question, letters=4)
                if reply := self.find(question):
                    found.append((expected, reply))
                else:
                    tokens_in, asked = tokens_in + expected, asked + 1
                    lengths.append(len(case.report) // 4 + 40)
        tokens_out = sum(lengths)
        if found and (expected := sum(one for one, _ in found)):
            tokens_in = round(tokens_in * sum(reply.tokens_in for _, reply in found) / expected)
            tokens_out = round(asked * sum(reply.tokens_out for _, reply in found) / len(found))
        cost = self.price.of(tokens_in, tokens_out) if self.price else None
        return Plan(
            total, silent, repeated, len(found), asked, tokens_in, tokens_out, cost, self.llm.model
        )


def _is_there(reply: str | Reply | asyncio.Task) -> bool:
    return not isinstance(reply, asyncio.Task) or reply.done()
