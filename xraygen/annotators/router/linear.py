"""Linear classifiers over binary features, fitted by scikit-learn and kept as whole numbers.

Rows are given as one array of the features of all rows, one row after the other, and the length of
each row. Features are numbers from 0.
"""

from collections.abc import Sequence

import numpy as np

SCALE = 256  # weights are kept as multiples of 1/256: their sums are the same on every machine
# A feature with no weight of at least 16/256 is dropped: half of them, with no measurable loss.
_NEGLIGIBLE = 16
_MOST = 2**15 - 1


class Linear:
    """The score of a row for an output: the sum of the weights of its known features / the square
    root of their number + the output's bias. `unknown` is the number of any other feature.
    """

    def __init__(self, weights: np.ndarray, bias: np.ndarray) -> None:
        """`weights` (features, outputs) and `bias` (outputs,) in units of 1/SCALE."""
        if weights.shape[1:] != bias.shape:
            raise ValueError("the model's parts do not fit together")
        self.weights = weights
        self.bias = bias
        self.unknown = len(weights)
        # A last column counts the known features; a last row is that of the unknown ones.
        counted = np.column_stack([weights, np.ones(len(weights))])
        self._table = np.vstack([counted, np.zeros(len(bias) + 1)]).astype(np.int32)

    def sums(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(rows, outputs + 1): the summed weights of a row's features, and how many are known."""
        from scipy.sparse import csr_matrix

        ends = np.concatenate([[0], np.cumsum(lengths)])
        ones = np.ones(len(features), dtype=np.int32)
        shape = len(lengths), len(self._table)
        return csr_matrix((ones, features, ends), shape=shape) @ self._table

    def scores(self, sums: np.ndarray) -> np.ndarray:
        """(rows, outputs) log odds. `sums`: as `sums` gives them for a row, or the total of those
        of the row's parts.
        """
        return (sums[:, :-1] / np.sqrt(np.maximum(1, sums[:, -1:])) + self.bias) / SCALE


def fit_linear(
    features: np.ndarray,
    lengths: np.ndarray,
    targets: np.ndarray,
    weights: Sequence[float] | np.ndarray,
    *,
    alpha: float,
    epochs: int,
) -> tuple[Linear, np.ndarray]:
    """One logistic regression for each column of `targets` (rows, outputs) of 0 and 1, by averaged
    stochastic gradient descent. `weights` (rows,); each row is scaled to unit length.

    Also returns the features that the result knows, ascending: its feature k is the k-th of these.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import SGDClassifier

    count = int(features.max(initial=-1)) + 1
    ends = np.concatenate([[0], np.cumsum(lengths)])
    data = np.repeat(np.maximum(1, lengths) ** -0.5, lengths)
    matrix = csr_matrix((data, features, ends), shape=(len(lengths), count))
    coefficients = np.zeros((count, targets.shape[1]))
    bias = np.zeros(targets.shape[1])
    for column, target in enumerate(targets.T):
        if not target.any():
            bias[column] = -8.0
        elif target.all():
            bias[column] = 8.0
        else:
            model = SGDClassifier(
                loss="log_loss",
                alpha=alpha,
                max_iter=epochs,
                tol=None,
                average=True,
                random_state=0,
            )
            model.fit(matrix, target, sample_weight=weights)
            coefficients[:, column] = model.coef_[0]
            bias[column] = model.intercept_[0]
    whole = np.rint(coefficients * SCALE).clip(-_MOST, _MOST).astype(np.int16)
    used = np.flatnonzero(np.abs(whole).max(axis=1, initial=0) >= _NEGLIGIBLE)
    return Linear(whole[used], np.rint(bias * SCALE).astype(np.int32)), used
