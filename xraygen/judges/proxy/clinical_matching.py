"""Which abnormal findings of two texts are the same, in whatever words, and what is wrong with them.

Names that mean the same thing (`ALIKE`) match in full; a less or more specific name (`RELATED`)
counts as one wrong attribute, like a wrong side, zone, severity or size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from xraygen.judges.proxy import hardware
from xraygen.judges.proxy.findings import Finding, Statement


def _pairs(families: Iterable[Sequence[str]]) -> set[frozenset[str]]:
    return {frozenset(pair) for family in families for pair in combinations(family, 2)}


def _rows(text: str) -> list[list[str]]:
    return [[name.strip() for name in row.split("|")] for row in text.strip().splitlines()]


ALIKE = _pairs(
    _rows("""
consolidation | pneumonia
cardiomegaly | enlarged cardiomediastinal silhouette
pulmonary edema | heart failure
emphysema | hyperinflation | bulla
scarring | fibrosis
hyperinflation | flattened diaphragm
aortic atherosclerosis | atherosclerosis
calcified lymph node | granuloma | calcification
nodule | granuloma
atelectasis | volume loss
nodule | nodular opacity
aneurysm | aortic aneurysm
vascular congestion | abnormal pulmonary vessels
""")
)
RELATED = _pairs(
    _rows("""
opacity | consolidation
opacity | pneumonia
opacity | tuberculosis
opacity | atelectasis
opacity | scarring
opacity | fibrosis
opacity | nodule
opacity | mass
opacity | pulmonary edema
consolidation | tuberculosis | pneumonia
nodule | mass | malignancy | lesion
nodular opacity | mass
opacity | nodular opacity | lesion
lesion | bone lesion
tracheal deviation | mediastinal shift
cavity | air-fluid level
pulmonary edema | vascular congestion | interstitial markings
heart failure | vascular congestion | interstitial markings
interstitial markings | bronchiectasis
interstitial markings | fibrosis
interstitial markings | abnormal lung
pleural effusion | blunted costophrenic angle | pleural thickening
pleural effusion | abnormal costophrenic angle
pneumothorax | lucency
bulla | lucency | cavity
emphysema | flattened diaphragm
emphysema | abnormal lung
fracture | vertebral compression fracture | deformity
fracture | injury
fracture | dislocation
fracture | abnormal rib
scoliosis | kyphosis
tortuous aorta | aneurysm | abnormal aorta
aortic atherosclerosis | abnormal aorta
adenopathy | enlarged hilum
abnormal mediastinum | enlarged cardiomediastinal silhouette
abnormal mediastinum | adenopathy
malignancy | bone lesion
osteopenia | abnormal bone
kyphosis | vertebral compression fracture
atelectasis | elevated diaphragm
low lung volume | abnormal lung volume
elevated diaphragm | abnormal diaphragm
""")
    + list(hardware.FAMILIES)
)
_DEVICES, _SURGERY = frozenset(hardware.DEVICES), frozenset(hardware.SURGERY)
# Of these a report says only in general what it elsewhere names.
GENERAL = {
    "device": _DEVICES - {"malpositioned device"},
    "surgical change": _SURGERY,
}
VAGUE = {
    "opacity": frozenset(
        """
        consolidation,pneumonia,atelectasis,pulmonary edema,pleural effusion,nodule,nodular opacity,mass,malignancy,lesion,
        scarring,fibrosis,interstitial markings,granuloma,tuberculosis
        """.replace("\n", "").replace(" ", "").split(",")
    ),
    "bronchovascular crowding": frozenset(("low lung volume",)),
    "abnormal lung": frozenset(
        ("interstitial markings", "emphysema", "hyperinflation", "fibrosis", "consolidation")
    ),
}
_ZONES = frozenset(("upper", "middle", "lower"))
_OTHER_SIDE = {1, 2}
_SIZE = 1.5  # a larger measure over a smaller one, from where they differ


class Differences(NamedTuple):
    """What is wrong with a finding that has the place of another one."""

    name: bool = False  # less or more specific
    place: bool = False
    severity: bool = False
    size: bool = False


def alike(one: str, other: str) -> bool:
    return (
        one == other
        or frozenset((one, other)) in ALIKE
        or one in GENERAL.get(other, ())
        or other in GENERAL.get(one, ())
    )


def related(one: str, other: str) -> bool:
    return frozenset((one, other)) in RELATED


def elsewhere(one: Finding, other: Finding) -> bool:
    """Whether both say where, and not the same."""
    zones, others = one.where & _ZONES, other.where & _ZONES
    apart = bool(zones and others) and zones.isdisjoint(others)
    return {one.side, other.side} == _OTHER_SIDE or apart


def differences(one: Finding, other: Finding) -> Differences | None:
    """None: another finding altogether."""
    name = not alike(one.name, other.name)
    if name and not related(one.name, other.name):
        return None
    device = one.name in _DEVICES
    sizes = sorted((one.size, other.size))
    return Differences(
        name,
        elsewhere(one, other),
        bool(one.severity and other.severity) and one.severity != other.severity,
        not device and sizes[0] > 0 and sizes[1] > _SIZE * sizes[0],
    )


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, each once: what only says again what another one said is merged with it."""
    kept: list[Finding] = []
    for finding in findings:
        for position, other in enumerate(kept):
            if alike(finding.name, other.name) and not elsewhere(finding, other):
                kept[position] = _merged(other, finding)
                break
        else:
            kept.append(finding)
    return [one for one in kept if not any(_only_general(one, other) for other in kept)]


def _only_general(one: Finding, other: Finding) -> bool:
    """Whether `one` is a word such as "device" or "opacity" for what `other` names."""
    if other.name in GENERAL.get(one.name, ()):
        return other.name != one.name
    return other.name in VAGUE.get(one.name, ()) and not elsewhere(one, other)


def _merged(one: Finding, other: Finding) -> Finding:
    """`one`, with what only `other` says."""
    if one.name in GENERAL:
        one, other = other, one
    return replace(
        one,
        side=one.side or other.side,
        severity=one.severity or other.severity,
        where=one.where | other.where,
        size=one.size or other.size,
    )


class Matching(NamedTuple):
    """`matched`: findings of the reference, and what is wrong with them in the candidate."""

    matched: list[tuple[Finding, Differences]]
    missed: list[Finding]
    invented: list[Finding]


def match(reference: Sequence[Finding], candidate: Sequence[Finding]) -> Matching:
    """A finding is matched by the one that differs least. Several may match one, unless their places
    differ: then one finding stands for one.
    """
    matched, missed = [], []
    supported = set()
    for one in reference:
        best = None
        for position, other in enumerate(candidate):
            found = differences(one, other)
            if found is None or found.place:
                continue
            supported.add(position)
            if best is None or sum(found) < sum(best):
                best = found
        if best is None:
            missed.append(one)
        else:
            matched.append((one, best))
    invented = [other for position, other in enumerate(candidate) if position not in supported]
    for one in list(missed):
        misplaced = [other for other in invented if alike(one.name, other.name)]
        if misplaced:
            other = min(misplaced, key=lambda other: sum(differences(one, other)))
            missed.remove(one)
            invented.remove(other)
            matched.append((one, differences(one, other)))
    return Matching(matched, missed, invented)


def findings_of(statements: Iterable[Statement]) -> list[Finding]:
    """The findings that are stated as present."""
    return [
        finding
        for statement in statements
        for finding in statement.findings
        if finding.positive and finding.asserted
    ]
