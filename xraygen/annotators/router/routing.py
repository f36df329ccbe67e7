"""Which regions a sentence speaks of: a linear classifier over its words, their letters, and the
words of its neighbours.

A score is a sum over features. So each distinct sentence is summed once in each of its three roles
(itself, the sentence before, the sentence after), and a report only adds these sums up.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import chain, pairwise

import numpy as np

from xraygen.annotators.router.linear import Linear, fit_linear
from xraygen.language.alignment import Words

LEVELS = 64  # probabilities are rounded to 1/64: they are then the same on every machine
_KEPT = 2**14  # words whose features are kept in memory
_LENGTHS = 24  # of reports, in sentences, whose positions are kept in memory
_START, _END = "p ^", "n $"  # what the first and the last sentence have for a neighbour


def feature_names(report: Sequence[Sequence[str]]) -> list[list[str]]:
    """The features of each sentence of a report, which is given as the words of each sentence."""
    rows = []
    for k, words in enumerate(report):
        names = set(_pairs(words)).union(*map(_of_word, words))
        names.update(_as_previous(report[k - 1]) if k else [_START])
        names.update(_as_next(report[k + 1]) if k + 1 < len(report) else [_END])
        rows.append([*sorted(names), _position(k, len(report))])
    return rows


def _pairs(words: Sequence[str]) -> list[str]:
    return [f"ww {left} {right}" for left, right in pairwise(["<", *words, ">"])]


def _of_word(word: str) -> list[str]:
    """The word and its runs of 3 to 5 letters, which an unknown word shares with known ones."""
    letters = f"<{word}>"[:40]
    runs = [letters[i : i + n] for n in (3, 4, 5) for i in range(len(letters) - n + 1)]
    return [f"w {word}", *(f"c {run}" for run in runs)]


def _as_previous(words: Sequence[str]) -> list[str]:
    return [f"p {word}" for word in words]


def _as_next(words: Sequence[str]) -> list[str]:
    return [f"n {word}" for word in words]


def _position(k: int, count: int) -> str:
    return f"at {min(k, 3)} {min(count - k, 3)}"


class Routing:
    """The fitted classifier."""

    def __init__(self, linear: Linear, names: Sequence[str]) -> None:
        """`names` of the classifier's features."""
        if len(names) != len(linear.weights):
            raise ValueError("the model's parts do not fit together")
        self.linear = linear
        self.names = list(names)
        self._index = {name: i for i, name in enumerate(names)}
        self._of_word = lru_cache(maxsize=_KEPT)(lambda word: self._known(_of_word(word)))
        positions = [_position(k, count) for count in range(1, 7) for k in range(count)]
        fixed = [_START, _END, *positions]
        sums = self._sums([self._known([name]) for name in fixed])
        self._sum = dict(zip(fixed, sums, strict=True))
        self._positions = lru_cache(maxsize=_LENGTHS)(self._of_positions)

    def _known(self, names: Iterable[str]) -> frozenset[int]:
        get = self._index.get
        return frozenset([i for name in names if (i := get(name)) is not None])

    def _sums(self, rows: Sequence[Collection[int]]) -> np.ndarray:
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        features = np.fromiter(chain.from_iterable(rows), np.int64, lengths.sum())
        return self.linear.sums(features, lengths)

    def _of_positions(self, count: int) -> np.ndarray:
        """(count, regions + 1): what the positions in a report of that many sentences add."""
        return np.array([self._sum[_position(k, count)] for k in range(count)])

    def shares(self, sentences: Sequence[Words]) -> np.ndarray:
        """(sentences, 3, regions + 1): what a sentence adds to the sums of three sentences, each as
        `Linear.sums` gives it: itself, the one after it, and the one before it.
        """
        rows: list[frozenset[int]] = []
        for sentence in sentences:
            words = sentence.lower
            rows.append(self._known(_pairs(words)).union(*map(self._of_word, words)))
            rows.append(self._known(_as_previous(words)))
            rows.append(self._known(_as_next(words)))
        return self._sums(rows).reshape(len(sentences), 3, len(self.linear.bias) + 1)

    def levels(self, reports: Iterable[Sequence[np.ndarray]]) -> np.ndarray:
        """(sentences of all reports, regions) int: the probability that the region gets something
        of the sentence, in units of 1 / LEVELS. `reports`: the shares of each sentence.
        """
        reports = [report for report in reports if len(report)]
        if not reports:
            return np.zeros((0, len(self.linear.bias)), dtype=int)
        counts = [len(report) for report in reports]
        ends = np.cumsum(counts)
        shares = np.concatenate(list(chain.from_iterable(reports)))
        own, as_previous, as_next = np.moveaxis(shares.reshape(ends[-1], 3, -1), 1, 0)
        before = np.roll(as_previous, 1, axis=0)
        before[ends - counts] = self._sum[_START]
        after = np.roll(as_next, -1, axis=0)
        after[ends - 1] = self._sum[_END]
        position = np.concatenate([self._positions(count) for count in counts])
        sums = own + before + after + position
        return np.rint(LEVELS / (1 + np.exp(-self.linear.scores(sums)))).astype(int)


def fit_routing(
    rows: Sequence[Sequence[str]],
    targets: Sequence[Sequence[int]],
    weights: Sequence[float],
    epochs: int,
) -> Routing:
    """`rows`: the features of each sentence. `targets` (sentences, regions): 1 where the region got
    something of the sentence, else 0. `weights` of the sentences.
    """
    names = sorted({name for row in rows for name in row})
    index = {name: i for i, name in enumerate(names)}
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    features = np.fromiter((index[name] for row in rows for name in row), np.int64, lengths.sum())
    linear, used = fit_linear(
        features, lengths, np.array(targets), weights, alpha=2e-5, epochs=epochs
    )
    return Routing(linear, [names[i] for i in used])
