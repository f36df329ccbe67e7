"""One clause of a radiology text, read word by word."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import NamedTuple

from xraygen.judges.proxy.diseases import WITH_FLUID
from xraygen.judges.proxy.measures import largest, singular
from xraygen.judges.proxy.noun_phrases import UNLIKELY_BEFORE, directed, without_doublets
from xraygen.judges.proxy.places import Place, Places, places
from xraygen.judges.proxy.statement import Finding
from xraygen.judges.proxy.tips import tips
from xraygen.judges.proxy.vocabulary import (
    ASKED,
    CHANGED,
    CLAUSE,
    DESCRIBED,
    DOUBT,
    DOUBTS_BEFORE,
    KIND,
    LOW,
    NEGATES_BEFORE,
    NEGATION,
    NORMAL,
    OBSERVATION,
    PRIOR,
    SEPARATES,
    SEVERITY,
    SIDE,
    STABLE,
    STRUCTURE,
    UNLIKELY,
    WHOLE,
    ZONE,
)

_BOTH = 3  # sides
# After "," or "and", these words begin a statement that a negation before it does not reach.
_BEGINS_A_STATEMENT = frozenset(("there", "the", "with", "mild", "moderate"))
# Of a structure, these mean that the structure is abnormal: "enlarged heart" contradicts "normal
# heart".
_OF_STRUCTURE = frozenset(("enlargement", "abnormality"))
# A negation by one of these ends at "with": "resolution of the effusion with atelectasis".
_ENDED = frozenset(("gone", "resolved", UNLIKELY))
# After one of these verbs, these words deny the observation: "the markings are normal".
_PREDICATES = frozenset(("normal", "unremarkable"))
_VERBS = frozenset(
    ("is", "are", "appear", "appears", "remain", "remains", "was", "were", "grossly")
)
# What follows one of these is looked for, not seen: "limits detection of nodules".
_LOOKED_FOR = frozenset(
    "assess assessment detect detection limited limits limiting cannotexclude".split()
)
# In a clause with one of these, nothing is seen.
_NOT_SEEN = frozenset("missed overexposure underexposure overexposed underexposed exposure".split())
_OBSCURED = frozenset("obscured obscuration obscures silhouetted indistinct blurred".split())
# Obscured, these tell of the picture; a diaphragm or a costophrenic angle tells of disease.
_VEILED = frozenset(("lung", "bone", "heart", "mediastinum", "cardiomediastinal"))


def clauses(words: list[str]) -> list[list[str]]:
    """The words cut where a negation ends: at "but" and the like, and at "and" or a comma before a
    new statement.
    """
    found: list[list[str]] = [[]]
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        new_statement = word in (",", "and") and following in _BEGINS_A_STATEMENT
        if word in CLAUSE or new_statement:
            found.append([])
        else:
            found[-1].append(word)
    return [clause for clause in found if clause]


@dataclass(slots=True)
class _Details:
    """What is said of an observation: side, severity and places."""

    side: int = 0
    severity: int = 0
    where: set[str] = field(default_factory=set)
    places: set[Place] = field(default_factory=set)

    def read(self, raw: str, word: str, named: Iterable[Place]) -> None:
        self.places.update(named)
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
            self.places | later.places,
        )


class _Observation(NamedTuple):
    name: str
    word: str
    negated: bool
    doubtful: bool
    asserted: bool
    details: _Details


class Clause:
    """A clause, read word by word.

    `details` are those said since the last observation. `negated`: a cue has been read. `denied`:
    the last cue also reaches back, and nothing that it could be about has followed it yet:
    "effusion is not seen". `doubtful`: as `negated`, for "may represent". `subject`: nothing but
    the last observation can be what "is normal".
    """

    def __init__(self, words: list[str]) -> None:
        self.observations: list[_Observation] = []
        self.structures: list[tuple[str, bool]] = []  # name, and whether it was negated
        self.details = _Details()
        self.after = _Details()  # those since the last observation, whatever separates them
        self.negated = False
        self.ended = False
        self.denied = False
        self.doubtful = False
        self.asked = False
        self.subject = False
        self.previous = ""
        self.joined = 0  # the first of the observations that one thing is said of
        self.normal = False
        self.stable = not STABLE.isdisjoint(words)
        self.changed = not CHANGED.isdisjoint(words)
        self.described = not DESCRIBED.isdisjoint(words)
        self.low = not LOW.isdisjoint(words)
        self.asserted = _NOT_SEEN.isdisjoint(words)
        self.obscured = not _OBSCURED.isdisjoint(words)
        self.size = largest(words)
        named = places(words)
        for at, site in tips(words):
            named.setdefault(at, []).append(site)
        for at, word in enumerate(without_doublets(directed(words))):
            if word in ASKED:
                self.asked = True
                break
            self._read(word, named.get(at, ()))
            self.previous = word
        self._observe_limits(words)
        self._complete_last()

    def _observe_limits(self, words: list[str]) -> None:
        if any(observation.name == "enlargement" for observation in self.observations):
            return
        for word in ("borderline", "toplimit"):
            if word in words:
                mild = _Details(severity=1)
                self.observations.append(
                    _Observation(
                        "enlargement", word, False, word == "toplimit", word != "toplimit", mild
                    )
                )
                return

    def _read(self, raw: str, named: Iterable[Place]) -> None:
        word = singular(raw)
        if self.observations and (raw in SEPARATES or raw in NEGATION):
            self._complete_last()  # "opacity on the left, no effusion": the opacity is on the left
            self.details = _Details()
        if raw in _LOOKED_FOR or (raw == "underlying" and self.observations):
            self.asserted = False  # "atelectasis, likely due to an underlying mass"
        if raw in SEPARATES:
            self.subject = False
            if raw != "and" or self.previous in _VERBS | {"present", "seen"}:
                self.joined = len(self.observations)
            if self.ended:
                self.negated = self.ended = False
        if raw in NEGATION:
            self.negated = True
            self.ended = raw in _ENDED
            self.denied = raw in NEGATES_BEFORE
            return
        if raw in DOUBT:
            self.doubtful = True
        if raw == DOUBTS_BEFORE:
            self._doubt_before()
        if raw == UNLIKELY_BEFORE:
            self._deny_before()
        if raw in PRIOR:
            self.denied = False  # "nodule, not seen previously" is there now
        if word in OBSERVATION:
            self.denied = False
            self._observe(word)
        elif raw in NORMAL:
            self._read_normal(raw)
        if raw != "tension" or not self.negated:  # "a pneumothorax without tension"
            self.details.read(raw, word, named)
        if word in STRUCTURE:
            self.subject = False
            self.structures.append((STRUCTURE[word], self.negated))

    def _doubt_before(self) -> None:
        """ "A nodule or a mass cannot be excluded": both are doubtful."""
        for at in range(self.joined, len(self.observations)):
            last = self.observations[at]
            self.observations[at] = last._replace(doubtful=True, asserted=False)

    def _deny_before(self) -> None:
        """ "Opacity, with pneumonia or aspiration unlikely": the last two are absent."""
        last = len(self.observations) - 1
        for at in range(max(0, min(self.joined, last)), len(self.observations)):
            self.observations[at] = self.observations[at]._replace(negated=True)

    def _read_normal(self, raw: str) -> None:
        if self.subject and raw in _PREDICATES and self.previous in _VERBS:
            self.observations[-1] = self.observations[-1]._replace(negated=True)
        self.normal = self.normal or not self.denied
        self.denied = False

    def _observe(self, word: str) -> None:
        name = OBSERVATION[word]
        affirmed = self.observations and not self.observations[-1].negated and not self.negated
        if name == "abnormality" and affirmed:
            return  # "degenerative changes": the first word has said it
        parts = [(name, word)]
        if word in WITH_FLUID:
            fluid = WITH_FLUID[word]
            parts = [(OBSERVATION[fluid], fluid), *parts]
        for key, part in parts:
            self.observations.append(
                _Observation(key, part, self.negated, self.doubtful, self.asserted, self.details)
            )
        self.details = _Details()
        self.after = _Details()
        self.subject = True

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
        for observation, parts in zip(self.observations, self._places(), strict=True):
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
                doubtful=observation.doubtful and not absent,
                kind=kind,
                size=self.size,
                asserted=observation.asserted,
                places=parts,
            )
            same = key, state, side, severity, kind
            if same in found:
                finding = replace(found[same], places=found[same].places | parts)
            found[same] = finding
        return list(found.values())

    def _places(self) -> list[Places]:
        """Those of each observation: its own, or what is said after the last one. What is said of a
        tip is said of the device before it.
        """
        found = [
            frozenset(observation.details.places or self.after.places)
            for observation in self.observations
        ]
        device = None
        for at, observation in enumerate(self.observations):
            if observation.name != "device":
                continue
            if KIND[observation.word] != "device":
                device = at
            elif device is not None:
                found[device] |= found[at]
        return found

    def _key(self, observation: _Observation) -> str:
        if observation.word == "cardiomegaly":
            return "heart"
        if observation.name in _OF_STRUCTURE:
            names = [name for name, _ in self.structures if not (self.low and name == "volume")]
            if "interstitial" in names:
                return "interstitial"  # "prominence of the pulmonary interstitium"
            if names:
                return names[0]
        return observation.name

    def _of_structures(self, taken: set[str]) -> list[Finding]:
        """The structures that no observation is about, as normal, stable or abnormal."""
        names = self._names()
        structures = dict.fromkeys(
            name
            for name, negated in self.structures
            if not self.observations or (not negated and name != "pleura")
        )
        state = self._state_of_structures()
        side = self.details.side
        found = [
            Finding(
                name,
                state,
                side,
                where=names,
                stable=self.stable,
                changed=self.changed,
                asserted=self.asserted and not (self.obscured and name in _VEILED),
                places=frozenset(self.details.places),
            )
            for name in structures
            if name not in taken
        ]
        if not found and not taken and state in ("normal", "stable"):
            found = [Finding(WHOLE, state, stable=self.stable, changed=self.changed)]
        return found

    def _state_of_structures(self) -> str:
        if self.normal:
            return "normal"
        if self.stable and self.details.severity <= 1:
            return "stable"
        if self.described or self.details.severity:
            return "present"  # "a large heart" has no observation
        return "named"
