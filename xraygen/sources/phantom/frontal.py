"""The frontal view: first the anatomy, then each finding on its side."""

import numpy as np
from numpy.typing import NDArray

from xraygen.sources.phantom import frontal_anatomy as anatomy
from xraygen.sources.phantom import frontal_findings
from xraygen.sources.phantom.film import Film, Line, between, stream
from xraygen.sources.phantom.findings import Findings

# The letter L on the patient's left.
_SIDE_MARKER: Line = ([0.86, 0.86, 0.91], [-0.93, -0.83, -0.83], 1.0)


def draw_frontal(findings: Findings, seed: int, k: int, size: int) -> NDArray[np.uint8]:
    """Pixels (size, size)."""
    film = Film(size, stream(seed, k, "frontal position"))
    rng = stream(seed, k, "frontal anatomy")
    base = between(rng, -0.02, 0.04) + {"low": -0.12, "normal": 0.0, "high": 0.10}[findings.volumes]
    chest = anatomy.chest_of(film, findings, base, rng)
    bend = anatomy.spine_bend(film, findings)

    light = anatomy.body(film, rng)
    light += 0.28 * film.edge(film.y - chest.dome) * film.edge(chest.outer + 0.10 - chest.u, 0.16)
    depth = 0.75 + 0.25 * np.clip(1 - ((chest.u - 0.38) / 0.4) ** 2, 0, 1)
    light -= (0.50 if findings.volumes == "high" else 0.44) * chest.lung * depth
    light += anatomy.markings(film, findings, chest, stream(seed, k, "frontal vessels"))
    light += anatomy.ribs(film, findings, chest)
    light += anatomy.collar_bones(film, rng)
    light += anatomy.heart(film, findings, chest.width, base, rng) * (0.35 + 0.65 * chest.lung)
    light += anatomy.spine(film, findings, bend)
    light += anatomy.airway(film, bend)
    light = frontal_findings.pleura(film, findings, chest, light)
    light = frontal_findings.lesions(film, findings, chest, light, seed, k)
    light += frontal_findings.devices(film, findings, chest)
    light += 0.5 * film.trace([_SIDE_MARKER], 0.008)
    return film.develop(light, stream(seed, k, "frontal film"))
