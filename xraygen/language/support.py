"""Whether a report says what the text of a region says, and where.

Each sentence of the text is `verbatim` if its words are in a sentence of the report in that order,
whatever the case, punctuation and white space; `reworded` if the report claims all that it claims;
and otherwise `unsupported`: it has a finding, a side, a severity or a number that the report does
not have there, or turns a negation. What words claim is in `claims.py`; the alignment assigns
claims to sentences of the report. A text is what the worst of its sentences is.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from xraygen.core.study import Support
from xraygen.language.alignment import Aligner, Words, words
from xraygen.language.claims import GRADES, SIDES, claims_in
from xraygen.language.remembered import remembered
from xraygen.language.text import sentences

Span = tuple[int, int]
_ORDER: tuple[Support, ...] = ("verbatim", "reworded", "unsupported")
_ALIGNER = Aligner([])  # has learned no exchanges: claims.py has those
_QUALIFYING = SIDES | GRADES
_WORD = re.compile(r"[a-z0-9]")
_GROUP_ENDS = re.compile(r"[,;:.]|\b(?:and|or|with|but)\b")
_REDACTED = "xxxx"  # stands for a word that was removed for privacy
_KEPT = 250_000  # characters of sentences that are kept as read
_RELATED = 64  # sentences of the report that may claim the same, at most; no report has more
_LONG = 40  # characters of a line that may have been wrapped
_BETWEEN = r"\s.{0,8}?"  # where a list marker was taken out


class Supported(NamedTuple):
    """`support`: None for a text without a word. `spans`: what the supported sentences came from,
    as (start, end) in characters of the report, sorted and disjoint.
    """

    support: Support | None
    spans: tuple[Span, ...]


class _Sentence(NamedTuple):
    """`length`: in characters. `lower`: its words. `spans`: where each is in the sentence as given.
    `key`: the words with a space before and after each. `by_word`: what each word claims. `claims`:
    the same in one row, as the words of a text. `word`: the index of the word behind each claim.
    `qualified`: the sides and grades that go with each claim.
    """

    length: int
    lower: tuple[str, ...]
    spans: tuple[Span, ...]
    key: str
    by_word: tuple[tuple[str, ...], ...]
    claims: Words
    word: tuple[int, ...]
    qualified: tuple[frozenset[str], ...]


class Report:
    """A report that texts are compared with. `Report(report).support(text)`"""

    def __init__(self, report: str) -> None:
        self._report = _unwrapped(report)
        given = sentences(self._report)
        self._sentences = [_read(sentence) for sentence in given]
        self._places = list(_places(self._report, given))

    def support(self, text: str) -> Supported:
        """A report without a word supports nothing and contradicts nothing: None."""
        worst = 0
        spans: list[Span] = []
        read = _read_all(text) if self._sentences else ()
        for sentence in read:
            if verbatim := self._verbatim(sentence):
                spans.append(verbatim)
            elif (parts := self._reworded(sentence)) is not None:
                worst = max(worst, 1)
                spans += parts
            else:
                worst = 2
        return Supported(_ORDER[worst] if read else None, self._joined(spans))

    def _verbatim(self, sentence: _Sentence) -> Span | None:
        """Where the report has these words, and they claim the same: "pneumothorax" does not in "no
        pneumothorax".
        """
        length = len(sentence.lower)
        for number, source in enumerate(self._sentences):
            at = source.key.find(sentence.key)
            while at >= 0:
                first = source.key.count(" ", 0, at)
                there = source.by_word[first : first + length]
                if there == sentence.by_word or all(map(_is_within, sentence.by_word, there)):
                    return self._span(number, first, first + length - 1)
                at = source.key.find(sentence.key, at + 1)
        return None

    def _reworded(self, sentence: _Sentence) -> list[Span] | None:
        """The parts of the report that claim all that the sentence does; None if it claims more."""
        said = set(sentence.claims.lower)
        if not said:
            return []
        related = [
            number
            for number, source in enumerate(self._sentences)
            if not said.isdisjoint(source.claims.lower)
        ]
        if not related:
            return None
        related = related[:_RELATED]
        sources = [self._sentences[number].claims for number in related]
        path = _ALIGNER.path(sentence.claims, sources)
        assigned = [related[choice] for choice in path]
        # Instead of what the alignment prefers, the sentence that may have lost the missing word.
        redacted = [n for n in related if _REDACTED in self._sentences[n].lower]
        others = ([number] * len(assigned) for number in redacted)
        tried = (self._claimed(sentence, numbers, related) for numbers in (assigned, *others))
        return next((spans for spans in tried if spans is not None), None)

    def _claimed(
        self, sentence: _Sentence, assigned: list[int], related: list[int]
    ) -> list[Span] | None:
        """The parts of the report that make the claims of a sentence, each in the sentence of the
        report that it is assigned to; None if one is not there. What is absent may also be stated
        in another sentence, because it has no side or grade that could be another's.
        """
        found: dict[int, list[int]] = {}
        for claim, number in enumerate(assigned):
            is_negated = sentence.claims.lower[claim][0] == "-"
            for place in (number, *related) if is_negated else (number,):
                word = _word_that_claims(self._sentences[place], sentence, claim)
                if word is not None:
                    found.setdefault(place, []).append(word)
                    break
            else:
                return None
        return [self._span(number, min(at), max(at)) for number, at in sorted(found.items())]

    def _joined(self, spans: list[Span]) -> tuple[Span, ...]:
        """Sorted, and as one where no word is between them."""
        first, *others = sorted(spans) or [(0, 0)]
        result = [first]
        for start, end in others:
            before = result[-1][1]
            if start <= before or not _WORD.search(self._report[before:start].lower()):
                result[-1] = (result[-1][0], max(end, before))
            else:
                result.append((start, end))
        return tuple(span for span in result if span[0] < span[1])

    def _span(self, number: int, first: int, last: int) -> Span:
        """From the first word to the last one of a sentence."""
        start, end = self._places[number]
        sentence = self._sentences[number]
        if end - start != sentence.length:  # a list marker was taken out of it
            return start, end
        return start + sentence.spans[first][0], start + sentence.spans[last][1]


@remembered(_KEPT)
def _read_all(text: str) -> tuple[_Sentence, ...]:
    return tuple(_read(sentence) for sentence in sentences(_unwrapped(text)))


@remembered(_KEPT)
def _read(sentence: str) -> _Sentence:
    given = words(sentence)
    by_word = claims_in(given)
    flat = [(claim, at) for at, claims in enumerate(by_word) for claim in claims]
    claims = Words(
        given.text, tuple(claim for claim, _ in flat), tuple(given.spans[at] for _, at in flat)
    )
    return _Sentence(
        length=len(sentence),
        lower=given.lower,
        spans=_as_given(sentence, given),
        key=f" {given.key} ",
        by_word=by_word,
        claims=claims,
        word=tuple(at for _, at in flat),
        qualified=_qualified(claims),
    )


def _as_given(sentence: str, read: Words) -> tuple[Span, ...]:
    """The spans of the words in the sentence as given, whose lower case may be longer."""
    if read.text == sentence:
        return read.spans
    origin = [at for at, letter in enumerate(sentence) for _ in letter.lower()]
    return tuple((origin[start], origin[end - 1] + 1) for start, end in read.spans)


def _qualified(claims: Words) -> tuple[frozenset[str], ...]:
    """The sides and grades in the part of the sentence that each claim is in. A part that has
    nothing else ("left and right effusions") belongs to the next one.
    """
    result: list[frozenset[str]] = []
    part: list[str] = []
    before = 0
    for claim, (start, end) in zip(claims.lower, claims.spans, strict=True):
        if _GROUP_ENDS.search(claims.text.lower(), before, start) and set(part) - _QUALIFYING:
            result += [_QUALIFYING.intersection(part)] * len(part)
            part = []
        part.append(claim)
        before = end
    return (*result, *[_QUALIFYING.intersection(part)] * len(part))


def _is_within(claims: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return all(claim in others for claim in claims)


def _word_that_claims(source: _Sentence, sentence: _Sentence, claim: int) -> int | None:
    """The word of a sentence of the report that makes this claim of `sentence`, of the same side
    and grade if both have one; or a removed word in its place. None: there is neither.
    """
    wanted = sentence.claims.lower[claim]
    qualified = sentence.qualified[claim]
    for at, made in enumerate(source.claims.lower):
        if made == wanted and _agree(qualified, source.qualified[at]):
            return source.word[at]
    if wanted[0] == "-" or wanted in _QUALIFYING or _REDACTED not in source.lower:
        return None
    return _redacted(source, sentence, sentence.word[claim])


def _agree(said: frozenset[str], reported: frozenset[str]) -> bool:
    """Whether sides and grades may be of one finding: each kind is unsaid on one side, or what is
    said was reported.
    """
    extra = said - reported
    return not any(extra & kind and reported & kind for kind in (SIDES, GRADES))


def _redacted(source: _Sentence, sentence: _Sentence, word: int) -> int | None:
    """The removed word in the report that has the neighbour of this word as its own."""
    before = sentence.lower[word - 1] if word else None
    after = sentence.lower[word + 1] if word + 1 < len(sentence.lower) else None
    for at, there in enumerate(source.lower):
        if there == _REDACTED:
            follows = at > 0 and source.lower[at - 1] == before
            precedes = at + 1 < len(source.lower) and source.lower[at + 1] == after
            if follows or precedes:
                return at
    return None


def _unwrapped(text: str) -> str:
    """The text with a space for each line break inside a sentence: after a long line without a full
    stop, before a lower-case letter. Offsets stay the same.
    """
    if "\n" not in text:
        return text
    lines = text.split("\n")
    result = lines[0]
    for line, following in pairwise(lines):
        bare = line.rstrip()
        is_wrapped = len(bare) >= _LONG and bare[-1] not in ".!?;:" and following[:1].islower()
        result += (" " if is_wrapped else "\n") + following
    return result


def _places(report: str, given: Sequence[str]) -> Iterator[Span]:
    """Where each sentence is in the report."""
    end = 0
    for sentence in given:
        start = report.find(sentence, end)
        if start >= 0:
            end = start + len(sentence)
        else:
            pattern = _BETWEEN.join(map(re.escape, sentence.split()))
            found = re.compile(pattern, re.DOTALL).search(report, end)
            start, end = found.span() if found else (end, end)  # no span
        yield start, end
