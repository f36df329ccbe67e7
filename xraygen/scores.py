"""From judgements to numbers: scores by region with intervals, and paired tests between approaches. Everything is by study."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

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
        if judgement is None:
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
    return float(_macro(values[None])[0])


def _macro(values: np.ndarray) -> np.ndarray:
    """(resamples, studies, regions) -> (resamples,)."""
    counted = ~np.isnan(values)
    count = counted.sum(axis=1)
    with np.errstate(invalid="ignore"):
        means = np.where(counted, values, 0.0).sum(axis=1) / np.where(count, count, np.nan)
    return means.mean(axis=-1)


def interval(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap over studies for the macro mean of (studies, regions).

    (NaN, NaN) below two studies, or where so few were scored that a resample may hold none of a region.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    studies = np.arange(len(values))
    if len(studies) < 2:
        return math.nan, math.nan
    with warnings.catch_warnings(action="ignore", category=DegenerateDataWarning):
        result = bootstrap(
            (studies,),
            lambda drawn, axis: _macro(values[np.moveaxis(drawn, axis, -1)]),
            n_resamples=resamples,
            batch=max(1, 2_000_000 // values.size),
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def summarise(scores: StudyScores, resamples: int, seed: int) -> dict:
    """{"<region>" | "macro": {"score", "ci_low", "ci_high", "n", "unscored", "as_published", "token_f1"}} of metrics/scores."""
    columns = {region: [index] for index, region in enumerate(SCORED_REGIONS)} | {"macro": list(range(len(SCORED_REGIONS)))}
    summary = {}
    for name, chosen in columns.items():
        score = scores.score[:, chosen]
        low, high = interval(score, resamples, seed)
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
    """Paired comparison of two (studies, regions) arrays over the same studies in the same order.

    Cells where either side is NaN are left out of both. A study's difference is the mean over its cells; `p` is the two-sided
    sign-flip permutation test of scipy.stats on those; `effect` is their mean over their standard deviation (Cohen's d_z).
    """
    from scipy.stats import permutation_test

    difference = a - b
    counted = ~np.isnan(difference).all(axis=1)
    study = np.nanmean(difference[counted], axis=1)
    n = len(study)
    low, high = interval(study[:, None], resamples, seed)
    spread = float(study.std(ddof=1)) if n > 1 else math.nan
    result = {"n": n, "difference": float(study.mean()) if n else math.nan, "ci_low": low, "ci_high": high, "sd": spread}
    if n < 2 or not study.any():
        return result | {"effect": 0.0, "p": 1.0}
    test = permutation_test(
        (study,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, 2_000_000 // n),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return result | {"effect": result["difference"] / spread if spread else math.inf, "p": float(test.pvalue)}


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): adjusted p-values in the order given."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def studies_to_tell(effect: float, alpha: float, power: float) -> int | None:
    """How many studies a paired two-sided z-test needs to tell a difference of this size, `effect` in standard deviations
    (n = ((z_{1-alpha/2} + z_power) / effect)^2); None where no difference was seen."""
    from scipy.stats import norm

    if not effect:
        return None
    return max(2, math.ceil(((norm.ppf(1 - alpha / 2) + norm.ppf(power)) / effect) ** 2))
