"""The judge `green`: the GREEN model, run in this process or asked of a server, each distinct
question once and never again.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from pydantic import AfterValidator, PositiveInt

from xraygen.core.errors import UserError
from xraygen.core.progress import progress_bar
from xraygen.core.study import NonEmpty, Record
from xraygen.engines.answers import Answers
from xraygen.engines.generation import Task, generate, loading, placement
from xraygen.engines.server import Refusal, Server, complete, no_password
from xraygen.judges import Judge, Opinion, decide
from xraygen.judges.green import origin as green_origin
from xraygen.judges.green.answers import cleaned, conversation, prompt, read
from xraygen.judges.green.origin import LIMIT, LONGEST, Checkpoint

KEY = "GREEN_API_KEY"
SECONDS_A_PAIR = (1.8, 2.7)  # of green-score itself on a data-centre GPU


class GreenSettings(Record):
    """`model`: any GREEN checkpoint, a name on the Hugging Face hub or a folder, at `revision`.
    `base_url`: an OpenAI-compatible server that serves `model` under this name; None = in this
    process. `end`: the model's end-of-sequence token, which a server has to be told. `batch`: pairs
    at a time in this process; `concurrency`: requests at a time to a server.
    """

    model: NonEmpty = "StanfordAIMI/GREEN-RadLlama2-7b"
    revision: NonEmpty = "main"
    base_url: Annotated[str, AfterValidator(no_password)] | None = None
    end: NonEmpty = "</s>"
    batch: PositiveInt = 16
    concurrency: PositiveInt = 32


class Plan(NamedTuple):
    """How many of the pairs are decided by rule, stand there again, have an answer already, and are
    to be asked.
    """

    pairs: int
    decided: int
    repeated: int
    kept: int
    asked: int
    seconds: tuple[float, float]
    basis: str

    def __str__(self) -> str:
        low, high = (f"{seconds / 60:,.1f}" for seconds in self.seconds)
        time = f"{low} min" if low == high else f"{low} to {high} min"
        counts = f"{self.decided:,} decided without the model, {self.repeated:,} repeated, {self.kept:,} answered before"
        return f"{self.pairs:,} pairs: {counts}; {self.asked:,} to ask, about {time} ({self.basis})"


class Green(Judge):
    Settings: ClassVar = GreenSettings
    settings: GreenSettings
    name = "green"

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """What would answer in this process; None where it is not on this machine yet."""
        return green_origin.local_checkpoint(self.settings.model, self.settings.revision)

    @property
    def asked(self) -> dict:
        """What shapes an answer apart from the prompt: the model, where it runs and how."""
        if self.settings.base_url:
            return green_origin.asked_of_server(self.settings)
        return green_origin.asked_here(self.settings, self.checkpoint)

    @cached_property
    def answers(self) -> Answers:
        """What has been answered there, in that way."""
        return Answers(self.asked)

    @cached_property
    def imported(self) -> Answers:
        """Answers of this model that were given elsewhere."""
        return Answers(green_origin.asked_elsewhere(self.settings))

    def _find(self, questions: Iterable[str]) -> dict[str, str]:
        """{question: answer} of those that have one, their own before an imported one."""
        questions = list(questions)
        return self.imported.find(questions) | self.answers.find(questions)

    def _look_for_another_commit(self) -> None:
        if (
            self.settings.base_url or Path(self.settings.model).is_dir()
        ):  # neither can have moved on
            return
        self.checkpoint = green_origin.current_checkpoint(
            self.settings.model, self.settings.revision
        )
        del self.answers

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Opinion]:
        """One opinion for each (reference, candidate), in order. What was answered before is not
        asked again.

        UserError: the model cannot be run or the server does not answer; the answers until then are
        kept.
        """
        prompts = [prompt(*pair) for pair in pairs]
        about = dict(zip(prompts, pairs, strict=True))
        found = self._find(about)
        if len(found) < len(about):
            self._look_for_another_commit()
            found = self._find(about)
        opinions = {question: read(answer) for question, answer in found.items()}
        missing = [question for question in about if question not in found]
        with progress_bar(len(missing), "GREEN", "pairs") as step:
            last = time.monotonic()

            def answered(index: int, answer: str | Refusal) -> None:
                nonlocal last
                now, question = time.monotonic(), missing[index]
                if isinstance(answer, Refusal):
                    opinions[question] = Opinion(None, verdict="failed", explanation=answer.reason)
                else:
                    completion = cleaned(answer)
                    self.answers.keep(question, _sides(*about[question]), completion, now - last)
                    opinions[question] = read(completion)
                last = now
                step()

            if missing:
                self._ask(missing, answered)
        refused = [
            opinions[question].explanation
            for question in missing
            if opinions[question].verdict == "failed"
        ]
        if (
            refused and len(refused) == len(missing) and not found
        ):  # those of an earlier run are refused again
            raise UserError(
                f"GREEN answered none of {len(missing):,} questions; the first: {refused[0]}"
            )
        return [opinions[question] for question in prompts]

    def _ask(
        self, questions: Sequence[str], answered: Callable[[int, str | Refusal], None]
    ) -> None:
        """`answered` is called with a question's index and what the model wrote, as soon as it
        has.
        """
        if self.settings.base_url:
            server = Server(
                self.settings.base_url, self.settings.model, KEY, self.settings.concurrency
            )
            # In green-score Llama's tokenizer puts an end token behind the conversation, Phi's does
            # not.
            last = self.settings.end if self.settings.end == GreenSettings().end else ""
            complete(
                server,
                [conversation(question, self.settings.end) + last for question in questions],
                LONGEST,
                answered,
            )
            return
        commit = self.checkpoint and self.checkpoint.commit
        pinned = self.settings.model_copy(update={"revision": commit or self.settings.revision})
        tokenizer = _tokenizer(pinned)
        task = Task(
            pinned.model, pinned.revision, tokenizer.eos_token_id, LIMIT, self.settings.batch
        )
        place = placement(task)
        where = (
            f"{self.settings.model} on {', '.join(place.devices)} in {place.dtype} ({place.reason})"
        )
        print(
            f"GREEN: {where}, batches of {task.batch}: {len(questions):,} pairs to ask",
            file=sys.stderr,
        )
        tokens = [
            tokenizer(conversation(question, tokenizer.eos_token))["input_ids"]
            for question in questions
        ]
        fitting = [index for index, prompt in enumerate(tokens) if len(prompt) < LIMIT]
        for index in set(range(len(tokens))).difference(fitting):
            answered(
                index, Refusal(f"the prompt has {len(tokens[index]):,} tokens, more than {LIMIT:,}")
            )
        for number, answer in (
            generate(task, place, [tokens[index] for index in fitting]) if fitting else ()
        ):
            index = fitting[number]
            text = tokenizer.decode(
                tokens[index] + answer, skip_special_tokens=True, clean_up_tokenization_spaces=True
            )
            answered(index, text)

    def plan(self, pairs: Sequence[tuple[str, str]]) -> Plan:
        """What `judges.opinions` would ask for these pairs, and how long that takes at the pace of
        the answers kept here, or else at green-score's own.
        """
        undecided = [pair for pair in pairs if decide(*pair) is None]
        questions = {prompt(*pair) for pair in set(undecided)}
        asked = len(questions) - len(self._find(questions))
        timed = self.answers.pace()
        low, high = (timed[1], timed[1]) if timed else SECONDS_A_PAIR
        basis = (
            f"at the pace of the {timed[0]:,} asked before"
            if timed
            else "at green-score's own pace on a data-centre GPU"
        )
        return Plan(
            pairs=len(pairs),
            decided=len(pairs) - len(undecided),
            repeated=len(undecided) - len(questions),
            kept=len(questions) - asked,
            asked=asked,
            seconds=(asked * low, asked * high),
            basis=basis,
        )

    def export(self) -> Iterator[dict]:
        """{"reference", "candidate", "completion"} of every answer that `judge` would find: given
        here, or imported.
        """
        kept = {
            tuple(sides.items()): completion
            for answers in (self.imported, self.answers)
            for sides, completion in answers.all()
        }
        for sides in sorted(kept):
            yield dict(sides) | {"completion": kept[sides]}

    def take(self, rows: Iterable[dict]) -> tuple[int, int]:
        """Keep the completions of others as answers of this model: rows as `export` gives them ->
        (new ones, other answers to questions that have one already, which are left aside). Pairs
        that need no model are passed over.
        """
        new = other = 0
        for row in rows:
            reference, candidate, completion = row["reference"], row["candidate"], row["completion"]
            if decide(reference, candidate) is None:
                question = prompt(reference, candidate)
                kept = self._find([question]).get(question)
                if kept is None:
                    self.imported.keep(question, _sides(reference, candidate), completion)
                new += kept is None
                other += kept is not None and kept != completion
        return new, other

    def about(self) -> str:
        return f"Judge: GREEN, {self.settings.model} ({self.settings.revision}), with the prompt, counts and score of green-score 0.0.12"


def given(reference: str, candidate: str, completion: str) -> Opinion:
    """The opinion on a pair whose completion is at hand. Counts and words are the completion's; a
    pair that needs no model keeps the score and the verdict of the rule.
    """
    opinion, decided = read(completion), decide(reference, candidate)
    return opinion._replace(score=decided.score, verdict=decided.verdict) if decided else opinion


def _tokenizer(params: GreenSettings):
    """The checkpoint's tokenizer, with the tokens around a text that green-score's own had with the
    transformers that it was made for: Llama's a beginning and an end, Phi's (CodeGen) neither.
    transformers 5 drops the beginning when it is asked for the end.
    """
    from transformers import AutoTokenizer

    with loading(params.model):
        tokenizer = AutoTokenizer.from_pretrained(params.model, revision=params.revision)
        kind = type(tokenizer).__name__
        if not kind.startswith(("CodeGen", "GPT2")):
            both = {"add_bos_token": True} if kind.startswith("Llama") else {}
            tokenizer = AutoTokenizer.from_pretrained(
                params.model, revision=params.revision, add_eos_token=True, **both
            )
    if tokenizer.eos_token is None:
        raise UserError(
            f"model {params.model}: cannot be loaded: its tokenizer names no end-of-sequence token"
        )
    return tokenizer


def _sides(reference: str, candidate: str) -> dict:
    return {"reference": reference, "candidate": candidate}
