"""The lateral view, the patient facing the viewer's left: sternum in front (left), spine behind
(right).
"""

import math

import numpy as np
from numpy.typing import NDArray

from xraygen.sources.phantom.film import Field, Film, Lines, between, curve, stream
from xraygen.sources.phantom.findings import Findings, Lesion

_HEART = {"normal": 0.0, "borderline": 0.035, "mild": 0.06, "moderate": 0.10, "severe": 0.14}
_LOBES = {
    ("right", "upper"): (-0.02, -0.40),
    ("right", "middle"): (-0.22, 0.08),
    ("right", "lower"): (0.34, 0.20),
    ("left", "upper"): (-0.14, -0.28),
    ("left", "lower"): (0.38, 0.08),
}
_FLUID = {"small": 0.44, "moderate": 0.24, "large": -0.02}
_VERTEBRA = 0.135


def draw_lateral(findings: Findings, seed: int, k: int, size: int) -> NDArray[np.uint8]:
    """Pixels (size, size)."""
    film = Film(size, stream(seed, k, "lateral position"))
    rng = stream(seed, k, "lateral anatomy")
    x, y = film.x, film.y
    high = findings.volumes == "high"
    base = between(rng, -0.02, 0.04) + {"low": -0.11, "normal": 0.0, "high": 0.10}[findings.volumes]
    deep = between(rng, -0.04, 0.04) + (0.05 if high else 0.0)

    front = (
        curve(
            y,
            (-1.1, -0.30),
            (-0.85, -0.32),
            (-0.6, -0.50),
            (-0.3, -0.66),
            (0.1, -0.76),
            (0.5, -0.76),
            (1.1, -0.72),
        )
        - deep
    )
    back = curve(y, (-1.1, 0.50), (-0.7, 0.70), (-0.2, 0.84), (0.3, 0.84), (0.7, 0.74), (1.1, 0.70))
    body = film.edge(x - front, 0.02) * film.edge(back - x, 0.03)
    middle = (front + back) / 2
    half = (back - front) / 2
    thickness = np.sqrt(np.clip(1 - ((x - middle) / half) ** 2, 0, 1))
    light: Field = 0.05 + body * (0.42 + 0.22 * thickness)
    # The raised arms and the shoulders.
    light += 0.17 * body * film.edge(-0.52 - y - 0.25 * (x + 0.2), 0.22)
    arm = -0.70 - y + 0.25 * (x + 0.4)
    outside = (1 - body) * film.edge(arm, 0.03) * film.edge(-x)
    light += outside * (0.2 + 0.25 * np.clip(arm * 3, 0, 1))

    sternum = curve(y, (-0.78, -0.02), (-0.62, -0.30), (-0.35, -0.48), (0.1, -0.60), (0.6, -0.62))
    sternum = sternum - deep
    chest_wall = curve(y, (-0.8, 0.30), (-0.62, 0.50), (-0.3, 0.66), (0.15, 0.71), (0.6, 0.64))
    fall = 0.24 if high else 0.40
    dome = curve(
        x,
        (-0.75, 0.34),
        (-0.5, 0.27),
        (-0.2, 0.25),
        (0.1, 0.25 + fall * 0.25),
        (0.45, 0.25 + fall * 0.75),
        (0.72, 0.25 + fall * 1.15),
    )
    domes = [base + lower + dome for lower in (0.0, 0.06)]
    chest = film.edge(x - sternum, 0.012) * film.edge(chest_wall - x, 0.015)
    chest = chest * film.edge(y + 0.74, 0.05)
    lungs = [chest * film.edge(dome - y, 0.012) for dome in domes]
    both = 0.6 * lungs[0] + 0.4 * lungs[1]
    overinflated = 0.07 * both if high else 0.0
    light -= 0.36 * both * (0.8 + 0.2 * np.clip((y + 0.7) / 1.2, 0, 1)) + overinflated
    light += body * (0.13 * film.edge(y - domes[0], 0.015) + 0.08 * film.edge(y - domes[1], 0.015))
    breastbone = 0.07 * film.edge(0.03 - np.abs(x - sternum + 0.03), 0.012)
    light += breastbone * film.edge(y + 0.6, 0.05) * film.edge(0.35 - y, 0.05)

    light += both * _ribs(film)
    light += _spine(film, findings)
    light += _heart(film, findings, base, deep) * (0.3 + 0.7 * both)
    light += both * _markings(film, findings, stream(seed, k, "lateral vessels"))
    trachea = film.edge(0.038 - np.abs(x - 0.02 - 0.16 * (y + 0.9)), 0.014)
    light -= 0.12 * (trachea * film.edge(-0.2 - y, 0.04))
    light = _lesions(film, findings, light, chest, both, domes, chest_wall, seed, k)
    light += _devices(film, findings, sternum, domes, chest)
    return film.develop(light, stream(seed, k, "lateral film"))


