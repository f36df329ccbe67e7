"""From judgements to numbers: scores by region with intervals, and paired tests between approaches. Everything is by study."""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
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
    return float(_macro(values))


def _macro(values: np.ndarray) -> np.ndarray:
    """(..., studies, regions) -> (...)."""
    counted = ~np.isnan(values)
    count = counted.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        means = np.where(counted, values, 0.0).sum(axis=-2) / np.where(count, count, np.nan)
    return means.mean(axis=-1)


class Interval(NamedTuple):
    low: float
    high: float
    error: float  # standard error: the standard deviation over the resamples


def interval(statistic: Callable[[np.ndarray], np.ndarray], studies: int, resamples: int, seed: int) -> Interval:
    """95 % percentile bootstrap over studies. `statistic`: indices of drawn studies (resamples, studies) -> (resamples,).

    NaN below two studies, or where so few were scored that a resample may hold none of a region.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    if studies < 2:
        return Interval(math.nan, math.nan, math.nan)
    with warnings.catch_warnings(action="ignore", category=DegenerateDataWarning):
        result = bootstrap(
            (np.arange(studies),),
            lambda drawn, axis: statistic(np.moveaxis(drawn, axis, -1)),
            n_resamples=resamples,
            batch=_batch(studies),
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    return Interval(float(low), float(high), float(result.standard_error))


def _batch(studies: int) -> int:
    """Resamples at a time, so that one batch stays within some tens of megabytes."""
    return max(1, 1_000_000 // studies)


def summarise(scores: StudyScores, resamples: int, seed: int) -> dict:
    """{"<region>" | "macro": {"score", "ci_low", "ci_high", "n", "unscored", "as_published", "token_f1"}} of metrics/scores."""
    columns = {region: [index] for index, region in enumerate(SCORED_REGIONS)} | {"macro": list(range(len(SCORED_REGIONS)))}
    summary = {}
    for name, chosen in columns.items():
        score = scores.score[:, chosen]
        low, high, _ = interval(lambda drawn, score=score: _macro(score[drawn]), len(score), resamples, seed)
        summary[name] = {
            "score": rounded(macro(score)),
            "ci_low": rounded(low),
            "ci_high": rounded(high),
            "n": len(scores.ids),
            "unscored": int(np.isnan(score).sum()),
            "as_published": rounded(macro(scores.as_published[:, chosen])),
            "token_f1": rounded(macro(scores.token_f1[:, chosen])),
        }
    return summary


def rounded(value: float) -> float | None:
    """Six digits, so that a file's bytes do not hang on the last bit; NaN becomes None."""
    return None if math.isnan(value) else round(value, 6)


def compare(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> dict:
    """Paired comparison of two (studies, regions) arrays over the same studies in the same order: macro(a) - macro(b).

    `p` is the two-sided permutation test that swaps a study's two rows, `sd` the difference's standard deviation by study (its
    bootstrap standard error times the root of the number of studies), `effect` the difference over that.
    """
    n = len(a)
    difference = macro(a) - macro(b) if n else math.nan
    result: dict = {"n": n, "difference": difference}
    if np.isnan(a).any() or np.isnan(b).any():
        both, of = np.concatenate([a, b]), _macro
    else:  # the mean of the region means is that of the studies' means, which are far fewer numbers to draw from
        both, of = np.concatenate([a.mean(axis=-1), b.mean(axis=-1)]), lambda drawn: drawn.mean(axis=-1)
    low, high, error = interval(lambda drawn: of(both[drawn]) - of(both[drawn + n]), n, resamples, seed)
    sd = error * math.sqrt(n)
    result |= {"ci_low": low, "ci_high": high, "sd": sd, "effect": difference / sd if sd > 1e-9 else math.nan}
    if n < 2 or math.isnan(difference) or np.array_equal(a, b, equal_nan=True):
        return result | {"p": 1.0}
    return result | {"p": _p_by_swaps(a, b, difference, resamples, seed)}


def _p_by_swaps(a: np.ndarray, b: np.ndarray, difference: float, resamples: int, seed: int) -> float:
    """Two-sided p as scipy.stats.permutation_test has it for paired samples, which takes ten times as long: twice the smaller tail, the
    observed difference among the drawn ones (Phipson and Smyth, 2010), all swaps where there are no more than `resamples`."""
    swapped, exact = _swaps(len(a), resamples, seed)
    sides = []
    for rows, other in ((a, b), (b, a)):
        sums, counts = (
            known(rows).sum(axis=0) + swapped @ (known(other) - known(rows)) for known in (np.nan_to_num, lambda x: (~np.isnan(x)).astype(float))
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            sides.append((sums / counts).mean(axis=-1))
    drawn, slack = sides[0] - sides[1], 1e-12
    tails = [int((drawn >= difference - slack).sum()), int((drawn <= difference + slack).sum())]
    return min(1.0, 2 * (min(tails) + (not exact)) / (len(drawn) + (not exact)))


@cache
def _swaps(n: int, resamples: int, seed: int) -> tuple[np.ndarray, bool]:
    """((resamples, n) of 0 and 1, whether these are all that there are)."""
    if 2**n <= resamples:
        return np.array(list(product((0.0, 1.0), repeat=n))), True
    return np.random.default_rng(seed).integers(0, 2, (resamples, n)).astype(float), False


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
    from scipy.stats import norm

    if math.isnan(effect) or abs(effect) < 1e-6:
        return None
    return max(2, math.ceil(((norm.ppf(1 - alpha / 2) + norm.ppf(power)) / effect) ** 2))
