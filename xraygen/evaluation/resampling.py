"""Bootstrap intervals and paired permutation tests over studies, for many approaches at once.

Whole studies are resampled, because the regions of a study are not independent. Every statistic
here is a ratio of two sums over studies, so one matrix product per block of resamples serves all
approaches and regions, and a pair of approaches costs only the difference of two columns. Resamples
are drawn in blocks of about `_CELLS` numbers, so that memory does not grow with their number.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np

_CELLS = 2_000_000  # numbers in a block: some tens of megabytes
# Rows of a block of permutations; with fewer, a matrix product is bound by memory.
_MIN_ROWS = 64
# Sums that differ by less are equal: the order of summation changes the last bits.
_TOLERANCE = 1e-12


def means(values: np.ndarray) -> np.ndarray:
    """(..., studies, regions) -> (..., 1 + regions): macro, then the mean of each region.

    NaN cells are excluded. A region without any value is NaN, and then so is macro, which is the
    mean of the regions' means.
    """
    known = ~np.isnan(values)
    return _with_macro(_divide(np.where(known, values, 0.0).sum(axis=-2), known.sum(axis=-2)))


def macro(values: np.ndarray) -> float:
    """(studies, regions) -> the mean of the regions' means."""
    return float(means(values)[0])


def _divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)


def _with_macro(regional: np.ndarray) -> np.ndarray:
    return np.concatenate([regional.mean(axis=-1, keepdims=True), regional], axis=-1)


def _exact(values: np.ndarray, added: int) -> np.ndarray:
    """Values rounded so that a sum of `added` of them is exact, whatever the order of summation.

    The order in which a matrix product adds depends on threads, memory and processor. Rounded to
    multiples of a power of two for which the largest sum fits into the 53 bits of a float, the
    values have the same sum everywhere. For 300 scores they are multiples of 2^-43.
    """
    largest = float(np.nan_to_num(np.abs(values)).max(initial=0.0)) or 1.0
    unit = 2.0 ** (math.ceil(math.log2(largest * added)) - 52)
    return np.round(values / unit) * unit


def _columns(values: np.ndarray) -> np.ndarray:
    """(series, studies, regions) -> (studies, series x regions)."""
    return np.ascontiguousarray(np.moveaxis(values, 1, 0).reshape(values.shape[1], -1), dtype=float)