def _ribs(film: Film) -> Field:
    phase = (film.y - 0.42 * film.x + 0.22 * film.x**2) / 0.15
    near = np.abs(phase - np.rint(phase))
    return 0.05 * np.clip((0.2 - near) * 8 + 0.5, 0, 1) * np.clip(0.4 + 0.8 * film.x, 0, 1)


def _spine(film: Film, findings: Findings) -> Field:
    x, y = film.x, film.y
    off = x - curve(y, (-1.0, 0.36), (-0.5, 0.54), (0.0, 0.62), (0.5, 0.57), (1.0, 0.46))
    phase = (y - 0.25 * off) / _VERTEBRA
    disc = np.abs(phase - np.rint(phase))
    grade = {"normal": 0.0, "mild": 0.35, "moderate": 0.65, "severe": 1.0}[findings.spine]
    column = film.edge(0.075 - np.abs(off), 0.012)
    light = column * 0.16 * np.clip((disc - 0.10 + 0.05 * grade) * 9, 0, 1)
    light += 0.06 * column * np.clip(1 - np.abs(disc - 0.14) * 20, 0, 1)
    arches = 0.05 * film.edge(0.04 - np.abs(off - 0.13), 0.02)
    light += arches * np.clip(disc * 3, 0, 1)
    if grade:
        spur = np.clip(1 - disc * 4.5, 0, 1) * film.edge(off + 0.09 + 0.06 * grade, 0.012)
        spur = spur * film.edge(-0.04 - off, 0.02)
        light += (0.14 + 0.20 * grade) * spur * film.edge(y + 0.45, 0.05)
        light += 0.12 * grade * column * np.clip(1 - np.abs(disc - 0.10) * 14, 0, 1)
    return light


def _heart(film: Film, findings: Findings, base: float, deep: float) -> Field:
    x = film.x
    y = film.y - base
    enlargement = _HEART[findings.heart]
    across = x + 0.24 + deep - enlargement * 0.8
    along = y - 0.08 + enlargement * 0.3
    short_axis = (across * 0.90 + along * 0.44) ** 2 / (0.23 + enlargement) ** 2
    long_axis = (along * 0.90 - across * 0.44) ** 2 / (0.36 + enlargement * 0.7) ** 2
    near = short_axis + long_axis
    heart = film.edge(1 - near, 0.16) * (0.13 + 0.14 * np.sqrt(np.clip(1.1 - near, 0, 1)))
    wide = findings.mediastinum == "wide"
    great = (0.24 if wide else 0.15) * film.blob(-0.02, -0.30, 0.36 if wide else 0.26, 0.50)
    big = 0.05 if "tortuous" in findings.aorta else 0.0
    ring = np.sqrt((x - 0.16) ** 2 + (film.y + 0.26) ** 2)
    arch = film.edge(0.055 + big - np.abs(ring - 0.20 - big), 0.025)
    arch = arch * film.edge(-0.2 - film.y, 0.06)
    course = 0.36 + 2 * big * np.clip(film.y, 0, 1)
    descending = film.edge(0.055 + big * 0.6 - np.abs(x - course), 0.025)
    descending = descending * film.edge(film.y + 0.25, 0.05) * film.edge(0.5 - film.y, 0.1)
    light = np.sqrt(heart**2 + great**2) + (0.07 + big) * (arch + descending)
    if "calcified" in findings.aorta:
        turn = np.linspace(-2.6, -0.5, 24)
        radius = 0.25 + big
        wall = (0.16 + radius * np.cos(turn), -0.26 + radius * np.sin(turn), 0.4)
        light = light + film.trace([wall], 0.011)
    return light


def _markings(film: Film, findings: Findings, rng: np.random.Generator) -> Field:
    strong = {"normal": 1.0, "congested": 1.7, "edema": 1.4}[findings.vessels]
    lines: Lines = []
    for _ in range(22):
        angle = between(rng, 0, 2 * math.pi)
        reach = between(rng, 0.25, 0.5)
        turn = angle + between(rng, -0.5, 0.5)
        start = between(rng, 0.02, 0.08)
        xs = [
            0.10 + start * math.cos(angle),
            0.10 + reach * 0.5 * math.cos(angle),
            0.10 + reach * math.cos(turn),
        ]
        ys = [
            -0.10 + start * math.sin(angle),
            -0.10 + reach * 0.5 * math.sin(angle),
            -0.10 + reach * math.sin(turn),
        ]
        lines.append((xs, ys, 0.06 * strong))
    light = film.trace(lines, 0.008 if findings.vessels == "normal" else 0.012)
    hila = 0.10 * min(strong, 1.4) * film.blob(0.12, -0.10, 0.16, 0.2)
    light = light + hila + 0.02 * film.cloud(rng, 0.06)
    if findings.vessels == "edema":
        net = np.clip(np.abs(film.cloud(rng, 0.05)), 0, 0.3) / 0.3
        light += (0.12 + 0.10 * (1 - net)) * film.blob(0.1, 0.0, 0.6, 0.7)
    return light


