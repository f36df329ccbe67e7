"""Questions to OpenAI's batch API: uploaded in files, answered within a day at half the price.

What has been sent is remembered in .cache/batches, so that a run that ended early, or was killed,
waits for it and sends nothing twice; so does a second one that runs at the same time.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from xraygen.annotators.llm.dialect import Manner, refused_parameter
from xraygen.annotators.llm.reply import Reply, reply_of
from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.pictures import UnreadablePicture
from xraygen.core.progress import progress_bar
from xraygen.engines.answers import cache_folder
from xraygen.engines.server import UNUSABLE_TRIES, client_library, hidden, secret
from xraygen.engines.server_errors import error_in
from xraygen.prompting.conversation import PictureProblem

if TYPE_CHECKING:
    from xraygen.annotators.llm.llm import Llm, Question

DISCOUNT = 0.5  # of the price, as OpenAI has it
MOST, BYTES = 50_000, 190_000_000  # requests and bytes of a file; OpenAI takes 50,000 and 200 MB
ROUNDS = 6  # in which what failed is sent again
FIRST = 8  # questions with views, at most, that are sent before what views cost is known
_ID = 40  # of the 64 letters of a key
_PATIENCE = 1.0, 60.0  # seconds between two looks, at first and at most
_ENDED = ("completed", "failed", "expired", "cancelled")


class Problem(NamedTuple):
    """What stands in a line of a batch in the place of an answer; 200: one that cannot be read."""

    status_code: int
    code: str | None
    param: str | None
    message: str


class Batches:
    """Asks the questions of an `Llm`, and keeps the answers there."""

    def __init__(self, llm: Llm):
        self.llm = llm
        self.key = secret(llm.server.key)
        self.reasons: dict[str, str] = {}
        self.sent = 0
        self.sent_again = 0
        self._tried: set[str] = set()
        self._unreadable: dict[str, Reply] = {}  # the last to each question
        self._failures: list[str] = []  # of whole batches
        self.folder = cache_folder() / "batches"
        server, openai = llm.server, client_library()
        self.client = openai.OpenAI(
            base_url=server.base_url,
            api_key=self.key or "none",
            timeout=server.timeout,
            max_retries=5,
        )

    def answer(self, questions: Sequence[Question]) -> dict[str, str]:
        """{key: why there is no answer}; of all others there is one when this returns. UserError:
        as Asker.ask, a batch failed as a whole, or the price is too high.
        """
        unsent = "not sent: of those with views that were sent first, none was answered"
        self.reasons = dict.fromkeys([question.key for question in questions], unsent)
        with self._in_one_line(), self.client:
            for _ in range(ROUNDS):
                with self._alone():
                    unseen = {
                        key
                        for key, reason in self.reasons.items()
                        if isinstance(reason, PictureProblem)
                    }
                    asked_for = [question for question in questions if question.key not in unseen]
                    missing = {
                        question.key: question
                        for question in asked_for
                        if not self.llm.find(question)
                    }
                    under_way = self._under_way(missing.keys())
                    asked = {key for _, state in under_way for key in state["questions"]}
                    left = [question for key, question in missing.items() if key not in asked]
                    costs_first = (
                        under_way and self.llm.budget.limit is not None
                    )  # are seen before more is sent
                    now = [] if costs_first else self._first(left)
                    if now:
                        self._check_price(left)
                    sent = self._send_all(now)
                again = any(
                    [self._finish(*one, resumed=True) for one in under_way]
                    + [self._finish(*one) for one in sent]
                )
                if self._failures:
                    raise UserError("; ".join(self._failures))
                if not again and len(now) == len(left):
                    break
        return self.reasons

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time looks what is under way and sends the rest, so that two with the
        same questions pay once.
        """
        import fcntl

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder.with_suffix(".lock").open("w")
        except OSError as error:
            raise UserError(
                f"{self.folder}: what is sent cannot be remembered: {error.strerror}"
            ) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, by a kill at the latest
            yield

    def _first(self, questions: list[Question]) -> list[Question]:
        """What to send now: all, or of those with views few, as long as no bill has told what views
        cost and there is a limit.
        """
        budget, views = (
            self.llm.budget,
            [question for question in questions if self.llm.views(question)],
        )
        if not views or budget.limit is None or budget.knows(views=True):
            return questions
        few = max(
            1, min(FIRST, len(views) // 10)
        )  # all fit at VIEW tokens a view, so that these do at ten times as many
        return sorted(views, key=lambda question: question.key in self._tried)[:few]

    def _check_price(self, questions: Sequence[Question]) -> None:
        budget = self.llm.budget
        most = sum(
            budget.most(self.llm.expected(one), self.llm.llm.max_tokens, self.llm.views(one))
            for one in questions
        )
        if budget.limit is not None and budget.spent + most > budget.limit:
            cost = f"{len(questions):,} questions may cost up to {most:.4f} US dollars"
            raise UserError(f"{cost}, more than llm.max_cost_usd leaves; nothing of it is sent")

    def _parts(self, questions: Sequence[Question]) -> Iterator[tuple[list[Question], IO[bytes]]]:
        """Each with the file of its lines, which the next part overwrites."""
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
        body = self.llm.body(question, self.llm.dialect.manner)
        line = {
            "custom_id": question.key[:_ID],
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
        return json.dumps(line).encode() + b"\n"

    def _under_way(self, missing: Set[str]) -> list[tuple[Path, dict]]:
        """(file, state) of the batches with such questions: of another run, which is at work, or
        ended or was killed without the answers.
        """
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                state = json.loads(path.read_text())
            except FileNotFoundError:  # another run has its answers now
                continue
            if state["asked"] != self.llm.kept.asked or not missing & state["questions"].keys():
                continue
            state["id"] = state["id"] or self._sent_before(path.stem)
            if state["id"]:
                found.append((path, state))
            else:
                path.unlink(missing_ok=True)
        return found

    def _sent_before(self, name: str) -> str | None:
        """A batch that was sent by a run that was killed before it could write that down."""
        batches = self.client.batches.list(limit=100).data
        return next(
            (batch.id for batch in batches if (batch.metadata or {}).get("xraygen") == name), None
        )

    def _send_all(self, questions: Sequence[Question]) -> list[tuple[Path, dict]]:
        """(file, state) of each batch."""
        sent = []
        for part, file in self._parts(questions):
            path = self.folder / f"{uuid.uuid4().hex}.json"
            state: dict[str, Any] = {
                "id": None,
                "asked": self.llm.kept.asked,
                "manner": self.llm.dialect.manner,
            }
            state["questions"] = {question.key: question.case.id for question in part}
            _write(
                path, state
            )  # before it is sent, so that there is no moment at which a kill loses it
            state["id"] = self._send(part, file, path.stem)
            _write(path, state)
            sent.append((path, state))
        return sent

    def _finish(self, path: Path, state: dict, resumed: bool = False) -> bool:
        """The answers are kept when this returns; whether what failed is worth another round."""
        import openai

        manner, questions, url = (
            Manner(*state["manner"]),
            state["questions"],
            self.llm.server.base_url,
        )
        self._tried |= questions.keys()
        try:
            batch = self._wait(state["id"], len(questions))
        except openai.NotFoundError:
            self._failures.append(
                f"{url}: has no batch {state['id']} any more; remove {path} to send its questions again"
            )
            return False
        problems, gone = self._collect(batch, questions)
        with (
            self._alone()
        ):  # not while another one, which has just looked for answers, looks what is under way
            path.unlink(missing_ok=True)
        if batch.status == "failed":
            error = next(
                iter(batch.errors.data if batch.errors and batch.errors.data else ()), None
            )
            why = (
                self._said(f"{error.code}: {error.message}")
                if error
                else "for no reason that it tells"
            )
            self._failures.append(
                f"{url}: batch {batch.id} failed, {why}; what was answered is kept, run again to send the rest"
            )
        elif (
            gone and not resumed
            # that of an earlier run may have been too old; this one would be paid for again and again
        ):
            lost = f"has lost the answers of batch {batch.id}; run again to send, and pay, its questions anew"
            self._failures.append(f"{url}: {lost}")
        if any(key not in problems or problems[key].status_code == 200 for key in questions):
            self.llm.dialect.taken(manner)
        kinds = {
            problem[:3]: problem for problem in problems.values()
        }  # one no to the manner is not many
        worth = [
            self.llm.dialect.refused(manner, problem) or not 300 <= problem.status_code < 429
            for problem in kinds.values()
        ]
        return any(worth)

    def _send(self, part: list[Question], file: IO[bytes], name: str) -> str:
        import openai

        file.seek(0)
        uploaded = self.client.files.create(file=(f"{name}.jsonl", file), purpose="batch")
        sent = {
            "input_file_id": uploaded.id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        try:  # once: what was cut off may be there all the same, and would be paid for twice
            id = (
                self.client.with_options(max_retries=0)
                .batches.create(**sent, metadata={"xraygen": name})
                .id
            )
        except (openai.APIConnectionError, openai.InternalServerError):
            id = self._sent_before(name)
            if id is None:
                raise
        self.sent += len(part)
        self.sent_again += sum(question.key in self._tried for question in part)
        print(
            f"batch {id}: {len(part):,} requests sent; this may be stopped and run again, it goes on",
            file=sys.stderr,
        )
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

    def _collect(self, batch, questions: dict[str, str]) -> tuple[dict[str, Problem], bool]:
        """Keeps the answers to questions, {key: id of a case}. Returns what has none, {key: why},
        and whether answers are lost.
        """
        import openai

        keys, gone = {key[:_ID]: key for key in questions}, False
        problems = {
            key: Problem(504, None, None, f"the batch {batch.id} {batch.status} without an answer")
            for key in questions
        }
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            try:
                content = self.client.files.content(file).text
            except openai.NotFoundError:
                gone = gone or file == batch.output_file_id
                continue
            for text in content.split("\n"):  # splitlines parts at characters that JSON may hold
                with contextlib.suppress(
                    ValueError, AttributeError
                ):  # no object of JSON: no answer
                    line = json.loads(text)
                    if (key := keys.get(str(line.get("custom_id")))) in problems:
                        if problem := self._problem(key, questions[key], self._reply(line)):
                            problems[key] = problem
                        else:
                            del problems[key]
        self.reasons |= {key: problem.message for key, problem in problems.items()}
        return problems, gone

    def _problem(self, key: str, id: str, reply: Reply | Problem) -> Problem | None:
        """None: it is kept. An answer that cannot be read is kept when there was none better in all
        tries.
        """
        if isinstance(reply, Problem):
            return reply
        self.llm.budget.spent += self.llm.budget.price.of(reply.tokens_in, reply.tokens_out)
        reply = reply.after(self._unreadable.get(key))
        why = reply.problem(self.llm.names)
        if why and reply.tries < UNUSABLE_TRIES:
            self._unreadable[key] = reply
            return Problem(200, None, None, why)
        self.llm.keep(key, id, reply)
        return None

    def _reply(self, line: dict) -> Reply | Problem:
        from openai.types.chat import ChatCompletion

        try:
            response = line.get("response") or {}
            status, body = (
                response.get("status_code") or 504,
                response.get("body") or {},
            )  # none: it has expired
            told = error_in(body) if status == 200 else None
            if status == 200 and not told:
                return reply_of(ChatCompletion.construct(**body), self.key)
            status, error = told or (status, body.get("error") or line.get("error") or {})
            error = error if isinstance(error, dict) else {"message": error}
            message = str(error.get("message"))
            parameter = error.get("param") or refused_parameter(message)
            return Problem(status, error.get("code"), parameter, f"{status}: {self._said(message)}")
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            return Problem(
                502, None, None, f"its answer is none of a chat ({type(error).__name__})"
            )

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
            raise UserError(
                f"{url}: status {error.status_code} ({self._said(error.message)}); what was sent goes on, run again later"
            ) from None
        except openai.OpenAIError as error:
            raise UserError(
                f"{url}: cannot be reached ({type(error).__name__}); what was sent goes on, run again later"
            ) from None


def _write(path: Path, state: dict) -> None:
    with replacing(path) as file:
        json.dump(state, file)
