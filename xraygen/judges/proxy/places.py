"""The places of the chest that reports name, and where the tips of tubes and lines do not belong.

A place is a set of parts of one kind: the thoracic spine is the vertebrae T1 to T12. Two findings
are in different places where both name parts of a kind and share none. A place that is not known,
or that only one side names, is no difference.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from xraygen.judges.proxy.vocabulary import BONE, OBSERVATION


class Place(NamedTuple):
    kind: str
    parts: frozenset[str]


Places = frozenset[Place]
DEVICES = frozenset(word for word, key in OBSERVATION.items() if key == "device")
MILLIMETERS = dict.fromkeys(("mm", "millimeter", "millimeters"), 1) | dict.fromkeys(
    ("cm", "centimeter", "centimeters"), 10
)


def _place(kind: str, parts: Iterable[str]) -> Place:
    return Place(kind, frozenset(parts))


def _by_word(kind: str, text: str) -> dict[str, Place]:
    """`part, part: word word` lines -> the place that each word names."""
    found = {}
    for line in text.strip().splitlines():
        parts, _, words = line.partition(":")
        place = _place(kind, (part.strip() for part in parts.split(",")))
        found.update(dict.fromkeys(words.split(), place))
    return found


_BONES = _by_word(
    "bone",
    """
clavicle: clavicle clavicular
humerus: humerus humeral
scapula: scapula scapular acromion coracoid
sternum: sternum sternal manubrium manubrial xiphoid
rib: rib costal
spine: spine spinal vertebra vertebral vertebrae discspace cervical thoracic lumbar dorsal
spine: thoracolumbar cervicothoracic midthoracic
clavicle, scapula, joint: acromioclavicular
humerus, scapula, joint: glenohumeral
clavicle, humerus, scapula, joint: shoulder
""",
)
_ORGANS = _by_word(
    "organ",
    """
lung, hilum: lung pulmonary lobe lobar lingula lingular intrapulmonary parenchymal parenchyma
hilum: hilum hilar hila
mediastinum, hilum: mediastinum mediastinal
pleura: pleural pleura fissure fissural
chest wall: breast axilla axillary softtissue skin subcutaneous
neck: thyroid neck
trachea: trachea tracheal endotracheal
abdomen: abdomen abdominal liver hepatic spleen splenic kidney renal gallbladder
""",
)
_DEPTHS = _by_word(
    "depth",
    """
central: perihilar parahilar central centrally
peripheral: peripheral peripherally subpleural
""",
)
_STATIONS = _by_word(
    "lymph nodes",
    """
hilum: hilum hilar hila
axilla: axilla axillary
neck: supraclavicular
paratracheal: paratracheal
window: aorticopulmonary aortopulmonary
subcarinal: subcarinal
paratracheal, window, subcarinal, prevascular: mediastinum mediastinal
prevascular: prevascular
""",
)
_SITES = _by_word(
    "tip",
    """
