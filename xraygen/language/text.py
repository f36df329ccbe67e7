"""Sentences and tokens of a text, and how alike two texts are."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from xraygen.language.remembered import remembered

_TOKEN = re.compile(r"[a-z0-9]+")
# A full stop ends a sentence if white space follows it. Where that is missing ("seen.Heart",
# "seen.heart"), it does if a capitalised word follows, or any word after at least three letters.
_END = re.compile(r"(?<=[.!?;])\s+|\n+|(?<=[a-z)][.])(?=[A-Z][a-z])|(?<=[a-z]{3}[.])(?=[a-z]{2})")
_LAST_WORD = re.compile(r"[^\s(,;:/]+(?=\.$)")
_TITLES = frozenset("dr drs mr mrs ms prof".split())
_NUMBERED = frozenset("no nos fig figs vol".split())  # "no. 3", but "effusion? no. lungs"
_ABBREVIATIONS = frozenset(
    """
    approx ca cf vs viz al etc incl excl esp resp poss prob prev rt lt bilat ant post lat med sup
    inf mod min max
    """.split()
)
_INITIALS = re.compile(r"(?:[a-z]\.)*[a-z]")  # e.g., i.e., a.p.
# What marks an item of a list, at the start of a line or of a sentence.
_LIST_MARKER = re.compile(
    r"""
    (?: (?:^|\n)[ \t]* | (?<=[.!?;])[ \t]+ ) \*{0,2}
    (?: \(?(?:\d{1,2}|[a-km-qs-z]|[ivx]{1,4})\)   # 1) (2) a) iv), but not (L) and (R): sides
      | \d{1,2}\.(?!\d)                     # 1. but not 1.5
      | \d{1,2}(?::|[ ]?[-\u2013])(?=\s)(?![ \t]*views?\b) | \[\d{1,2}\] | [#]\d{1,2}[.:)]?(?=\s)
      | [-*\u2022\u2023\u25aa\u25cf\u25e6\u00b7\u2013\u2014](?!\d)
    )
    \*{0,2}[ \t]* (?=[a-z\n(]|$)
    | (?:^|\n)[ \t]* (?![ac]\.[ ]*(?:fib|diff)|e\.[ ]*coli) (?:[a-h]|i{1,3})\.[ \t]+  # a. II.
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FIRST_OF_A_LIST = re.compile(r"\s*\(?1[.)]\s")
_LATER_IN_A_LIST = re.compile(r"(?<=\w)[ \t]+\(?(\d{1,2})[.)][ \t]+(?=[a-z])", re.IGNORECASE)
_BEFORE = 20  # characters that are searched for an abbreviation
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s*$")
_LONGEST = 1000  # characters of a sentence
_KEPT = 500_000  # characters of texts whose sentences are kept in memory


def tokens(text: str) -> list[str]:
    """Lower-case runs of letters and digits, as `token_f1` counts them."""
    return _TOKEN.findall(text.lower())


def without_list_markers(text: str) -> str:
    """The text without the numbers and marks of list items ("1.", "2)", "a)", "-", "*" and the
    like), each item on a line.

    If the text begins with a number 1, the numbers that follow in order are also found where no
    full stop is before them.
    """
    if _FIRST_OF_A_LIST.match(text):
        text = _lines_at_numbers(text)
    return _LIST_MARKER.sub(_line_at_marker, text).strip()


def _lines_at_numbers(text: str) -> str:
    """The text with a new line in place of each of the numbers 2, 3, ... of a list."""
    number = 1

    def line(marker: re.Match) -> str:
        nonlocal number
        if int(marker[1]) != number + 1:
            return marker[0]
        number += 1
        return "\n"

    return _LATER_IN_A_LIST.sub(line, text)


def _line_at_marker(marker: re.Match) -> str:
    """A new line, or the marker itself where it is a part of the sentence: "see fig. 2. Ribs"."""
    before = marker.string[max(0, marker.start() - _BEFORE) : marker.start()]
    return marker[0] if _continues(before, marker[0].strip()[:1]) else "\n"


def sentences(text: str) -> list[str]:
    """The sentences of the text, stripped, with their punctuation and without list markers;
    fragments without a token are dropped.

    Case only matters after abbreviations: "approx. five" is one sentence, "approx. Five" is two.
    What is longer than any sentence is cut, because the time that readers of sentences take grows
    with the square of the length.
    """
    return list(_sentences(text))


@remembered(_KEPT)  # a report is read by the router, and again for its support
def _sentences(text: str) -> tuple[str, ...]:
    text = without_list_markers(text)
    parts = []
    start = 0
    for end in _END.finditer(text):
        before = text[max(0, end.start() - _BEFORE) : end.start()]
        following = text[end.end() : end.end() + 1]
        if not _continues(before, following):
            parts.append(text[start : end.start()].strip())
            start = end.end()
    parts.append(text[start:].strip())
    if len(text) > _LONGEST:
        parts = [piece for part in parts for piece in _pieces(part)]
    return tuple(
        part for part in parts if _TOKEN.search(part.lower()) and not _LIST_NUMBER.match(part)
    )


def _pieces(part: str) -> Iterator[str]:
    while len(part) > _LONGEST:
        space = part.rfind(" ", 1, _LONGEST)
        end = space if space > 0 else _LONGEST
        yield part[:end].strip()
        part = part[end:].strip()
    yield part


def _continues(before: str, following: str) -> bool:
    """Whether the full stop at the end of `before` is that of an abbreviation inside a sentence.
    `following` is the next letter.
    """
    last = _LAST_WORD.search(before)
    if not last:
        return False
    word = last[0].casefold()
    if word in _TITLES or (word in _NUMBERED and following.isdigit()):
        return True
    if not (following.islower() or following.isdigit()):
        return False
    return word in _ABBREVIATIONS or _INITIALS.fullmatch(word) is not None


def token_f1(reference: str, candidate: str) -> float | None:
    """F1 of the multiset overlap of the two lists of tokens; None where both are empty, because
    silence says nothing about wording.
    """
    ref, cand = Counter(tokens(reference)), Counter(tokens(candidate))
    total = ref.total() + cand.total()
    return 2 * (ref & cand).total() / total if total else None


RIGHT = 0.7  # token F1 from which on a text counts as right


def is_right(reference: str, candidate: str) -> bool:
    """Whether the token F1 is at least RIGHT, or both are empty."""
    f1 = token_f1(reference, candidate)
    return f1 is None or f1 >= RIGHT


# What two silences count for, which have no token F1: about as much as two curators mostly agree.
_SILENCE = 0.8


def medoid(texts: Counter[str]) -> str:
    """The text with the highest mean token F1 to all: the choice of minimum Bayes risk (Kumar and
    Byrne, 2004). `texts`: how often each was written; "" is silence.
    """

    def likeness(text: str) -> float:
        total = 0.0
        for other, count in texts.items():
            score = token_f1(other, text)
            total += count * (_SILENCE if score is None else score)
        return total

    return max(sorted(texts), key=lambda text: (likeness(text), texts[text]))


def disagreement(texts: Sequence[str]) -> float:
    """How far texts are apart: the mean of 1 - token F1 over their pairs, 0 for two that are empty.
    0 for fewer than two texts.
    """
    pairs = len(texts) * (len(texts) - 1) // 2
    if not pairs:
        return 0.0
    distinct = Counter(texts)  # many approaches say the same, and equal texts are 0 apart
    apart = sum(
        distinct[one] * distinct[other] * _distance(one, other)
        for one, other in combinations(distinct, 2)
    )
    return apart / pairs


def _distance(a: str, b: str) -> float:
    f1 = token_f1(a, b)
    return 0.0 if f1 is None else 1 - f1
