"""Confidences: the numbers behind them against worked examples and plain implementations, and the
review threshold against planted risks.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from xraygen.core.study import AnnotationRecord, Evidence, Judgement
from xraygen.evaluation import calibration, confidence, review
from xraygen.evaluation.confidence import Confidences

SAMPLES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 0.9, 1.0]), st.booleans()),
    min_size=1,
    max_size=7,
)


def arrays(sample) -> tuple[np.ndarray, np.ndarray]:
    given_, right = zip(*sample, strict=True)
    return np.array(given_), np.array(right)


def pool_adjacent_violators(confidence_: np.ndarray, right: np.ndarray) -> dict[float, float]:
    """The isotonic fit at each distinct confidence."""
    blocks = []  # mean, weight, confidences
    for value in sorted(set(confidence_.tolist())):
        of_value = right[confidence_ == value]
        blocks.append((of_value.mean(), len(of_value), [value]))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (low, n, first), (high, m, second) = blocks[-2:]
            blocks[-2:] = [((low * n + high * m) / (n + m), n + m, first + second)]
    return {value: mean for mean, _, values in blocks for value in values}


@settings(max_examples=60)
@given(SAMPLES)
def test_isotonic_regression_is_that_of_pooled_adjacent_violators(sample):
    given_, right = arrays(sample)
    expected = pool_adjacent_violators(given_, right)
    fitted = calibration.isotonic(given_, right)(given_)
    assert fitted == pytest.approx([expected[value] for value in given_.tolist()])


def test_between_and_beyond_what_it_was_fitted_on_isotonic_regression_goes_on():
    fitted = calibration.isotonic(np.array([0.2, 0.4, 0.8]), np.array([False, False, True]))
    found = fitted(np.array([0.0, 0.3, 0.6, 0.9])).tolist()
    assert found == pytest.approx([0, 0, 0.5, 1])


def test_calibration_error_of_a_worked_example():
    # Two confidences, so two bins: |0.9 - 0.75| on eight of ten, |0.5 - 0| on two.
    given_ = np.array([0.9] * 8 + [0.5] * 2)
    right = np.array([True] * 6 + [False] * 4)
    assert calibration.expected_calibration_error(given_, right) == pytest.approx(0.22)
    assert calibration.brier(given_, right) == pytest.approx((6 * 0.01 + 2 * 0.81 + 2 * 0.25) / 10)


def test_calibration_error_without_ties_is_that_of_ten_bins_of_the_same_size():
    rng = np.random.default_rng(0)
    given_ = rng.permutation(np.linspace(0, 1, 130))
    right = rng.random(130) < given_**2
    order = np.argsort(given_)
    bins = [abs(given_[part].mean() - right[part].mean()) for part in np.split(order, 10)]
    assert calibration.expected_calibration_error(given_, right) == pytest.approx(np.mean(bins))


@settings(max_examples=60)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_no_number_depends_on_the_order_of_the_regions(sample, random):
    shuffled = random.sample(sample, len(sample))
    for measure in (
        calibration.expected_calibration_error,
        calibration.brier,
        calibration.area_under_risk_coverage,
    ):
        assert measure(*arrays(shuffled)) == pytest.approx(measure(*arrays(sample)))


def test_chance_leaves_a_calibration_error_that_falls_with_the_number_of_regions():
    few, many = (
        calibration.error_by_chance(np.linspace(0.5, 1, n), draws=50, seed=0) for n in (100, 6400)
    )
    assert 4 < few / many < 16  # the square root of 64 is 8


def test_risk_and_coverage_of_a_worked_example():
    given_ = np.array([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, False, True, False])
    assert calibration.risk_coverage(given_, right).tolist() == pytest.approx(
        [0, 1 / 2, 1 / 3, 0.5]
    )
    assert calibration.area_under_risk_coverage(given_, right) == pytest.approx(
        (0 + 5 / 6 + 0.5) / 4
    )


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([0.5, 0.9]), st.booleans()), min_size=1, max_size=5))
def test_ties_count_as_the_mean_over_their_orders(sample):
    curves = [
        np.cumsum([not right for _, right in order]) / np.arange(1, len(order) + 1)
        for order in itertools.permutations(sample)
        if [value for value, _ in order] == sorted((value for value, _ in order), reverse=True)
    ]
    assert calibration.risk_coverage(*arrays(sample)) == pytest.approx(np.mean(curves, axis=0))


def planted(seed: int, studies: int, together: float, risk_of) -> Confidences:
    """Four regions a study, wrong with the probability `risk_of` their confidence. In a share
    `together` of the studies the same chance decides for all four.
    """
    rng = np.random.default_rng(seed)
    confidences = rng.random((studies, 4))
    chance = rng.random((studies, 4))
    shared = rng.random(studies) < together
    chance[shared] = chance[shared, :1]
    right = chance >= risk_of(confidences)
    return Confidences(confidences.ravel(), right.ravel(), np.repeat(np.arange(studies), 4))


def constant_risk(confidences: np.ndarray) -> np.ndarray:
    return np.full(confidences.shape, 0.051)


def falling_risk(confidences: np.ndarray) -> np.ndarray:
    return 0.3 * (1 - confidences) ** 2  # above a threshold t the mean is 0.1 * (1 - t) ** 2


@pytest.mark.parametrize("together", [0, 1])
@pytest.mark.parametrize("risk_of", [constant_risk, falling_risk])
def test_the_bound_is_violated_in_no_more_draws_than_it_may_be(risk_of, together):
    draws, violated, certified = 500, 0, 0
    for seed in range(draws):
        found = review.certified(*planted(seed, 100, together, risk_of), risk=0.05, delta=0.05)
        if found is not None:
            above = risk_of(np.linspace(found.threshold, 1, 1001))
            certified += 1
            violated += above.mean() > 0.05
    assert violated <= 0.05 * draws
    if (risk_of, together) == (falling_risk, 0):
        assert certified > 0.6 * draws  # it is of use, too


def test_a_bound_that_takes_regions_for_independent_would_be_violated():
    """What the effective number is for: all regions of a study right, or all wrong."""
    violated = with_effect = 0
    for seed in range(200):
        found = planted(seed, 60, 1, lambda confidences: np.full(confidences.shape, 0.06))
        above = np.ones(len(found.right), dtype=bool)
        wrong = ~found.right
        size = review.effective_size(above, wrong, found.right, found.study)
        assert size <= 61
        violated += review.upper_bound(above, wrong, len(above), 0.05) < 0.06
        with_effect += review.upper_bound(above, wrong, size, 0.05) < 0.06
    assert violated > 0.1 * 200 and with_effect <= 0.05 * 200


@pytest.mark.parametrize(("wrong", "n"), [(0, 59), (3, 200), (20, 698), (7, 7)])
def test_the_bound_of_independent_regions_is_clopper_and_pearsons(wrong, n):
    is_wrong = np.arange(n) < wrong
    above = np.ones(n, dtype=bool)
    expected = binomtest(wrong, n, alternative="less").proportion_ci(0.95, "exact").high
    assert review.upper_bound(above, is_wrong, n, 0.05) == pytest.approx(expected)


def test_regions_that_are_wrong_together_count_as_one_and_independent_ones_as_themselves():
    study = np.repeat(np.arange(50), 4)
    above = np.ones(200, dtype=bool)
    whole = study < 10
    assert review.design_effect(above, whole, study) == pytest.approx(4 * 50 / 49)
    spread = np.arange(200) % 4 == study % 4  # one region of each study: less than by chance
    assert review.design_effect(above, spread, study) == pytest.approx(0)
    assert review.effective_size(above, spread, ~spread, study) == 200
    # Nothing wrong: nothing is known about dependence, so a study counts once.
    assert review.effective_size(above, ~above, above, study) == 50


def independent(confidences, right) -> Confidences:
    return Confidences(np.array(confidences, float), np.array(right), np.arange(len(right)))


def test_the_sequence_ends_at_the_first_threshold_that_fails():
    """A bad block in the middle: what follows would pass again, but may not be reached."""
    right = np.ones(2000, dtype=bool)
    right[300:400] = np.arange(100) % 2 == 0
    found = review.certified(*independent(np.linspace(1, 0, 2000), right), risk=0.05, delta=0.05)
    assert found is not None and found.kept <= 400 and found.wrong / found.kept < 0.05
    assert (~right).mean() < 0.03


def test_equal_confidences_are_kept_or_reviewed_together():
    right = np.arange(400) % 100 != 0
    found = review.certified(*independent([0.9] * 400, right), risk=0.05, delta=0.05)
    assert found is not None and (found.threshold, found.kept, found.wrong) == (0.9, 400, 4)
    right = np.arange(400) % 10 != 0
    assert review.certified(*independent([0.9] * 400, right), risk=0.05, delta=0.05) is None


def test_what_cannot_be_certified_is_not():
    everything_right = np.ones(50, dtype=bool)
    few = independent([0.9] * 50, everything_right)
    assert review.certified(*few, risk=0.05, delta=0.05) is None  # it takes 59
    assert review.certified(*few, risk=0.06, delta=0.05) is not None
    nothing = independent([np.nan] * 400, np.ones(400, dtype=bool))
    assert review.certified(*nothing, risk=0.05, delta=0.05) is None


def test_a_region_without_confidence_is_never_kept_and_counts_as_not_covered():
    given_ = np.where(np.arange(800) % 2, 0.9, np.nan)
    dev = independent(given_, np.arange(800) % 2 == 1)
    found = confidence.measured(dev, dev, 0.05, 0.05)
    assert found["regions"] == 800 and found["wrong"] == 0
    assert (found["review"]["coverage"], found["review"]["wrong_kept"]) == (0.5, 0)


def test_the_threshold_does_not_depend_on_the_order_of_the_regions():
    found = planted(3, 150, 0, falling_risk)
    order = np.random.default_rng(0).permutation(len(found.right))
    shuffled = Confidences(*(part[order] for part in found))
    first = review.certified(*found, risk=0.05, delta=0.05)
    assert first is not None
    assert review.certified(*shuffled, risk=0.05, delta=0.05) == first


def test_an_overconfident_approach_becomes_calibrated():
    def drawn(seed: int) -> Confidences:
        rng = np.random.default_rng(seed)
        chance = rng.random(4000)
        return independent(1 - (1 - chance) ** 4, rng.random(4000) < chance)

    found = confidence.measured(drawn(0), drawn(1), 0.05, 0.05)
    assert found["ece"]["raw"] > 0.25 and found["ece"]["calibrated"] < 0.03
    assert found["brier"]["calibrated"] < found["brier"]["raw"] - 0.05
    assert found["aurc"] == pytest.approx(
        0.25, abs=0.02
    )  # the mean of (1 - coverage) / 2 backwards
    assert found["wrong"] == pytest.approx(0.5, abs=0.03)
    coverages, risks = zip(*found["curve"], strict=True)
    assert list(coverages) == sorted(coverages) and coverages[-1] == 1
    assert risks[-1] == pytest.approx(found["wrong"], abs=1e-6)


def test_a_constant_confidence_orders_nothing_but_can_be_calibrated():
    right = np.arange(1000) % 5 != 0
    both = independent([0.99] * 1000, right), independent([0.99] * 1000, right)
    found = confidence.measured(*both, 0.05, 0.05)
    assert found["aurc"] == found["wrong"] == 0.2
    assert found["ece"] == {"raw": pytest.approx(0.19), "calibrated": pytest.approx(0, abs=1e-9)}
    assert found["review"]["threshold"] is None


def judgement(id: str, region: str, reference: str, candidate: str) -> Judgement:
    return Judgement(
        id=id,
        region=region,
        reference=reference,
        candidate=candidate,
        score=1.0,
        verdict="judged",
        judge="mine",
    )


def test_confidences_meet_their_judgements():
    records = [
        AnnotationRecord(
            id="b",
            annotation={"heart": "Large heart.", "lung": ""},
            evidence={"heart": Evidence(confidence=0.25), "lung": Evidence()},
        ),
        AnnotationRecord(id="a", annotation=None, error="no answer"),
    ]
    judged = [
        judgement("a", "lung", "Clear.", ""),
        judgement("b", "heart", "Heart large.", "Large heart."),
        judgement("b", "lung", "", ""),
        judgement("a", "heart", "", ""),
    ]
    found = confidence.confidences_of(records, judged)
    assert found.confidence == pytest.approx([np.nan, 0.25, np.nan, np.nan], nan_ok=True)
    assert found.right.tolist() == [False, True, True, True]
    assert found.study.tolist() == [0, 1, 1, 0]
    assert found.known()[0].tolist() == [0.25]


def test_an_approach_without_confidences_is_not_measured_nor_shown():
    none = independent([np.nan] * 3, [True, True, False])
    some = independent([0.5] * 3, [True, True, False])
    assert confidence.measured(none, some, 0.05, 0.05) is None
    assert confidence.measured(some, none, 0.05, 0.05) is None
    assert confidence.section({}) == [] and confidence.metrics({}) == {}


def test_the_section_says_what_was_certified_and_what_was_not():
    dev, test = planted(1, 200, 0, falling_risk), planted(2, 200, 0, falling_risk)
    good = confidence.measured(dev, test, 0.05, 0.05)
    bad = confidence.measured(dev, test, 0.001, 0.05)
    title, table, legend = confidence.section({"good": good, "bad": bad})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    threshold, kept = good["review"]["threshold"], good["review"]["coverage"]
    assert rows[2][0] == "good" and rows[2][5:7] == [f"{threshold:.4g}", f"{100 * kept:.1f} %"]
    assert rows[3][0] == "bad" and rows[3][5:] == ["none certified", "–", "–"]
    assert "10 bins" in legend and "0.7" in legend and title == "## Confidence"
    found = confidence.metrics({"bad": bad})["bad"]
    assert found["wrong_kept"] is None and found["ece_calibrated"] == bad["ece"]["calibrated"]
