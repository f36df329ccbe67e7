"""How curators word a sentence: which part of a reference it gave rise to, and what an unseen sentence would become."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence

from xraygen.text import sentences, tokens

_WORD = re.compile(r"[A-Za-z0-9]+(?:[-'/.][A-Za-z0-9]+)*|[^\sA-Za-z0-9]")
_SPACE_BEFORE = re.compile(r"\s+(?=[.,;:)!?%])|(?<=\()\s+")
_LOOSE_START, _LOOSE_END = re.compile(r"^[\s,;:.]+"), re.compile(r"[\s,;:.]+$")
_LOST = 0.7  # what a carried-over wording is worth less for each word of the sentence that it could not place


def align(report: Sequence[str], text: str) -> list[str]:
    """For each report sentence the sentences of a region's `text` that came from it, joined; "" where none did.

    A reference sentence goes to the report sentence that shares most of both their tokens; ties and strangers go on from where
    the last one went, since curators keep the report's order.
    """
    bags = [Counter(tokens(sentence)) for sentence in report]
    pieces: list[list[str]] = [[] for _ in report]
    last = 0
    for part in sentences(text):
        bag = Counter(tokens(part))
        best = 0.1
        where = last
        for index, other in enumerate(bags):
            shared = (bag & other).total()
            score = shared / bag.total() + 0.5 * shared / max(1, other.total()) + (0.05 if index >= last else 0)
            if score > best:
                best, where = score, index
        pieces[where].append(part)
        last = where
    return [" ".join(parts) for parts in pieces]


def words(text: str) -> list[str]:
    """Words and punctuation marks, without the marks at the end."""
    return _WORD.findall(_LOOSE_END.sub("", text))


def tidy(text: str) -> str:
    """The text as a sentence: no loose marks at its ends, a capital first, a full stop last; "" stays ""."""
    text = _LOOSE_END.sub("", _LOOSE_START.sub("", _SPACE_BEFORE.sub("", text)))
    return text[0].upper() + text[1:] + "." if text else ""


def changes(base: Sequence[str], other: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """difflib's opcodes from base to other, blind to case."""
    return difflib.SequenceMatcher(None, [w.lower() for w in base], [w.lower() for w in other], autojunk=False).get_opcodes()


def carry_over(sentence: Sequence[str], known: Sequence[str], wording: Sequence[str]) -> tuple[str, float]:
    """What `sentence` becomes when worded as curators worded the `known` sentence: a three-way merge with `known` as the base.

    What both changed is taken from the wording. Returns the text and its worth in (0, 1], which falls with each word of the
    sentence that is lost so.
    """
    own = [[word] for word in known]  # what the sentence has in place of each word of the known one
    before: list[list[str]] = [[] for _ in range(len(known) + 1)]  # and ahead of it
    same = [False] * len(known)
    for tag, i1, i2, j1, j2 in changes(known, sentence):
        if tag == "equal":
            own[i1:i2] = [[word] for word in sentence[j1:j2]]
            same[i1:i2] = [True] * (i2 - i1)
        elif tag == "insert":
            before[i1] += sentence[j1:j2]
        else:
            own[i1:i2] = [list(sentence[j1:j2])] + [[]] * (i2 - i1 - 1)
    merged: list[str] = []
    lost = 0
    for tag, i1, i2, j1, j2 in changes(known, wording):
        if tag == "equal":
            for index in range(i1, i2):
                merged += before[index] + own[index]
        elif tag == "insert":
            merged += before[i1] + list(wording[j1:j2])
            before[i1] = []
        else:
            merged += before[i1] + list(wording[j1:j2])
            lost += sum(len(own[index]) for index in range(i1, i2) if not same[index])
            lost += sum(len(before[index]) for index in range(i1 + 1, i2))
    merged += before[len(known)]
    return tidy(" ".join(merged)), _LOST**lost


def most_agreed(weights: dict[str, float]) -> tuple[str, float]:
    """The text of highest expected token F1 when the true one is drawn by `weights`, and that expectation.

    Minimum Bayes risk over the texts themselves, none of which may be empty; the first in alphabetical order where several tie.
    """
    bags = {text: Counter(tokens(text)) for text in sorted(weights)}
    total = sum(weights.values())
    best, best_text = -1.0, ""
    for text, bag in bags.items():
        size = bag.total()
        expected = 0.0
        for other, weight in weights.items():
            both = size + bags[other].total()
            expected += weight * (1.0 if text == other else 2 * (bag & bags[other]).total() / both if both else 0.0)
        if expected > best + 1e-9:
            best, best_text = expected, text
    return best_text, best / total