def _lesions(
    film: Film,
    findings: Findings,
    light: Field,
    chest: Field,
    lung: Field,
    domes: list[Field],
    chest_wall: Field,
    seed: int,
    k: int,
) -> Field:
    x, y = film.x, film.y
    lesion: Lesion | None
    if lesion := findings.consolidation:
        rng = stream(seed, k, "lateral consolidation")
        cx, cy = _LOBES[lesion.side, lesion.lobe]
        patch = 1.7 * film.blob(cx, cy, between(rng, 0.24, 0.30), between(rng, 0.22, 0.26))
        patch = patch * (1 + 0.45 * film.cloud(rng, 0.09))
        light = film.veil(light, 0.6 * np.clip(patch, 0, 1) * lung, 0.78)
    for name in ("nodule", "granuloma"):
        if lesion := getattr(findings, name):
            rng = stream(seed, k, f"lateral {name}")
            cx, cy = _LOBES[lesion.side, lesion.lobe]
            cx += between(rng, -0.05, 0.05)
            cy += between(rng, -0.05, 0.05)
            density = 0.25 if name == "nodule" else 0.45
            light = light + density * film.disc(cx, cy, lesion.mm * 0.0033)
    if findings.atelectasis:
        bands: Lines = [([0.10, 0.42], [0.22, 0.26], 0.3), ([-0.3, -0.02], [0.17, 0.12], 0.25)]
        light = light + lung * film.trace(bands, 0.011)
    if air := findings.pneumothorax:
        gap = {"small": 0.07, "moderate": 0.12, "large": 0.20}[air.amount]
        rim = 0.62 - gap - ((x - 0.08) ** 2 + (0.75 * (y - 0.0)) ** 2) ** 0.5
        line = 0.16 * np.clip(1 - np.abs(rim) / 0.016, 0, 1)
        light = light + lung * film.edge(-0.1 - y, 0.05) * (line - 0.07 * film.edge(-rim, 0.01))
    if fluid := findings.effusion:
        behind = np.clip(chest_wall - x, 0, None)
        surface = _FLUID[fluid.amount] + 0.35 * behind / (behind + 0.25)
        cover = 0.6 * chest * film.edge(y - surface, 0.02) * film.edge(domes[1] + 0.03 - y, 0.02)
        light = film.veil(light, cover, 0.82)
    return light


def _devices(
    film: Film, findings: Findings, sternum: Field, domes: list[Field], chest: Field
) -> Field:
    x, y = film.x, film.y
    light = np.zeros_like(x)
    wires: Lines = []
    if findings.pacemaker:
        light += 0.5 * film.disc(-0.50, -0.42, 0.075, 0.008, 0.6)
        xs = [-0.46, -0.25, -0.05, 0.0, -0.10, -0.25]
        wires.append((xs, [-0.46, -0.60, -0.55, -0.2, 0.08, 0.22], 0.45))
    if findings.central_line:
        wires.append(([0.1, 0.02, -0.02, -0.04], [-0.9, -0.6, -0.35, -0.10], 0.45))
    if findings.sternotomy:
        turn = np.linspace(0, 2 * math.pi, 9)
        for row in np.linspace(-0.4, 0.2, 6):
            at = float(np.interp(row, y[:, 0], sternum[:, 0])) - 0.035
            wires.append((at + 0.022 * np.cos(turn), row + 0.014 * np.sin(turn), 0.6))
    if findings.clips:
        for n in range(4):
            ys = [0.68 + 0.03 * (n % 2), 0.72 - 0.03 * (n % 2)]
            wires.append(([-0.20 + 0.05 * n, -0.17 + 0.05 * n], ys, 0.7))
    if wires:
        light += film.trace(wires, 0.007)
    if findings.hernia:
        radius = {"small": 0.11, "moderate": 0.15, "large": 0.19}[findings.hernia]
        cx = 0.16
        cy = 0.36 - radius * 0.6
        gas = film.disc(cx, cy, radius * 0.82, 0.015, 0.9) * film.edge(cy + 0.01 - y, 0.008)
        light += 0.14 * film.disc(cx, cy, radius, 0.012, 0.9) - 0.24 * gas
    if findings.free_air:
        below = y - domes[0]
        crescent = 0.36 * film.edge(below - 0.02, 0.008) * film.edge(0.075 - below, 0.012)
        light -= crescent * film.edge(0.30 - np.abs(x + 0.18), 0.05)
    return light
