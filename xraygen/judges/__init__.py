"""Judging pairs of texts: what needs no judge is decided here, the rest is asked of one, each
distinct pair once.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from xraygen.core.study import ErrorCounts, Listed, Verdict

if TYPE_CHECKING:
    from xraygen.judges.green.green import GreenParams

NAMES = ("proxy", "green")
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


class Judge(Protocol):
    name: str

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Opinion]: ...

    def about(self) -> str:
        """The line that stands under every table made with this judge."""
        ...


def load(name: str, green: "GreenParams | None" = None) -> Judge:
    """The judge of this name; `green` are the settings of the judge green, its defaults where there
    are none.
    """
    if name == "proxy":
        from xraygen.judges.proxy.proxy import Proxy

        return Proxy()
    from xraygen.judges.green.green import Green, GreenParams

    return Green(green or GreenParams())


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
    decided = {pair: decide(*pair) for pair in set(pairs)}
    asked = sorted(pair for pair, opinion in decided.items() if opinion is None)
    decided |= zip(asked, judge.judge(asked), strict=True)
    return [decided[pair] for pair in pairs]
