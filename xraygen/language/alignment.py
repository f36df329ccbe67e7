"""Which report sentence each part of a curated text came from, learned from the pairs themselves.

A region's text is read word by word. A Viterbi search assigns each word to a report sentence, so
that words go to a sentence that has them and the sentence changes seldom, preferably at
punctuation. A word that no sentence has ("contours" for "silhouette") counts for a sentence by how
often it was seen to replace one of its words. These counts are re-estimated in rounds, as in IBM
model 1 (Brown et al., Computational Linguistics 19(2), 1993).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby, product
from typing import NamedTuple

from xraygen.core.study import Annotation
from xraygen.language.text import sentences

_WORD = re.compile(r"[a-z0-9]+")
_STOP = re.compile(r"[.;:!?]")
_ROUNDS = 2
# Costs of changing the sentence after a full stop, after a comma and elsewhere, and the additional
# cost of going back to an earlier one; a matched word of medium weight is worth 1.
_AT_STOP = 0.15
_AT_COMMA = 0.6
_WITHIN = 1.5
_BACK = 0.1
# A word replaces another if that was seen this many times, in more than this share of the word's
# uses; it then counts as this share of a match, times how often.
_SEEN = 3
_OFTEN = 0.15
_REPLACED = 0.8


class Words(NamedTuple):
    """A text and its words: `text` as written, `lower` the words, `spans` where each starts and
    ends in `text`.
    """

    text: str
    lower: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def key(self) -> str:
        return " ".join(self.lower)


def words(text: str) -> Words:
    """The same words as `xraygen.language.text.tokens`. A text that becomes longer in lower case is
    replaced by its lower case.
    """
    lower = text.lower()
    text = text if len(lower) == len(text) else lower
    found = list(_WORD.finditer(lower))
    return Words(text, tuple(match[0] for match in found), tuple(match.span() for match in found))


def as_sentence(text: str) -> str:
    """The text with a capital first, one full stop last and no dangling punctuation; empty if it
    has no word.
    """
    text = " ".join(text.split()).strip(" ,;:-")
    if text.count("(") != text.count(")"):
        text = " ".join(text.replace("(", " ").replace(")", " ").split())
    if not _WORD.search(text.lower()):
        return ""
    text = text[0].upper() + text[1:] if len(text[0].upper()) == 1 else text
    return text.rstrip(" .,;:") + "." if text[-1] not in "!?" else text


class Aligner:
    """Learned from (report, annotation) pairs; without any, words count alike."""

    def __init__(self, pairs: Sequence[tuple[str, Annotation]]) -> None:
        reports = [[words(sentence) for sentence in sentences(report)] for report, _ in pairs]
        curated = [
            words(sentence).lower
            for _, annotation in pairs
            for text in annotation.values()
            for sentence in sentences(text)
        ]
        self._weight = _rarity(reports)
        # A piece that is cut out of a sentence is trimmed to words with which curated ones begin
        # and end.
        self._first = {sentence[0] for sentence in curated}
        self._last = {sentence[-1] for sentence in curated}
        self._replaces: dict[str, dict[str, float]] = {}
        for _ in range(_ROUNDS):
            self._replaces = self._learn(pairs, reports)

    def _learn(
        self, pairs: Sequence[tuple[str, Annotation]], reports: Sequence[Sequence[Words]]
    ) -> dict[str, dict[str, float]]:
        """For a curated word that its report sentence lacks, the words of sentences that it may
        replace, and with what share of a match.
        """
        together: Counter[tuple[str, str]] = Counter()
        new: Counter[str] = Counter()
        for (_, annotation), report in zip(pairs, reports, strict=True):
            for text in annotation.values():
                for sentence, piece in zip(report, self.pieces(text, report), strict=True):
                    if piece:
                        added = set(words(piece).lower).difference(sentence.lower)
                        left_out = set(sentence.lower).difference(words(piece).lower)
                        new.update(added)
                        together.update(product(added, left_out))
        replaces: dict[str, dict[str, float]] = defaultdict(dict)
        for (word, replaced), count in together.items():
            if count >= _SEEN and count / new[word] > _OFTEN:
                replaces[word][replaced] = _REPLACED * count / new[word]
        return dict(replaces)

    def pieces(self, text: str, report: Sequence[Words]) -> list[str]:
        """For each report sentence the part of `text` that came from it, as clean sentences; mostly
        empty strings.
        """
        said = words(text)
        cut: list[list[str]] = [[] for _ in report]
        if report and said.lower:
            start = 0
            for source, run in groupby(self.path(said, report)):
                end = start + len(list(run))
                piece = self._trimmed(said, start, end)
                if piece:
                    cut[source].append(piece)
                start = end
        return [" ".join(parts) for parts in cut]

    def path(self, said: Words, report: Sequence[Words]) -> list[int]:
        """The report sentence of each word of `said`: the best path through (word, sentence)."""
        vocabularies = [set(sentence.lower) for sentence in report]
        scores = [0.0] * len(report)
        origins = []  # of each word and sentence, the sentence of the word before on the best path
        for k, word in enumerate(said.lower):
            cost = _change_cost(said, k)
            best = scores.index(max(scores))
            origin, reached = [], []
            for j, vocabulary in enumerate(vocabularies):
                changed = scores[best] - cost - (_BACK if best > j else 0)
                origin.append(best if k and changed > scores[j] else j)
                score = scores[j] if origin[-1] == j else changed
                reached.append(score + self._match(word, vocabulary))
            scores = reached
            origins.append(origin)
        path = [scores.index(max(scores))]
        for origin in reversed(origins[1:]):
            path.append(origin[path[-1]])
        return path[::-1]

    def _match(self, word: str, vocabulary: set[str]) -> float:
        """What it is worth to assign the word to a sentence with this vocabulary."""
        weight = self._weight.get(word, 1.0)
        if word in vocabulary:
            return weight
        replaces = self._replaces.get(word, {})
        shares = [share for replaced, share in replaces.items() if replaced in vocabulary]
        return max(shares, default=0.0) * weight

    def _trimmed(self, said: Words, start: int, end: int) -> str:
        """Words start to end as sentences, without the conjunctions that a cut leaves dangling."""
        while end > start and said.lower[end - 1] not in self._last:
            end -= 1
        while start < end and said.lower[start] not in self._first:
            start += 1
        if start == end:
            return ""
        until = said.spans[end][0] if end < len(said.spans) else len(said.text)
        text = said.text[said.spans[start][0] : until]
        return " ".join(as_sentence(sentence) for sentence in sentences(text))


def _rarity(reports: Sequence[Sequence[Words]]) -> dict[str, float]:
    """The weight of each word: the fewer reports have it, the higher."""
    frequency = Counter(
        word for report in reports for word in {word for part in report for word in part.lower}
    )
    log_n = math.log(len(reports) + 1)
    return {
        word: max(0.3, 1.5 * (1 - math.log(count + 1) / log_n)) for word, count in frequency.items()
    }


def _change_cost(said: Words, k: int) -> float:
    """What it costs to change the sentence before word `k`, by the punctuation there."""
    if k == 0:
        return 0.0
    between = said.text[said.spans[k - 1][1] : said.spans[k][0]]
    if _STOP.search(between):
        return _AT_STOP
    return _AT_COMMA if "," in between else _WITHIN
