"""The anatomy of the frontal view, from the study's own random numbers and the findings that change
its shape.

The patient's right is on the viewer's left. `u` is the distance from the midline on either side.
"""

import math
from typing import NamedTuple

import numpy as np

from xraygen.sources.phantom.film import Field, Film, Knots, Lines, between, curve, step
from xraygen.sources.phantom.findings import Findings, RibFracture

# Heart width over the inner width of the chest. An enlarged heart is wider than half of it (Danzer,
# Am J Med Sci 1919).
CARDIOTHORACIC = {
    "normal": (0.40, 0.455),
    "borderline": (0.49, 0.51),
    "mild": (0.54, 0.57),
    "moderate": (0.60, 0.635),
    "severe": (0.67, 0.71),
}
SIGN = {"right": -1.0, "left": 1.0}
_RIB_SPACING = 0.132
# (y, half width) of the body's outline.
_TORSO: Knots = [
    (-1.1, 0.2),
    (-0.95, 0.22),
    (-0.84, 0.36),
    (-0.74, 0.76),
    (-0.62, 0.98),
    (-0.3, 1.0),
    (0.2, 0.93),
    (1.1, 0.93),
]


class Chest(NamedTuple):
    """`u`: distance from the midline; `outer`: half width of the chest at that height; `dome`: y of
    the diaphragm; `lung`: 0..1. `width`: the largest `outer`.
    """

    width: float
    u: Field
    outer: Field
    dome: Field
    lung: Field


def body(film: Film, rng: np.random.Generator) -> Field:
    y = film.y
    u = np.abs(film.x)
    stout = between(rng, 0.95, 1.1)
    torso = curve(y, *_TORSO) * stout
    thickness = np.sqrt(np.clip(1 - (u / torso) ** 2, 0, 1))
    light = 0.05 + film.edge(torso - u, 0.03) * (0.40 + 0.20 * thickness)
    right_shoulder = film.blob(-0.82, -0.58, 0.34, 0.2)
    left_shoulder = film.blob(0.82, -0.58, 0.34, 0.2)
    light += 0.14 * right_shoulder + 0.14 * left_shoulder
    off_blade = np.abs(u - curve(y, (-0.62, 0.66), (-0.35, 0.56), (-0.02, 0.60)))
    shoulder_blades = 0.06 * film.edge(0.03 - off_blade, 0.025)
    light += shoulder_blades * film.edge(y + 0.6, 0.05) * film.edge(0.0 - y, 0.08)
    has_breasts = rng.random() < 0.5
    if has_breasts:
        light += between(rng, 0.04, 0.10) * film.disc(0.42, 0.20, 0.30, 0.05, 0.9, both=True)
    return light + 0.02 * film.cloud(rng, 0.5)


def spine_bend(film: Film, findings: Findings) -> Field:
    """How far scoliosis moves the spine to the side, at each height."""
    amount = SIGN[findings.scoliosis] * 0.14 if findings.scoliosis else 0.0
    return amount * np.clip(1 - ((film.y + 0.05) / 0.75) ** 2, 0, 1) - amount * 0.25


def chest_of(film: Film, findings: Findings, base: float, rng: np.random.Generator) -> Chest:
    x, y = film.x, film.y
    u = np.abs(x)
    width = between(rng, 0.66, 0.72)
    high = findings.volumes == "high"
    apex = -0.79 if high else -0.76
    outer = width * curve(
        y,
        (apex, 0.16),
        (apex + 0.05, 0.36),
        (-0.58, 0.62),
        (-0.38, 0.80),
        (-0.1, 0.93),
        (0.25, 1.0),
        (0.7, 1.0),
    )
    angle, mid = (0.10, 0.07) if high else (0.19, 0.09)
    dome = curve(
        u / width,
        (0.0, mid),
        (0.22, mid * 0.35),
        (0.45, 0),
        (0.66, angle * 0.2),
        (0.85, angle * 0.6),
        (1.0, angle * 1.3),
        (1.3, angle * 4),
    )
    right = base + 0.30 + between(rng, -0.015, 0.015)
    left = base + 0.36 + between(rng, -0.015, 0.015)
    dome = dome + left + (right - left) * film.edge(-x, 0.02)
    inner = curve(y, (apex, 0.10), (-0.3, 0.02), (0.6, 0.02))
    lung = (
        film.edge(outer - u)
        * film.edge(dome - y)
        * film.edge(u - inner, 0.11)
        * film.edge(y - apex - 0.02, 0.02)
    )
    return Chest(width, u, outer, dome, lung)


