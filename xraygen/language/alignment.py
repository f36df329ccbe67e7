"""Which report sentence each part of a curated text came from, learned from the pairs themselves.

A region's text is read word by word; a Viterbi search assigns each word to a report sentence, so
that words stand where the sentence holds them and the reading changes its sentence seldom,
preferably at punctuation. Words that no sentence holds ("contours" for "silhouette") count by how
often they were seen to replace a word of that sentence, which is re-estimated in rounds as in IBM
model 1 (Brown et al., Computational Linguistics 19(2), 1993).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from xraygen.core.study import Annotation
from xraygen.language.text import sentences

_WORD = re.compile(r"[a-z0-9]+")
_STOP = re.compile(r"[.;:!?]")
_ROUNDS = 2
# Costs of going on in another sentence, in units of one matched word of middling weight; going back
# costs a little more.
_AT_STOP, _AT_COMMA, _WITHIN, _BACK = 0.15, 0.6, 1.5, 0.1


class Words(NamedTuple):
    """A text and its words: `text` to cut surface forms from, `lower` the words, `spans` their
    places in `text`.
    """

    text: str
    lower: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def key(self) -> str:
        return " ".join(self.lower)


def words(text: str) -> Words:
    """Words exactly as `xraygen.language.text.tokens` counts them. A text that lower-casing
    lengthens is taken in lower case.
    """
    lower = text.lower()
    text = text if len(lower) == len(text) else lower
    found = list(_WORD.finditer(lower))
    return Words(text, tuple(match[0] for match in found), tuple(match.span() for match in found))


def as_sentence(text: str) -> str:
    """Capital first, one full stop last, no dangling punctuation; empty if there is no word."""
    text = " ".join(text.split()).strip(" ,;:-")
    if text.count("(") != text.count(")"):
        text = " ".join(text.replace("(", " ").replace(")", " ").split())
    if not _WORD.search(text.lower()):
        return ""
    text = text[0].upper() + text[1:] if len(text[0].upper()) == 1 else text
    return text.rstrip(" .,;:") + "." if text[-1] not in "!?" else text


class Aligner:
    """Learned from (report, annotation) pairs; `pieces` cuts a region's text along the report's
    sentences.
    """

    def __init__(self, pairs: Sequence[tuple[str, Annotation]]) -> None:
        reports = [[words(sentence) for sentence in sentences(report)] for report, _ in pairs]
        frequency = Counter(
            word for report in reports for word in {word for part in report for word in part.lower}
        )
        log_n = math.log(len(pairs) + 1)
        self._weight = {
            word: max(0.3, 1.5 * (1 - math.log(count + 1) / log_n))
            for word, count in frequency.items()
        }
        # Words with which curated sentences begin and end: a piece cut out of a sentence is trimmed
        # to such a word.
        parts = [
            words(part).lower
            for _, said in pairs
            for text in said.values()
            for part in sentences(text)
        ]
        self._first, self._last = {part[0] for part in parts}, {part[-1] for part in parts}
        self._replaces: dict[str, dict[str, float]] = {}
        for _ in range(_ROUNDS):
            self._replaces = self._learn(pairs, reports)

    def _learn(self, pairs, reports) -> dict[str, dict[str, float]]:
        """How surely a curated word that its sentence lacks stands for a word of the sentence that
        the curators left out.
        """
        together: Counter = Counter()
        new: Counter = Counter()
        for (_, said), report in zip(pairs, reports, strict=True):
            for text in said.values():
                for part, piece in zip(report, self.pieces(text, report), strict=True):
                    if piece:
                        there, here = set(words(piece).lower), set(part.lower)
                        new.update(there - here)
                        together.update(
                            (word, gone) for word in there - here for gone in here - there
                        )
        replaces: dict[str, dict[str, float]] = defaultdict(dict)
        for (word, gone), n in together.items():
            if n >= 3 and n / new[word] > 0.15:
                replaces[word][gone] = 0.8 * n / new[word]
        return dict(replaces)

    def pieces(self, text: str, report: Sequence[Words]) -> list[str]:
        """For each report sentence the part of `text` that it gave rise to, as clean sentences;
        mostly empty strings.
        """
        said = words(text)
        cut: list[list[str]] = [[] for _ in report]
        if report and said.lower:
            path = self._path(said, report)
            start = 0
            for end in range(1, len(path) + 1):
                if end == len(path) or path[end] != path[start]:
                    piece = self._trimmed(said, start, end)
                    cut[path[start]] += [piece] if piece else []
                    start = end
        return [" ".join(parts) for parts in cut]

    def _path(self, said: Words, report: Sequence[Words]) -> list[int]:
        """The report sentence of each word of `said`: the best path through (word, sentence)."""
        held = [set(part.lower) for part in report]
        score = [0.0] * len(report)
        back = []
        for k, word in enumerate(said.lower):
            between = said.text[said.spans[k - 1][1] : said.spans[k][0]] if k else "."
            price = (
                0.0
                if not k
                else _AT_STOP
                if _STOP.search(between)
                else _AT_COMMA
                if "," in between
                else _WITHIN
            )
            best = score.index(max(score))
            weight, stands_for = self._weight.get(word, 1.0), self._replaces.get(word)
            came, reached = [], []
            for j, here in enumerate(held):
                moved = score[best] - price - (_BACK if best > j else 0)
                came.append(best if k and moved > score[j] else j)
                match = 1.0 if word in here else 0.0
                if stands_for and not match:
                    match = max(
                        (share for other, share in stands_for.items() if other in here), default=0.0
                    )
                reached.append((moved if came[-1] != j else score[j]) + match * weight)
            score = reached
            back.append(came)
        path = [score.index(max(score))]
        for came in reversed(back[1:]):
            path.append(came[path[-1]])
        return path[::-1]

    def _trimmed(self, said: Words, start: int, end: int) -> str:
        """Words start to end as a sentence, without the conjunctions that a cut leaves dangling."""
        while end > start and said.lower[end - 1] not in self._last:
            end -= 1
        while start < end and said.lower[start] not in self._first:
            start += 1
        if start == end:
            return ""
        until = said.spans[end][0] if end < len(said.spans) else len(said.text)
        return " ".join(
            as_sentence(part) for part in sentences(said.text[said.spans[start][0] : until])
        )
