"""Where the tip of a tube or line is, and whether it belongs there."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from xraygen.judges.proxy.measures import largest, lengths
from xraygen.judges.proxy.places import Place, Places, by_word, parts, place_of
from xraygen.judges.proxy.vocabulary import OBSERVATION

_DEVICES = frozenset(word for word, key in OBSERVATION.items() if key == "device")
_SITES = by_word(
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
soft tissue: softtissue subcutaneous
chest wall: wall
""",
)
# A line may be within the vein, and a tube within the wall, that it enters by. It ends there only
# after a word of _ENDS.
_VEINS_OF_ENTRY = frozenset(("jugular vein", "subclavian vein", "axillary vein"))
_ENTRIES = _VEINS_OF_ENTRY | {"chest wall"}
_ENDS = re.compile("tips?|terminat.*|ends?|ending|holes?|coil.*|loop(?:ed|s|ing)|kink.*|curl.*")
_IN = frozenset(("in", "into", "within"))
# Where a tip is well even if a word of _LANDMARK is before it: "below the diaphragm".
_HARBORS = frozenset(("stomach", "svc", "trachea"))
_LANDMARK = frozenset("level above below near beyond past adjacent toward towards beneath".split())
_ABOVE_CARINA = 20  # mm


def tips(words: Sequence[str]) -> Iterator[tuple[int, Place]]:
    """The sites of the ends of tubes and lines, by the position of the word that names each."""
    if _DEVICES.isdisjoint(words):
        return
    ends = False
    for at, word in enumerate(words):
        ends = ends or bool(_ENDS.fullmatch(word))
        before = words[max(0, at - 4) : at]
        site = _SITES.get(word)
        if word in ("diaphragm", "hemidiaphragm") and "above" in before:
            yield at, _SITES["esophagus"]
        elif word in ("carina", "carinal"):
            yield at, _at_the_carina(words[max(0, at - 6) : at])
        elif site is None or not (site.parts & _HARBORS or _inside(before)):
            continue
        elif ends or not (_IN.isdisjoint(before) or site.parts & _ENTRIES):
            yield at, site


def _inside(before: Sequence[str]) -> bool:
    """Whether the words before a site say that the tip is in it, not at its level or past it."""
    return _LANDMARK.isdisjoint(before) and ("distal", "to") not in pairwise(before)


def _at_the_carina(before: Sequence[str]) -> Place:
    """At least 2 cm above it the tip of a tube is in the trachea; nearer it may slip down."""
    above = largest(before) >= _ABOVE_CARINA if any(lengths(before)) else "above" in before
    return place_of("tip", ["trachea" if above and "below" not in before else "carina"])


# Where the tip of a device is wrong, and where it is right, by the kind of the device.
_VEINS = (
    _VEINS_OF_ENTRY | {"azygos vein", "hepatic vein", "ventricle", "aorta"},
    frozenset(("svc", "atrium")),
)
_OUTSIDE = frozenset(("soft tissue", "chest wall"))
_GULLET = frozenset(("esophagus", "pharynx"))
_TIPS = {
    "central venous catheter": _VEINS,
    "PICC": _VEINS,
    "port": _VEINS,
    "umbilical catheter": (frozenset(("hepatic vein",)), frozenset(("ivc", "atrium"))),
    "endotracheal tube": (_GULLET | {"bronchus", "carina"}, frozenset(("trachea",))),
    "tracheostomy tube": (frozenset(("bronchus", *_OUTSIDE)), frozenset(("trachea",))),
    "enteric tube": (
        _GULLET | {"bronchus", "trachea", "lung", "pleura"},
        frozenset(("stomach",)),
    ),
    "gastrostomy tube": (_OUTSIDE, frozenset(("stomach",))),
    "chest tube": (_OUTSIDE, frozenset(("pleura",))),
}


def malpositioned(kind: str, tip: Places) -> bool:
    """Whether a device of this kind ends where it should not. `tip`: what is said of its tip."""
    wrong, right = _TIPS.get(kind, (frozenset(), frozenset()))
    sites = parts(tip, "tip")
    return not wrong.isdisjoint(sites) and right.isdisjoint(sites)
