"""The features by which a word of a sentence is tagged, as 64-bit hashes.

A word's features are itself and its neighbours up to three words away, alone and joined; itself
with the sentence's first words; and its position among the first words. Each is joined with the
region that the sentence is worded for. Hashes are computed for all words of many sentences at a
time, which is several times as fast as looking up a string for each feature.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xraygen.language.alignment import Words

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with well-mixed bits
_KEPT = 2**14  # words whose codes are kept in memory
# Each is one feature: the words that it joins, by distance from the word that is tagged.
_AROUND = (
    *[(0,), (-1,), (1,), (-2,), (2,)],
    *[(-1, 0), (0, 1), (-1, 0, 1), (0, 1, 2), (-2, -1, 0), (0, 3)],
)
# As above, by distance from the sentence's first word; the word itself is joined last.
_FROM_START = (0,), (0, 1, 2)
_LAST_POSITION = 3  # words from here on have the same position


@lru_cache(maxsize=_KEPT)
def _code(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def window_features(pairs: Sequence[tuple[str, Words]]) -> np.ndarray:
    """(words of all sentences, features of a word) hashes, for (region, sentence) pairs.

    A hash is a polynomial over the codes of the kind of feature, the region and the words, modulo
    2 ** 64; collisions among as many features as a model has are too rare to matter.
    """
    before, after = _code("<"), _code(">")
    codes: list[int] = []  # the words of all sentences, with two before and three after each
    regions: list[int] = []
    starts: list[int] = []
    places: list[int] = []
    for region, sentence in pairs:
        start, count = len(codes) + 2, len(sentence.lower)
        codes += [before, before, *map(_code, sentence.lower), after, after, after]
        regions += [_code(region)] * count
        starts += [start] * count
        places += range(start, start + count)
    code = np.array(codes, dtype=np.uint64)
    here = np.array(places, dtype=np.int64)
    first = np.array(starts, dtype=np.int64)
    joined = [[code[here + distance] for distance in distances] for distances in _AROUND]
    for distances in _FROM_START:
        joined.append([*(code[first + distance] for distance in distances), code[here]])
    joined.append([np.minimum(here - first, _LAST_POSITION).astype(np.uint64)])
    columns = []
    for kind, parts in enumerate(joined):
        key = np.array(regions, dtype=np.uint64) + np.uint64(kind)
        for part in parts:
            key = key * _MULTIPLIER + part
        columns.append(key)
    return np.stack(columns, axis=1)
