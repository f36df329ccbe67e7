"""Judging pairs of texts: pairs that need no judge are decided here, the others are given to one,
each distinct pair once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.plugins import resolve
from xraygen.core.study import Clinical, ErrorCounts, Listed, Record, Verdict

BUILT_IN = {
    "proxy": "xraygen.judges.proxy.proxy:Proxy",
    "green": "xraygen.judges.green.green:Green",
    "crimson": "xraygen.judges.crimson.crimson:Crimson",
}
COLUMNS = (
    "score",
    "verdict",
    "matched_findings",
    *"abcdef",
    "clinical",
    "missed",
    "invented",
)
NO_CLINICAL = (
    "evaluate.measure: clinical: the judge {name} does not tell abnormal findings; choose score or "
    "token_f1, or another judge"
)


class Opinion(NamedTuple):
    """`score`: in [0, 1], None if the pair could not be scored. `matched_findings`, `errors`:
    counts, None if the judge does not count. `explanation`: its reasons. `listed`: the findings
    that it named. `clinical`: on abnormal findings alone, None if the judge does not tell.
    `completion`: its full answer.
    """

    score: float | None
    matched_findings: int | None = None
    errors: ErrorCounts | None = None
    explanation: str | None = None
    listed: Listed | None = None
    completion: str | None = None
    verdict: Verdict = "judged"
    clinical: Clinical | None = None

    def columns(self) -> dict:
        """The opinion as a row with `COLUMNS`, of which one is for each category of errors. Names
        of findings are separated by semicolons.
        """
        row = dict.fromkeys(COLUMNS) | {key: getattr(self, key) for key in COLUMNS[:3]}
        if self.errors is not None:
            row |= self.errors.model_dump()
        if self.clinical is not None:
            row |= {
                "clinical": self.clinical.score,
                "missed": "; ".join(self.clinical.missed),
                "invented": "; ".join(self.clinical.invented),
            }
        return row


class Settings(Record):
    """A judge's settings under `evaluate.settings`. The default: none."""


class Judge(ABC):
    """Scores pairs of a reference and a candidate. `name`: as in params.yaml. `reads_answers`: how
    it reads a model's answers that were given elsewhere (`given`); "" if it reads none.
    `may_refuse_all`: no error if a model answers none of the pairs; on a cluster, where a judge may
    see only a few of them, and the driver looks at them all.
    """

    Settings: ClassVar[type[Record]] = Settings
    name: str = ""
    reads_answers: ClassVar[str] = ""
    may_refuse_all = False

    def __init__(self, settings: Record | None = None) -> None:
        self.settings = settings or self.Settings()

    @abstractmethod
    def judge(self, pairs: Sequence[tuple[str, str]]) -> list["Opinion"]:
        """One opinion for each (reference, candidate), in order; neither is empty, and they
        differ.
        """

    def clinical(self, pairs: Sequence[tuple[str, str]]) -> list[Clinical | None]:
        """The abnormal findings of each (reference, candidate), in order; a side may be empty, and
        they may be equal. None: this judge does not tell.
        """
        return [None] * len(pairs)

    def given(self, reference: str, candidate: str, completion: str) -> Opinion:
        """The opinion in a model's answer about a pair, for judges with `reads_answers`."""
        raise NotImplementedError

    def plan(self, pairs: Sequence[tuple[str, str]]) -> object | None:
        """What `opinions` would ask a model about these pairs, and how long that takes or what it
        costs, as one line of text. None: this judge asks no model.
        """
        return None

    def about(self) -> str:
        """The line under every table made with this judge."""
        described = " ".join((type(self).__doc__ or "").split())
        judge = f"Scores are those of the judge {self.name}. {described}".strip()
        return f"{judge} {self.unexamined()}"

    @property
    def server_key(self) -> str:
        """The environment variable with the key of the server that it asks; "" if it asks none."""
        return ""

    def unexamined(self) -> str:
        """What a caption says of a judge whose agreement with radiologists is not known."""
        return (
            "Its agreement with radiologists was not examined; "
            f"`xraygen examine {self.name}` does that (docs/judges.md)"
        )


def kind(name: str, where: str = "--judge") -> type[Judge]:
    """The class of a judge: a built-in name, or `package.module:Class`."""
    return resolve(name, BUILT_IN, Judge, where)


def load(name: str, settings: Mapping[str, Record] | None = None, where: str = "--judge") -> Judge:
    """The judge of this name. `settings`: of judges by name; a judge without has its defaults.
    `where`: what named it, for errors.
    """
    judge = kind(name, where)((settings or {}).get(name))
    judge.name = name
    return judge


def decide(reference: str, candidate: str) -> Opinion | None:
    """The opinion on a pair that needs no judge, because its sides are identical or one is empty;
    else None.

    Two empty sides score 1: silence was right. White space around a text does not count.
    """
    reference, candidate = reference.strip(), candidate.strip()
    if not reference and not candidate:
        return Opinion(1.0, verdict="both_empty")
    if not reference:
        return Opinion(0.0, verdict="reference_empty")
    if not candidate:
        return Opinion(0.0, verdict="candidate_empty")
    return Opinion(1.0, verdict="identical") if reference == candidate else None


def opinions(pairs: Iterable[tuple[str, str]], judge: Judge) -> list[Opinion]:
    """One opinion for each (reference, candidate), in order. The judge sees each distinct undecided
    pair once, sorted.
    """
    pairs = list(pairs)
    decided: dict[tuple[str, str], Opinion] = {}
    asked = []
    for pair in sorted(set(pairs)):
        if opinion := decide(*pair):
            decided[pair] = opinion
        else:
            asked.append(pair)
    given = judge.judge(asked)
    _check(given, len(asked), judge.name)
    decided |= zip(asked, given, strict=True)
    told = judge.clinical(list(decided))
    _check_clinical(told, len(decided), judge.name)
    for (pair, opinion), clinical in zip(list(decided.items()), told, strict=True):
        decided[pair] = opinion._replace(clinical=clinical)
    return [decided[pair] for pair in pairs]


def _check(given: Sequence[Opinion], pairs: int, name: str) -> None:
    """A judge of the user's may return anything."""
    if len(given) != pairs:
        raise UserError(f"judge {name}: {len(given):,} opinions of {pairs:,} pairs; one for each")
    for opinion in given:
        if not isinstance(opinion, Opinion):
            raise UserError(f"judge {name}: returned {type(opinion).__name__}, not an Opinion")
        score = opinion.score
        if score is not None and not (isinstance(score, float | int) and 0 <= score <= 1):
            raise UserError(f"judge {name}: score {score!r} is not between 0 and 1, or None")


def _check_clinical(given: Sequence[Clinical | None], pairs: int, name: str) -> None:
    where = f"judge {name}: clinical"
    if len(given) != pairs:
        raise UserError(f"{where}: {len(given):,} answers for {pairs:,} pairs; one for each")
    for clinical in given:
        if clinical is None:
            continue
        if not isinstance(clinical, Clinical):
            raise UserError(f"{where}: returned {type(clinical).__name__}, not a Clinical or None")
        if not -1 <= clinical.score <= 1:
            raise UserError(f"{where}: score {clinical.score!r} is not between -1 and 1")
