"""Judging pairs of texts: what needs no judge is decided here, the rest is asked of one, each
distinct pair once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from xraygen.core.plugins import resolve
from xraygen.core.study import ErrorCounts, Listed, Record, Verdict

BUILT_IN = {
    "proxy": "xraygen.judges.proxy.proxy:Proxy",
    "green": "xraygen.judges.green.green:Green",
}
COLUMNS = ("score", "verdict", "matched_findings", *"abcdef")


class Opinion(NamedTuple):
    """`score` in [0, 1], None where the pair could not be scored; counts of findings, None where
    nobody counted; the judge's reasons and the findings that it named; `completion`: its own words,
    all of them.
    """

    score: float | None
    matched_findings: int | None = None
    errors: ErrorCounts | None = None
    explanation: str | None = None
    listed: Listed | None = None
    completion: str | None = None
    verdict: Verdict = "judged"

    def columns(self) -> dict:
        """The opinion under `COLUMNS`, one for each error category."""
        counts = {} if self.errors is None else self.errors.model_dump()
        return dict.fromkeys(COLUMNS) | {key: getattr(self, key) for key in COLUMNS[:3]} | counts


class Settings(Record):
    """The settings of a judge under `evaluate.settings`: none, where it does not say otherwise."""


class Judge(ABC):
    """Scores pairs of a reference and a candidate. `name`: as in params.yaml."""

    Settings: ClassVar[type[Record]] = Settings
    name: str = ""

    def __init__(self, settings: Record | None = None) -> None:
        self.settings = settings or self.Settings()

    @abstractmethod
    def judge(self, pairs: Sequence[tuple[str, str]]) -> list["Opinion"]:
        """One opinion for each (reference, candidate), in order; neither is empty, and they
        differ.
        """

    def about(self) -> str:
        """The line under every table made with this judge."""
        described = " ".join((type(self).__doc__ or "").split())
        return f"Scores are those of the judge {self.name}. {described}".strip()


def kind(name: str, where: str = "--judge") -> type[Judge]:
    """The class of a judge: a built-in name, or `package.module:Class`."""
    return resolve(name, BUILT_IN, Judge, where)


def load(name: str, settings: Mapping[str, Record] | None = None) -> Judge:
    """The judge of this name. `settings`: of judges by name; its defaults where it has none."""
    judge = kind(name)((settings or {}).get(name))
    judge.name = name
    return judge


def decide(reference: str, candidate: str) -> Opinion | None:
    """The opinion on a pair that needs no judge: identical sides, or an empty one; else None.

    Both empty is right silence and scores 1. White space around a text does not count.
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
    decided |= zip(asked, judge.judge(asked), strict=True)
    return [decided[pair] for pair in pairs]