def markings(film: Film, findings: Findings, chest: Chest, rng: np.random.Generator) -> Field:
    """Vessels that branch out from the hila and thin out, and the fine texture."""
    strong = {"normal": 1.0, "congested": 1.7, "edema": 1.5}[findings.vessels]
    thick: Lines = []
    thin: Lines = []
    light = np.zeros_like(film.x)
    for sign in SIGN.values():
        hilum = 0.17, -0.10 - 0.03 * sign
        for branch in range(13):
            angle = math.radians(-100 + 200 * (branch + float(rng.random())) / 13)
            start = between(rng, 0.02, 0.07)
            xs = [hilum[0] + start * math.cos(angle) * 0.7]
            ys = [hilum[1] + 2.2 * start * math.sin(angle)]
            reach = between(rng, 0.3, 0.62) * (1.15 if abs(angle) > 0.6 else 0.85)
            for _ in range(6):
                angle += between(rng, -0.22, 0.22)
                xs.append(xs[-1] + math.cos(angle) * reach / 6)
                ys.append(ys[-1] + math.sin(angle) * reach / 6)
            thick.append(([sign * at for at in xs[:4]], ys[:4], 0.055 * strong))
            thin.append(([sign * at for at in xs], ys, 0.05 * strong))
            for fork in (2, 3, 4):
                turn = angle + between(rng, -0.9, 0.9)
                length = between(rng, 0.1, 0.25)
                end_x = xs[fork] + length * math.cos(turn)
                end_y = ys[fork] + length * math.sin(turn)
                thin.append(([sign * xs[fork], sign * end_x], [ys[fork], end_y], 0.05 * strong))
        light += 0.14 * min(strong, 1.4) * film.blob(sign * 0.17, hilum[1], 0.13, 0.2)
    width = 0.011 if findings.vessels == "normal" else 0.015
    light += film.trace(thick, width) + film.trace(thin, 0.005)
    light += 0.018 * film.cloud(rng, 0.045) + 0.014 * film.cloud(rng, 0.1)
    if findings.vessels == "edema":
        net = np.clip(np.abs(film.cloud(rng, 0.05)), 0, 0.3) / 0.3
        haze = film.blob(-0.30, 0.0, 0.36, 0.55) + film.blob(0.30, 0.0, 0.36, 0.55)
        light += (0.15 + 0.11 * (1 - net)) * haze + 0.05 * (1 - net)
    return light * chest.lung


def ribs(film: Film, findings: Findings, chest: Chest) -> Field:
    """All ribs at once: they are copies of one curve at equal distances, so that a rib is where the
    phase is near a whole number.
    """
    y, u = film.y, chest.u
    t = np.clip(u / chest.width, 0, 1.1)
    back = (y - _back_rib(t)) / _RIB_SPACING
    front = (y + 0.52 - 0.42 * (1 - t * np.sqrt(t))) / (_RIB_SPACING * 1.12)
    light = np.zeros_like(film.x)
    if fracture := findings.rib_fracture:
        back, light = _broken(film, chest, back, fracture)
    within = film.edge(chest.outer + 0.03 - u) * film.edge(chest.dome + 0.12 - y, 0.1)
    off = np.abs(back - np.rint(back))
    arches = 0.085 * step(0.20 - off, 0.05) + 0.05 * np.clip(1 - np.abs(off - 0.20) * 16, 0, 1)
    posterior = within * film.edge(u - 0.06, 0.03)
    light += posterior * film.edge(10.4 - back, 0.1) * film.edge(back - 0.6, 0.1) * arches
    arches = 0.035 * step(0.19 - np.abs(front - np.rint(front)), 0.05)
    anterior = within * film.edge(u - chest.width * 0.45, 0.06)
    light += anterior * film.edge(front - 0.5, 0.1) * arches
    wall = film.edge(0.02 - np.abs(u - chest.outer - 0.015), 0.01)
    wall = wall * film.edge(chest.dome + 0.1 - y, 0.1)
    return light + 0.06 * wall * film.edge(y + 0.7, 0.05)


def _back_rib(t: Field | float) -> Field | float:
    """y of the zeroth posterior rib, t chest widths from the midline."""
    return -0.78 + 0.36 * t * t * (0.75 + 0.25 * t) - 0.2 * t * (1 - t)


def _broken(film: Film, chest: Chest, phase: Field, fracture: RibFracture) -> tuple[Field, Field]:
    """The phase with a step in one rib, and the light to add: callus where the fracture has healed,
    a gap where it has not.
    """
    sign = SIGN[fracture.side]
    t = 0.74
    at = t * chest.width
    row = float(_back_rib(t)) + fracture.rib * _RIB_SPACING
    here = film.edge(0.5 - np.abs(phase - fracture.rib), 0.1) * film.edge(sign * film.x)
    beyond = film.edge(chest.u - at, 0.008)
    if fracture.healed:
        callus = 0.20 * film.disc(sign * at, row + 0.01, 0.055, 0.02, 0.55)
        return phase + 0.18 * beyond * here, callus
    gap = film.edge(0.018 - np.abs(chest.u - at), 0.006)
    gap = gap * film.edge(0.32 - np.abs(phase - fracture.rib), 0.08)
    return phase + 0.40 * beyond * here, -0.18 * gap * film.edge(sign * film.x)


