"""Questions to OpenAI's batch API: uploaded in files, answered within a day at half the price.

Batches that have been sent are recorded (sent_batch.py), so that nothing is sent twice.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence, Set
from typing import IO

from xraygen.annotators.llm.batch_lines import (
    Problem,
    custom_id,
    in_one_line,
    outcome_of,
    parsed,
    request_line,
)
from xraygen.annotators.llm.exchange import Exchange
from xraygen.annotators.llm.questions import Question
from xraygen.annotators.llm.reply import Reply
from xraygen.annotators.llm.sent_batch import SentBatch, locked, sent_batches
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture
from xraygen.core.progress import progress_bar
from xraygen.engines.answers import cache_folder
from xraygen.engines.server import UNUSABLE_TRIES, client_library, key_of
from xraygen.prompting.conversation import PictureProblem

MOST = 50_000  # requests of a file, OpenAI's limit
BYTES = 190_000_000  # of a file; OpenAI's limit is 200 MB
ROUNDS = 6  # at most; in each what failed is sent again
FIRST = 8  # questions with views, at most, that are sent before the cost of a view is known
_PATIENCE = 1.0, 60.0  # seconds between two looks, at first and at most
_ENDED = ("completed", "failed", "expired", "cancelled")
_NOT_SENT = "not sent: none of the first questions with views was answered"


class Batches:
    """Asks the questions of an exchange, which stores the replies. `sent`, `sent_again`: requests,
    and those of them that had been sent before. UserError: the package openai is missing.
    """

    def __init__(self, exchange: Exchange) -> None:
        server = exchange.server
        self.exchange = exchange
        self.key = key_of(server)
        self.reasons: dict[str, str] = {}
        self.sent = 0
        self.sent_again = 0
        self.folder = cache_folder() / "batches"
        self.client = client_library().OpenAI(
            base_url=server.base_url,
            api_key=self.key or "none",
            timeout=server.timeout,
            max_retries=5,
        )
        self._tried: set[str] = set()
        self._unreadable: dict[str, Reply] = {}  # the last reply to each question
        self._failures: list[str] = []  # of whole batches

    def answer(self, questions: Sequence[Question]) -> dict[str, str]:
        """Errors by key; every other question has a stored reply on return. UserError: as
        Asker.ask, a batch failed as a whole, or the price is too high.
        """
        self.reasons = {question.key: _NOT_SENT for question in questions}
        with self._user_errors(), self.client:
            for _ in range(ROUNDS):
                if not self._round(questions):
                    break
        return self.reasons

    def _round(self, questions: Sequence[Question]) -> bool:
        """Sends what is neither answered nor under way, and collects both. Returns whether another
        round may bring more replies.
        """
        with locked(self.folder):
            missing = {one.key: one for one in questions if self._is_missing(one)}
            under_way = self._under_way(missing.keys())
            asked = {key for batch in under_way for key in batch.questions}
            unsent = [question for key, question in missing.items() if key not in asked]
            if under_way and self.exchange.budget.limit is not None:
                now = []  # what they cost has to be known first
            else:
                now = self._first(unsent)
            if now:
                self._check_price(unsent)
            sent = self._send_all(now)
        retry = [self._finish(batch, resumed=True) for batch in under_way]
        retry += [self._finish(batch) for batch in sent]
        if self._failures:
            raise UserError("; ".join(self._failures))
        return any(retry) or len(now) < len(unsent)

    def _is_missing(self, question: Question) -> bool:
        if isinstance(self.reasons[question.key], PictureProblem):
            return False
        return not self.exchange.find(question)

    def _first(self, questions: list[Question]) -> list[Question]:
        """What to send now: everything, or if there is a limit and no view has been billed yet, a
        few of the questions with views.
        """
        budget = self.exchange.budget
        with_views = [question for question in questions if self.exchange.views(question)]
        if not with_views or budget.limit is None or budget.knows(views=True):
            return questions
        # Where all would fit at VIEW tokens a view, a tenth does at ten times as many.
        count = max(1, min(FIRST, len(with_views) // 10))
        return sorted(with_views, key=lambda question: question.key in self._tried)[:count]

    def _check_price(self, questions: Sequence[Question]) -> None:
        exchange = self.exchange
        budget = exchange.budget
        if budget.limit is None:
            return
        tokens_out = exchange.llm.max_tokens
        most = sum(
            budget.most(exchange.expected(question), tokens_out, exchange.views(question))
            for question in questions
        )
        if budget.spent + most > budget.limit:
            raise UserError(
                f"{len(questions):,} questions may cost up to {most:.4f} US dollars, more than "
                "llm.max_cost_usd leaves; none of them is sent"
            )

    # Sending

    def _send_all(self, questions: Sequence[Question]) -> list[SentBatch]:
        sent = []
        for part, file in self._parts(questions):
            batch = SentBatch(
                self.folder / f"{uuid.uuid4().hex}.json",
                None,
                self.exchange.kept.asked,
                self.exchange.dialect.request_format,
                {question.key: question.case.id for question in part},
            )
            batch.save()  # before it is sent: a kill at any moment must not lose it
            batch.id = self._send(part, file, batch.name)
            batch.save()
            sent.append(batch)
        return sent

    def _parts(self, questions: Sequence[Question]) -> Iterator[tuple[list[Question], IO[bytes]]]:
        """The questions of each batch with the file of its lines, which the next one overwrites."""
        part: list[Question] = []
        with tempfile.TemporaryFile() as file:
            for question in sorted(questions, key=lambda question: question.key):
                try:
                    line = self._line(question)
                except UnreadablePicture as error:
                    self.reasons[question.key] = PictureProblem(error)
                    continue
                if part and (len(part) == MOST or file.tell() + len(line) > BYTES):
                    yield part, file
                    part = []
                    file.seek(0)
                    file.truncate()
                part.append(question)
                file.write(line)
            if part:
                yield part, file

    def _line(self, question: Question) -> bytes:
        body = self.exchange.body(question, self.exchange.dialect.request_format)
        return request_line(question.key, body)

    def _send(self, part: list[Question], file: IO[bytes], name: str) -> str:
        """Returns the id that the server gives the batch."""
        import openai

        file.seek(0)
        uploaded = self.client.files.create(file=(f"{name}.jsonl", file), purpose="batch")
        # Without retries: a request that was cut off may have made the batch all the same, and a
        # second one would be paid for.
        batches = self.client.with_options(max_retries=0).batches
        try:
            id = batches.create(
                input_file_id=uploaded.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"xraygen": name},
            ).id
        except (openai.APIConnectionError, openai.InternalServerError):
            known = self._id_at_server(name)
            if known is None:
                raise
            id = known
        self.sent += len(part)
        self.sent_again += sum(question.key in self._tried for question in part)
        print(
            f"batch {id}: {len(part):,} requests sent; you may stop this run, the next one goes on",
            file=sys.stderr,
        )
        return id

    def _under_way(self, missing: Set[str]) -> list[SentBatch]:
        """The batches with any of these questions: of another run, which is at work, or ended or
        was killed before it had the replies.
        """
        asked = (self.exchange.kept.asked, self.exchange.earlier.asked)
        found = []
        for batch in sent_batches(self.folder):
            if batch.asked not in asked or not missing & batch.questions.keys():
                continue
            batch.id = batch.id or self._id_at_server(batch.name)
            if batch.id:
                found.append(batch)
            else:
                batch.remove()
        return found

    def _id_at_server(self, name: str) -> str | None:
        """The id of a batch whose run was killed before it could record it; None if it was not
        sent."""
        for batch in self.client.batches.list(limit=100).data:
            if (batch.metadata or {}).get("xraygen") == name:
                return batch.id
        return None

    # Collecting

    def _finish(self, sent: SentBatch, resumed: bool = False) -> bool:
        """Waits for a batch and stores its replies. Returns whether what failed is worth another
        round. `resumed`: it is of an earlier run.
        """
        import openai

        assert sent.id is not None  # it is under way
        url = self.exchange.server.base_url
        self._tried |= sent.questions.keys()
        try:
            batch = self._wait(sent.id, len(sent.questions))
        except openai.NotFoundError:
            self._failures.append(
                f"{url}: has no batch {sent.id} any more; remove {sent.path} to send its questions "
                "again"
            )
            return False
        problems, lost = self._collect(batch, sent.questions)
        with locked(self.folder):  # not between another process's looks for replies and batches
            sent.remove()
        if batch.status == "failed":
            self._failures.append(
                f"{url}: batch {batch.id} failed, {self._why_failed(batch)}; what was answered is "
                "kept, run again to send the rest"
            )
        elif lost and not resumed:
            # An earlier run's may have been too old. This one's would be paid for in every round.
            self._failures.append(
                f"{url}: has lost the answers of batch {batch.id}; run again to send its questions "
                "again, and pay for them again"
            )
        dialect = self.exchange.dialect
        if any(key not in problems or problems[key].status_code == 200 for key in sent.questions):
            dialect.accepted(sent.request_format)
        # Several equal refusals in a batch are one refusal of its format.
        distinct = {problem[:3]: problem for problem in problems.values()}.values()
        retry = [
            dialect.refused(sent.request_format, problem) or not 300 <= problem.status_code < 429
            for problem in distinct
        ]
        return any(retry)

    def _why_failed(self, batch) -> str:
        errors = batch.errors.data if batch.errors else None
        if not errors:
            return "for no stated reason"
        return in_one_line(f"{errors[0].code}: {errors[0].message}", self.key)

    def _wait(self, id: str, count: int):
        """The batch, once it has ended."""
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

    def _collect(self, batch, questions: dict[str, str]) -> tuple[dict[str, Problem], bool]:
        """Stores the replies to `questions`, {key: id of a case}. Returns the problems of those
        without one by key, and whether the server has lost replies.
        """
        import openai

        keys = {custom_id(key): key for key in questions}
        none = Problem(504, None, None, f"the batch {batch.id} {batch.status} without an answer")
        problems = dict.fromkeys(questions, none)
        lost = False
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            try:
                content = self.client.files.content(file).text
            except openai.NotFoundError:
                lost = lost or file == batch.output_file_id
                continue
            for text in content.split("\n"):  # splitlines splits at characters within JSON too
                line = parsed(text)
                key = keys.get(str(line.get("custom_id")))
                if key is None or key not in problems:
                    continue
                outcome = outcome_of(line, self.key)
                if problem := self._problem(key, questions[key], outcome):
                    problems[key] = problem
                else:
                    del problems[key]
        self.reasons |= {key: problem.message for key, problem in problems.items()}
        return problems, lost

    def _problem(self, key: str, id: str, outcome: Reply | Problem) -> Problem | None:
        """Stores a reply, unless it is unreadable and worth another try. None: it is stored."""
        if isinstance(outcome, Problem):
            return outcome
        budget = self.exchange.budget
        budget.spent += budget.price.of(outcome.tokens_in, outcome.tokens_out)
        reply = outcome.after(self._unreadable.get(key))
        why = reply.problem(self.exchange.names)
        if why and reply.tries < UNUSABLE_TRIES:
            self._unreadable[key] = reply
            return Problem(200, None, None, why)
        self.exchange.keep(key, id, reply)
        return None

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        import openai

        url = self.exchange.server.base_url
        later = "what was sent goes on, run again later"
        try:
            yield
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            variable = self.exchange.server.key
            raise UserError(
                f"{url}: rejects the key; set the environment variable {variable}"
            ) from None
        except openai.NotFoundError:
            raise UserError(f"{url}: has no batch API; set llm.mode: direct") from None
        except openai.APIStatusError as error:
            why = in_one_line(error.message, self.key)
            raise UserError(f"{url}: status {error.status_code} ({why}); {later}") from None
        except openai.OpenAIError as error:
            why = type(error).__name__
            raise UserError(f"{url}: cannot be reached ({why}); {later}") from None