def bootstrap(
    values: np.ndarray, resamples: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """(series, studies, regions) -> (resamples, series, 1 + regions): `means` of studies drawn with
    replacement.

    The studies are those that scipy.stats.bootstrap draws. `groups`: (studies,) numbers from 0;
    studies of one group are drawn together, for a cluster bootstrap (Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 3.8).
    """
    series, studies, regions = values.shape
    known = ~np.isnan(values)
    columns = np.hstack([_columns(np.where(known, values, 0.0)), _columns(known)])
    if groups is not None:
        studies = int(groups.max()) + 1
        grouped = np.zeros((studies, columns.shape[1]))
        np.add.at(grouped, groups, columns)
        columns = grouped
    columns = _exact(columns, studies)
    drawn = [times @ columns for times in _draws(studies, resamples, seed)]
    sums, counts = np.split(
        np.concatenate(drawn).reshape(resamples, 2 * series, regions), 2, axis=1
    )
    return _with_macro(_divide(sums, counts))


def _draws(studies: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of (rows, studies): how often each study was drawn, with replacement; `resamples` rows
    in total.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // studies)
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, studies, (min(rows, resamples - start), studies))
        cells = drawn + studies * np.arange(len(drawn))[:, None]
        yield np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(float)


def intervals(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(resamples, ...) -> (low, high, standard error), each (...): the 95 % percentile interval and
    the standard deviation.

    NaN where a resample has no study with a value.
    """
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    return low, high, drawn.std(axis=0, ddof=1)


def compare(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> dict:
    """Paired comparison of two (studies, regions) arrays over the same studies in the same order:
    macro(a) - macro(b).

    Returns one entry of `compare_pairs`.
    """
    return compare_pairs(np.stack([a, b]), resamples, resamples, seed)[0][0]


def compare_pairs(
    values: np.ndarray, resamples: int, permutations: int, seed: int, both_known: bool = False
) -> list[list[dict]]:
    """(approaches, studies, regions) -> for each pair of approaches, in the order of
    `itertools.combinations`, the comparisons of macro and of each region, as {"n", "difference",
    "ci_low", "ci_high", "sd", "p"}.

    `difference` is that of the two means, first minus second; its interval is by bootstrap, and
    `sd` is its standard deviation by study: the bootstrap's standard error times the root of the
    number of studies. `p`: see `permutation_p`. `both_known`: a cell that is NaN on one side of a
    pair counts on neither. With fewer than two studies, p is 1 and the rest NaN.
    """
    pairs = list(combinations(range(len(values)), 2))
    if both_known:
        values, pairs = _masked(values, pairs)
    left, right = np.array(pairs, dtype=int).reshape(-1, 2).T
    found = means(values)
    differences = found[left] - found[right]
    n = values.shape[1]
    low = high = error = np.full_like(differences, np.nan)
    p = np.ones_like(differences)
    if n > 1 and pairs:
        drawn = bootstrap(values, resamples, seed)
        low, high, error = intervals(drawn[:, left] - drawn[:, right])
        p = permutation_p(values, left, right, permutations, seed, alike=both_known)
    columns = {
        "difference": differences,
        "ci_low": low,
        "ci_high": high,
        "sd": error * math.sqrt(n),
        "p": p,
    }
    return [
        [
            {"n": n} | {name: float(column[pair, number]) for name, column in columns.items()}
            for number in range(differences.shape[1])
        ]
        for pair in range(len(pairs))
    ]


def _masked(
    values: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Values and pairs in which both sides have the same NaN cells. Where a pair has different
    ones, its sides are replaced by their difference and a series of zeros.
    """
    known = ~np.isnan(values)
    differences: list[np.ndarray] = []
    masked = []
    for a, b in pairs:
        if np.array_equal(known[a], known[b]):
            masked.append((a, b))
        else:
            masked.append((len(values) + 1 + len(differences), len(values)))
            differences.append(values[a] - values[b])
    if not differences:
        return values, masked
    zeros = np.zeros_like(values[:1])
    return np.concatenate([values, zeros, np.stack(differences)]), masked


def permutation_p(
    values: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    permutations: int,
    seed: int,
    alike: bool = False,
) -> np.ndarray:
    """(series, studies, regions), and the series on the left and right side of each pair -> (pairs,
    1 + regions) two-sided p-values.

    A permutation swaps the two rows of some studies. p is that of scipy.stats.permutation_test for
    paired samples: twice the smaller tail, counting the observed difference as one of the drawn
    (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010), and
    with all 2^n permutations where these are at most `permutations`. A permutation that leaves one
    side of a region without any value counts as extreme as the observed difference.

    With signs s = +1 or -1 by study, the swapped sums are (T + s.d) / 2 and (T - s.d) / 2, where T
    is the sum over both sides, d are the differences, and s.d is s.a - s.b. The same holds for the
    counts, which a swap does not change where both sides have the same NaN cells. `alike`: the
    caller knows that they have, or that the right side is a series of zeros (`_masked`).
    """
    series, n, regions = values.shape
    values = _exact(values, 2 * n)  # the sum over both sides of a pair
    exact = 2**n <= permutations
    known = ~np.isnan(values)
    counts = known.sum(axis=1).astype(float)
    alike = alike or all(
        np.array_equal(known[a], known[b]) for a, b in zip(left, right, strict=True)
    )
    columns = _columns(np.where(known, values, 0.0))
    if not alike:
        columns = np.hstack([columns, _columns(known)])
    totals = columns.sum(axis=0)
    sums = totals[: series * regions].reshape(series, regions)
    observed = means(values)
    observed = observed[left] - observed[right]
    tails = np.zeros((2, *observed.shape), dtype=np.int64)
    drawn_in_total = 0
    rows = max(_MIN_ROWS, _CELLS // max(n, columns.shape[1]))
    for swapped in _swaps(n, permutations, seed, rows):
        signed = (totals[:, None] - 2 * (columns.T @ swapped.T)).reshape(
            -1, series, regions, len(swapped)
        )
        for pair, (a, b) in enumerate(zip(left, right, strict=True)):
            moved = signed[:, a] - signed[:, b]
            if alike:
                drawn = _divide(moved[0], counts[a, :, None])
            else:
                drawn = _swapped(moved, sums[a] + sums[b], counts[a] + counts[b])
            drawn = np.concatenate([drawn.mean(axis=0, keepdims=True), drawn])
            tails[0, pair] += (~(drawn < observed[pair, :, None] - _TOLERANCE)).sum(axis=1)
            tails[1, pair] += (~(drawn > observed[pair, :, None] + _TOLERANCE)).sum(axis=1)
        drawn_in_total += len(swapped)
    itself = 0 if exact else 1
    p = np.minimum(1.0, 2 * (tails.min(axis=0) + itself) / (drawn_in_total + itself))
    return np.where(np.isnan(observed), 1.0, p)


def _swapped(moved: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(2, regions, permutations) s.d of sums and counts, and (regions,) totals over both sides ->
    (regions, permutations) differences of the two means.
    """
    left = _divide(sums[:, None] + moved[0], counts[:, None] + moved[1])
    right = _divide(sums[:, None] - moved[0], counts[:, None] - moved[1])
    return left - right


def _swaps(n: int, permutations: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    """Blocks of (rows, n): 1 where the two rows of a study are swapped, else 0. All 2^n where these
    are at most `permutations`.
    """
    if 2**n <= permutations:
        for start in range(0, 2**n, rows):
            codes = np.arange(start, min(start + rows, 2**n))
            yield (codes[:, None] >> np.arange(n) & 1).astype(float)
        return
    rng = np.random.default_rng(seed)
    # Bytes of a row, in whole words, so that the stream is the same whatever the size of a block.
    width = 4 * math.ceil(n / 32)
    for start in range(0, permutations, rows):
        count = min(rows, permutations - start)
        random = np.frombuffer(rng.bytes(count * width), dtype=np.uint8).reshape(count, width)
        yield np.unpackbits(random, axis=1, count=n).astype(float)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): adjusted p-values
    in the order given.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def permutations_needed(family: int, alpha: float) -> int:
    """The number of permutations with which Holm's correction of `family` comparisons can find a
    difference. A p-value is at least 2 / (permutations + 1), and the first comparison needs one
    below alpha / family; this number makes the least p-value a tenth of that.
    """
    return math.ceil(20 * family / alpha)


def smallest_p(studies: int) -> float:
    """The smallest possible p-value of a two-sided test over all 2^n permutations."""
    return min(1.0, 2.0 ** (1 - studies))


def detectable(sd: float, n: int, alpha: float, power: float) -> float:
    """The smallest difference that a paired two-sided z-test at `alpha` detects with this power:
    (z_{1 - alpha/2} + z_power) sd / sqrt(n), with `sd` by study.

    It depends on the spread alone, not on the observed difference: power at the observed difference
    would be the p-value in another form (Hoenig and Heisey, The American Statistician 55, 2001).
    """
    quantile = NormalDist().inv_cdf
    return (quantile(1 - alpha / 2) + quantile(power)) * sd / math.sqrt(n)
