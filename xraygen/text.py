"""Sentences and tokens, cut the same way everywhere."""

import re
from collections import Counter

_TOKEN = re.compile(r"[a-z0-9]+")
# A full stop ends a sentence where white space and no small letter follows, or at once a capitalised word ("seen.Heart").
_END = re.compile(r"(?<=[.!?;])\s+(?=[^a-z])|\n+|(?<=[a-z)][.])(?=[A-Z][a-z])")
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s*$")


def tokens(text: str) -> list[str]:
    """Lower-case runs of letters and digits, as `token_f1` counts them."""
    return _TOKEN.findall(text.lower())


def sentences(text: str) -> list[str]:
    """The text's sentences, stripped, punctuation kept; list numbers and fragments without a token are dropped."""
    parts = (part.strip() for part in _END.split(text))
    return [part for part in parts if _TOKEN.search(part.lower()) and not _LIST_NUMBER.match(part)]


def token_f1(reference: str, candidate: str) -> float | None:
    """Multiset overlap F1 of the two token lists; None where neither side has a token: silence says nothing about wording."""
    ref, cand = Counter(tokens(reference)), Counter(tokens(candidate))
    total = ref.total() + cand.total()
    return 2 * (ref & cand).total() / total if total else None


# Two silences have no token F1, as no study is scored for them; they count as much as two curators mostly agree.
_SILENCE = 0.8


def medoid(texts: Counter[str]) -> str:
    """Of what was written for one thing, each text with how often, the one of the highest mean token F1 with all: the choice of minimum
    Bayes risk (Kumar and Byrne, 2004). "" stands for silence."""

    def likeness(text: str) -> float:
        scores = {other: token_f1(other, text) for other in texts}
        return sum(texts[other] * (_SILENCE if score is None else score) for other, score in scores.items())

    return max(sorted(texts), key=lambda text: (likeness(text), texts[text]))
