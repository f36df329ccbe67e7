"""The places of the chest that reports name.

A place is a set of parts of one kind: the thoracic spine is the vertebrae T1 to T12. Two findings
are in different places where both name parts of a kind and share none. A place that is not known,
or that only one side names, is no difference.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from xraygen.judges.proxy.vocabulary import BONE


class Place(NamedTuple):
    kind: str
    parts: frozenset[str]


Places = frozenset[Place]


def place_of(kind: str, parts: Iterable[str]) -> Place:
    return Place(kind, frozenset(parts))


def by_word(kind: str, text: str) -> dict[str, Place]:
    """`part, part: word word` lines -> the place that each word names."""
    found = {}
    for line in text.strip().splitlines():
        parts, _, words = line.partition(":")
        place = place_of(kind, (part.strip() for part in parts.split(",")))
        found.update(dict.fromkeys(words.split(), place))
    return found


_BONES = by_word(
    "bone",
    """
clavicle: clavicle clavicular
humerus: humerus humeral
scapula: scapula scapular acromion coracoid
ulna: ulna ulnar
femur: femur femoral
pelvis: pelvis pelvic iliac
sternum: sternum sternal manubrium manubrial xiphoid
rib: rib costal
spine: spine spinal vertebra vertebral vertebrae discspace cervical thoracic lumbar dorsal
spine: thoracolumbar cervicothoracic midthoracic
clavicle, acromioclavicular joint: acromioclavicular
humerus, scapula, shoulder joint: glenohumeral
clavicle, humerus, scapula, acromioclavicular joint, shoulder joint: shoulder
""",
)
_ORGANS = by_word(
    "organ",
    """
lung, bronchus, hilum of the lung: lung pulmonary lobe lobar intrapulmonary parenchymal
lung, bronchus, hilum of the lung: parenchyma
bronchus: bronchus bronchi bronchial endobronchial
hilum of the lung, hilum of the mediastinum: hilum hilar hila
mediastinum, hilum of the mediastinum: mediastinum mediastinal
esophagus: esophagus esophageal oesophagus oesophageal
bone: bone bony osseous skeletal
heart: heart cardiac ventricle ventricular atrium atrial
pleura: pleural pleura fissure fissural
chest wall: breast axilla axillary softtissue skin subcutaneous
neck: thyroid neck
trachea: trachea tracheal endotracheal
abdomen: abdomen abdominal liver hepatic spleen splenic kidney renal gallbladder
abdomen: stomach gastric bowel duodenum
""",
)
_DEPTHS = by_word(
    "depth",
    """
central: perihilar parahilar central centrally
peripheral: peripheral peripherally subpleural
""",
)
_STATIONS = by_word(
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
    word: word for word in "apical posterior anterior superior inferior medial lateral".split()
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
    "organ": frozenset(
        ("mass", "nodule", "nodular opacity", "lesion", "malignancy", "foreign body")
    ),
    "lymph nodes": frozenset(("adenopathy",)),
    "tip": frozenset(),
}


def _parts_of(row: range, third: str) -> range:
    low, high = _THIRDS.get(third, (0, 1))
    return row[int(low * len(row)) : -int(-high * len(row) // 1)]


def _numbered(kind: str, numbers: Iterable[int]) -> Place:
    return place_of(kind, map(str, numbers))


def _vertebrae(words: Sequence[str]) -> Iterator[tuple[int, Place]]:
    """ "T12", "L1 to L3", "T8-10", "the ninth thoracic vertebra", "the lower thoracic spine"."""
    last = (-3, 0, "t")  # where the last number is, the vertebra, and its section
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
        elif at - last[0] <= 2 and number <= _COUNT[last[2]]:
            # "T8-10" is "t", "8", "10"
            this = _FIRST[last[2]] + number - 1
            between = words[last[0] + 1 : at]
        else:
            continue
        joined = 0 < last[1] < this and at - last[0] <= 3 and set(between) <= _TO
        yield at, _numbered("vertebra", range(last[1] + 1, this + 1) if joined else [this])
        yield at, place_of("bone", ["spine"])
        last = (at, this, before if before in _FIRST else last[2])


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
        third = _THIRDS.keys() & words[max(0, at - 3) : at]
        if numbers:
            yield at, _numbered("rib", numbers)
        elif third:
            rows = [_parts_of(range(1, 13), name) for name in third]
            yield at, _numbered("rib", set().union(*rows))


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
            yield at, place_of(kind, parts)


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
