"""Findings in a short radiology text: what is stated as present, absent or normal, where, on which
side and how severe.

A rule-based reader after NegEx (Chapman et al., J Biomed Inform 2001): single words stand for an
observation, a structure or a modifier (`vocabulary.py`), and a negation reaches from its cue to the
end of the clause (`clause.py`).
"""

import re

from xraygen.judges.proxy import hardware
from xraygen.judges.proxy.clause import Clause, clauses
from xraygen.judges.proxy.measures import singular
from xraygen.judges.proxy.rewording import reworded
from xraygen.judges.proxy.statement import Finding, Statement
from xraygen.judges.proxy.vocabulary import (
    ASKED,
    LENGTHS,
    NEGATION,
    OBSERVATION,
    PHRASES,
    PRIOR,
    STOP,
    TECHNIQUE,
    UNREAD,
    WHOLE,
)
from xraygen.language.remembered import remembered
from xraygen.language.text import without_list_markers

__all__ = ["Finding", "Statement", "read", "read_sentence", "singular"]

_TOKEN = re.compile(r"[a-z]+(?:'t)?|\d+(?:\.\d+)?|[,.;:!?\n]")
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")


def _merge(words: list[str]) -> list[str]:
    """The words, with phrases replaced by the word or words that they stand for."""
    merged: list[str] = []
    start = 0
    while start < len(words):
        length, replacement = _phrase_at(words, start)
        merged += replacement
        start += length
    return merged


def _phrase_at(words: list[str], start: int) -> tuple[int, list[str]]:
    """The length of the longest phrase that begins here, and what replaces it."""
    for length in LENGTHS.get(words[start], ()):
        replacement = PHRASES.get(tuple(words[start : start + length]))
        if replacement:
            return length, replacement.split()
    return 1, [words[start]]


@remembered(500_000)
def read_sentence(sentence: str) -> Statement:
    """What one sentence says; cached, because reports repeat their sentences."""
    words = hardware.in_context(_merge(_TOKEN.findall(sentence.lower())))
    findings = [finding for clause in clauses(words) for finding in Clause(clause).findings()]
    if len(findings) > 1:
        # "enlarged but unchanged": the second clause is about what the first one names.
        findings = [finding for finding in findings if finding.key != WHOLE] or findings[:1]
    terms = frozenset(singular(word) for word in words if word not in STOP and word.isalnum())
    if terms and not findings:
        findings = [Finding(UNREAD, _state_of_unread(words, terms), where=terms)]
    signed = frozenset(("+" if found.positive else "-") + found.key for found in findings)
    return Statement(
        tuple(findings),
        terms,
        words=signed.union(terms.difference(OBSERVATION)),
        prior=not PRIOR.isdisjoint(words),
    )


def _state_of_unread(words: list[str], terms: frozenset[str]) -> str:
    if not NEGATION.isdisjoint(words):
        return "absent"
    if not ASKED.isdisjoint(words) or terms <= TECHNIQUE:
        return "named"
    return "present"


def read(text: str, clinical: bool = False) -> list[Statement]:
    """What each sentence of `text` says, in order, without list markers and without sentences that
    have no content word. `clinical`: as `rewording.py` puts it.
    """
    statements = (
        read_sentence(reworded(part) if clinical else part)
        for part in _SENTENCE_END.split(without_list_markers(text))
        if _LETTER.search(part)
    )
    return [statement for statement in statements if statement.terms or statement.findings]
