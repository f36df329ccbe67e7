"""Findings that are drawn onto the frontal view: in the pleura, in the lungs, and devices."""

import math

import numpy as np

from xraygen.sources.phantom.film import Field, Film, Lines, between, stream
from xraygen.sources.phantom.findings import Findings
from xraygen.sources.phantom.frontal_anatomy import SIGN, Chest

# (distance from the midline, y) of a lesion.
_LOBES = {
    ("right", "upper"): (0.37, -0.42),
    ("right", "middle"): (0.36, 0.03),
    ("right", "lower"): (0.46, 0.24),
    ("left", "upper"): (0.38, -0.36),
    ("left", "lower"): (0.52, 0.14),
}
_AIR = {"small": 0.10, "moderate": 0.17, "large": 0.27}
# y of the fluid at the chest wall, and how far it falls towards the midline.
_FLUID = {"small": (0.20, 0.40), "moderate": (0.06, 0.34), "large": (-0.14, 0.26)}
_PACEMAKER_LEADS: Lines = [
    (
        [0.44, 0.25, 0.02, -0.09, -0.10, -0.12, -0.06],
        [-0.53, -0.60, -0.52, -0.38, -0.15, 0.05, 0.10],
        0.45,
    ),
    (
        [0.44, 0.25, 0.03, -0.08, -0.08, 0.05, 0.24],
        [-0.51, -0.58, -0.49, -0.36, 0.0, 0.25, 0.30],
        0.45,
    ),
]


def pleura(film: Film, findings: Findings, chest: Chest, light: Field) -> Field:
    """Pneumothorax: black without lung markings, outside the thin white line of the collapsed lung.
    Effusion: blunts the angle between chest wall and diaphragm and rises along the wall.
    """
    air = findings.pneumothorax
    fluid = findings.effusion
    for name, sign in SIGN.items():
        here = film.edge(sign * film.x, 0.02)
        if air and air.side in (name, "both"):
            high = np.clip(0.35 - film.y, 0, 1)
            beyond = chest.u - (chest.outer - _AIR[air.amount] * (0.35 + 0.85 * high) - 0.02)
            empty = film.edge(beyond, 0.008) * chest.lung * here
            line = np.clip(1 - np.abs(beyond) / 0.016, 0, 1) * chest.lung * here
            collapsed = 0.05 * here * (chest.lung - empty)
            light = film.veil(light, 0.65 * empty, 0.08) + 0.20 * line + collapsed
        if fluid and fluid.side in (name, "both"):
            level, fall = _FLUID[fluid.amount]
            within = np.clip(chest.outer - chest.u, 0, None)
            surface = level + fall * within / (within + 0.22)
            cover = film.edge(film.y - surface, 0.02) * film.edge(chest.outer - chest.u)
            cover = cover * film.edge(chest.u - 0.02, 0.10)
            light = film.veil(light, 0.68 * cover * here, 0.84)
    return light


def lesions(film: Film, findings: Findings, chest: Chest, light: Field, seed: int, k: int) -> Field:
    for name, sign in SIGN.items():
        if findings.atelectasis in (name, "both"):
            rng = stream(seed, k, f"frontal atelectasis {name}")
            start = between(rng, 0.26, 0.32)
            rows = [between(rng, 0.12, 0.16), between(rng, 0.21, 0.25)]
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
        x = SIGN[lesion.side] * (across + between(rng, -spread, spread))
        y = down + between(rng, -spread, spread)
        if name == "consolidation":
            patch = 1.7 * film.blob(x, y, between(rng, 0.24, 0.30), between(rng, 0.22, 0.27))
            patch = patch * (1 + 0.45 * film.cloud(rng, 0.09))
            light = film.veil(light, 0.7 * np.clip(patch, 0, 1) * chest.lung, 0.80)
        elif name == "nodule":
            light = light + 0.33 * film.disc(x, y, lesion.mm * 0.0033, flat=between(rng, 0.9, 1.1))
        else:
            light = light + 0.50 * film.disc(x, y, lesion.mm * 0.0032, 0.008)
    return light


def devices(film: Film, findings: Findings, chest: Chest) -> Field:
    x, y = film.x, film.y
    light = np.zeros_like(x)
    wires: Lines = []
    if findings.pacemaker:
        beyond_x = np.maximum(np.abs(x - 0.50) - 0.05, 0)
        beyond_y = np.maximum(np.abs(y + 0.50) - 0.03, 0)
        light += 0.55 * film.edge(0.05 - np.sqrt(beyond_x**2 + beyond_y**2), 0.006)
        wires += _PACEMAKER_LEADS
    if findings.central_line:
        sign = SIGN[findings.central_line]
        xs = [sign * 0.62, sign * 0.35, sign * 0.12, -0.08, -0.095, -0.09]
        wires.append((xs, [-0.62, -0.66, -0.60, -0.46, -0.3, -0.12], 0.5))
    if findings.sternotomy:
        turn = np.linspace(0, 2 * math.pi, 13)
        for row in np.linspace(-0.42, 0.22, 6):
            wires.append((0.034 * np.cos(turn), row + 0.020 * np.sin(turn), 0.6))
    if findings.clips:
        for n in range(4):
            ys = [0.66 + 0.03 * (n % 2), 0.70 - 0.03 * (n % 2)]
            wires.append(([-0.30 + 0.05 * n, -0.27 + 0.05 * n], ys, 0.7))
    if wires:
        light += film.trace(wires, 0.007)
    if findings.hernia:
        radius = {"small": 0.11, "moderate": 0.15, "large": 0.19}[findings.hernia]
        cx = 0.06
        cy = 0.40 - radius * 0.6
        whole = film.disc(cx, cy, radius, 0.012, 0.9)
        gas = film.disc(cx, cy, radius * 0.82, 0.015, 0.9) * film.edge(cy + 0.01 - y, 0.008)
        light += 0.12 * whole - 0.30 * gas
    below = y - chest.dome
    stomach_air = 0.16 * film.blob(0.34, 0.50, 0.12, 0.06)
    light -= stomach_air * film.edge(below - 0.03, 0.02)
    if findings.free_air:
        arch = np.clip(1.2 - ((chest.u - 0.33) / 0.24) ** 2, 0, 1)
        thick = 0.05 + 0.025 * film.edge(-x)
        under = film.edge(below - 0.02, 0.008) * film.edge(0.02 + thick * arch - below, 0.01)
        light -= 0.42 * under * film.edge(0.24 - np.abs(chest.u - 0.33), 0.03)
    return light
