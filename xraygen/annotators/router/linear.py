"""A logistic regression over named binary features, fitted by scikit-learn and kept as whole
numbers.
"""

from collections.abc import Iterable, Sequence

import numpy as np

SCALE = 256  # weights are kept as multiples of 1/256: their sums are then the same on every machine
# a feature with no weight of at least 16/256 is dropped: half of them, with no measurable loss
_NEGLIGIBLE = 16
_MOST = 2**15 - 1


class Linear:
    """`scores` of a row = (sum of the weights of its known features) / sqrt(how many there are) +
    bias, one for each output.
    """

    def __init__(self, names: Sequence[str], weights: np.ndarray, bias: np.ndarray) -> None:
        """`names` F features; `weights` (F, outputs) and `bias` (outputs,) in units of 1/SCALE."""
        if weights.shape != (len(names), len(bias)):
            raise ValueError("the model's parts do not fit together")
        self.names, self.weights, self.bias = list(names), weights, bias
        self._padded = np.vstack(
            [weights, np.zeros_like(weights[:1], shape=(1, len(bias)))]
        ).astype(np.int32)
        self.index = {name: i for i, name in enumerate(self.names)}

    def known(self, features: Iterable[str]) -> list[int]:
        get = self.index.get
        return [i for name in features if (i := get(name)) is not None]

    def scores(self, total: np.ndarray, count: int) -> np.ndarray:
        """From the sum of `weights` over a row's `count` known features."""
        return (total / max(1, count) ** 0.5 + self.bias) / SCALE

    def score_rows(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """(rows, outputs) scores of rows of known features, of which some may be empty; at least
        one row.
        """
        none = len(
            self.names
        )  # a feature of no weight begins each row, as np.add.reduceat has no empty sums
        flat = [i for row in rows for i in (none, *row)]
        lengths = np.array([len(row) for row in rows])
        totals = np.add.reduceat(self._padded[flat], np.cumsum(lengths + 1) - lengths - 1, axis=0)
        return (totals / np.sqrt(np.maximum(1, lengths))[:, None] + self.bias) / SCALE


def fit_linear(
    rows: Sequence[Sequence[str]],
    targets: Sequence[Sequence[int]] | np.ndarray,
    weights: Sequence[float],
    *,
    alpha: float,
    epochs: int,
) -> Linear:
    """One binary classifier for each column of `targets` (rows, outputs) of 0 and 1, by averaged
    stochastic gradient descent.

    Each row is scaled to unit length.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import SGDClassifier

    names = sorted({name for row in rows for name in row})
    index = {name: i for i, name in enumerate(names)}
    columns = [[index[name] for name in row] for row in rows]
    ends = np.cumsum([0] + [len(row) for row in columns])
    flat = np.fromiter((i for row in columns for i in row), np.int32, ends[-1])
    data = np.repeat([max(1, len(row)) ** -0.5 for row in columns], np.diff(ends))
    matrix = csr_matrix((data, flat, ends), shape=(len(rows), len(names)))
    targets, weights = np.asarray(targets), np.asarray(weights)
    coefficients = np.zeros((len(names), targets.shape[1]))
    bias = np.zeros(targets.shape[1])
    for j, target in enumerate(targets.T):
        if target.min() == target.max():  # never, or always: nothing to tell apart
            bias[j] = 8.0 if target.max() else -8.0
            continue
        model = SGDClassifier(
            loss="log_loss", alpha=alpha, max_iter=epochs, tol=None, average=True, random_state=0
        )
        model.fit(matrix, target, sample_weight=weights)
        coefficients[:, j], bias[j] = model.coef_[0], model.intercept_[0]
    whole = np.rint(coefficients * SCALE).clip(-_MOST, _MOST).astype(np.int16)
    used = np.flatnonzero(np.abs(whole).max(axis=1, initial=0) >= _NEGLIGIBLE)
    return Linear([names[i] for i in used], whole[used], np.rint(bias * SCALE).astype(np.int32))