svc: svc cavoatrial caval
atrium: atrium atrial
ventricle: ventricle ventricular
central vein: brachiocephalic innominate
jugular vein: jugular
subclavian vein: subclavian
azygos vein: azygos azygous
ivc: ivc
hepatic vein: hepatic portal liver
aorta: aorta aortic carotid arterial
axillary vein: axillary axilla
trachea: trachea tracheal
bronchus: bronchus bronchi bronchial mainstem
esophagus: esophagus esophageal oesophagus oesophageal gastroesophageal ge
pharynx: pharynx hypopharynx oropharynx nasopharynx pharyngeal
stomach: stomach gastric duodenum duodenal jejunum jejunal pylorus fundus antrum bowel abdomen
stomach: diaphragm hemidiaphragm
lung: lung lobe lobar
pleura: pleura pleural
chest wall: softtissue subcutaneous
""",
)
_WORDS: dict[str, list[Place]] = {}
for _table in (_BONES, _ORGANS, _DEPTHS, _STATIONS):
    for _word, _named in _table.items():
        _WORDS.setdefault(_word, []).append(_named)

# Of these, only what the words around them say: the compartment, the fissure, the segment.
_COMPARTMENTS = {
    "anterior": "anterior",
    "prevascular": "anterior",
    "retrosternal": "anterior",
    "middle": "middle",
    "visceral": "middle",
    "posterior": "posterior",
    "paravertebral": "posterior",
    "paraspinal": "posterior",
    "superior": "superior",
    "upper": "superior",
}
_FISSURES = {
    "major": "major",
    "oblique": "major",
    "minor": "minor",
    "horizontal": "minor",
    "transverse": "minor",
    "azygos": "azygos",
    "azygous": "azygos",
}
_SEGMENTS = {
    word: word
    for word in "apical posterior anterior superior inferior medial lateral apicoposterior".split()
}
_SEGMENTS["anteromedial"] = "anterior"
_QUALIFIED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "mediastinum": ("mediastinum", _COMPARTMENTS),
    "mediastinal": ("mediastinum", _COMPARTMENTS),
    "fissure": ("fissure", _FISSURES),
    "segment": ("segment", _SEGMENTS),
}
# What may stand between them: "in the posterior part of the mediastinum".
_PASSED = frozenset(
    "and or the of in to at side part portion compartment aspect segment left right basal".split()
)

# Vertebrae by their number from the first cervical one.
_FIRST = {"c": 1, "t": 8, "l": 20}
_COUNT = {"c": 7, "t": 12, "l": 5}
_SPINE = {
    "cervical": range(1, 8),
    "thoracic": range(8, 20),
    "dorsal": range(8, 20),
    "lumbar": range(20, 25),
    "thoracolumbar": range(18, 22),
    "cervicothoracic": range(6, 11),
    "midthoracic": range(11, 17),
}
# The thirds of a row of vertebrae or ribs overlap, because reports do not divide them alike.
_THIRDS = {"upper": (0, 0.5), "mid": (0.25, 0.75), "middle": (0.25, 0.75), "lower": (0.5, 1)}
_NOT_THE_SPINE = frozenset("inlet outlet cavity wall surgery surgical cage aorta duct".split())
_ORDINALS = {
    word: number
    for number, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        1,
    )
}
_ENDINGS = frozenset(("st", "nd", "rd", "th"))
_TO = frozenset(("to", "through", "thru"))
# Not the number of a rib or vertebra but a measure.
_UNITS = frozenset("mm cm millimeter centimeter millimeters centimeters percent degrees".split())
_BESIDE_RIBS = frozenset(
    "and or , left right anterior posterior lateral posterolateral anterolateral th st nd rd"
    " to through thru the bilateral".split()
)

# Words for the end of a tube or line, by their beginning.
_ENDS = ("tip", "terminat", "end", "coil", "loop", "kink", "curl")
# Where no tube or line enters.
_NO_ENTRY = frozenset("bronchus bronchi bronchial mainstem azygos azygous".split())
# Where a tip is well even if a word of _LANDMARK is before it: "below the diaphragm".
_HARBORS = frozenset(("stomach", "svc", "trachea"))
_LANDMARK = frozenset("level above below near beyond past adjacent toward towards beneath".split())
_ABOVE_CARINA = 20  # mm

# The findings by which a kind of place is told apart; other kinds count for all of them. A nodule
# that projects over a rib is none of the rib.
_OF_BONES = frozenset(BONE - {"scoliosis", "kyphosis", "osteopenia", "compression"}) | {
    "lesion",
    "bone",
    "rib",
    "shoulder",
    "spine",
}
_APPLIES = {
    "bone": _OF_BONES,
    "vertebra": _OF_BONES | {"compression", "kyphosis", "scoliosis"},
    "rib": _OF_BONES,
    "organ": frozenset(("mass", "nodule", "nodular opacity", "lesion", "malignancy")),
    "lymph nodes": frozenset(("adenopathy",)),
    "tip": frozenset(),
}


def _parts_of(row: range, third: str) -> range:
    low, high = _THIRDS.get(third, (0, 1))
    return row[int(low * len(row)) : -int(-high * len(row) // 1)]


def _numbered(kind: str, numbers: Iterable[int]) -> Place:
    return _place(kind, map(str, numbers))


def _vertebrae(words: Sequence[str]) -> Iterator[tuple[int, Place]]:
    """ "T12", "L1 to L3", "T8-10", "the ninth thoracic vertebra", "the lower thoracic spine"."""
    last = (-3, 0)  # where the last number is, and which
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if word in _SPINE and not _NOT_THE_SPINE.intersection(words[at + 1 : at + 2]):
            row = _SPINE[word]
            if before in _ORDINALS and _ORDINALS[before] <= len(row):
                yield at, _numbered("vertebra", [row[_ORDINALS[before] - 1]])
            else:
                yield at, _numbered("vertebra", _parts_of(row, before))
        number = _number(words, at)
        if not number:
            continue
        if before in _FIRST and number <= _COUNT[before]:
            this = _FIRST[before] + number - 1
            between = words[last[0] + 1 : at - 1]
        elif at - last[0] <= 2 and last[1]:
            # "T8-10" is "t", "8", "10"
            section = max(first for first in _FIRST.values() if first <= last[1])
            this = section + number - 1
            between = words[last[0] + 1 : at]
        else:
            continue
        joined = 0 < last[1] < this and at - last[0] <= 3 and set(between) <= _TO
        yield at, _numbered("vertebra", range(last[1] + 1, this + 1) if joined else [this])
        yield at, _place("bone", ["spine"])
        last = (at, this)


def _number(words: Sequence[str], at: int) -> int:
    """The number of a rib or vertebra that a word is, 0 for any other word."""
    if words[at] in _ORDINALS:
        return _ORDINALS[words[at]]
    measure = at + 1 < len(words) and words[at + 1] in _UNITS
    return int(words[at]) if words[at].isdecimal() and not measure else 0


def _ribs(words: Sequence[str]) -> Iterator[tuple[int, Place]]:
    """ "The left sixth and seventh ribs", "ribs 4 through 7", "the lower ribs"."""
    for at, word in enumerate(words):
        if word not in ("rib", "ribs"):
            continue
        start = at
        while start and (words[start - 1] in _BESIDE_RIBS or _number(words, start - 1)):
            start -= 1
        end = at + 1
        while end < len(words) and (words[end] in _BESIDE_RIBS or _number(words, end)):
            end += 1
        numbers = set(_listed(words[start:at])) or set(_listed(words[at + 1 : end]))
        third = _THIRDS.keys() & words[max(0, at - 2) : at]
        if numbers:
            yield at, _numbered("rib", numbers)
        elif third:
            yield at, _numbered("rib", _parts_of(range(1, 13), *third))


def _listed(words: Sequence[str]) -> Iterator[int]:
    """The numbers, with those between two that a "to" joins, or nothing, as in "4th-6th"."""
    last, between = 0, []
    for at, word in enumerate(words):
        number = _number(words, at)
        if not number or number > 12:
            if word not in _ENDINGS:
                between.append(word)
            continue
        if last and set(between) <= _TO:
            yield from range(last + 1, number)
        yield number
        last, between = number, []


def _qualified(words: Sequence[str]) -> Iterator[tuple[int, Place]]:
    """The compartment of the mediastinum, the fissure, the segment of a lobe."""
    for at, word in enumerate(words):
        kind, names = _QUALIFIED.get(word.removesuffix("s"), ("", {}))
        parts = []
        for before in reversed(words[max(0, at - 5) : at] if kind else ()):
            if before in names:
                parts.append(names[before])
            elif before not in _PASSED:
                break
        if parts:
            yield at, _place(kind, parts)


def _tips(words: Sequence[str]) -> Iterator[tuple[int, Place]]:
    """What is said of the end of a tube or line. A vein may be where it enters: only after a word
    for its end is it a place of the tip.
    """
    ends = False
    for at, word in enumerate(words):
        if word.startswith(_ENDS):
            ends = True
        site = _SITES.get(word)
        before = words[max(0, at - 4) : at]
        if word in ("carina", "carinal"):
            yield at, _at_the_carina(words, at)
        elif site and (ends or word in _NO_ENTRY) and (site.parts & _HARBORS or _inside(before)):
            yield at, site


def _inside(before: Sequence[str]) -> bool:
    """Whether the words before a site say that the tip is in it, not at its level or past it."""
    return _LANDMARK.isdisjoint(before) and ("distal", "to") not in pairwise(before)


def _at_the_carina(words: Sequence[str], at: int) -> Place:
    """At least 2 cm above it the tip of a tube is in the trachea; nearer it may slip down."""
    before = words[max(0, at - 6) : at]
    for number, unit in pairwise(before):
        if unit in MILLIMETERS and number[0].isdigit():
            near = float(number) * MILLIMETERS[unit] < _ABOVE_CARINA
            return _place("tip", ["carina" if near else "trachea"])
    return _place("tip", ["trachea" if "above" in before else "carina"])


def places(words: Sequence[str]) -> dict[int, list[Place]]:
    """The places that a clause names, by the position of the word that names each. `words`: in
    lower case, "T12" as "t", "12".
    """
    found: dict[int, list[Place]] = {}
    for at, word in enumerate(words):
        named = _WORDS.get(word) or _WORDS.get(word.removesuffix("s"))
        if named:
            found[at] = list(named)
    if "rib" in words or "ribs" in words:
        _add(found, _ribs(words))
    _add(found, _vertebrae(words))
    _add(found, _qualified(words))
    if not DEVICES.isdisjoint(words):
        _add(found, _tips(words))
    return found


def _add(found: dict[int, list[Place]], more: Iterable[tuple[int, Place]]) -> None:
    for at, place in more:
        found.setdefault(at, []).append(place)


def parts(found: Iterable[Place], kind: str) -> frozenset[str]:
    """The parts of a kind. Where one place is within another, "T12 in the lower thoracic spine",
    the smaller one counts.
    """
    named = [place.parts for place in found if place.kind == kind]
    least = [one for one in named if not any(other < one for other in named)]
    return frozenset().union(*least)


def apart(one: Places, other: Places, *keys: str) -> bool:
    """Whether two findings with these keys are in different places."""
    if not one or not other:
        return False
    kinds = {place.kind for place in one} & {place.kind for place in other}
    return any(
        parts(one, kind).isdisjoint(parts(other, kind))
        for kind in kinds
        if _APPLIES.get(kind, frozenset(keys)).issuperset(keys)
    )


# Where the tip of a device is wrong, and where it is right, by the kind of the device.
_VEINS = (
    frozenset(
        (
            "jugular vein",
            "subclavian vein",
            "axillary vein",
            "azygos vein",
            "hepatic vein",
            "ventricle",
            "aorta",
        )
    ),
    frozenset(("svc", "atrium")),
)
_TIPS = {
    "central venous catheter": _VEINS,
    "PICC": _VEINS,
    "port": _VEINS,
    "umbilical catheter": (frozenset(("hepatic vein",)), frozenset(("ivc", "atrium"))),
    "endotracheal tube": (
        frozenset(("bronchus", "carina", "esophagus", "pharynx")),
        frozenset(("trachea",)),
    ),
    "tracheostomy tube": (frozenset(("bronchus", "chest wall")), frozenset(("trachea",))),
    "enteric tube": (
        frozenset(("bronchus", "trachea", "lung", "pleura", "esophagus", "pharynx")),
        frozenset(("stomach",)),
    ),
    "gastrostomy tube": (frozenset(("chest wall",)), frozenset(("stomach",))),
    "chest tube": (frozenset(("chest wall",)), frozenset(("pleura",))),
}


def malpositioned(kind: str, tip: Places) -> bool:
    """Whether a device of this kind ends where it should not. `tip`: what is said of its tip."""
    wrong, right = _TIPS.get(kind, (frozenset(), frozenset()))
    sites = parts(tip, "tip")
    return not wrong.isdisjoint(sites) and right.isdisjoint(sites)
