"""Findings in a short radiology text: what is stated as present, absent or normal, where, on which
side and how severe.

A rule-based reader after NegEx (Chapman et al., J Biomed Inform 2001): single words stand for an
observation, a structure or a modifier (`vocabulary.py`), and a negation reaches from its cue to the
end of the clause.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

from xraygen.judges.proxy.hardware import KIND
from xraygen.judges.proxy.names import name_of
from xraygen.judges.proxy.vocabulary import (
    CHANGED,
    CLAUSE,
    LENGTHS,
    LOW,
    NEGATES_BEFORE,
    NEGATION,
    NORMAL,
    OBSERVATION,
    PHRASES,
    PRIOR,
    SEPARATES,
    SEVERITY,
    SIDE,
    STABLE,
    STOP,
    STRUCTURE,
    STRUCTURE_NAMES,
    UNREAD,
    WHOLE,
    ZONE,
)
from xraygen.language.text import without_list_markers

_TOKEN = re.compile(r"[a-z]+(?:'t)?|\d+(?:\.\d+)?|[,.;:!?\n]")
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")
_BOTH = 3  # sides
# After "," or "and", these words begin a statement that a negation before it does not reach.
_BEGINS_A_STATEMENT = frozenset(("there", "the", "with", "mild", "moderate"))
# Of a structure, these mean that the structure is abnormal: "enlarged heart" contradicts "normal
# heart".
_OF_STRUCTURE = frozenset(("enlargement", "abnormality"))
# What follows one of these is looked for, not seen: "limits evaluation for nodules".
_LOOKED_FOR = frozenset(
    """
    evaluate evaluation assess assessment exclude detect detection limited limits limiting obscured
    obscuring obscures
    """.split()
)
# Nouns that are no finding where the clause says normal: "vascular markings are normal".
_NEUTRAL = frozenset("marking interstitial bronchovascular congestion engorgement disc".split())
_NOT_SEEN = frozenset("missed excluded".split())
_LARGE = frozenset("large larger increased increase wide wider big bulky prominently".split())
_MILLIMETERS = {"mm": 1, "millimeter": 1, "cm": 10, "centimeter": 10}


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement. `key`: the observation, or the structure where it is called normal, stable or
    abnormal as a whole.

    `state`: "present", "absent", "normal" (of a structure), "stable" (nothing else said of it).
    `side`: 0 unsaid, 1 left, 2 right, 3 both. `severity`: 0 unsaid, 1 mild to 3 severe. `where`:
    structures and zones named with it.

    `kind`: of a device or of surgery. `size`: in mm, 0 unsaid. `asserted`: False if the words only
    name the finding: "limits evaluation for nodules", "the heart is difficult to assess".
    """

    key: str
    state: str
    side: int = 0
    severity: int = 0
    where: frozenset[str] = frozenset()
    stable: bool = False
    changed: bool = False
    # What the proxy's counts do not tell apart:
    kind: str = field(default="", compare=False)
    size: float = field(default=0, compare=False)
    asserted: bool = field(default=True, compare=False)

    @property
    def positive(self) -> bool:
        return self.state == "present"

    @property
    def name(self) -> str:
        """The clinical name of the finding where it is present: "cardiomegaly" for an enlarged
        heart. `names.names()` lists all of them.
        """
        return self.kind or name_of(self.key, self.where)

    def __str__(self) -> str:
        if self.key == UNREAD:
            return f'"{" ".join(sorted(self.where))}"'
        if self.state == "absent":
            return f"no {self.key}"
        if self.state in ("normal", "stable"):
            return f"{self.key} {self.state}"
        name = f"abnormal {self.key}" if self.key in STRUCTURE_NAMES else self.key
        severity = ("", "mild ", "moderate ", "severe ")[self.severity]
        return severity + ("", "left ", "right ", "bilateral ")[self.side] + name


@dataclass(frozen=True, slots=True)
class Statement:
    """What one sentence says. `terms`: its content words, singular; `words`: the same, but an
    observation is replaced by its key with a sign, so that "no effusion" and "effusion" share
    nothing; `prior`: it refers to an earlier study.
    """

    findings: tuple[Finding, ...]
    terms: frozenset[str]
    words: frozenset[str]
    prior: bool


