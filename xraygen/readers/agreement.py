"""How far readers of the same sample agree: decisions by Krippendorff's alpha and Cohen's kappa,
final texts by token F1.

Krippendorff, Content Analysis: An Introduction to Its Methodology, 2004, chapter 11; Cohen,
Educational and Psychological Measurement 20, 1960. Intervals are by bootstrap over studies, because
the regions of a study are not independent.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple, get_args

import numpy as np

from xraygen.core.errors import UserError
from xraygen.evaluation.resampling import bootstrap, intervals, means
from xraygen.evaluation.tables import number, percent, table
from xraygen.language.text import token_f1
from xraygen.readers.exports import Decided, Decision, Key, Review

DECISIONS: tuple[Decided, ...] = get_args(Decided)
RESAMPLES = 1000
SEED = 0
# An interval of alpha is over resamples in which it is defined; with fewer of them there is none.
_DEFINED = 0.95
_UNDEFINED = "undefined"
_TOO_FEW = "–"
_FEWEST = 10  # items for which alpha and kappa are shown


class Estimate(NamedTuple):
    """None: cannot be computed."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Row(NamedTuple):
    """Agreement on one region, or on all. `items`: those that at least two readers decided;
    `same`: the share of pairs of readers with the same decision; `kappa`: None also where the
    readers are not two; `token_f1`: the mean over pairs of readers who both left a text, unless
    both are empty.
    """

    region: str
    items: int
    same: Estimate
    alpha: Estimate
    kappa: float | None
    token_f1: Estimate


def agreement(reviews: Sequence[Review], regions: Sequence[str] = ()) -> list[Row]:
    """A row for each region that has items, and the first over all of them; [] where no item was
    decided by two readers. `regions`: their order; none = by name.
    """
    decided = _decided(reviews)
    if not decided:
        return []
    keys = sorted(decided)
    reviewed = {region for _, region in keys}
    named = [region for region in regions or sorted(reviewed) if region in reviewed]
    members = np.array([[True, *(key[1] == region for region in named)] for key in keys])
    _, studies = np.unique([key[0] for key in keys], return_inverse=True)
    pairs = np.array([_pair_means(decided[key]) for key in keys])
    counts = np.array([_counts(decided[key]) for key in keys])

    # (2 = decision and text, items, 1 + regions), NaN where the item is not of the region
    values = np.where(members, pairs.T[:, :, None], np.nan)
    found = means(values)[:, 1:]  # without the mean of the columns
    drawn = bootstrap(values, RESAMPLES, SEED, studies)[:, :, 1:]
    same, text = (_estimates(found[k], drawn[:, k]) for k in (0, 1))
    return [
        Row(
            region,
            int(of_region.sum()),
            same[column],
            _alpha_with_interval(counts[of_region], studies[of_region]),
            _kappa(reviews, [key for key, inside in zip(keys, of_region, strict=True) if inside]),
            text[column],
        )
        for column, (region, of_region) in enumerate(zip(["all", *named], members.T, strict=True))
    ]


def _decided(reviews: Sequence[Review]) -> dict[Key, list[Decision]]:
    """The decisions about each item that at least two readers decided."""
    found: dict[Key, list[Decision]] = {}
    for review in reviews:
        for key, decision in review.decisions.items():
            found.setdefault(key, []).append(decision)
    return {key: decisions for key, decisions in found.items() if len(decisions) > 1}


def _pair_means(decisions: Sequence[Decision]) -> tuple[float, float]:
    """Over the pairs of readers of one item: the share with the same decision, and the mean token
    F1 of their texts, NaN where no pair has one.
    """
    pairs = list(combinations(decisions, 2))
    same = [a.decision == b.decision for a, b in pairs]
    scores = [
        token_f1(a.text, b.text) for a, b in pairs if a.text is not None and b.text is not None
    ]
    known = [score for score in scores if score is not None]
    return sum(same) / len(same), sum(known) / len(known) if known else np.nan


