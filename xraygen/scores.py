"""From judgements to numbers: scores by region with intervals, and paired tests between approaches. Everything is by study."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from xraygen.study import SCORED_REGIONS, Judgement
from xraygen.text import token_f1

MEASURES = ("score", "token_f1")


@dataclass(frozen=True)
class StudyScores:
    """What each study got: arrays of shape (studies, scored regions), NaN where there is nothing to count.

    `score`: right silence counts 1, what could not be scored is NaN. `as_published`: the convention of green-score 0.0.12, which
    gives 0 to both. `token_f1`: NaN where both sides are empty.
    """

    ids: tuple[str, ...]
    score: np.ndarray
    as_published: np.ndarray
    token_f1: np.ndarray

    def only(self, ids: Iterable[str]) -> "StudyScores":
        """The same for these studies, in this object's order."""
        ids = set(ids)
        kept = np.array([id in ids for id in self.ids], dtype=bool)
        return StudyScores(
            tuple(id for id in self.ids if id in ids), self.score[kept], self.as_published[kept], self.token_f1[kept]
        )


def by_study(judgements: Iterable[Judgement]) -> StudyScores:
    """Judgements in any order -> one row a study, sorted by id."""
    cells = {(judgement.id, judgement.region): judgement for judgement in judgements}
    ids = tuple(sorted({id for id, _ in cells}))

    def array(value) -> np.ndarray:
        rows = [[value(cells.get((id, region))) for region in SCORED_REGIONS] for id in ids]
        return np.array(rows, dtype=float).reshape(len(ids), len(SCORED_REGIONS))

    def published(judgement: Judgement | None) -> float | None:
        if judgement is None or judgement.verdict == "failed":  # never judged
            return None
        return 0.0 if judgement.score is None or judgement.verdict == "both_empty" else judgement.score

    return StudyScores(
        ids,
        score=array(lambda judgement: judgement and judgement.score),
        as_published=array(published),
        token_f1=array(lambda judgement: judgement and token_f1(judgement.reference, judgement.candidate)),
    )


def macro(values: np.ndarray) -> float:
    """(studies, regions) -> the mean of the region means, NaN left out; NaN if a region has no value at all."""
    return _whole(values)[0]


def _whole(values: np.ndarray) -> list[float]:
    """Macro, then the mean of each region, each study once."""
    return _means(np.ones((1, len(values)), dtype=np.uint8), values)[0].tolist()


