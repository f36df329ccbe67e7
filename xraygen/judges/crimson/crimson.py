"""The judge `crimson`: a language model on a server lists the abnormal findings of both texts and
matches them. Each distinct pair is asked about once and never again.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.progress import progress_bar
from xraygen.core.study import Clinical
from xraygen.engines.answers import Answers
from xraygen.engines.budget import Budget, Price, estimate
from xraygen.engines.chat import Chat
from xraygen.engines.dialect import Dialect, forms
from xraygen.engines.server import Asker, Refusal, Server, ask_each
from xraygen.judges import Judge, Opinion, decide
from xraygen.judges.crimson import asking
from xraygen.judges.crimson.answer import SCHEMA, opinion_of, parse
from xraygen.judges.crimson.asking import Reply
from xraygen.judges.crimson.prompt import INSTRUCTIONS, messages, question
from xraygen.judges.crimson.settings import SECTION, CrimsonSettings
from xraygen.judges.proxy.clinical import assess

_ANSWER = 400  # tokens of an answer, until there are some
_REMEMBERED = 50_000  # opinions; the others are stored


class Plan(NamedTuple):
    """How many of the pairs need no model, are repeated, have an answer already, and are to be
    asked about. `cost`: in US dollars, None without a price.
    """

    pairs: int
    decided: int
    repeated: int
    kept: int
    asked: int
    cost: float | None
    model: str

    def __str__(self) -> str:
        price = f"no price for {self.model} under {SECTION}.prices"
        if self.cost is not None:
            price = f"about {self.cost:,.4f} US dollars"
        return (
            f"{self.pairs:,} pairs: {self.decided:,} decided without the model, "
            f"{self.repeated:,} repeated, {self.kept:,} answered before; "
            f"{self.asked:,} to ask {self.model}; {price}"
        )


class Crimson(Judge):
    Settings: ClassVar = CrimsonSettings
    settings: CrimsonSettings
    name = "crimson"
    reads_answers = "Read from the column completion"

    def __init__(self, settings: CrimsonSettings | None = None) -> None:
        super().__init__(settings)
        settings = self.settings
        self.price = None
        if price := settings.prices.get(settings.model):
            self.price = Price(price.tokens_in, price.tokens_out)
        budget = Budget(self.price, settings.max_cost_usd, settings.model, SECTION)
        dialect = Dialect(f"{settings.model} at {settings.base_url}", forms("assessment", SCHEMA))
        self.chat = Chat(settings.model, settings.max_tokens, dialect, budget, settings.seed)
        self._opinions: dict[str, Opinion] = {}  # of this run, by question
        self._has_forgotten = False  # opinions of this run

    @property
    def server_key(self) -> str:
        return self.settings.api_key_env

    @cached_property
    def answers(self) -> Answers:
        settings = self.settings
        return Answers(
            {
                "judge": self.name,
                "base_url": settings.base_url.rstrip("/"),
                "model": settings.model,
                "max_tokens": settings.max_tokens,
                "temperature": 0,
                "seed": settings.seed,
                "instructions": hashlib.sha256(INSTRUCTIONS.encode()).hexdigest(),
            }
        )

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Opinion]:
        """UserError: the server cannot be reached, rejects the key, does not have the model or
        refuses every question, or `max_cost_usd` would be exceeded; the answers until then are
        stored.
        """
        if not self.answers.stored:  # in a service, whose run does not end
            self._opinions.clear()
        elif len(self._opinions) > _REMEMBERED:  # on a cluster, of earlier shards
            self._opinions.clear()
            self._has_forgotten = True
        questions = [_question(pair) for pair in pairs]
        self._find_or_ask(questions)
        return [self._opinions[asked] for asked in questions]

    def clinical(self, pairs: Sequence[tuple[str, str]]) -> list[Clinical | None]:
        """None where the model gave no readable answer. Equal texts are not asked about: the score
        is 1, and the reader of the judge proxy names their findings. UserError: as `judge`.
        """
        self._find_or_ask([_question(pair) for pair in pairs if not _is_equal(pair)])
        return [
            assess(*pair).model_copy(update={"score": 1.0})
            if _is_equal(pair)
            else self._opinions[_question(pair)].clinical
            for pair in pairs
        ]

    def given(self, reference: str, candidate: str, completion: str) -> Opinion:
        """The opinion in a completion from elsewhere."""
        opinion = _read(completion)
        if decided := decide(reference, candidate):
            return opinion._replace(score=decided.score, verdict=decided.verdict)
        return opinion

    def _find_or_ask(self, questions: Sequence[str]) -> None:
        new = [asked for asked in dict.fromkeys(questions) if asked not in self._opinions]
        stored = self.answers.find(new)
        for asked, text in stored.items():
            self._opinions[asked] = _opinion(Reply(**json.loads(text)))
        missing = [asked for asked in new if asked not in stored]
        if not missing:
            return
        may_refuse_all = self.may_refuse_all or self._has_forgotten or bool(self._opinions)
        self._ask(missing)
        refused = [self._opinions[asked] for asked in missing]
        if not may_refuse_all and all(opinion.verdict == "failed" for opinion in refused):
            raise UserError(
                f"{self.settings.base_url}: answered none of {len(missing):,} questions; the "
                f"first: {refused[0].explanation}"
            )

    def _ask(self, questions: Sequence[str]) -> None:
        """Answers are stored as they arrive."""
        settings = self.settings
        server = Server(
            settings.base_url,
            settings.model,
            settings.api_key_env,
            settings.concurrency,
            settings.timeout,
        )

        async def ask(asker: Asker, asked: str) -> Reply | Refusal:
            return await asking.ask(self.chat, asker, asked)

        with progress_bar(len(questions), "crimson", "pairs") as step:

            def answered(index: int, reply: Reply | Refusal) -> None:
                asked = questions[index]
                if isinstance(reply, Refusal):
                    failed = Opinion(None, verdict="failed", explanation=reply.reason)
                    self._opinions[asked] = failed
                else:
                    stored = json.dumps(reply._replace(seconds=0.0)._asdict())
                    self.answers.keep(asked, json.loads(asked), stored, reply.seconds)
                    self._opinions[asked] = _opinion(reply)
                step()

            ask_each(server, questions, ask, answered)

    def plan(self, pairs: Sequence[tuple[str, str]]) -> Plan:
        """What judging these pairs would ask; needs no key. The tokens are estimated, and those of
        an answer taken from the stored ones.
        """
        open_pairs = [pair for pair in pairs if not _is_equal(pair)]
        questions = dict.fromkeys(map(_question, open_pairs))
        stored = self.answers.find(questions)
        asked = [one for one in questions if one not in stored]
        cost = None
        if self.price:
            tokens_in = sum(estimate(messages(one)) for one in asked)
            known = [json.loads(text)["tokens_out"] for text in stored.values()]
            tokens_out = sum(known) / len(known) if known else _ANSWER
            cost = self.price.of(tokens_in, tokens_out * len(asked))
        return Plan(
            pairs=len(pairs),
            decided=len(pairs) - len(open_pairs),
            repeated=len(open_pairs) - len(questions),
            kept=len(stored),
            asked=len(asked),
            cost=cost,
            model=self.settings.model,
        )

    def about(self) -> str:
        return (
            f"Judge: crimson, {self.settings.model} at {self.settings.base_url}, which lists and "
            "matches abnormal findings; the clinical score follows by the formula of CRIMSON, and "
            "the score is that, or 0 where it is negative. How far it agrees with radiologists "
            "depends on the model; `xraygen examine crimson` measures it (docs/crimson.md)"
        )


def _question(pair: tuple[str, str]) -> str:
    reference, candidate = pair
    return question(reference.strip(), candidate.strip())


def _is_equal(pair: tuple[str, str]) -> bool:
    reference, candidate = pair
    return reference.strip() == candidate.strip()


def _opinion(reply: Reply) -> Opinion:
    if reply.stopped:
        unread = Opinion(None, verdict="unparseable", explanation=reply.stopped)
        return unread._replace(completion=reply.text)
    return _read(reply.text)


def _read(completion: str) -> Opinion:
    try:
        return opinion_of(parse(completion), completion)
    except ValueError as reason:
        return Opinion(None, verdict="unparseable", explanation=str(reason), completion=completion)
