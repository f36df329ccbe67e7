"""The frontal view: anatomy first, from the study's own random numbers, then each finding on its side.

The patient's right is on the viewer's left. `u` is the distance from the midline on either side.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraygen.sources.phantom.film import Field, Film, between, curve, stream
from xraygen.sources.phantom.findings import Findings

# Heart width over the inner width of the chest. An enlarged heart is wider than half of it (Danzer, Am J Med Sci 1919).
CARDIOTHORACIC = {
    "normal": (0.40, 0.455),
    "borderline": (0.49, 0.51),
    "mild": (0.54, 0.57),
    "moderate": (0.60, 0.635),
    "severe": (0.67, 0.71),
}
SIGN = {"right": -1.0, "left": 1.0}
_LOBES = {("right", "upper"): (0.37, -0.42), ("right", "middle"): (0.36, 0.03), ("right", "lower"): (0.46, 0.24)}
_LOBES |= {("left", "upper"): (0.38, -0.36), ("left", "lower"): (0.52, 0.14)}
_AIR = {"small": 0.10, "moderate": 0.17, "large": 0.27}
_FLUID = {"small": (0.36, 0.75), "moderate": (0.16, 0.42), "large": (-0.06, 0.26)}
_RIB = 0.132  # from one rib to the next


class Side(NamedTuple):
    """One half of the chest, each field (size, size). `outer`: half width of the chest at that height; `dome`: y of the diaphragm."""

    sign: float
    half: Field
    outer: Field
    dome: Field
    lung: Field


def draw_frontal(findings: Findings, seed: int, k: int, size: int) -> NDArray[np.uint8]:
    """Pixels (size, size)."""
    film = Film(size, stream(seed, k, "frontal position"))
    rng = stream(seed, k, "frontal anatomy")
    x, y, u = film.x, film.y, np.abs(film.x)
    width = between(rng, 0.66, 0.72)
    base = between(rng, -0.02, 0.04) + {"low": -0.10, "normal": 0.0, "high": 0.10}[findings.volumes]
    bend = _bend(film, findings)

    light = _body(film, rng)
    sides = [_side(film, findings, sign, width, base, rng) for sign in (-1.0, 1.0)]
    lungs = sides[0].lung + sides[1].lung
    light += 0.28 * film.edge(y - np.where(x < 0, sides[0].dome, sides[1].dome)) * film.edge(sides[0].outer + 0.10 - u, 0.16)
    depth = 0.75 + 0.25 * np.clip(1 - ((u - 0.38) / 0.4) ** 2, 0, 1)
    light -= (0.44 if findings.volumes != "high" else 0.50) * lungs * depth
    light += _markings(film, findings, sides, width, stream(seed, k, "frontal vessels"))
    light += _ribs(film, findings, sides, width)
    light += _collar_bones(film, rng)
    light += _heart(film, findings, width, base, rng) * (0.35 + 0.65 * lungs)
    light += _spine(film, findings, bend)
    light += _airway(film, bend)
    light += _lesions(film, findings, sides, seed, k)
    light += _devices(film, findings, sides)
    light += 0.5 * film.trace([([0.86, 0.86, 0.91], [-0.93, -0.83, -0.83], 1.0)], 0.008)  # the side marker: L
    return film.develop(light, stream(seed, k, "frontal film"))


def _body(film: Film, rng: np.random.Generator) -> Field:
    x, y, u = film.x, film.y, np.abs(film.x)
    stout = between(rng, 0.95, 1.1)
    torso = curve(y, (-1.1, 0.2), (-0.95, 0.22), (-0.84, 0.36), (-0.74, 0.76), (-0.62, 0.98), (-0.3, 1.0), (0.2, 0.93), (1.1, 0.93)) * stout
    light = 0.05 + film.edge(torso - u, 0.03) * (0.40 + 0.20 * np.sqrt(np.clip(1 - (u / torso) ** 2, 0, 1)))
    light += 0.14 * film.blob(-0.82, -0.58, 0.34, 0.2) + 0.14 * film.blob(0.82, -0.58, 0.34, 0.2)  # shoulders
    blade = np.abs(u - curve(y, (-0.62, 0.66), (-0.35, 0.56), (-0.02, 0.60)))
    light += 0.06 * film.edge(0.03 - blade, 0.025) * film.edge(y + 0.6, 0.05) * film.edge(0.0 - y, 0.08)  # shoulder blades
    if rng.random() < 0.5:  # breasts
        light += between(rng, 0.04, 0.10) * film.disc(0.42, 0.20, 0.30, 0.05, 0.9, both=True)
    return light + 0.02 * film.cloud(rng, 0.5)


def _bend(film: Film, findings: Findings) -> Field:
    """How far scoliosis moves the spine to the side, at each height."""
    amount = SIGN[findings.scoliosis] * 0.10 if findings.scoliosis else 0.0
    return amount * np.clip(1 - ((film.y + 0.05) / 0.75) ** 2, 0, 1) - amount * 0.25


def _side(film: Film, findings: Findings, sign: float, width: float, base: float, rng: np.random.Generator) -> Side:
    y, half = film.y, film.x * sign
    high = findings.volumes == "high"
    apex = -0.76 - (0.03 if high else 0.0)
    outer = width * curve(y, (apex, 0.16), (apex + 0.05, 0.36), (-0.58, 0.62), (-0.38, 0.80), (-0.1, 0.93), (0.25, 1.0), (0.7, 1.0))
    top = base + (0.30 if sign < 0 else 0.36) + between(rng, -0.015, 0.015)
    angle, mid = (0.10, 0.07) if high else (0.19, 0.09)
    dome = curve(half / width, (0.0, top + mid), (0.22, top + mid * 0.35), (0.45, top), (0.66, top + angle * 0.2), (0.85, top + angle * 0.6), (1.0, top + angle * 1.3), (1.3, top + angle * 4))
    inner = curve(y, (apex, 0.10), (-0.3, 0.02), (0.6, 0.02))
    lung = film.edge(outer - half, 0.012) * film.edge(dome - y, 0.012) * film.edge(half - inner, 0.11) * film.edge(y - apex - 0.02, 0.02)
    return Side(sign, half, outer, dome, lung)


def _markings(film: Film, findings: Findings, sides: list[Side], width: float, rng: np.random.Generator) -> Field:
    """Vessels that branch out from the hila and thin out, and the fine texture; none where a pneumothorax has pushed the lung away."""
    strong = {"normal": 1.0, "congested": 1.7, "edema": 1.5}[findings.vessels]
    thick, thin = [], []
    light = np.zeros_like(film.x)
    for side in sides:
        hilum = 0.17, -0.10 + 0.03 * side.sign * -1
        for branch in range(13):
            angle = math.radians(-100 + 200 * (branch + float(rng.random())) / 13)
            start = between(rng, 0.02, 0.07)
            xs, ys = [hilum[0] + start * math.cos(angle) * 0.7], [hilum[1] + 2.2 * start * math.sin(angle)]
            reach = between(rng, 0.3, 0.62) * (1.15 if angle > 0.6 or angle < -0.6 else 0.85)
            for _ in range(6):
                angle += between(rng, -0.22, 0.22)
                xs.append(xs[-1] + math.cos(angle) * reach / 6)
                ys.append(ys[-1] + math.sin(angle) * reach / 6)
            thick.append(([side.sign * v for v in xs[:4]], ys[:4], 0.055 * strong))
            thin.append(([side.sign * v for v in xs], ys, 0.05 * strong))
            for start in (2, 3, 4):
                turn = angle + between(rng, -0.9, 0.9)
                far = between(rng, 0.1, 0.25)
                ends = [xs[start] + far * math.cos(turn), ys[start] + far * math.sin(turn)]
                thin.append(([side.sign * xs[start], side.sign * ends[0]], [ys[start], ends[1]], 0.05 * strong))
        light += 0.14 * min(strong, 1.4) * film.blob(side.sign * 0.17, hilum[1], 0.13, 0.2)
    light += film.trace(thick, 0.011 if findings.vessels == "normal" else 0.015) + film.trace(thin, 0.005)
    light += 0.018 * film.cloud(rng, 0.045) + 0.014 * film.cloud(rng, 0.1)
    if findings.vessels == "edema":
        net = np.clip(np.abs(film.cloud(rng, 0.05)), 0, 0.3) / 0.3
        haze = film.blob(-0.30, 0.0, 0.36, 0.55) + film.blob(0.30, 0.0, 0.36, 0.55)
        light += (0.15 + 0.11 * (1 - net)) * haze + 0.05 * (1 - net)
    return light * (sides[0].lung + sides[1].lung)


def _ribs(film: Film, findings: Findings, sides: list[Side], width: float) -> Field:
    """All ribs of a side at once: they are one curve, moved down again and again, so a rib is where its phase is near a whole number."""
    light = np.zeros_like(film.x)
    for side in sides:
        half, y = side.half, film.y
        t = np.clip(half / width, 0, 1.1)
        back = (y + 0.80 - 0.02 - 0.36 * t**2.4 + 0.05 * np.sin(t * math.pi)) / _RIB
        front = (y + 0.52 - 0.42 * (1 - t**1.6)) / (_RIB * 1.12)
        fracture = findings.rib_fracture
        if fracture and SIGN[fracture.side] == side.sign:
            back, extra = _break(film, side, back, fracture.rib, fracture.healed, width)
            light += extra
        within = film.edge(side.outer + 0.03 - half, 0.012) * film.edge(half - 0.06, 0.03) * film.edge(side.dome + 0.12 - y, 0.1)
        light += within * film.edge(10.4 - back, 0.1) * film.edge(back - 0.6, 0.1) * (0.085 * _band(back, 0.20) + 0.05 * _rim(back, 0.20))
        light += within * film.edge(half - width * 0.45, 0.06) * film.edge(front - 0.5, 0.1) * 0.055 * _band(front, 0.19)
        light += 0.06 * film.edge(0.02 - np.abs(half - side.outer - 0.015), 0.01) * film.edge(y + 0.7, 0.05) * film.edge(side.dome + 0.1 - y, 0.1)
    return light


def _band(phase: Field, half: float) -> Field:
    near = np.abs(phase - np.rint(phase))
    t = np.clip((half - near) * 10 + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _rim(phase: Field, half: float) -> Field:
    near = np.abs(phase - np.rint(phase))
    return np.clip(1 - np.abs(near - half) * 16, 0, 1)


def _break(film: Film, side: Side, phase: Field, rib: int, healed: bool, width: float) -> tuple[Field, Field]:
    """The phase with a step in one rib, and what is seen besides: callus where it has healed, a gap where it has not."""
    at = 0.74 * width
    here = film.edge(0.5 - np.abs(phase - rib), 0.1)
    row = -0.80 + 0.02 + 0.36 * 0.74**2.4 - 0.05 * math.sin(0.74 * math.pi) + rib * _RIB
    beyond = film.edge(side.half - at, 0.008)
    if healed:
        return phase + 0.12 * beyond * here, 0.26 * film.disc(side.sign * at, row, 0.038, 0.02, 0.9)
    gap = film.edge(0.016 - np.abs(side.half - at), 0.006) * film.edge(0.32 - np.abs(phase - rib), 0.08)
    return phase + 0.38 * beyond * here, -0.16 * gap


def _collar_bones(film: Film, rng: np.random.Generator) -> Field:
    light = np.zeros_like(film.x)
    rise = between(rng, -0.03, 0.03)
    for sign in (-1.0, 1.0):
        half = film.x * sign
        line = curve(half, (0.06, -0.56), (0.2, -0.60), (0.4, -0.68 - rise), (0.6, -0.74 - rise), (0.8, -0.76 - rise))
        off = np.abs(film.y - line)
        bone = film.edge(0.030 - off, 0.008) * film.edge(half - 0.07, 0.01) * film.edge(0.78 - half, 0.02)
        rim = np.clip(1 - np.abs(off - 0.026) * 120, 0, 1) * film.edge(half - 0.07, 0.01) * film.edge(0.78 - half, 0.02)
        light += 0.13 * bone + 0.06 * rim
    return light


def heart_borders(findings: Findings, ratio: float, width: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The right and the left border of mediastinum and heart as (y, distance from the midline) knots, before breathing moves them."""
    whole = 2 * ratio * width
    right, left = 0.36 * whole, 0.64 * whole
    wide = 1.85 if findings.mediastinum == "wide" else 1.0
    knob = 0.075 if "tortuous" in findings.aorta else 0.0
    rights = [(-1.0, 0.10), (-0.72, 0.12 * wide), (-0.45, 0.13 * wide + knob * 0.4), (-0.2, 0.14 + 0.07 * (wide - 1) + knob * 0.5)]
    rights += [(-0.06, 0.16 + 0.3 * (right - 0.16)), (0.06, 0.93 * right), (0.18, right * 1.03), (0.30, right * 0.96), (0.6, right * 0.7)]
    lefts = [(-1.0, 0.10), (-0.72, 0.12 * wide), (-0.5, 0.14 * wide + knob * 0.7), (-0.38, 0.19 * (1 + 0.5 * (wide - 1)) + knob * 1.3)]
    lefts += [(-0.26, 0.14 + 0.08 * (wide - 1) + knob * 0.5), (-0.14, 0.19), (0.0, 0.2 + 0.55 * (left - 0.2)), (0.15, left * 0.95)]
    lefts += [(0.26, left * 1.03), (0.36, left * 0.95), (0.65, left * 0.5)]
    return rights, lefts