def _means(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(resamples, studies), how often each study was drawn, and (studies, regions) -> (resamples, 1 + regions): macro, then the mean of
    each region; NaN where nothing is known."""
    known = ~np.isnan(values)
    both = np.concatenate([np.where(known, values, 0.0), known], axis=1)
    rows = max(1, 4_000_000 // max(1, len(values)))  # at a time: some tens of megabytes
    sums, counts = np.split(np.concatenate([times[at : at + rows].astype(float) @ both for at in range(0, len(times), rows)]), 2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts
    return np.concatenate([means.mean(axis=1, keepdims=True), means], axis=1)


class Interval(NamedTuple):
    low: float
    high: float
    error: float  # standard error: the standard deviation over the resamples


def intervals(means: Callable[[np.ndarray], np.ndarray], studies: int, resamples: int, seed: int) -> list[Interval]:
    """95 % percentile bootstrap over studies, as scipy.stats.bootstrap draws it. `means`: how often each study was drawn
    (resamples, studies) -> (resamples, numbers), of which each gets an interval.

    NaN where so few were scored that a resample may hold none of a region.
    """
    drawn = means(_draws(studies, resamples, seed))
    bounds = np.percentile(drawn, (2.5, 97.5), axis=0)
    return [Interval(*map(float, one)) for one in zip(*bounds, drawn.std(axis=0, ddof=1), strict=True)]


@lru_cache(8)
def _draws(studies: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, studies): how often each study was drawn, with replacement."""
    rng, rows, times = np.random.default_rng(seed), max(1, 1_000_000 // studies), []
    for at in range(0, resamples, rows):
        drawn = rng.integers(0, studies, (min(rows, resamples - at), studies))
        cells = drawn + studies * np.arange(len(drawn))[:, None]
        times.append(np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.uint8))
    return np.concatenate(times)


def summarise(scores: StudyScores, resamples: int, seed: int) -> dict:
    """{"<region>" | "macro": {"score", "ci_low", "ci_high", "n", "unscored", "as_published", "token_f1"}} of metrics/scores."""
    n = len(scores.ids)
    bounds = [Interval(math.nan, math.nan, math.nan)] * (1 + len(SCORED_REGIONS))
    if n > 1:
        bounds = intervals(lambda times: _means(times, scores.score), n, resamples, seed)
    unscored = np.isnan(scores.score).sum(axis=0).tolist()
    columns = {
        "score": _whole(scores.score),
        "ci_low": [bound.low for bound in bounds],
        "ci_high": [bound.high for bound in bounds],
        "n": [n] * len(bounds),
        "unscored": [sum(unscored), *unscored],
        "as_published": _whole(scores.as_published),
        "token_f1": _whole(scores.token_f1),
    }
    rows = [{name: rounded(value) for name, value in zip(columns, row, strict=True)} for row in zip(*columns.values(), strict=True)]
    return dict(zip((*SCORED_REGIONS, "macro"), [*rows[1:], rows[0]], strict=True))


def rounded(value: float) -> float | None:
    """Six digits, so that a file's bytes do not hang on the last bit; NaN becomes None."""
    return None if math.isnan(value) else round(value, 6)


def compare(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> dict:
    """Paired comparison of two (studies, regions) arrays over the same studies in the same order: macro(a) - macro(b).

    `p` is the two-sided permutation test that swaps a study's two rows, `sd` the difference's standard deviation by study (its
    bootstrap standard error times the root of the number of studies), `effect` the difference over that.
    """
    return compare_each(a, b, resamples, seed)[0]


def compare_each(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> list[dict]:
    """The same of macro, then of each region."""
    n, nothing = len(a), Interval(math.nan, math.nan, math.nan)
    differences = np.subtract(_whole(a), _whole(b))
    bounds, p_values = [nothing] * len(differences), np.ones(len(differences))
    if n > 1:
        bounds = intervals(lambda times: _means(times, a) - _means(times, b), n, resamples, seed)
        p_values = _p_by_swaps(a, b, differences, resamples, seed)
    results = []
    for difference, bound, p in zip(differences.tolist(), bounds, p_values.tolist(), strict=True):
        sd = bound.error * math.sqrt(n)
        results.append({
            "n": n, "difference": difference, "ci_low": bound.low, "ci_high": bound.high, "sd": sd,
            "effect": difference / sd if sd > 1e-9 else math.nan, "p": 1.0 if math.isnan(difference) else p,
        })  # fmt: skip
    return results


def _p_by_swaps(a: np.ndarray, b: np.ndarray, differences: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p as scipy.stats.permutation_test has it for paired samples, which takes ten times as long: twice the smaller tail, the
    observed difference among the drawn ones (Phipson and Smyth, 2010), all swaps where there are no more than `resamples`. A swap that
    leaves a side without any value in a region counts as one that is as far apart as what was observed."""
    times, exact = _swaps(len(a), resamples, seed)
    drawn, slack = _means(times, np.concatenate([a, b])) - _means(times, np.concatenate([b, a])), 1e-12
    tails = np.minimum((~(drawn < differences - slack)).sum(axis=0), (~(drawn > differences + slack)).sum(axis=0))
    return np.minimum(1.0, 2 * (tails + (not exact)) / (len(drawn) + (not exact)))


@lru_cache(8)
def _swaps(n: int, resamples: int, seed: int) -> tuple[np.ndarray, bool]:
    """((resamples, 2 n): how often each study's own row is taken, then the other one; whether these are all swaps that there are)."""
    if exact := 2**n <= resamples:
        swapped = np.array(list(product((0, 1), repeat=n)), dtype=np.uint8)
    else:
        swapped = np.random.default_rng(seed).integers(0, 2, (resamples, n), dtype=np.uint8)
    return np.concatenate([1 - swapped, swapped], axis=1), exact


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): adjusted p-values in the order given."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def studies_to_tell(effect: float, alpha: float, power: float) -> int | None:
    """How many studies a paired two-sided z-test needs to tell a difference of this size, `effect` in standard deviations
    (n = ((z_{1-alpha/2} + z_power) / effect)^2); None where there is none, or no spread to reckon with."""
    if math.isnan(effect) or abs(effect) < 1e-6:
        return None
    quantile = NormalDist().inv_cdf
    return max(2, math.ceil(((quantile(1 - alpha / 2) + quantile(power)) / effect) ** 2))
