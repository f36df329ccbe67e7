"""The router's own probability that the text of a region is right, silence included.

What the router expects of its choices is summed over the sentences of a report: how likely each is
to be exactly what a curator would write, and which token F1 that gives. A logistic regression turns
these two numbers into a probability, with other weights for a text than for silence, and an
intercept for each region. It is learned by cross-fitting within train.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from xraygen.annotators.router.choice import Expected

_DIGITS = 4  # of weights and confidences: the same on every machine
_EDGE = 1e-3  # keeps the log odds of 0 and 1 finite
_FEW = 20  # right or wrong texts below which no regression is learned
# Of a text and of silence: intercept, and the weights of the two log odds. Before anything is
# learned, a region is as likely to be right as to be exact.
_UNLEARNED = ((0.0, 1.0, 0.0), (0.0, 1.0, 0.0))


class Confidence:
    """`weights` (2, 3): of a text and of silence, the intercept and the weights of the features.
    `offsets` (regions,): what is added to the intercept.
    """

    def __init__(
        self, weights: Sequence[Sequence[float]] | np.ndarray, offsets: Sequence[float] | np.ndarray
    ) -> None:
        self.weights = np.array(weights, dtype=float)
        self.offsets = np.array(offsets, dtype=float)
        parts = np.concatenate([self.weights.ravel(), self.offsets])
        if self.weights.shape != (2, 3) or not np.isfinite(parts).all():
            raise ValueError("the model's parts do not fit together")

    def __call__(self, features: np.ndarray, silent: np.ndarray) -> np.ndarray:
        """`features` (reports, regions, 2) as `features` gives them and `silent` (reports, regions)
        bool -> (reports, regions) in [0, 1].
        """
        chosen = self.weights[silent.astype(int)]
        odds = chosen[..., 0] + (chosen[..., 1:] * features).sum(axis=-1) + self.offsets
        return np.round(1 / (1 + np.exp(-odds)), _DIGITS)


def unlearned(regions: int) -> Confidence:
    return Confidence(_UNLEARNED, np.zeros(regions))


def features(
    counts: Sequence[int],
    spoken: np.ndarray,
    words: np.ndarray,
    weighed: np.ndarray,
    expected: Sequence[Expected],
) -> np.ndarray:
    """(reports, regions, 2): the log odds that all that is said of the region is exact, and those
    of the expected token F1.

    `counts` (reports,): the sentences of each report. `expected`: of the `weighed` sentences and
    regions, (sentences, regions) bool, in this order. Of the others nothing is said, where with the
    probability `spoken` (sentences, regions) a curator would say about `words` (sentences,).
    """
    regions = spoken.shape[1]
    sums = np.zeros((3, *spoken.shape))  # certainty, overlap, length
    sums[0] = np.log1p(-np.minimum(spoken, 1 - _EDGE))
    sums[2] = spoken * words[:, None]
    numbers = np.fromiter(chain.from_iterable(expected), float, 3 * len(expected))
    sums[:, weighed] = numbers.reshape(-1, 3).T
    cells = np.repeat(np.arange(len(counts)), counts)[:, None] * regions + np.arange(regions)
    certainty, overlap, length = (
        np.bincount(cells.ravel(), one.ravel(), len(counts) * regions).reshape(-1, regions)
        for one in sums
    )
    f1 = 2 * overlap / np.maximum(length, 2 * overlap + _EDGE)
    return np.stack([_log_odds(np.exp(certainty)), _log_odds(f1)], axis=-1)


def _log_odds(share: np.ndarray) -> np.ndarray:
    return np.log((share + _EDGE) / (1 - share + _EDGE))


def fit_confidence(found: np.ndarray, silent: np.ndarray, right: np.ndarray) -> Confidence:
    """`found` (reports, regions, 2) as `features` gives them; `silent` and `right` (reports,
    regions) bool.
    """
    from sklearn.linear_model import LogisticRegression

    reports, regions = right.shape
    if min(right.sum(), (~right).sum()) < _FEW:
        return unlearned(regions)
    ones = np.ones((reports, regions, 1))
    inputs = np.concatenate([ones, found], axis=-1)
    of_text, of_silence = inputs * ~silent[..., None], inputs * silent[..., None]
    of_region = np.broadcast_to(np.eye(regions), (reports, regions, regions))
    design = np.concatenate([of_text, of_silence, of_region], axis=-1)
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    model.fit(design.reshape(reports * regions, -1), right.ravel())
    learned = np.round(model.coef_[0], _DIGITS)
    return Confidence(learned[:6].reshape(2, 3), learned[6:])