def _heart(film: Film, findings: Findings, width: float, base: float, rng: np.random.Generator) -> Field:
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
        light = light + film.trace([(far - 0.065 + 0.075 * np.cos(turn), -0.40 + 0.085 * np.sin(turn), 0.5)], 0.011)
    return light


def _spine(film: Film, findings: Findings, bend: Field) -> Field:
    off, y = np.abs(film.x - bend), film.y
    phase = y / 0.125
    disc = np.abs(phase - np.rint(phase))  # 0 in the middle of a disc, half in that of a vertebra
    column = film.edge(0.085 - off, 0.015)
    light = column * (0.02 + 0.05 * np.clip(disc * 5 - 0.6, 0, 1)) + 0.03 * film.edge(0.014 - off, 0.008)
    light += 0.03 * np.clip(1 - np.abs(off - 0.08) * 50, 0, 1)
    grade = {"normal": 0.0, "mild": 0.35, "moderate": 0.65, "severe": 1.0}[findings.spine]
    if grade:
        spur = np.clip(1 - disc * 5, 0, 1) * film.edge(0.10 + 0.05 * grade - off, 0.012) * film.edge(off - 0.05, 0.02)
        light += (0.08 + 0.16 * grade) * spur * film.edge(y + 0.5, 0.05)
    return light


