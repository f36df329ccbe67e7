"""The frontal view: anatomy first, from the study's own random numbers, then each finding on its
side.

The patient's right is on the viewer's left. `u` is the distance from the midline on either side.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraygen.sources.phantom.film import Field, Film, Knots, Lines, between, curve, step, stream
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
_LOBES = {
    ("right", "upper"): (0.37, -0.42),
    ("right", "middle"): (0.36, 0.03),
    ("right", "lower"): (0.46, 0.24),
}
_LOBES |= {("left", "upper"): (0.38, -0.36), ("left", "lower"): (0.52, 0.14)}
_AIR = {"small": 0.10, "moderate": 0.17, "large": 0.27}
_FLUID = {
    "small": (0.20, 0.40),
    "moderate": (0.06, 0.34),
    "large": (-0.14, 0.26),
}  # y at the wall, fall from there
_RIB = 0.132  # from one rib to the next


class Chest(NamedTuple):
    """`u`: distance from the midline; `outer`: half width of the chest at that height; `dome`: y of
    the diaphragm; `lung`: 0..1. `width`: the largest `outer`.
    """

    width: float
    u: Field
    outer: Field
    dome: Field
    lung: Field


def draw_frontal(findings: Findings, seed: int, k: int, size: int) -> NDArray[np.uint8]:
    """Pixels (size, size)."""
    film = Film(size, stream(seed, k, "frontal position"))
    rng = stream(seed, k, "frontal anatomy")
    base = between(rng, -0.02, 0.04) + {"low": -0.12, "normal": 0.0, "high": 0.10}[findings.volumes]
    chest = _chest(film, findings, base, rng)
    bend = _bend(film, findings)

    light = _body(film, rng)
    light += 0.28 * film.edge(film.y - chest.dome) * film.edge(chest.outer + 0.10 - chest.u, 0.16)
    depth = 0.75 + 0.25 * np.clip(1 - ((chest.u - 0.38) / 0.4) ** 2, 0, 1)
    light -= (0.50 if findings.volumes == "high" else 0.44) * chest.lung * depth
    light += _markings(film, findings, chest, stream(seed, k, "frontal vessels"))
    light += _ribs(film, findings, chest)
    light += _collar_bones(film, rng)
    light += _heart(film, findings, chest.width, base, rng) * (0.35 + 0.65 * chest.lung)
    light += _spine(film, findings, bend)
    light += _airway(film, bend)
    light = _pleura(film, findings, chest, light)
    light = _lesions(film, findings, chest, light, seed, k)
    light += _devices(film, findings, chest)
    light += 0.5 * film.trace(
        [([0.86, 0.86, 0.91], [-0.93, -0.83, -0.83], 1.0)], 0.008
    )  # the side marker: L
    return film.develop(light, stream(seed, k, "frontal film"))


def _body(film: Film, rng: np.random.Generator) -> Field:
    y, u = film.y, np.abs(film.x)
    stout = between(rng, 0.95, 1.1)
    torso = (
        curve(
            y,
            (-1.1, 0.2),
            (-0.95, 0.22),
            (-0.84, 0.36),
            (-0.74, 0.76),
            (-0.62, 0.98),
            (-0.3, 1.0),
            (0.2, 0.93),
            (1.1, 0.93),
        )
        * stout
    )
    light = 0.05 + film.edge(torso - u, 0.03) * (
        0.40 + 0.20 * np.sqrt(np.clip(1 - (u / torso) ** 2, 0, 1))
    )
    light += 0.14 * film.blob(-0.82, -0.58, 0.34, 0.2) + 0.14 * film.blob(
        0.82, -0.58, 0.34, 0.2
    )  # shoulders
    blade = np.abs(u - curve(y, (-0.62, 0.66), (-0.35, 0.56), (-0.02, 0.60)))
    light += (
        0.06 * film.edge(0.03 - blade, 0.025) * film.edge(y + 0.6, 0.05) * film.edge(0.0 - y, 0.08)
    )  # shoulder blades
    if rng.random() < 0.5:  # breasts
        light += between(rng, 0.04, 0.10) * film.disc(0.42, 0.20, 0.30, 0.05, 0.9, both=True)
    return light + 0.02 * film.cloud(rng, 0.5)


def _bend(film: Film, findings: Findings) -> Field:
    """How far scoliosis moves the spine to the side, at each height."""
    amount = SIGN[findings.scoliosis] * 0.14 if findings.scoliosis else 0.0
    return amount * np.clip(1 - ((film.y + 0.05) / 0.75) ** 2, 0, 1) - amount * 0.25


def _chest(film: Film, findings: Findings, base: float, rng: np.random.Generator) -> Chest:
    x, y, u = film.x, film.y, np.abs(film.x)
    width, high = between(rng, 0.66, 0.72), findings.volumes == "high"
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
    right, left = (base + top + between(rng, -0.015, 0.015) for top in (0.30, 0.36))
    dome = dome + left + (right - left) * film.edge(-x, 0.02)
    inner = curve(y, (apex, 0.10), (-0.3, 0.02), (0.6, 0.02))
    lung = (
        film.edge(outer - u)
        * film.edge(dome - y)
        * film.edge(u - inner, 0.11)
        * film.edge(y - apex - 0.02, 0.02)
    )
    return Chest(width, u, outer, dome, lung)


def _markings(film: Film, findings: Findings, chest: Chest, rng: np.random.Generator) -> Field:
    """Vessels that branch out from the hila and thin out, and the fine texture."""
    strong = {"normal": 1.0, "congested": 1.7, "edema": 1.5}[findings.vessels]
    thick: Lines = []
    thin: Lines = []
    light = np.zeros_like(film.x)
    for sign in SIGN.values():
        hilum = 0.17, -0.10 - 0.03 * sign
        for branch in range(13):
            angle, start = (
                math.radians(-100 + 200 * (branch + float(rng.random())) / 13),
                between(rng, 0.02, 0.07),
            )
            xs, ys = (
                [hilum[0] + start * math.cos(angle) * 0.7],
                [hilum[1] + 2.2 * start * math.sin(angle)],
            )
            reach = between(rng, 0.3, 0.62) * (1.15 if abs(angle) > 0.6 else 0.85)
            for _ in range(6):
                angle += between(rng, -0.22, 0.22)
                xs.append(xs[-1] + math.cos(angle) * reach / 6)
                ys.append(ys[-1] + math.sin(angle) * reach / 6)
            thick.append(([sign * at for at in xs[:4]], ys[:4], 0.055 * strong))
            thin.append(([sign * at for at in xs], ys, 0.05 * strong))
            for fork in (2, 3, 4):
                turn, far = angle + between(rng, -0.9, 0.9), between(rng, 0.1, 0.25)
                ends = xs[fork] + far * math.cos(turn), ys[fork] + far * math.sin(turn)
                thin.append(([sign * xs[fork], sign * ends[0]], [ys[fork], ends[1]], 0.05 * strong))
        light += 0.14 * min(strong, 1.4) * film.blob(sign * 0.17, hilum[1], 0.13, 0.2)
    light += film.trace(thick, 0.011 if findings.vessels == "normal" else 0.015) + film.trace(
        thin, 0.005
    )
    light += 0.018 * film.cloud(rng, 0.045) + 0.014 * film.cloud(rng, 0.1)
    if findings.vessels == "edema":
        net = np.clip(np.abs(film.cloud(rng, 0.05)), 0, 0.3) / 0.3
        haze = film.blob(-0.30, 0.0, 0.36, 0.55) + film.blob(0.30, 0.0, 0.36, 0.55)
        light += (0.15 + 0.11 * (1 - net)) * haze + 0.05 * (1 - net)
    return light * chest.lung


def _ribs(film: Film, findings: Findings, chest: Chest) -> Field:
    """All ribs at once: they are one curve, moved down again and again, so a rib is where its phase
    is near a whole number.
    """
    y, u = film.y, chest.u
    t = np.clip(u / chest.width, 0, 1.1)
    back = (y - _back_rib(t)) / _RIB
    front = (y + 0.52 - 0.42 * (1 - t * np.sqrt(t))) / (_RIB * 1.12)
    light = np.zeros_like(film.x)
    if fracture := findings.rib_fracture:
        back, light = _broken(film, chest, back, fracture)
    within = film.edge(chest.outer + 0.03 - u) * film.edge(chest.dome + 0.12 - y, 0.1)
    off = np.abs(back - np.rint(back))
    arches = 0.085 * step(0.20 - off, 0.05) + 0.05 * np.clip(1 - np.abs(off - 0.20) * 16, 0, 1)
    light += (
        within
        * film.edge(u - 0.06, 0.03)
        * film.edge(10.4 - back, 0.1)
        * film.edge(back - 0.6, 0.1)
        * arches
    )
    arches = 0.035 * step(0.19 - np.abs(front - np.rint(front)), 0.05)
    light += within * film.edge(u - chest.width * 0.45, 0.06) * film.edge(front - 0.5, 0.1) * arches
    wall = film.edge(0.02 - np.abs(u - chest.outer - 0.015), 0.01) * film.edge(
        chest.dome + 0.1 - y, 0.1
    )
    return light + 0.06 * wall * film.edge(y + 0.7, 0.05)


def _back_rib(t: Field | float) -> Field | float:
    """y of the zeroth posterior rib, t chest widths from the midline."""
    return -0.78 + 0.36 * t * t * (0.75 + 0.25 * t) - 0.2 * t * (1 - t)


def _broken(film: Film, chest: Chest, phase: Field, fracture: RibFracture) -> tuple[Field, Field]:
    """The phase with a step in one rib, and what is seen besides: callus where it has healed, a gap
    where it has not.
    """
    sign, t = SIGN[fracture.side], 0.74
    at = t * chest.width
    row = float(_back_rib(t)) + fracture.rib * _RIB
    here = film.edge(0.5 - np.abs(phase - fracture.rib), 0.1) * film.edge(sign * film.x)
    beyond = film.edge(chest.u - at, 0.008)
    if fracture.healed:
        return phase + 0.18 * beyond * here, 0.20 * film.disc(
            sign * at, row + 0.01, 0.055, 0.02, 0.55
        )
    gap = film.edge(0.018 - np.abs(chest.u - at), 0.006) * film.edge(
        0.32 - np.abs(phase - fracture.rib), 0.08
    )
    return phase + 0.40 * beyond * here, -0.18 * gap * film.edge(sign * film.x)


def _collar_bones(film: Film, rng: np.random.Generator) -> Field:
    u, rise = np.abs(film.x), between(rng, -0.03, 0.03)
    line = curve(
        u,
        (0.06, -0.56),
        (0.2, -0.60),
        (0.4, -0.68 - rise),
        (0.6, -0.74 - rise),
        (0.8, -0.76 - rise),
    )
    off = np.abs(film.y - line)
    bone = 0.13 * film.edge(0.030 - off, 0.008) + 0.06 * np.clip(
        1 - np.abs(off - 0.026) * 120, 0, 1
    )
    return bone * film.edge(u - 0.07, 0.01) * film.edge(0.78 - u, 0.06)


def heart_borders(findings: Findings, ratio: float, width: float) -> tuple[Knots, Knots]:
    """The right and the left border of mediastinum and heart: (y, distance from the midline),
    before breathing moves them.
    """
    whole = 2 * ratio * width
    right, left = 0.36 * whole, 0.64 * whole
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


def _heart(
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
        light = light + film.trace(
            [(far - 0.065 + 0.075 * np.cos(turn), -0.40 + 0.085 * np.sin(turn), 0.5)], 0.011
        )
    return light


def _spine(film: Film, findings: Findings, bend: Field) -> Field:
    off, y = np.abs(film.x - bend), film.y
    phase = y / 0.125
    disc = np.abs(phase - np.rint(phase))  # 0 in the middle of a disc, half in that of a vertebra
    column = film.edge(0.085 - off, 0.015)
    light = column * (0.03 + 0.07 * np.clip(disc * 5 - 0.6, 0, 1)) + 0.03 * film.edge(
        0.014 - off, 0.008
    )
    light += 0.03 * np.clip(1 - np.abs(off - 0.08) * 50, 0, 1)
    grade = {"normal": 0.0, "mild": 0.35, "moderate": 0.65, "severe": 1.0}[findings.spine]
    if grade:
        spur = (
            np.clip(1 - disc * 5, 0, 1)
            * film.edge(0.10 + 0.05 * grade - off, 0.012)
            * film.edge(off - 0.05, 0.02)
        )
        light += (0.08 + 0.16 * grade) * spur * film.edge(y + 0.5, 0.05)
    return light


def _airway(film: Film, bend: Field) -> Field:
    off, y = film.x - bend * 0.5, film.y
    trachea = film.edge(0.042 - np.abs(off), 0.016) * film.edge(-0.27 - y, 0.03)
    down = y + 0.28
    bronchi = (
        film.edge(0.028 - np.abs(np.abs(off) - 0.02 - down * 0.9), 0.012)
        * film.edge(down, 0.02)
        * film.edge(0.14 - down, 0.04)
    )
    return -0.17 * trachea - 0.08 * bronchi


def _pleura(film: Film, findings: Findings, chest: Chest, light: Field) -> Field:
    """Pneumothorax: black without markings, along the thin white line of a lung that has fallen in.
    Effusion: fills the angle between chest wall and diaphragm and creeps up the wall.
    """
    air, fluid = findings.pneumothorax, findings.effusion
    for name, sign in SIGN.items():
        here = film.edge(sign * film.x, 0.02)
        if air and air.side in (name, "both"):
            high = np.clip(0.35 - film.y, 0, 1)
            beyond = chest.u - (chest.outer - _AIR[air.amount] * (0.35 + 0.85 * high) - 0.02)
            empty = film.edge(beyond, 0.008) * chest.lung * here
            line = np.clip(1 - np.abs(beyond) / 0.016, 0, 1) * chest.lung * here
            light = (
                film.veil(light, 0.65 * empty, 0.08)
                + 0.20 * line
                + 0.05 * here * (chest.lung - empty)
            )
        if fluid and fluid.side in (name, "both"):
            level, fall = _FLUID[fluid.amount]
            within = np.clip(chest.outer - chest.u, 0, None)
            surface = level + fall * within / (within + 0.22)
            cover = (
                film.edge(film.y - surface, 0.02)
                * film.edge(chest.outer - chest.u)
                * film.edge(chest.u - 0.02, 0.10)
            )
            light = film.veil(light, 0.68 * cover * here, 0.84)
    return light


def _lesions(
    film: Film, findings: Findings, chest: Chest, light: Field, seed: int, k: int
) -> Field:
    for name, sign in SIGN.items():
        if findings.atelectasis in (name, "both"):
            rng = stream(seed, k, f"frontal atelectasis {name}")
            start, rows = (
                between(rng, 0.26, 0.32),
                (between(rng, 0.12, 0.16), between(rng, 0.21, 0.25)),
            )
            bands: Lines = [
                ([sign * start, sign * (start + 0.28)], [row + 0.03, row - 0.04], 0.34)
                for row in rows
            ]
            light = light + film.trace(bands, 0.011) * chest.lung
    for name in ("consolidation", "nodule", "granuloma"):
        lesion = getattr(findings, name)
        if lesion is None:
            continue
        rng = stream(seed, k, f"frontal {name}")
        across, down = _LOBES[lesion.side, lesion.lobe]
        spread = 0.03 if name == "consolidation" else 0.05
        x, y = (
            SIGN[lesion.side] * (across + between(rng, -spread, spread)),
            down + between(rng, -spread, spread),
        )
        if name == "consolidation":
            patch = (
                1.7
                * film.blob(x, y, between(rng, 0.24, 0.30), between(rng, 0.22, 0.27))
                * (1 + 0.45 * film.cloud(rng, 0.09))
            )
            light = film.veil(light, 0.7 * np.clip(patch, 0, 1) * chest.lung, 0.80)
        elif name == "nodule":
            light = light + 0.33 * film.disc(x, y, lesion.mm * 0.0033, flat=between(rng, 0.9, 1.1))
        else:
            light = light + 0.50 * film.disc(x, y, lesion.mm * 0.0032, 0.008)
    return light


def _devices(film: Film, findings: Findings, chest: Chest) -> Field:
    x, y = film.x, film.y
    light = np.zeros_like(x)
    wires: Lines = []
    if findings.pacemaker:
        box = (
            np.maximum(np.abs(x - 0.50) - 0.05, 0) ** 2
            + np.maximum(np.abs(y + 0.50) - 0.03, 0) ** 2
        )
        light += 0.55 * film.edge(0.05 - np.sqrt(box), 0.006)
        wires.append(
            (
                [0.44, 0.25, 0.02, -0.09, -0.10, -0.12, -0.06],
                [-0.53, -0.60, -0.52, -0.38, -0.15, 0.05, 0.10],
                0.45,
            )
        )
        wires.append(
            (
                [0.44, 0.25, 0.03, -0.08, -0.08, 0.05, 0.24],
                [-0.51, -0.58, -0.49, -0.36, 0.0, 0.25, 0.30],
                0.45,
            )
        )
    if findings.central_line:
        sign = SIGN[findings.central_line]
        wires.append(
            (
                [sign * 0.62, sign * 0.35, sign * 0.12, -0.08, -0.095, -0.09],
                [-0.62, -0.66, -0.60, -0.46, -0.3, -0.12],
                0.5,
            )
        )
    if findings.sternotomy:
        turn = np.linspace(0, 2 * math.pi, 13)
        for row in np.linspace(-0.42, 0.22, 6):
            wires.append((0.034 * np.cos(turn), row + 0.020 * np.sin(turn), 0.6))
    if findings.clips:
        wires += [
            (
                [-0.30 + 0.05 * n, -0.27 + 0.05 * n],
                [0.66 + 0.03 * (n % 2), 0.70 - 0.03 * (n % 2)],
                0.7,
            )
            for n in range(4)
        ]
    if wires:
        light += film.trace(wires, 0.007)
    if findings.hernia:
        radius = {"small": 0.11, "moderate": 0.15, "large": 0.19}[findings.hernia]
        cx, cy = 0.06, 0.40 - radius * 0.6
        whole = film.disc(cx, cy, radius, 0.012, 0.9)
        gas = film.disc(cx, cy, radius * 0.82, 0.015, 0.9) * film.edge(cy + 0.01 - y, 0.008)
        light += 0.12 * whole - 0.30 * gas
    below = y - chest.dome
    light -= (
        0.16 * film.blob(0.34, 0.50, 0.12, 0.06) * film.edge(below - 0.03, 0.02)
    )  # air in the stomach
    if findings.free_air:
        arch = np.clip(1.2 - ((chest.u - 0.33) / 0.24) ** 2, 0, 1)
        thick = 0.05 + 0.025 * film.edge(-x)
        under = film.edge(below - 0.02, 0.008) * film.edge(0.02 + thick * arch - below, 0.01)
        light -= 0.42 * under * film.edge(0.24 - np.abs(chest.u - 0.33), 0.03)
    return light
