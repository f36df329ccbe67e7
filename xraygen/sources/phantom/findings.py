"""The findings of a phantom study: the structured ground truth that pictures, report and reference
are made from.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, TypeVar

from xraygen.core.study import Record

Side = Literal["right", "left"]
Sides = Literal["right", "left", "both"]
Amount = Literal["small", "moderate", "large"]
Lobe = Literal["upper", "middle", "lower"]


SIDES: tuple[Side, Side] = ("right", "left")
AMOUNTS: tuple[Amount, ...] = ("small", "moderate", "large")


class Lesion(Record):
    """A lesion in one lobe; the left lung has no middle lobe. `mm`: diameter, 0 where it has
    none.
    """

    side: Side
    lobe: Lobe
    mm: int = 0


class Pleural(Record):
    """Fluid or air in a pleural space."""

    side: Sides
    amount: Amount


class RibFracture(Record):
    """`rib` counts from the top."""

    side: Side
    rib: int
    healed: bool


class Findings(Record):
    """The default is a normal study. Sides are the patient's, whose right is on the viewer's left
    in the frontal view.
    """

    heart: Literal["normal", "borderline", "mild", "moderate", "severe"] = "normal"
    mediastinum: Literal["normal", "wide"] = "normal"
    aorta: Literal["normal", "tortuous", "calcified", "tortuous and calcified"] = "normal"
    vessels: Literal["normal", "congested", "edema"] = "normal"
    volumes: Literal["normal", "low", "high"] = "normal"
    effusion: Pleural | None = None
    pneumothorax: Pleural | None = None
    consolidation: Lesion | None = None
    nodule: Lesion | None = None
    granuloma: Lesion | None = None
    atelectasis: Sides | None = None
    rib_fracture: RibFracture | None = None
    spine: Literal["normal", "mild", "moderate", "severe"] = "normal"
    scoliosis: Side | None = None
    pacemaker: bool = False
    sternotomy: bool = False
    central_line: Side | None = None
    clips: bool = False
    hernia: Amount | None = None
    free_air: bool = False

    def abnormal(self) -> tuple[str, ...]:
        """Names of the fields that differ from those of a normal study."""
        return tuple(name for name, value in self if value != NORMAL[name])


NORMAL = {name: field.default for name, field in Findings.model_fields.items()}

_ALL_NORMAL = 0.32
_MOST_FINDINGS = 5
# Share of all studies. Where a study has too many, or one would hide another, some are dropped.
_SHARES = {
    "heart": 0.23,
    "mediastinum": 0.12,
    "aorta": 0.10,
    "vessels": 0.11,
    "volumes": 0.12,
    "effusion": 0.18,
    "pneumothorax": 0.16,
    "consolidation": 0.18,
    "nodule": 0.19,
    "granuloma": 0.08,
    "atelectasis": 0.09,
    "rib_fracture": 0.08,
    "spine": 0.17,
    "scoliosis": 0.05,
    "pacemaker": 0.05,
    "sternotomy": 0.06,
    "central_line": 0.05,
    "clips": 0.03,
    "hernia": 0.05,
    "free_air": 0.03,
}
_LOBES: list[tuple[Side, Lobe]] = [
    ("right", "upper"),
    ("right", "middle"),
    ("right", "lower"),
    ("left", "upper"),
    ("left", "lower"),
]

T = TypeVar("T")


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of `options`. Only `random()` is called, the one method whose sequence Python
    guarantees.
    """
    return options[int(rng.random() * len(options))]


def sample(rng: Random) -> Findings:
    """The findings of one study."""
    if rng.random() < _ALL_NORMAL:
        return Findings()
    present = [name for name, share in _SHARES.items() if rng.random() < share / (1 - _ALL_NORMAL)]
    while len(present) > _MOST_FINDINGS:
        present.remove(pick(rng, present))
    values = {name: _DETAIL[name](rng) for name in present if name not in _PLACED}

    # A collapsed lung and fluid hide other findings: each takes its own side, and lesions go where
    # they can be seen.
    air: Side | None = None
    if "pneumothorax" in present:
        air = pick(rng, SIDES)
        values["pneumothorax"] = Pleural(side=air, amount=pick(rng, AMOUNTS))
    fluid: tuple[Side, ...] = ()
    if "effusion" in present:
        fluid = _sides_of_fluid(rng, air)
        side: Sides = "both" if len(fluid) == 2 else fluid[0]
        values["effusion"] = Pleural(side=side, amount=pick(rng, AMOUNTS))
    visible = [
        (side, lobe)
        for side, lobe in _LOBES
        if side != air and not (side in fluid and lobe == "lower")
    ]
    for name in ("consolidation", "nodule", "granuloma"):
        if name in present and visible:
            side, lobe = chosen = pick(rng, visible)
            visible.remove(chosen)
            values[name] = Lesion(side=side, lobe=lobe, mm=_DIAMETER[name](rng))
    return Findings(**values)


def _sides_of_fluid(rng: Random, air: Side | None) -> tuple[Side, ...]:
    """`air`: the side of a pneumothorax, where there is one."""
    if air is not None:
        return (other(air),)
    return SIDES if rng.random() < 0.25 else (pick(rng, SIDES),)


def other(side: Side) -> Side:
    return "left" if side == "right" else "right"


_PLACED = {"effusion", "pneumothorax", "consolidation", "nodule", "granuloma"}
_DIAMETER: dict[str, Callable[[Random], int]] = {
    "consolidation": lambda rng: 0,
    "nodule": lambda rng: 15 + int(rng.random() * 15),
    "granuloma": lambda rng: 5 + int(rng.random() * 3),
}
_DETAIL: dict[str, Callable[[Random], object]] = {
    "heart": lambda rng: pick(
        rng, ("borderline", "mild", "mild", "moderate", "moderate", "severe")
    ),
    "mediastinum": lambda rng: "wide",
    "aorta": lambda rng: pick(rng, ("tortuous", "calcified", "tortuous and calcified")),
    "vessels": lambda rng: pick(rng, ("congested", "edema")),
    "volumes": lambda rng: pick(rng, ("low", "high")),
    "atelectasis": lambda rng: pick(rng, ("right", "left", "both")),
    "rib_fracture": lambda rng: RibFracture(
        side=pick(rng, SIDES), rib=5 + int(rng.random() * 4), healed=rng.random() < 0.6
    ),
    "spine": lambda rng: pick(rng, ("mild", "mild", "moderate", "severe")),
    "scoliosis": lambda rng: pick(rng, SIDES),
    "central_line": lambda rng: pick(rng, SIDES),
    "hernia": lambda rng: pick(rng, AMOUNTS),
    **dict.fromkeys(("pacemaker", "sternotomy", "clips", "free_air"), lambda rng: True),
}
