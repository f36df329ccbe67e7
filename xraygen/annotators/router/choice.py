"""Which of several pieces is said for a sentence: the one of highest expected token overlap."""

import math
from collections.abc import Collection, Mapping

from xraygen.language.remembered import remembered
from xraygen.language.text import tokens

_CANDIDATES = 12  # pieces that are weighed against one another
_KEPT = 750_000  # characters of texts whose tokens are kept in memory
_UNLIKELY = 1e-3  # a smaller probability counts as this one, so that its logarithm exists


# How what is said for a sentence compares with the right piece: the log probability that it is
# exactly that, the expected number of tokens that they share, and that of the tokens of both. Plain
# tuples, because named ones would keep the garbage collector busy.
Expected = tuple[float, float, float]
Choice = tuple[str, Expected]


def sharpened(
    chances: Mapping[str, float], counts: Mapping[str, int], shrinkage: float
) -> dict[str, float]:
    """The distribution after pieces were seen `counts` times; it weighs as much as `shrinkage`."""
    total = sum(counts.values()) + shrinkage
    return {
        text: (counts.get(text, 0) + shrinkage * chances.get(text, 0.0)) / total
        for text in dict.fromkeys([*chances, *counts])  # in the same order on every run
    }


def expected_of(text: str, chances: Mapping[str, float]) -> Expected:
    """`text` compared with the pieces of these probabilities."""
    bag = tokens_of(text)
    overlap, length = 0.0, float(len(bag))
    for other, chance in chances.items():
        other_bag = tokens_of(other)
        length += chance * len(other_bag)
        overlap += chance * len(bag & other_bag)
    return math.log(max(chances.get(text, 0.0), _UNLIKELY)), overlap, length


def best_text(chances: Mapping[str, float], readable: Collection[str], price: float) -> str:
    """The readable text of the highest 2 E[overlap] - price * length, "" where all are below 0.

    That maximises F1 = 2 overlap / (sum of both lengths) where F1 is at `price` (Dinkelbach's
    transform), and unlike F1 it adds up over a report's sentences.
    """
    likely = sorted(chances.items(), key=lambda item: (-item[1], item[0]))[:_CANDIDATES]
    if len(likely) == 1 or likely[0] == ("", 1.0):
        return likely[0][0]
    bags = [(tokens_of(text), chance) for text, chance in likely]
    best, worth = "", 0.0
    for (text, _), (bag, _) in zip(likely, bags, strict=True):
        if text and text in readable:
            overlap = sum(chance * len(bag & other) for other, chance in bags)
            gain = 2 * overlap - price * len(bag)
            if gain > worth + 1e-9:
                best, worth = text, gain
    return best


@remembered(_KEPT)
def tokens_of(text: str) -> frozenset[str]:
    """The text's tokens, numbered from their second occurrence on, so that the intersection of two
    such sets is as large as that of the multisets.
    """
    found = tokens(text)
    if len(set(found)) == len(found):
        return frozenset(found)
    before = [found[:k].count(token) for k, token in enumerate(found)]
    return frozenset(
        f"{token} {count}" if count else token for token, count in zip(found, before, strict=True)
    )
