"""Sentences and tokens, cut the same way everywhere."""

import re
from collections import Counter

_TOKEN = re.compile(r"[a-z0-9]+")
# A full stop ends a sentence where white space follows, or at once a capitalised word
# ("seen.Heart") or, after one, a word.
_END = re.compile(r"(?<=[.!?;])\s+|\n+|(?<=[a-z)][.])(?=[A-Z][a-z])|(?<=[a-z]{3}[.])(?=[a-z]{2})")
_LAST_WORD = re.compile(r"[^\s(,;:/]+(?=\.$)")
_TITLES = frozenset("dr drs mr mrs ms prof".split())
_NUMBERED = frozenset("no nos fig figs vol".split())  # "no. 3", but "effusion? no. lungs"
_ABBREVIATIONS = frozenset(
    "approx ca cf vs viz al etc incl excl esp resp poss prob prev rt lt bilat ant post lat med sup inf mod min max".split()
)
_INITIALS = re.compile(r"(?:[a-z]\.)*[a-z]")  # e.g., i.e., a.p.
# What begins an item of a list, at the start of a line or of a sentence.
_LIST_MARKER = re.compile(
    r"""
    (?: (?:^|\n)[ \t]* | (?<=[.!?;])[ \t]+ ) \*{0,2}
    (?: \(?(?:\d{1,2}|[a-km-qs-z]|[ivx]{1,4})\)   # 1) (2) a) iv), but not (L), (R): a side
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
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s*$")


def tokens(text: str) -> list[str]:
    """Lower-case runs of letters and digits, as `token_f1` counts them."""
    return _TOKEN.findall(text.lower())


def without_list_markers(text: str) -> str:
    """The text without what numbers or marks items of a list ("1.", "2)", "a)", "-", "*" and the
    like), each item on a line.

    Where it begins with a number 1, the numbers that follow in order are found without a full stop
    before them, too.
    """
    if _FIRST_OF_A_LIST.match(text):
        number = 1

        def following(marker: re.Match) -> str:
            nonlocal number
            if int(marker[1]) != number + 1:
                return marker[0]
            number += 1
            return "\n"

        text = _LATER_IN_A_LIST.sub(following, text)

    def item(marker: re.Match) -> str:
        before = marker.string[max(0, marker.start() - 20) : marker.start()]
        return marker[0] if _goes_on(before, marker[0].strip()[:1]) else "\n"  # "see fig. 2. Ribs"

    return _LIST_MARKER.sub(item, text).strip()


def sentences(text: str) -> list[str]:
    """The text's sentences, stripped, punctuation kept, without list markers; fragments without a
    token are dropped.

    Case does not matter but for abbreviations: "approx. five" goes on, "approx. Five" does not.
    """
    text = without_list_markers(text)
    parts, start = [], 0
    for end in _END.finditer(text):
        if not _goes_on(
            text[max(0, end.start() - 20) : end.start()], text[end.end() : end.end() + 1]
        ):
            parts.append(text[start : end.start()].strip())
            start = end.end()
    parts.append(text[start:].strip())
    return [part for part in parts if _TOKEN.search(part.lower()) and not _LIST_NUMBER.match(part)]


def _goes_on(before: str, following: str) -> bool:
    """Whether a sentence goes on after a full stop, which is that of an abbreviation; `following`
    is the next letter.
    """
    last = _LAST_WORD.search(before)
    if not last:
        return False
    word = last[0].casefold()
    if word in _TITLES or (word in _NUMBERED and following.isdigit()):
        return True
    small = following.islower() or following.isdigit()
    return small and (word in _ABBREVIATIONS or _INITIALS.fullmatch(word) is not None)


def token_f1(reference: str, candidate: str) -> float | None:
    """Multiset overlap F1 of the two token lists; None where neither side has a token: silence says
    nothing about wording.
    """
    ref, cand = Counter(tokens(reference)), Counter(tokens(candidate))
    total = ref.total() + cand.total()
    return 2 * (ref & cand).total() / total if total else None


# Two silences have no token F1, as no study is scored for them; they count as much as two curators
# mostly agree.
_SILENCE = 0.8


def medoid(texts: Counter[str]) -> str:
    """Of what was written for one thing, each text with how often, the one of the highest mean
    token F1 with all: the choice of minimum Bayes risk (Kumar and Byrne, 2004). "" stands for
    silence.
    """

    def likeness(text: str) -> float:
        scores = {other: token_f1(other, text) for other in texts}
        return sum(
            texts[other] * (_SILENCE if score is None else score) for other, score in scores.items()
        )

    return max(sorted(texts), key=lambda text: (likeness(text), texts[text]))
