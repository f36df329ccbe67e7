"""Questions to OpenAI's batch API: uploaded in files, answered within a day at half the price.

What has been sent is remembered in .cache/batches, so that a run that ended early, or was killed, waits for it and sends nothing twice.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xraygen.annotators.dialect import Manner
from xraygen.answers import cache_folder
from xraygen.errors import UserError
from xraygen.files import replacing
from xraygen.progress import progress_bar
from xraygen.server import hidden, secret

if TYPE_CHECKING:
    from xraygen.annotators.llm import Llm, Question, Reply

DISCOUNT = 0.5  # of the price, as OpenAI has it
MOST, BYTES = 50_000, 190_000_000  # requests and bytes of a file; OpenAI takes 50,000 and 200 MB
ROUNDS = 6  # in which what failed is sent again
_ID = 40  # of the 64 letters of a key
_PATIENCE = 1.0, 60.0  # seconds between two looks, at first and at most
_ENDED = ("completed", "failed", "expired", "cancelled")


class Problem(NamedTuple):
    """What stands in a line of a batch in the place of an answer."""

    status_code: int
    code: str | None
    param: str | None
    message: str


class Batches:
    """Asks the questions of an `Llm`, and keeps the answers there."""

    def __init__(self, llm: Llm):
        from openai import OpenAI

        self.llm, self.key, self.reasons = llm, secret(llm.server.key), {}
        self.sent, self.sent_again, self._tried = 0, 0, set()
        self.folder = cache_folder() / "batches"
        self.client = OpenAI(base_url=llm.server.base_url, api_key=self.key or "none", timeout=llm.server.timeout, max_retries=5)

    def answer(self, questions: Sequence[Question]) -> dict[str, str]:
        """{key: why there is no answer}; of all others there is one when this returns. UserError: as Asker.ask, or the price is too high."""
        with self._in_one_line(), self.client:
            for path in sorted(self.folder.glob("*.json")):
                self._resume(path, {question.key for question in questions if not self.llm.find(question)})
            for _ in range(ROUNDS):
                missing = [question for question in questions if not self.llm.find(question)]
                if not missing:
                    break
                self._check_price(missing)
                if not any([self._ask(part) for part in self._parts(missing)]):
                    break
        return self.reasons

    def _check_price(self, missing: Sequence[Question]) -> None:
        budget = self.llm.budget
        most = sum(budget.most(self.llm.expected(question), self.llm.llm.max_tokens) for question in missing)
        if budget.limit is not None and budget.spent + most > budget.limit:
            raise UserError(
                f"{len(missing):,} questions may cost up to {most:.4f} US dollars, more than llm.max_cost_usd leaves; nothing of it is sent"
            )

    def _parts(self, questions: Sequence[Question]) -> Iterator[list[Question]]:
        part, size = [], 0
        for question in sorted(questions, key=lambda question: question.key):
            length = len(self._line(question))
            if part and (len(part) == MOST or size + length > BYTES):
                yield part
                part, size = [], 0
            part.append(question)
            size += length
        if part:
            yield part

    def _line(self, question: Question) -> bytes:
        body = self.llm.body(question, self.llm.dialect.manner)
        line = {"custom_id": question.key[:_ID], "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line).encode() + b"\n"

    def _resume(self, path: Path, missing: set[str]) -> None:
        """Of a run that ended, or was killed, before it had the answers of a batch."""
        state = json.loads(path.read_text())
        if state["asked"] != self.llm.kept.asked or not missing & state["questions"].keys():
            return
        state["id"] = state["id"] or self._sent_before(path.stem)
        if state["id"]:
            self._finish(path, state)
        else:
            path.unlink()

    def _sent_before(self, name: str) -> str | None:
        """A batch that was sent by a run that was killed before it could write that down."""
        batches = self.client.batches.list(limit=100).data
        return next((batch.id for batch in batches if (batch.metadata or {}).get("xraygen") == name), None)

    def _ask(self, part: list[Question]) -> bool:
        """Whether what failed is worth another round."""
        path = self.folder / f"{uuid.uuid4().hex}.json"
        state = {"id": None, "asked": self.llm.kept.asked, "manner": self.llm.dialect.manner}
        state["questions"] = {question.key: question.case.id for question in part}
        _write(path, state)  # before it is sent, so that there is no moment at which a kill loses it
        state["id"] = self._send(part, path.stem)
        _write(path, state)
        return self._finish(path, state)

    def _finish(self, path: Path, state: dict) -> bool:
        """The answers are kept when this returns; whether what failed is worth another round."""
        import openai

        manner, questions = Manner(*state["manner"]), state["questions"]
        self._tried |= questions.keys()
        try:
            batch = self._wait(state["id"], len(questions))
        except openai.NotFoundError:
            gone = f"has no batch {state['id']} any more; remove {path} to send its questions again"
            raise UserError(f"{self.llm.server.base_url}: {gone}") from None
        problems = self._collect(batch, questions)
        path.unlink(missing_ok=True)
        if len(problems) < len(questions):
            self.llm.dialect.taken(manner)
        kinds = {problem[:3]: problem for problem in problems.values()}  # one no to the manner is not many
        return any([self.llm.dialect.refused(manner, problem) or problem.status_code >= 429 for problem in kinds.values()])

    def _send(self, part: list[Question], name: str) -> str:
        import openai

        with tempfile.TemporaryFile() as file:
            for question in part:
                file.write(self._line(question))
            file.seek(0)
            uploaded = self.client.files.create(file=(f"{name}.jsonl", file), purpose="batch")
        sent = {"input_file_id": uploaded.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        try:  # once: what was cut off may be there all the same, and would be paid for twice
            id = self.client.with_options(max_retries=0).batches.create(**sent, metadata={"xraygen": name}).id
        except (openai.APIConnectionError, openai.InternalServerError):
            id = self._sent_before(name)
            if id is None:
                raise
        self.sent += len(part)
        self.sent_again += sum(question.key in self._tried for question in part)
        print(f"batch {id}: {len(part):,} requests sent; this may be stopped and run again, it goes on", file=sys.stderr)
        return id

    def _wait(self, id: str, count: int):
        pause, most = _PATIENCE
        with progress_bar(count, f"batch {id}", "answers") as step:
            done = 0
            while (batch := self.client.batches.retrieve(id)).status not in _ENDED:
                counts = batch.request_counts
                now = counts.completed + counts.failed if counts else 0
                step(now - done)
                done = now
                time.sleep(pause)
                pause = min(most, 1.5 * pause)
        return batch

    def _collect(self, batch, questions: dict[str, str]) -> dict[str, Problem]:
        """Keeps the answers to questions, {key: id of a case}; what has none, {key: why}."""
        keys = {key[:_ID]: key for key in questions}
        problems = {key: Problem(504, None, None, f"the batch {batch.id} {batch.status} without an answer") for key in questions}
        if batch.errors and batch.errors.data:
            said = self._said(batch.errors.data[0].message or "")
            problems = {key: Problem(400, batch.errors.data[0].code, None, said) for key in questions}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for text in self.client.files.content(file).text.split("\n"):  # splitlines parts at characters that JSON may hold
                with contextlib.suppress(ValueError, AttributeError):  # no object of JSON: no answer
                    line = json.loads(text)
                    if key := keys.get(str(line.get("custom_id"))):
                        reply = self._reply(line)
                        if isinstance(reply, Problem):
                            problems[key] = reply
                        else:
                            self.llm.keep(key, questions[key], reply)
                            self.llm.budget.spent += self.llm.budget.price.of(reply.tokens_in, reply.tokens_out)
                            problems.pop(key, None)
        self.reasons |= {key: problem.message for key, problem in problems.items()}
        return problems

    def _reply(self, line: dict) -> Reply | Problem:
        from openai.types.chat import ChatCompletion

        from xraygen.annotators.llm import reply_of

        try:
            response = line.get("response") or {}
            status, body = response.get("status_code", 504), response.get("body") or {}  # none: it has expired
            if status == 200:
                return reply_of(ChatCompletion.construct(**body), self.key)
            error = body.get("error") or line.get("error") or {}
            return Problem(status, error.get("code"), error.get("param"), f"{status}: {self._said(str(error.get('message')))}")
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            return Problem(502, None, None, f"its answer is none of a chat ({type(error).__name__})")

    def _said(self, text: str) -> str:
        """In one line, without the key."""
        return hidden(" ".join(text.split()), self.key)[:200]

    @contextlib.contextmanager
    def _in_one_line(self) -> Iterator[None]:
        import openai

        url, key = self.llm.server.base_url, self.llm.server.key
        try:
            yield
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise UserError(f"{url}: rejects the key; set the environment variable {key}") from None
        except openai.NotFoundError:
            raise UserError(f"{url}: has no batch API; set llm.mode: direct") from None
        except openai.APIStatusError as error:
            raise UserError(f"{url}: status {error.status_code} ({self._said(error.message)}); what was sent goes on, run again later") from None
        except openai.OpenAIError as error:
            raise UserError(f"{url}: cannot be reached ({type(error).__name__}); what was sent goes on, run again later") from None


def _write(path: Path, state: dict) -> None:
    with replacing(path) as file:
        json.dump(state, file)