@lru_cache(maxsize=1 << 14)
def singular(word: str) -> str:
    """The word without its plural ending; enough for this vocabulary."""
    if len(word) < 4 or word[-1] != "s" or word[-2] in "sui":
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith("sses") else word[:-1]


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


def _clauses(words: list[str]) -> list[list[str]]:
    """The words cut where a negation ends: at "but" and the like, and at "and" or a comma before a
    new statement.
    """
    clauses: list[list[str]] = [[]]
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        new_statement = word in (",", "and") and following in _BEGINS_A_STATEMENT
        if word in CLAUSE or new_statement:
            clauses.append([])
        else:
            clauses[-1].append(word)
    return [clause for clause in clauses if clause]


@dataclass(slots=True)
class _Details:
    """What is said of an observation: side, severity and places."""

    side: int = 0
    severity: int = 0
    where: set[str] = field(default_factory=set)

    def read(self, raw: str, word: str) -> None:
        if raw in SIDE:
            self.side = _BOTH if self.side not in (0, SIDE[raw]) else SIDE[raw]
        elif raw in SEVERITY:
            self.severity = SEVERITY[raw]
        if word in ZONE:
            self.where.add(ZONE[word])

    def completed(self, later: "_Details") -> "_Details":
        """With what is said after the observation. A second, different side makes both."""
        differ = self.side and later.side and self.side != later.side
        return _Details(
            _BOTH if differ else later.side or self.side,
            self.severity or later.severity,
            self.where | later.where,
        )


class _Observation(NamedTuple):
    name: str
    word: str
    negated: bool
    details: _Details
    asserted: bool


class _Clause:
    """A clause, read word by word.

    `details` are those said since the last observation. `negated`: a cue has been read. `denied`:
    the last cue also reaches back, and nothing that it could be about has followed it yet:
    "effusion is not seen".
    """

    def __init__(self, words: list[str]) -> None:
        self.observations: list[_Observation] = []
        self.structures: list[tuple[str, bool]] = []  # name, and whether it was negated
        self.details = _Details()
        self.after = _Details()  # those since the last observation, across separators
        self.negated = False
        self.denied = False
        self.normal = False
        self.stable = not STABLE.isdisjoint(words)
        self.changed = not CHANGED.isdisjoint(words)
        self.low = not LOW.isdisjoint(words)
        self.large = not _LARGE.isdisjoint(words)
        self.asserted = _NOT_SEEN.isdisjoint(words)
        self.size = _size(words)
        for word in words:
            self._read(word)
        enlarged = any(observation.name == "enlargement" for observation in self.observations)
        top_normal = "topnormal" in words
        if ("borderline" in words or top_normal) and not enlarged:
            mild = _Details(severity=1)
            last = _Observation("enlargement", "borderline", False, mild, not top_normal)
            self.observations.append(last)
        self._complete_last()

    def _read(self, raw: str) -> None:
        word = singular(raw)
        if self.observations and (raw in SEPARATES or raw in NEGATION):
            self._complete_last()  # "opacity on the left, no effusion": the opacity is on the left
            self.details = _Details()
        if raw in _LOOKED_FOR or (raw == "underlying" and self.observations):
            self.asserted = False  # "atelectasis, likely due to an underlying mass"
        if raw in NEGATION:
            self.negated = True
            self.denied = raw in NEGATES_BEFORE
            return
        if raw in PRIOR:
            self.denied = False  # "nodule, not seen previously" is there now
        if word in OBSERVATION:
            self.denied = False
            self._observe(word)
        elif raw in NORMAL:
            self.normal = self.normal or not self.denied
            self.denied = False
        self.details.read(raw, word)
        if word in STRUCTURE:
            self.structures.append((STRUCTURE[word], self.negated))

    def _observe(self, word: str) -> None:
        name = OBSERVATION[word]
        affirmed = self.observations and not self.observations[-1].negated and not self.negated
        if name == "abnormality" and affirmed:
            return  # "degenerative changes": the first word has said it
        observation = _Observation(name, word, self.negated, self.details, self.asserted)
        self.observations.append(observation)
        self.details = _Details()
        self.after = _Details()

    def _complete_last(self) -> None:
        if self.observations:
            last = self.observations[-1]
            self.observations[-1] = last._replace(details=last.details.completed(self.details))
            self.after = self.after.completed(self.details)

    def findings(self) -> list[Finding]:
        found = self._observed()
        names = self._names()
        if self.low and "volume" in names:
            found.append(Finding("low volume", "present", where=names))
        elif self.normal or not self.observations:
            found += self._of_structures({finding.key for finding in found})
        return found

    def _names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.structures)

    def _observed(self) -> list[Finding]:
        """One finding for each observation; of repeated ones the first."""
        found: dict[tuple, Finding] = {}
        names = self._names()
        for observation in self.observations:
            absent = observation.negated or self.denied
            key = self._key(observation)
            state = "absent" if absent else "present"
            if absent and observation.name in _OF_STRUCTURE and key != observation.name:
                state = "normal"
            # What follows the last observation is said of all that have no details of their own.
            side = observation.details.side or self.after.side
            severity = observation.details.severity or self.after.severity
            where = names | observation.details.where | self.after.where
            kind = KIND.get(observation.word, "")
            finding = Finding(
                key,
                state,
                side,
                severity,
                where,
                self.stable,
                self.changed,
                kind,
                self.size,
                observation.asserted and not (self.normal and observation.word in _NEUTRAL),
            )
            found.setdefault((key, state, side, severity, kind), finding)
        return list(found.values())

    def _key(self, observation: _Observation) -> str:
        if observation.word == "cardiomegaly":
            return "heart"
        if observation.name in _OF_STRUCTURE and self.structures:
            return self.structures[0][0]
        return observation.name

    def _of_structures(self, taken: set[str]) -> list[Finding]:
        """The structures that no observation is about, as normal, stable or abnormal."""
        if self.normal:
            state = "normal"
        elif self.stable and self.details.severity <= 1:
            state = "stable"
        else:
            state = "present"  # "a large heart" has no observation
        names = self._names()
        structures = dict.fromkeys(
            name
            for name, negated in self.structures
            if not self.observations or (not negated and name != "pleura")
        )
        side = self.details.side
        found = [
            Finding(
                name,
                state,
                side,
                where=names,
                stable=self.stable,
                changed=self.changed,
                asserted=state != "present" or self.large,
            )
            for name in structures
            if name not in taken
        ]
        if not found and not taken and state != "present":
            found = [Finding(WHOLE, state, stable=self.stable, changed=self.changed)]
        return found


