"""The router's own probability that the text of a region is right, silence included.

What the router expects of its choices is summed over the sentences of a report: how likely each is
to be exactly what a curator would write, and which token F1 that gives. Two logistic regressions,
one for regions with a text and one for silent ones, turn these two numbers into a probability. They
are learned on training studies that the router was not fitted on.
"""

from collections.abc import Sequence

import numpy as np

_DIGITS = 4  # of coefficients and confidences: the same on every machine
_EDGE = 1e-3  # of the log odds of probabilities near 0 and 1
_FEW = 10  # right or wrong regions below which no regression is learned
# Intercept and the weights of the log odds of being exact and of the expected token F1. Before
# anything is learned, a region is as likely to be right as to be exact.
UNLEARNED = ((0.0, 1.0, 0.0), (0.0, 1.0, 0.0))


class Confidence:
    """`coefficients`: (3,) of regions with a text and (3,) of silent ones."""

    def __init__(self, coefficients: Sequence[Sequence[float]] = UNLEARNED) -> None:
        self.coefficients = np.array(coefficients, dtype=float)
        if self.coefficients.shape != (2, 3) or not np.isfinite(self.coefficients).all():
            raise ValueError("the model's parts do not fit together")

    def __call__(self, features: np.ndarray, silent: np.ndarray) -> np.ndarray:
        """`features` (..., 2) as `features` gives them, `silent` (...) bool -> (...) in [0, 1]."""
        chosen = self.coefficients[silent.astype(int)]
        odds = chosen[..., 0] + (chosen[..., 1:] * features).sum(axis=-1)
        return np.round(1 / (1 + np.exp(-odds)), _DIGITS)


def features(certainty: np.ndarray, overlap: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The sums of a region's choices (`choice.Choice`), each (...) -> (..., 2): the log odds that
    all of them are exact, and those of the expected token F1.
    """
    exact = np.exp(certainty)
    f1 = 2 * overlap / np.maximum(length, 2 * overlap + _EDGE)
    return np.stack([_log_odds(exact), _log_odds(f1)], axis=-1)


def _log_odds(share: np.ndarray) -> np.ndarray:
    return np.log((share + _EDGE) / (1 - share + _EDGE))


def fit_confidence(found: np.ndarray, silent: np.ndarray, right: np.ndarray) -> Confidence:
    """`found` (regions, 2) as `features` gives them; `silent` and `right` (regions,) bool."""
    from sklearn.linear_model import LogisticRegression

    learned = []
    for kind, unlearned in zip((False, True), UNLEARNED, strict=True):
        chosen = silent == kind
        target = right[chosen]
        if min(target.sum(), (~target).sum()) < _FEW:
            learned.append(unlearned)
            continue
        model = LogisticRegression(max_iter=1000).fit(found[chosen], target)
        learned.append([*model.intercept_, *model.coef_[0]])
    return Confidence(np.round(np.array(learned), _DIGITS))