def _airway(film: Film, bend: Field) -> Field:
    off, y = film.x - bend * 0.5, film.y
    trachea = film.edge(0.042 - np.abs(off), 0.016) * film.edge(-0.27 - y, 0.03)
    down = y + 0.28
    bronchi = film.edge(0.028 - np.abs(np.abs(off) - 0.02 - down * 0.9), 0.012) * film.edge(down, 0.02) * film.edge(0.14 - down, 0.04)
    return -0.17 * trachea - 0.08 * bronchi


def _lesions(film: Film, findings: Findings, sides: list[Side], seed: int, k: int) -> Field:
    x, y = film.x, film.y
    light = np.zeros_like(x)
    for side in sides:
        name = "right" if side.sign < 0 else "left"
        chest = film.edge(side.outer - side.half, 0.012) * film.edge(side.half - 0.08, 0.03)
        air, fluid = findings.pneumothorax, findings.effusion
        if air and air.side in (name, "both"):
            light += _collapse(film, side, _AIR[air.amount])
        if fluid and fluid.side in (name, "both"):
            level, slope = _FLUID[fluid.amount]
            surface = level + slope * np.clip(side.outer - side.half, 0, None)
            light += 0.36 * chest * film.edge(y - surface, 0.025) * (1 - film.edge(y - side.dome, 0.02)) + 0.06 * chest * film.edge(y - surface)
        if findings.atelectasis in (name, "both"):
            rng = stream(seed, k, f"frontal atelectasis {name}")
            rows = [between(rng, 0.12, 0.16), between(rng, 0.21, 0.25)]
            start = between(rng, 0.26, 0.32)
            bands = [([side.sign * start, side.sign * (start + 0.28)], [row + 0.03, row - 0.04], 0.34) for row in rows]
            light += film.trace(bands, 0.011) * side.lung
    for name in ("consolidation", "nodule", "granuloma"):
        lesion = getattr(findings, name)
        if lesion is None:
            continue
        rng = stream(seed, k, f"frontal {name}")
        side = sides[0] if lesion.side == "right" else sides[1]
        place = _LOBES[lesion.side, lesion.lobe]
        spread = 0.03 if name == "consolidation" else 0.05
        cx, cy = side.sign * (place[0] + between(rng, -spread, spread)), place[1] + between(rng, -spread, spread)
        if name == "consolidation":
            wide, high = between(rng, 0.24, 0.3), between(rng, 0.22, 0.27)
            patch = np.clip(1.7 * film.blob(cx, cy, wide, high) * (1 + 0.45 * film.cloud(rng, 0.09)), 0, 1)
            light += 0.33 * patch * side.lung
        elif name == "nodule":
            light += 0.27 * film.disc(cx, cy, lesion.mm * 0.0030, 0.012, between(rng, 0.9, 1.1))
        else:
            light += 0.50 * film.disc(cx, cy, lesion.mm * 0.0032, 0.008)
    return light