def _counts(decisions: Sequence[Decision]) -> list[int]:
    given = [decision.decision for decision in decisions]
    return [given.count(decision) for decision in DECISIONS]


def _estimates(values: np.ndarray, drawn: np.ndarray) -> list[Estimate]:
    """(columns,) and (resamples, columns) -> an estimate for each column. Resamples without a value
    leave no interval.
    """
    low, high, _ = intervals(drawn)
    return [
        Estimate(*(None if np.isnan(one) else float(one) for one in column))
        for column in zip(values, low, high, strict=True)
    ]


def alpha(counts: np.ndarray) -> float | None:
    """Nominal alpha of (items, categories) counts: how many readers chose the category. None: all
    decisions are the same, so that there is no chance agreement to correct for.
    """
    if np.count_nonzero(counts.sum(axis=0)) < 2:
        return None
    try:
        import krippendorff
    except ImportError:
        raise UserError(
            "Krippendorff's alpha needs the package krippendorff; "
            "install it with `pip install -c constraints.txt -e '.[pipeline]'`"
        ) from None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def _alpha_with_interval(counts: np.ndarray, studies: np.ndarray) -> Estimate:
    value = alpha(counts)
    if value is None:
        return Estimate(None)
    _, studies = np.unique(studies, return_inverse=True)
    number = int(studies.max()) + 1
    rng = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, number, number), minlength=number)
        drawn.append(alpha(np.repeat(counts, times[studies], axis=0)))
    defined = [one for one in drawn if one is not None]
    if len(defined) < _DEFINED * RESAMPLES:
        return Estimate(value)
    low, high = np.percentile(defined, (2.5, 97.5))
    return Estimate(value, float(low), float(high))


def _kappa(reviews: Sequence[Review], keys: Sequence[Key]) -> float | None:
    """Cohen's kappa of two readers. None: they are not two, or all their decisions are the same."""
    from sklearn.metrics import cohen_kappa_score

    if len(reviews) != 2:
        return None
    first, second = ([review.decisions[key].decision for key in keys] for review in reviews)
    if len({*first, *second}) < 2:
        return None
    return float(cohen_kappa_score(first, second))


def agreement_table(rows: Sequence[Row], readers: int) -> str:
    """A Markdown table, followed by what its columns mean."""
    headers = ["region", "items", "same decision", "alpha", "kappa", "token F1"]
    cells = [
        [
            row.region,
            f"{row.items:,}",
            _shown(row.same, percent),
            *_beyond_chance(row),
            _shown(row.token_f1, number),
        ]
        for row in rows
    ]
    if readers != 2:
        kappa = headers.index("kappa")
        for line in (headers, *cells):
            del line[kappa]
    legend = (
        "items: decided by at least two readers. alpha: Krippendorff's, of accepted, edited and "
        "rejected. token F1: of the final texts. 95 % intervals by bootstrap over studies."
    )
    if any(_UNDEFINED in line for line in cells):
        legend += f" {_UNDEFINED}: all decisions are the same."
    if any(row.items < _FEWEST for row in rows):
        names = "alpha and kappa are" if readers == 2 else "alpha is"
        legend += f" {names} not shown for fewer than {_FEWEST} items."
    return f"{table(cells, headers)}\n{legend}"


def _beyond_chance(row: Row) -> list[str]:
    """alpha and kappa."""
    alpha = _shown(row.alpha, number, _UNDEFINED)
    kappa = _UNDEFINED if row.kappa is None else number(row.kappa)
    known = row.items >= _FEWEST
    return [one if known or one == _UNDEFINED else _TOO_FEW for one in (alpha, kappa)]


def _shown(estimate: Estimate, form, absent: str = "–") -> str:
    if estimate.value is None:
        return absent
    if estimate.low is None:
        return form(estimate.value)
    return f"{form(estimate.value)} [{form(estimate.low)}, {form(estimate.high)}]"