def _size(words: list[str]) -> float:
    """The largest measure in mm, 0 if there is none."""
    measures = zip(words, words[1:], strict=False)
    return max(
        (
            float(number) * _MILLIMETERS[singular(unit)]
            for number, unit in measures
            if number[0].isdigit() and singular(unit) in _MILLIMETERS
        ),
        default=0,
    )


@lru_cache(maxsize=1 << 14)
def read_sentence(sentence: str) -> Statement:
    """What one sentence says; cached, because reports repeat their sentences."""
    words = _merge(_TOKEN.findall(sentence.lower()))
    findings = [finding for clause in _clauses(words) for finding in _Clause(clause).findings()]
    if len(findings) > 1:
        # "enlarged but unchanged": the second clause is about what the first one names.
        findings = [finding for finding in findings if finding.key != WHOLE] or findings[:1]
    terms = frozenset(singular(word) for word in words if word not in STOP and word.isalnum())
    if terms and not findings:
        state = "present" if NEGATION.isdisjoint(words) else "absent"
        findings = [Finding(UNREAD, state, where=terms)]
    signed = frozenset(("+" if found.positive else "-") + found.key for found in findings)
    return Statement(
        tuple(findings),
        terms,
        words=signed.union(terms.difference(OBSERVATION)),
        prior=not PRIOR.isdisjoint(words),
    )


def read(text: str) -> list[Statement]:
    """What each sentence of `text` says, in order, without list markers and without sentences that
    have no content word.
    """
    statements = (
        read_sentence(part)
        for part in _SENTENCE_END.split(without_list_markers(text))
        if _LETTER.search(part)
    )
    return [statement for statement in statements if statement.terms or statement.findings]
