"""Which abnormal findings of two texts are the same, and what is wrong with those that are.

Names that reports use for one thing (`ALIKE`) match in full. A less or more specific name
(`RELATED`) is a wrong attribute of a finding, as a wrong place, severity or size is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from xraygen.judges.proxy import hardware
from xraygen.judges.proxy.findings import Finding
from xraygen.judges.proxy.places import apart
from xraygen.judges.proxy.tips import malpositioned


def _pairs(text: str, *families: Sequence[str]) -> set[frozenset[str]]:
    """All pairs of names on a line, and of a family."""
    lines = [[name.strip() for name in line.split("|")] for line in text.strip().splitlines()]
    return {frozenset(pair) for names in [*lines, *families] for pair in combinations(names, 2)}


# Of equal significance, because a text that has both has one finding.
ALIKE = _pairs("""
consolidation | pneumonia | airspace opacity
cardiomegaly | enlarged cardiomediastinal silhouette
pulmonary edema | heart failure
vascular congestion | abnormal pulmonary vessels
emphysema | hyperinflation | bulla
hyperinflation | flattened diaphragm
scarring | fibrosis
interstitial markings | airway thickening
atelectasis | volume loss
nodule | nodular opacity
calcified lymph node | granuloma | calcification
aortic atherosclerosis | atherosclerosis
aneurysm | aortic aneurysm
""")
RELATED = _pairs(
    """
