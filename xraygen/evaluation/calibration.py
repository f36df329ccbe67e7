"""How far confidences can be trusted: calibration, and what is wrong among the most confident.

Calibration is isotonic regression (Zadrozny and Elkan, KDD 2002). Its error is the expected
calibration error (Naeini et al., AAAI 2015) over bins of equal mass, because confidences crowd near
1, and the Brier score. The order of the confidences is judged by the risk-coverage curve and its
area (Geifman and El-Yaniv, NeurIPS 2017).

In all functions `confidence` (n,) is in [0, 1] and `right` (n,) is bool, n > 0.
"""

from collections.abc import Callable

import numpy as np

BINS = 10

Calibration = Callable[[np.ndarray], np.ndarray]


def isotonic(confidence: np.ndarray, right: np.ndarray) -> Calibration:
    """The monotone function of confidence that is closest to `right`; constant beyond its ends."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    return model.fit(confidence, right.astype(float)).predict


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean distance between a bin's mean confidence and its share of right ones, weighted by
    the bin's size. Each of BINS bins has the same number of confidences, except that equal ones
    share a bin.
    """
    _, which, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    bins = (middle / len(confidence) * BINS).astype(int)[which]
    off = np.bincount(bins, confidence) - np.bincount(bins, right)
    return float(np.abs(off).sum() / len(confidence))


def error_by_chance(confidence: np.ndarray, draws: int, seed: int) -> float:
    """The mean expected calibration error where each confidence is exactly the probability: what is
    left of it at this number of regions.
    """
    rng = np.random.default_rng(seed)
    errors = [
        expected_calibration_error(confidence, rng.random(len(confidence)) < confidence)
        for _ in range(draws)
    ]
    return float(np.mean(errors))


def brier(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean squared distance between confidence and outcome."""
    return float(np.mean((confidence - right) ** 2))


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n,): the share of wrong ones among the k most confident, for k = 1 to n. Where the k-th has
    equals, the expectation over their orders.
    """
    _, which, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong_of_group = np.bincount(which, ~right)
    wrong = np.repeat(wrong_of_group / counts, counts)
    return np.cumsum(wrong) / np.arange(1, len(right) + 1)


def area_under_risk_coverage(confidence: np.ndarray, right: np.ndarray) -> float:
    """AURC, the mean of `risk_coverage`. That of a random order is the share of wrong ones."""
    return float(risk_coverage(confidence, right).mean())