def collar_bones(film: Film, rng: np.random.Generator) -> Field:
    u = np.abs(film.x)
    rise = between(rng, -0.03, 0.03)
    line = curve(
        u,
        (0.06, -0.56),
        (0.2, -0.60),
        (0.4, -0.68 - rise),
        (0.6, -0.74 - rise),
        (0.8, -0.76 - rise),
    )
    off = np.abs(film.y - line)
    cortex = np.clip(1 - np.abs(off - 0.026) * 120, 0, 1)
    bone = 0.13 * film.edge(0.030 - off, 0.008) + 0.06 * cortex
    return bone * film.edge(u - 0.07, 0.01) * film.edge(0.78 - u, 0.06)


def heart_borders(findings: Findings, ratio: float, width: float) -> tuple[Knots, Knots]:
    """The right and the left border of mediastinum and heart: (y, distance from the midline),
    before breathing moves them.
    """
    heart_width = 2 * ratio * width
    right = 0.36 * heart_width
    left = 0.64 * heart_width
    wide = 2.0 if findings.mediastinum == "wide" else 1.0
    knob = 0.075 if "tortuous" in findings.aorta else 0.0
    rights = [
        (-1.0, 0.10),
        (-0.72, 0.12 * wide),
        (-0.45, 0.13 * wide + knob * 0.4),
        (-0.2, 0.14 + 0.07 * (wide - 1) + knob * 0.5),
    ]
    rights += [
        (-0.06, 0.16 + 0.3 * (right - 0.16)),
        (0.06, 0.93 * right),
        (0.18, right * 1.03),
        (0.30, right * 0.96),
        (0.6, right * 0.7),
    ]
    lefts = [
        (-1.0, 0.10),
        (-0.72, 0.12 * wide),
        (-0.5, 0.14 * wide + knob * 0.7),
        (-0.38, 0.19 * (1 + 0.5 * (wide - 1)) + knob * 1.3),
    ]
    lefts += [
        (-0.26, 0.14 + 0.08 * (wide - 1) + knob * 0.5),
        (-0.14, 0.19),
        (0.0, 0.2 + 0.55 * (left - 0.2)),
        (0.15, left * 0.95),
    ]
    lefts += [(0.26, left * 1.03), (0.36, left * 0.95), (0.65, left * 0.5)]
    return rights, lefts


def heart(
    film: Film, findings: Findings, width: float, base: float, rng: np.random.Generator
) -> Field:
    x, y = film.x, film.y
    low, high = CARDIOTHORACIC[findings.heart]
    rights, lefts = heart_borders(findings, between(rng, low, high), width)
    y = np.where(y > -0.3, y - base * np.clip((y + 0.3) / 0.5, 0, 1), y)
    right, left = curve(y, *rights), curve(y, *lefts)
    shade = film.edge(x + right, 0.02) * film.edge(left - x, 0.02)
    middle, half = (left - right) / 2, (left + right) / 2
    thick = np.sqrt(np.clip(1 - ((x - middle) / (half + 0.02)) ** 2, 0, 1))
    light = shade * (0.18 + 0.20 * thick) * film.edge(0.62 - y, 0.1)
    if "calcified" in findings.aorta:
        turn = np.linspace(-1.9, 0.9, 24)
        far = 0.155 + (0.08 if "tortuous" in findings.aorta else 0.0)
        knob = (far - 0.065 + 0.075 * np.cos(turn), -0.40 + 0.085 * np.sin(turn), 0.5)
        light = light + film.trace([knob], 0.011)
    return light


def spine(film: Film, findings: Findings, bend: Field) -> Field:
    off, y = np.abs(film.x - bend), film.y
    phase = y / 0.125
    disc = np.abs(phase - np.rint(phase))  # 0 in the middle of a disc, 0.5 in that of a vertebra
    column = film.edge(0.085 - off, 0.015)
    spinous_processes = 0.03 * film.edge(0.014 - off, 0.008)
    light = column * (0.03 + 0.07 * np.clip(disc * 5 - 0.6, 0, 1)) + spinous_processes
    light += 0.03 * np.clip(1 - np.abs(off - 0.08) * 50, 0, 1)
    grade = {"normal": 0.0, "mild": 0.35, "moderate": 0.65, "severe": 1.0}[findings.spine]
    if grade:
        spur = np.clip(1 - disc * 5, 0, 1) * film.edge(0.10 + 0.05 * grade - off, 0.012)
        spur = spur * film.edge(off - 0.05, 0.02)
        light += (0.08 + 0.16 * grade) * spur * film.edge(y + 0.5, 0.05)
    return light


def airway(film: Film, bend: Field) -> Field:
    off, y = film.x - bend * 0.5, film.y
    trachea = film.edge(0.042 - np.abs(off), 0.016) * film.edge(-0.27 - y, 0.03)
    down = y + 0.28
    bronchi = film.edge(0.028 - np.abs(np.abs(off) - 0.02 - down * 0.9), 0.012)
    bronchi = bronchi * film.edge(down, 0.02) * film.edge(0.14 - down, 0.04)
    return -0.17 * trachea - 0.08 * bronchi
