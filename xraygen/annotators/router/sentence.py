"""A distinct sentence of the reports, and what the router keeps of it in memory."""

from typing import Literal

import numpy as np

from xraygen.annotators.router.choice import Choice
from xraygen.annotators.router.wording import Variant
from xraygen.language.alignment import Words, as_sentence

Counts = dict[str, dict[str, int]]  # region -> piece -> how often it was seen
Mode = Literal["learned", "verbatim"]


class Sentence:
    """`counts`: what curators made of it, None for a sentence that training has not seen; `doubt`:
    the weight of the classifiers next to these counts. `known_and_open` (2, regions) bool: whether
    curators said anything, and whether a learned wording may matter. `variants` by region;
    `choices` by wording, context, region and level.
    """

    __slots__ = (
        *("choices", "counts", "doubt", "key", "known_and_open"),
        *("shares", "variants", "whole", "words"),
    )

    def __init__(
        self,
        given: Words,
        shares: np.ndarray,
        counts: Counts | None,
        doubt: float,
        known_and_open: np.ndarray,
    ) -> None:
        self.words = given
        self.key = given.key
        self.whole = as_sentence(given.text)
        self.shares = shares
        self.counts = counts
        self.doubt = doubt
        self.known_and_open = known_and_open
        self.variants: dict[str, list[Variant]] = {}
        self.choices: dict[tuple[Mode, str, str, int], Choice] = {}
