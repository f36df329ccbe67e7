"""The judge `green`: the GREEN model, run in this process or on a server. Each distinct question is
asked once and never again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.progress import progress_bar
from xraygen.core.study import Clinical
from xraygen.engines.answers import Answers
from xraygen.engines.server import Refusal
from xraygen.judges import Judge, Opinion, decide
from xraygen.judges.green import asking, origin
from xraygen.judges.green.answers import cleaned, prompt, read
from xraygen.judges.green.origin import Checkpoint
from xraygen.judges.green.settings import GreenSettings
from xraygen.judges.proxy.clinical import assess

SECONDS_A_PAIR = (1.8, 2.7)  # of green-score itself on a data-centre GPU


class Plan(NamedTuple):
    """How many of the pairs are decided by rule, are repeated, have an answer already, and are to
    be asked about. `seconds`: at least and at most. `basis`: where they are from.
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
        return (
            f"{self.pairs:,} pairs: {self.decided:,} decided without the model, "
            f"{self.repeated:,} repeated, {self.kept:,} answered before; "
            f"{self.asked:,} to ask, about {time} ({self.basis})"
        )


class Green(Judge):
    Settings: ClassVar = GreenSettings
    settings: GreenSettings
    name = "green"
    _has_answered = False  # in an earlier call of this run: on a cluster, about another shard
    reads_answers = "Read from the column completion, as green-score 0.0.12 reads GREEN's answers"

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """What would answer in this process; None if it is not on this machine yet."""
        return origin.local_checkpoint(self.settings.model, self.settings.revision)

    @property
    def asked(self) -> dict:
        """What shapes an answer apart from the prompt: the model, where it runs, and how."""
        if self.settings.base_url:
            return origin.asked_of_server(self.settings)
        return origin.asked_here(self.settings, self.checkpoint)

    @property
    def server_key(self) -> str:
        return asking.KEY if self.settings.base_url else ""

    @cached_property
    def answers(self) -> Answers:
        """The stored answers that were given there, in that way."""
        return Answers(self.asked)

    @cached_property
    def imported(self) -> Answers:
        """The stored answers of this model that were given elsewhere."""
        return Answers(origin.asked_elsewhere(self.settings))

    def _find(self, questions: Iterable[str]) -> dict[str, str]:
        """The questions that have an answer, with that answer; an imported one comes second."""
        questions = list(questions)
        return self.imported.find(questions) | self.answers.find(questions)

    def _look_for_another_commit(self) -> None:
        settings = self.settings
        if settings.base_url or Path(settings.model).is_dir():
            return  # neither has commits
        self.checkpoint = origin.current_checkpoint(settings.model, settings.revision)
        del self.answers

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Opinion]:
        """One opinion for each (reference, candidate), in order. What was answered before is not
        asked again.

        UserError: the model cannot be run, or the server does not answer; the answers until then
        are stored.
        """
        prompts = [prompt(*pair) for pair in pairs]
        about = dict(zip(prompts, pairs, strict=True))
        found = self._find(about)
        if len(found) < len(about):
            self._look_for_another_commit()
            found = self._find(about)
        opinions = {question: read(answer) for question, answer in found.items()}
        missing = {question: pair for question, pair in about.items() if question not in found}
        if missing:
            opinions |= self._ask(missing)
        new = [opinions[question] for question in missing]
        some_found = bool(found) or self._has_answered
        _check_answered(new, some_found or self.may_refuse_all)
        if opinions and self.answers.stored:  # else in a service, whose calls are not of one run
            self._has_answered = True
        return [opinions[question] for question in prompts]

    def clinical(self, pairs: Sequence[tuple[str, str]]) -> list[Clinical | None]:
        """By the reader of the judge proxy: GREEN does not say which findings are abnormal."""
        return [assess(*pair) for pair in pairs]

    def given(self, reference: str, candidate: str, completion: str) -> Opinion:
        return given(reference, candidate, completion)._replace(
            clinical=assess(reference, candidate)
        )

    def _ask(self, about: Mapping[str, tuple[str, str]]) -> dict[str, Opinion]:
        """The opinions on new questions, {question: (reference, candidate)}. Answers are stored as
        they arrive."""
        questions = list(about)
        opinions = {}
        with progress_bar(len(questions), "GREEN", "pairs") as step:
            last = time.monotonic()

            def answered(index: int, answer: str | Refusal) -> None:
                nonlocal last
                now = time.monotonic()
                question = questions[index]
                if isinstance(answer, Refusal):
                    opinions[question] = Opinion(None, verdict="failed", explanation=answer.reason)
                else:
                    completion = cleaned(answer)
                    self.answers.keep(question, _sides(*about[question]), completion, now - last)
                    opinions[question] = read(completion)
                last = now
                step()

            self._put(questions, answered)
        return opinions

    def _put(
        self, questions: Sequence[str], answered: Callable[[int, str | Refusal], None]
    ) -> None:
        """Calls `answered` with the index of each question and the model's text, as it arrives."""
        if self.settings.base_url:
            asking.on_server(self.settings, self.settings.base_url, questions, answered)
        else:
            asking.in_process(self.settings, self.checkpoint, questions, answered)

    def plan(self, pairs: Sequence[tuple[str, str]]) -> Plan:
        """What `judges.opinions` would ask about these pairs, and how long that takes at the pace
        of the stored answers, or else at green-score's own.
        """
        undecided = [pair for pair in pairs if decide(*pair) is None]
        questions = {prompt(*pair) for pair in set(undecided)}
        asked = len(questions) - len(self._find(questions))
        low, high = SECONDS_A_PAIR
        basis = "at green-score's own pace on a data-centre GPU"
        if timed := self.answers.pace():
            count, low = timed
            high = low
            basis = f"at the pace of the {count:,} asked before"
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
        """{"reference", "candidate", "completion"} of every stored answer that `judge` would find,
        sorted.
        """
        kept = {
            tuple(sides.items()): completion
            for answers in (self.imported, self.answers)
            for sides, completion in answers.all()
        }
        for sides in sorted(kept):
            yield dict(sides) | {"completion": kept[sides]}

    def take(self, rows: Iterable[dict]) -> tuple[int, int]:
        """Stores rows as `export` gives them as answers of this model. Returns (number of new
        answers, number of answers that differ from a stored one, which stays). Pairs that need no
        model are skipped.
        """
        new = other = 0
        for row in rows:
            sides = _sides(row["reference"], row["candidate"])
            if decide(**sides) is not None:
                continue
            question = prompt(**sides)
            stored = self._find([question]).get(question)
            if stored is None:
                self.imported.keep(question, sides, row["completion"])
                new += 1
            elif stored != row["completion"]:
                other += 1
        return new, other

    def about(self) -> str:
        return (
            f"Judge: GREEN, {self.settings.model} ({self.settings.revision}), with the prompt, "
            f"counts and score of green-score 0.0.12. {self.unexamined()}"
        )


def given(reference: str, candidate: str, completion: str) -> Opinion:
    """The opinion in a given completion. A pair that needs no model has the score and the verdict
    of the rule, with the completion's counts and words.
    """
    opinion = read(completion)
    if decided := decide(reference, candidate):
        return opinion._replace(score=decided.score, verdict=decided.verdict)
    return opinion


def _check_answered(new: Sequence[Opinion], may_refuse_all: bool) -> None:
    """`new`: the opinions on questions that were not answered before. UserError: the model refused
    all of them. If there are others, it may: those left may be what an earlier run left.
    """
    refused = [opinion.explanation for opinion in new if opinion.verdict == "failed"]
    if refused and len(refused) == len(new) and not may_refuse_all:
        raise UserError(f"GREEN answered none of {len(new):,} questions; the first: {refused[0]}")


def _sides(reference: str, candidate: str) -> dict:
    return {"reference": reference, "candidate": candidate}
