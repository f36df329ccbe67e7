"""Paired tests of many approaches at once: they keep their power as approaches are added, and agree
with scipy."""

import numpy as np
import pytest
from conftest import REGIONS
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import permutation_test

from xraygen.evaluation import resampling
from xraygen.evaluation.compare import compare_all, permutations
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.resampling import (
    bootstrap,
    compare_pairs,
    intervals,
    macro,
    means,
    permutation_p,
)
from xraygen.evaluation.scores import StudyScores

PARAMS = CompareParams(resamples=200, alpha=0.05, power=0.8, seed=0)


def gapped(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """Random values; some NaN, but none of the first two studies, so that every region has a value
    after every swap."""
    values = rng.random(shape)
    values[..., 2:, :][rng.random(values[..., 2:, :].shape) < share] = np.nan
    return values


@pytest.mark.parametrize("approaches", [9, 20])
def test_every_regional_difference_holds_where_all_approaches_differ(approaches):
    """With a fixed number of permutations none could: the smallest p times the number of
    comparisons passed alpha."""
    rng = np.random.default_rng(0)
    ids = tuple(f"{number:03d}" for number in range(60))
    every = {}
    for number in range(approaches):
        values = 0.04 * number + 0.02 * rng.random((60, 4))
        every[f"a{number}"] = {"test": StudyScores(ids, *[values] * 5, REGIONS.scored)}
    pairs = compare_all(every, PARAMS)["test"]
    assert len(pairs) == approaches * (approaches - 1) // 2
    for pair in pairs.values():
        for measure in ("score", "token_f1"):
            assert all(pair[measure][column]["holds"] for column in ("macro", *REGIONS.scored))


@pytest.mark.parametrize("approaches", [2, 8, 9, 17, 20, 40])
def test_the_smallest_p_is_far_below_what_the_correction_needs(approaches):
    family = approaches * (approaches - 1) // 2 * len(REGIONS.scored)
    smallest = 2 / (permutations(approaches, 4, PARAMS) + 1)
    assert smallest * family <= PARAMS.alpha / 9.9


def test_more_permutations_can_be_asked_for():
    assert permutations(2, 4, PARAMS.model_copy(update={"resamples": 100_000})) == 100_000


@pytest.mark.parametrize(("n", "tolerance"), [(8, 1e-12), (40, 0.02)])
@pytest.mark.parametrize("share", [0, 0.3])
def test_the_p_value_of_each_pair_and_region_is_that_of_scipy(n, tolerance, share):
    rng = np.random.default_rng(n)
    values = gapped(rng, (3, n, 2), share) + np.array([0, 0.05, 0.15])[:, None, None]
    found = compare_pairs(values, 50, 10_000, 0)
    for (a, b), comparisons in zip(((0, 1), (0, 2), (1, 2)), found, strict=True):
        both = np.concatenate([values[a], values[b]])
        for column in range(3):

            def difference(x, y, both=both, column=column) -> float:
                return (means(both[x.astype(int)]) - means(both[y.astype(int)]))[column]

            theirs = permutation_test(
                (np.arange(n), np.arange(n, 2 * n)),
                difference,
                permutation_type="samples",
                vectorized=False,
                n_resamples=3_000,
                rng=np.random.default_rng(1),
            )
            assert comparisons[column]["p"] == pytest.approx(theirs.pvalue, abs=2 * tolerance)


def test_what_is_unscored_on_one_side_counts_on_neither_and_the_rest_as_if_tested_alone():
    rng = np.random.default_rng(1)
    values = gapped(rng, (3, 50, 4), 0.2)
    found = compare_pairs(values, 300, 2000, 0, both_known=True)
    for (a, b), comparisons in zip(((0, 1), (0, 2), (1, 2)), found, strict=True):
        known = ~np.isnan(values[a]) & ~np.isnan(values[b])
        alone = np.stack([np.where(known, values[side], np.nan) for side in (a, b)])
        for one, other in zip(comparisons, compare_pairs(alone, 300, 2000, 0)[0], strict=True):
            assert one == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("share", [0, 0.3])
def test_the_size_of_a_block_changes_nothing(share, monkeypatch):
    values = gapped(np.random.default_rng(2), (4, 37, 4), share)
    whole = compare_pairs(values, 100, 1000, 5)
    monkeypatch.setattr(resampling, "_CELLS", 100)
    monkeypatch.setattr(resampling, "_MIN_ROWS", 7)
    for one, other in zip(whole, compare_pairs(values, 100, 1000, 5), strict=True):
        for cell, again in zip(one, other, strict=True):
            assert cell == pytest.approx(again, abs=1e-12)


def test_resampled_means_have_the_same_bits_in_whatever_order_they_are_summed():
    """A matrix product adds in an order of its choice, so the sixth digit of an interval came and
    went from run to run."""
    rng = np.random.default_rng(3)
    values = rng.random((2, 300, 4))
    drawn = bootstrap(values, resamples=40, seed=1)[:, :, 1:]
    times = np.concatenate(list(resampling._draws(300, 40, 1)))
    rounded = resampling._exact(values, 300)
    for order in (slice(None), slice(None, None, -1), rng.permutation(300)):
        added = np.zeros((40, 2, 4))
        for study in np.arange(300)[order]:
            added += times[:, study, None, None] * rounded[:, study]
        assert (added / 300 == drawn).all()
    assert np.abs(rounded - values).max() < 1e-12


def test_all_permutations_are_taken_where_they_are_few():
    values = np.array([[[1.0]] * 5, [[0.0]] * 5])
    p = permutation_p(values, np.array([0]), np.array([1]), 1000, 0)
    assert p.tolist() == [[2 / 32, 2 / 32]]  # nothing is drawn, so that nothing is added


def test_ties_count_against_the_difference():
    """Half of the studies differ by the same amount: many permutations give just what was
    observed.
    """
    a = np.array([1.0, 1, 1, 0, 0, 0])[:, None]
    p = permutation_p(np.stack([a, np.zeros_like(a)]), np.array([0]), np.array([1]), 100, 0)
    assert p[0, 1] == 0.25  # 2 x 8 of 64


def test_studies_of_a_group_are_drawn_together():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(20), 5)
    values = np.repeat(rng.random((20, 1)), 5, axis=0)[None]
    _, _, alone = intervals(bootstrap(values, 2000, 0))
    _, _, grouped = intervals(bootstrap(values, 2000, 0, groups))
    assert grouped[0, 1] == pytest.approx(alone[0, 1] * 5**0.5, rel=0.1)
    theirs = scipy_bootstrap(
        (values[0, ::5, 0],),
        np.mean,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    assert grouped[0, 1] == pytest.approx(theirs.standard_error, rel=1e-9)


def test_macro_is_nan_where_a_region_has_no_value():
    assert np.isnan(macro(np.array([[1.0, np.nan], [0.0, np.nan]])))
    assert means(np.array([[1.0, np.nan], [0.0, 1.0]])).tolist() == [0.75, 0.5, 1.0]