opacity | consolidation
opacity | airspace opacity
ground-glass opacity | opacity
ground-glass opacity | airspace opacity | consolidation
ground-glass opacity | pneumonia
ground-glass opacity | interstitial markings
ground-glass opacity | pulmonary edema
opacity | pneumonia
opacity | tuberculosis
opacity | atelectasis
opacity | scarring
opacity | fibrosis
opacity | pulmonary edema
opacity | nodule
opacity | nodular opacity
opacity | mass
opacity | lesion
consolidation | tuberculosis
pneumonia | tuberculosis
nodule | mass | malignancy | lesion
nodule | granuloma
nodular opacity | granuloma
nodular opacity | mass
lesion | bone lesion
malignancy | bone lesion
pulmonary edema | vascular congestion | interstitial markings
heart failure | vascular congestion | interstitial markings
interstitial markings | bronchiectasis
interstitial markings | fibrosis
interstitial markings | abnormal lung
emphysema | flattened diaphragm
diaphragmatic injury | hernia
diaphragmatic injury | elevated diaphragm
abscess | cavity | air-fluid level
cyst | bulla | lesion | cavity
pulmonary hemorrhage | consolidation | airspace opacity
pulmonary hemorrhage | opacity
pulmonary infarct | opacity | consolidation
aortic dissection | aneurysm
aortic dissection | aortic aneurysm
emphysema | abnormal lung
pleural effusion | empyema
pleural effusion | hemothorax
mediastinal hematoma | hematoma
mediastinal hematoma | abnormal mediastinum
mediastinitis | abnormal mediastinum
foreign body aspiration | foreign body
perforation | free air
perforation | pneumomediastinum
sarcoidosis | adenopathy
mycetoma | mass
mycetoma | cavity
septic emboli | nodule
septic emboli | pulmonary embolism
flail chest | fracture
bone infection | bone lesion
cardiomyopathy | cardiomegaly
mucus plugging | atelectasis
bulla | lucency | cavity
cavity | air-fluid level
pneumothorax | lucency
pleural effusion | blunted costophrenic angle | pleural thickening
pleural effusion | abnormal costophrenic angle
fracture | vertebral compression fracture | deformity
fracture | injury
fracture | dislocation
fracture | abnormal rib
kyphosis | vertebral compression fracture
kyphosis | scoliosis
osteopenia | abnormal bone
tortuous aorta | aneurysm | abnormal aorta
aortic atherosclerosis | abnormal aorta
adenopathy | enlarged hilum
adenopathy | abnormal mediastinum
enlarged cardiomediastinal silhouette | abnormal mediastinum
mediastinal shift | tracheal deviation
atelectasis | elevated diaphragm
abnormal diaphragm | elevated diaphragm
abnormal lung volume | low lung volume
""",
    *hardware.FAMILIES,
)
# Words for a kind of thing, which the name of any of its kind replaces.
GENERAL = {
    "device": frozenset(hardware.DEVICES) - {"device", "malpositioned device"},
    "surgical change": frozenset(hardware.SURGERY) - {"surgical change"},
}
# What a sentence says first and then names: "an opacity that suggests pneumonia".
NAMED_BY = {
    "opacity": frozenset(
        (
            "consolidation",
            "airspace opacity",
            "pneumonia",
            "atelectasis",
            "pulmonary edema",
            "pleural effusion",
            "nodule",
            "nodular opacity",
            "mass",
            "malignancy",
            "lesion",
            "scarring",
            "fibrosis",
            "ground-glass opacity",
            "granuloma",
            "tuberculosis",
        )
    ),
    "interstitial markings": frozenset(("pulmonary edema", "heart failure", "fibrosis")),
    "bronchovascular crowding": frozenset(("low lung volume",)),
    "abnormal lung": frozenset(
        ("interstitial markings", "emphysema", "hyperinflation", "fibrosis", "consolidation")
    ),
}
VAGUE = "abnormal chest"  # said of a study as a whole, before or instead of what is found
MALPOSITIONED = "malpositioned device"
_DEVICES = frozenset(hardware.DEVICES)
_ZONES = frozenset(("upper", "middle", "lower"))
_LEFT_AND_RIGHT = {1, 2}
_BOTH = 3
_SIZE_RATIO = 1.5  # from where two measures are different ones


class Differences(NamedTuple):
    """What is wrong with a finding that stands for another one."""

    name: bool = False  # less or more specific
    place: bool = False  # the other side, one side of two, another zone of the lung or bone
    severity: bool = False
    size: bool = False


def alike(one: str, other: str) -> bool:
    """Whether two names may be of the same finding."""
    return (
        one == other
        or frozenset((one, other)) in ALIKE
        or one in GENERAL.get(other, ())
        or other in GENERAL.get(one, ())
    )


def elsewhere(one: Finding, other: Finding) -> bool:
    """Whether both say where they are, and not the same."""
    zones, other_zones = one.where & _ZONES, other.where & _ZONES
    if zones and other_zones and zones.isdisjoint(other_zones):
        return True
    if {one.side, other.side} == _LEFT_AND_RIGHT:
        return True
    return apart(one.places, other.places, one.key, other.key)


def _lopsided(one: Finding, other: Finding, texts: Sequence[Sequence[Finding]]) -> bool:
    """Whether one of two findings is on both sides and the other is on one, in a text without such
    a finding on the side that is left. `texts`: the findings of their two texts.
    """
    for both, single, text in ((one, other, texts[1]), (other, one, texts[0])):
        if both.side == _BOTH and single.side in _LEFT_AND_RIGHT:
            across = (finding for finding in text if finding.side == _BOTH - single.side)
            return all(differences(both, finding) is None for finding in across)
    return False


def differences(one: Finding, other: Finding) -> Differences | None:
    """What differs between findings with alike or related names; None: they are not the same.
    What only one side says is no difference.
    """
    specific = alike(one.name, other.name)
    if not specific and frozenset((one.name, other.name)) not in RELATED:
        return None
    smaller, larger = sorted((one.size, other.size))
    return Differences(
        name=not specific,
        place=elsewhere(one, other),
        severity=bool(one.severity and other.severity) and one.severity != other.severity,
        size=one.name not in _DEVICES and 0 < smaller * _SIZE_RATIO < larger,
    )


def with_malpositions(sentences: Iterable[Iterable[Finding]]) -> Iterator[list[Finding]]:
    """Each sentence's findings, with a malpositioned device for each that ends where it should not.
    "The tip" is that of the last device that was named.
    """
    kind = "device"
    for sentence in sentences:
        found = list(sentence)
        for finding in list(found):
            if finding.key != "device" or not finding.positive:
                continue
            kind = kind if finding.kind in ("device", MALPOSITIONED) else finding.kind
            if malpositioned(kind, finding.places):
                found.append(replace(finding, kind=MALPOSITIONED))
        yield found


def distinct(sentences: Iterable[Iterable[Finding]]) -> list[Finding]:
    """The findings of a text, each once, from those of its sentences."""
    kept: list[Finding] = []
    for sentence in sentences:
        for finding in _named(list(sentence)):
            _add(kept, finding)
    return [one for one in kept if not any(_general(one, other) for other in kept)]


def _named(sentence: Sequence[Finding]) -> list[Finding]:
    """Without what the same sentence also names."""
    return [
        one
        for one in sentence
        if not any(
            other.name in NAMED_BY.get(one.name, ()) and not elsewhere(one, other)
            for other in sentence
        )
    ]


def _general(one: Finding, other: Finding) -> bool:
    if one.name == VAGUE:
        return other.key not in ("device", "surgery") and other.name != VAGUE
    return other.name in GENERAL.get(one.name, ())


def _add(kept: list[Finding], finding: Finding) -> None:
    """Adds the finding, or what it says of one that is there already."""
    for position, other in enumerate(kept):
        if alike(finding.name, other.name) and not elsewhere(finding, other):
            first, second = (finding, other) if other.name in GENERAL else (other, finding)
            kept[position] = replace(
                first,
                side=max(first.side, second.side),
                severity=first.severity or second.severity,
                where=first.where | second.where,
                size=first.size or second.size,
                places=first.places | second.places,
            )
            return
    kept.append(finding)


class Matching(NamedTuple):
    """`matched`: findings of the reference, with what is wrong with them in the candidate."""

    matched: list[tuple[Finding, Differences]]
    missed: list[Finding]
    invented: list[Finding]


def match(reference: Sequence[Finding], candidate: Sequence[Finding]) -> Matching:
    """Pairs the findings of two texts.

    A finding of the reference is matched by the one that differs least, and what repeats a matched
    finding in other words is not invented. A finding in another place is the same one, misplaced,
    only if neither has another partner.
    """
    matched: list[tuple[Finding, Differences]] = []
    missed = []
    supported: set[int] = set()
    texts = reference, candidate
    for one in reference:
        here = {
            at: wrong._replace(place=_lopsided(one, other, texts))
            for at, other in enumerate(candidate)
            if (wrong := differences(one, other)) is not None and not wrong.place
        }
        supported.update(here)
        if here:
            matched.append((one, min(here.values(), key=sum)))
        else:
            missed.append(one)
    invented = [
        other
        for at, other in enumerate(candidate)
        if at not in supported and not (reference and other.name == VAGUE)
    ]
    still_missed = []
    for one in missed:
        found = _misplaced(one, invented)
        if found is None:
            still_missed.append(one)
        else:
            matched.append((one, found[1]))
            # Devices of two kinds are equal as findings: remove this one.
            invented = [other for other in invented if other is not found[0]]
    return Matching(matched, still_missed, invented)


def _misplaced(one: Finding, invented: Sequence[Finding]) -> tuple[Finding, Differences] | None:
    """The invented finding that is `one` in another place and differs least."""
    found = []
    for other in invented:
        wrong = differences(one, other)
        if wrong is not None and not wrong.name:
            found.append((other, wrong))
    return min(found, key=lambda pair: sum(pair[1]), default=None)
