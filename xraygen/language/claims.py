"""What the words of a sentence claim, so that sentences in other words can be compared. English
only.

A claim is a stem ("effus"), or a name for words that curators exchange ("heart" for heart, cardiac
and the first half of cardiomediastinal). Words that state nothing ("there", "seen") claim nothing.
A negated claim starts with "-", and what is not abnormal is `NORMAL`, whatever the words
("unremarkable", "no abnormality", "not enlarged"). Negation reaches from its cue to the end of the
clause, as in NegEx (Chapman et al., J Biomed Inform 34(5), 2001). What resolved is negated. A claim
starts with "?" where the sentence leaves it open ("cannot be excluded"). A measure claims its
number with the unit ("3mm").
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

from xraygen.language.alignment import Words

NORMAL = "normal"
ABNORMAL = "abnormal"
_ENLARGED = "enlarged"
# What a claim starts with.
NEGATED: Final = "-"
OPEN: Final = "?"
Sign = Literal["", "-", "?"]

_SILENT = frozenset(
    """
    a an the this that these those there it its is are was were be been being has have had do does
    and or of in on at to by for from with as per via into within than then so also both either but
    appear appears appeared appearing appearance remain remains remained seem seems seen see
    noted note made incidental visualize visualized visualised visualization visible identified
    identifiable demonstrated demonstrate demonstrates demonstrating shown show shows present
    presence observed evident apparent detected appreciated evidence
    suggest suggesting suggests suggestive suggested suspected consistent compatible indicate
    indicating indicates indicative likely probable probably possible possibly perhaps may might
    could would can represent represents representing reflect reflecting reflects related
    secondary due which who where while when otherwise overall grossly generally relatively
    essentially now currently current exam examination study film radiograph radiographs image
    images imaged imaging view views evaluation range size sized sizes shape configuration contour
    contours silhouette silhouettes outline outlines border borders margins appearances
    structure structures area areas region regions definite definitely gross obvious overt
    convincing any other others about along patient patients include includes including involving
    extending located measuring measures measure measured approximately approx xxxx
    radiographic radiographically sided side field fields space spaces finding findings
    no not without nor neither never free negative absent absence lack none devoid
    """.split()
)
# One line for each group of words that are exchanged, after what they claim.
_EXCHANGED = """
heart: heart hearts cardiac cardio
mediastinum: mediastinum mediastinal mediastina
heart mediastinum: cardiomediastinal
heart lung: cardiopulmonary
heart enlarged: cardiomegaly
lung: lung lungs pulmonary pulmonic
bone: bone bones bony osseous osseus skeletal skeleton
spine: spine spinal vertebra vertebrae vertebral
thorax: thorax thoracic chest hemithorax hemithoraces intrathoracic dorsal
vessels: vascular vascularity vasculature vessels vessel
aorta: aorta aortic
hilum: hilum hila hilar hili
pleura: pleura pleural pleurae
enlarged: enlarged enlargement prominent prominence widened widening wide
normal: normal normally unremarkable intact clear limits
abnormal: abnormal abnormality abnormalities disease process pathology
left right: bilateral bilaterally
inflated: hyperinflated hyperinflation hyperexpanded hyperexpansion
base: base bases basal basilar
left right base: bibasilar
pleura effusion: effusion effusions
lung congest: congestion congested
"""
_CLAIMS = {
    word: tuple(claims.split())
    for claims, listed in (line.split(": ") for line in _EXCHANGED.strip().splitlines())
    for word in listed.split()
}
SIDES = frozenset(("left", "right"))
_PLACES = SIDES | frozenset(
    "heart mediastinum lung bone spine thorax vessels aorta hilum pleura base".split()
)
# Words about findings as such, which say something only where they are negated.
_GENERIC = frozenset("finding findings change changes".split())
# Atomic: a word can be divided into endings in exponentially many ways.
_ENDING = re.compile(r"(?>ation|ment|ness|ally|edly|ies|ied|ing|ion|ous|ed|ly|al|ic|or|e|y|i)+$")
_LONGEST = 40  # letters; a longer word is compared as it is, because each start of it is tried


def _stem(word: str) -> str:
    if len(word) > _LONGEST:
        return word
    if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui":
        word = word[:-1]
    stem = _ENDING.sub("", word)
    return stem if len(stem) > 3 else word


_SEVERITIES = "mild minimal slight small tiny trace moderate severe large massive marked extensive"
GRADES = frozenset(map(_stem, _SEVERITIES.split()))
# What these say of something absent is no claim: "no focal opacity" is "no opacity".
_QUALIFIERS = GRADES | frozenset(
    map(_stem, "acute active new focal significant suspicious".split())
)


def _terms_of(word: str) -> tuple[str, ...]:
    """What a word in lower case claims, apart from negation."""
    if word in _CLAIMS:
        return _CLAIMS[word]
    return () if word in _SILENT else (_stem(word),)


@lru_cache(50_000)
def claims_of(word: str, sign: Sign = "") -> tuple[str, ...]:
    """What a word in lower case claims."""
    if not sign:
        return _terms_of(word)
    if sign == OPEN:
        return tuple(term if term in _PLACES else OPEN + term for term in _terms_of(word))
    if word in _GENERIC:
        return (NORMAL,)
    return tuple(_negated(term) for term in _terms_of(word) if term not in _QUALIFIERS)


def _negated(term: str) -> str:
    if term in (ABNORMAL, _ENLARGED):
        return NORMAL
    if term == NORMAL:
        return ABNORMAL
    return term if term in _PLACES else NEGATED + term


_CLAUSE = re.compile(
    r"[;:]|\b(?:but|however|although|though|except|otherwise|aside|apart)\b"
    r"|,(?!\s*and\b|[^,]*\b(?:or|nor)\b)(?=[^,]*\b(?:is|are|was|were|appears?|remains?|there)\b)"
)
_AHEAD = re.compile(
    r"\b(?:no(?! the\b| there\b)|not|without|nor|neither|never|denies"
    r"|(?:free|clear|devoid|absence|lack) of|free from|negative for)\b(?! longer)"
    r"(?!(?: (?:significant|interval|appreciable|definite|substantial|significantly))* changed?\b)"
)
_BEHIND = re.compile(
    r"\b(?:not|no longer)(?: (?:be|definitely|clearly|well|otherwise))?"
    r" (?:seen|identified|visuali[sz]ed|demonstrated|evident|present|noted|appreciated|detected"
    r"|apparent|visible|observed|suspected)\b|\b(?:is|are) absent\b|: none\b"
)


_OPEN_AHEAD = re.compile(
    r"\b(?:rule out|(?:cannot|can not|could not|not)(?: \w+)? (?:exclude|rule out))\b"
)
_OPEN_BEHIND = re.compile(
    r"\b(?:(?:cannot|can not|could not) be|(?:is |are )?not)(?: \w+)? (?:excluded|ruled out)\b"
)
_RESOLVED_AHEAD = re.compile(r"(?<!partial )(?<!partially )\bresol(?:ved\b|ution of\b)")
_RESOLVED_BEHIND = re.compile(
    r"\b(?:has|have|is|are)(?: (?:now|since|completely|also|essentially))* resolved\b"
)
# Where what one of these is about begins, if they are about what comes before them.
_JOINS = re.compile(r",|\b(?:and|with|which|where|there (?:is|are))\b")
_CUES = frozenset(
    """
    no not without nor neither never denies free clear devoid absence lack negative absent none
    rule ruled cannot exclude excluded resolved resolution
    """.split()
)
_UNITS = {"cm": "cm", "centimeter": "cm", "centimetre": "cm"}
_UNITS |= {"mm": "mm", "millimeter": "mm", "millimetre": "mm"}
_UNITS |= {f"{word}s": unit for word, unit in _UNITS.items() if len(word) > 2}
_MEASURE = re.compile(r"(\d+)([cm]m)")


def claims_in(sentence: Words) -> tuple[tuple[str, ...], ...]:
    """What each word of a sentence claims."""
    found = map(claims_of, sentence.lower, _signs(sentence))
    if not any(word in _UNITS or word[-2:] in _UNITS for word in sentence.lower):
        return tuple(found)
    return tuple(_measures(sentence.lower, at) or claims for at, claims in enumerate(found))


def _measures(words: Sequence[str], at: int) -> tuple[str, ...]:
    """What a word claims with a unit: "3 x 4 cm" is 3 cm and 4 cm, in any spelling."""
    if joined := _MEASURE.fullmatch(words[at]):
        return joined[1], joined[0]
    if words[at] not in _UNITS:
        return ()
    numbers = []
    for word in reversed(words[:at]):
        if word.isdigit():
            numbers.append(word + _UNITS[words[at]])
        elif word not in ("x", "by"):
            break
    return tuple(numbers)


def _signs(sentence: Words) -> list[Sign]:
    """Whether a negation is about each word of a sentence: about the rest of its clause, or about
    what comes before "is not seen". And whether the sentence leaves it open.
    """
    if _CUES.isdisjoint(sentence.lower):
        return [""] * len(sentence.lower)
    text = sentence.text.lower()
    borders = [0, *(match.start() for match in _CLAUSE.finditer(text)), len(text)]
    parts = [
        part
        for start, end in zip(borders, borders[1:], strict=False)
        if (part := _signed(text, start, end))
    ]
    return [
        next((sign for sign, begin, end in parts if begin <= at < end), "")
        for at, _ in sentence.spans
    ]


def _signed(text: str, start: int, end: int) -> tuple[Sign, int, int] | None:
    """The part of a clause that a cue is about."""
    cues: tuple[tuple[Sign, re.Pattern[str]], ...] = (
        (OPEN, _OPEN_BEHIND),
        (NEGATED, _RESOLVED_BEHIND),
    )
    for sign, pattern in cues:
        if behind := pattern.search(text, start, end):
            joins = [join.end() for join in _JOINS.finditer(text, start, behind.start())]
            return sign, max(joins, default=start), behind.start()
    if ahead := _OPEN_AHEAD.search(text, start, end):
        return OPEN, ahead.end(), end
    if behind := _BEHIND.search(text, start, end):
        return NEGATED, start, behind.start()
    for pattern in (_AHEAD, _RESOLVED_AHEAD):
        if ahead := pattern.search(text, start, end):
            return NEGATED, ahead.end(), end
    return None