def _collapse(film: Film, side: Side, gap: float) -> Field:
    """Air around a lung that has fallen in: black without markings, along a thin white line."""
    high = np.clip(-film.y + 0.35, 0, 1)
    shrunk = side.outer - gap * (0.35 + 0.85 * high) - 0.02
    beyond = film.edge(side.half - shrunk, 0.008) * side.lung
    line = np.clip(1 - np.abs(side.half - shrunk) / 0.016, 0, 1) * side.lung
    return -0.13 * beyond + 0.20 * line + 0.05 * side.lung * (1 - beyond)


def _devices(film: Film, findings: Findings, sides: list[Side]) -> Field:
    x, y = film.x, film.y
    light = np.zeros_like(x)
    wires = []
    if findings.pacemaker:
        box = np.maximum(np.abs(x - 0.50) - 0.05, 0) ** 2 + np.maximum(np.abs(y + 0.50) - 0.03, 0) ** 2
        light += 0.55 * film.edge(0.05 - np.sqrt(box), 0.006)
        wires.append(([0.44, 0.25, 0.02, -0.09, -0.10, -0.12, -0.06], [-0.53, -0.60, -0.52, -0.38, -0.15, 0.05, 0.10], 0.45))
        wires.append(([0.44, 0.25, 0.03, -0.08, -0.08, 0.05, 0.24], [-0.51, -0.58, -0.49, -0.36, 0.0, 0.25, 0.30], 0.45))
    if findings.central_line:
        sign = SIGN[findings.central_line]
        wires.append(([sign * 0.62, sign * 0.35, sign * 0.12, -0.08, -0.095, -0.09], [-0.62, -0.66, -0.60, -0.46, -0.3, -0.12], 0.5))
    if findings.sternotomy:
        turn = np.linspace(0, 2 * math.pi, 13)
        for row in np.linspace(-0.42, 0.22, 6):
            wires.append((0.034 * np.cos(turn), row + 0.020 * np.sin(turn), 0.6))
    if findings.clips:
        wires += [([-0.30 + 0.05 * n, -0.27 + 0.05 * n], [0.66 + 0.03 * (n % 2), 0.70 - 0.03 * (n % 2)], 0.7) for n in range(4)]
    if wires:
        light += film.trace(wires, 0.007)
    if findings.hernia:
        radius = {"small": 0.11, "moderate": 0.15, "large": 0.19}[findings.hernia]
        cx, cy = 0.06, 0.40 - radius * 0.6
        whole = film.disc(cx, cy, radius, 0.012, 0.9)
        gas = film.disc(cx, cy, radius * 0.82, 0.015, 0.9) * film.edge(cy + 0.01 - y, 0.008)
        light += 0.12 * whole - 0.30 * gas
    bubble = film.blob(0.34, 0.50, 0.12, 0.06)
    light -= 0.16 * bubble * film.edge(y - sides[1].dome - 0.03, 0.02)
    if findings.free_air:
        for side, thick in zip(sides, (0.075, 0.05), strict=True):
            under = film.edge(y - side.dome - 0.02, 0.008) * film.edge(side.dome + 0.02 + thick * np.clip(1.2 - ((side.half - 0.33) / 0.24) ** 2, 0, 1) - y, 0.01)
            light -= 0.42 * under * film.edge(0.24 - np.abs(side.half - 0.33), 0.03)
    return light
