"""A review threshold: of the regions with a confidence from it on, at most a given share is wrong.

The share of wrong regions among the kept ones does not fall monotonically with the threshold, so
that conformal risk control does not apply. Learn then Test does (Angelopoulos et al., Annals of
Applied Statistics 2025): thresholds are tested one after the other, from the most confident regions
down, each at the whole level, and the last before the first failure is taken (fixed-sequence
testing). Which thresholds are tested is settled by confidences alone.

A threshold passes where the upper Clopper-Pearson bound of the share of wrong regions is at most
the risk. The regions of one study are not independent, so the bound is that of the effective number
of regions (Korn and Graubard, Survey Methodology 24, 1998): the number of independent ones from
which the share would vary as much as it does between studies.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

_STEP = 0.05  # share of the regions by which one tested threshold keeps more than the one before
_ALLOWED = 2  # wrong regions with which the first threshold can still pass, were they independent
_DIGITS = 6  # of a threshold


class Threshold(NamedTuple):
    """`bound`: the upper bound of the share of wrong regions among the `kept` of `regions`, `wrong`
    of which are.
    """

    threshold: float
    bound: float
    kept: int
    wrong: int
    regions: int


def certified(
    confidence: np.ndarray, right: np.ndarray, study: np.ndarray, risk: float, delta: float
) -> Threshold | None:
    """The lowest threshold of the sequence for which more than a share `risk` of wrong regions is
    ruled out, except with probability `delta`; None: there is none.

    `confidence` (n,), NaN where there is none, which no threshold keeps; `right` (n,) bool; `study`
    (n,) int from 0.
    """
    known = np.sort(confidence[~np.isnan(confidence)])[::-1]
    passed = None
    for kept in _sequence(len(known), risk, delta):
        threshold = float(np.floor(known[kept - 1] * 10**_DIGITS) / 10**_DIGITS)
        above = confidence >= threshold
        wrong = above & ~right
        bound = upper_bound(above, wrong, effective_size(above, wrong, right, study), delta)
        if bound > risk:
            break
        passed = Threshold(threshold, bound, int(above.sum()), int(wrong.sum()), len(confidence))
    return passed


def _sequence(n: int, risk: float, delta: float) -> list[int]:
    """The numbers of regions that the tested thresholds keep. A first threshold that keeps too few
    could not pass at all, and with it the others would fail.
    """
    first = _fewest(risk, delta)
    if n < first:
        return [n] if n else []
    return [*range(first, n, max(1, round(_STEP * n))), n]


@cache
def _fewest(risk: float, delta: float) -> int:
    """The fewest independent regions with _ALLOWED wrong ones that pass."""
    from scipy.stats import binom

    n = _ALLOWED + 1
    while binom.cdf(_ALLOWED, n, risk) > delta:
        n += 1
    return n


def effective_size(
    above: np.ndarray, wrong: np.ndarray, right: np.ndarray, study: np.ndarray
) -> float:
    """How many independent regions the regions `above` a threshold, `wrong` or not, count for.

    The dependence among all regions, `right` or not, counts where that among the kept ones is less:
    of a few wrong ones it cannot be told. Where nothing is wrong at all, a study counts as one.
    """
    if right.all():
        return float(len(np.unique(study[above])))
    everything = np.ones(len(right), dtype=bool)
    effect = max(1.0, design_effect(above, wrong, study), design_effect(everything, ~right, study))
    return above.sum() / effect


def design_effect(above: np.ndarray, wrong: np.ndarray, study: np.ndarray) -> float:
    """The variance of the share of wrong regions, a ratio of sums over studies, over what it would
    be if regions were independent (Kish, Survey Sampling, 1965). 0 where the share is 0 or 1.
    """
    n, share = above.sum(), wrong.sum() / above.sum()
    if share in (0, 1):
        return 0.0
    residual = np.bincount(study, wrong) - share * np.bincount(study, above)
    studies = len(np.unique(study))
    if studies == 1:
        return float(n)
    variance = studies / (studies - 1) * (residual**2).sum() / n**2
    return float(variance / (share * (1 - share) / n))


def upper_bound(above: np.ndarray, wrong: np.ndarray, size: float, delta: float) -> float:
    """Clopper and Pearson's, of level 1 - delta, for `size` independent regions."""
    from scipy.stats import beta

    share = wrong.sum() / above.sum()
    if share == 1:
        return 1.0
    return float(beta.ppf(1 - delta, share * size + 1, (1 - share) * size))
