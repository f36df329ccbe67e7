"""The lateral view, the patient facing the viewer's left: sternum in front (left), spine behind (right)."""

import math

import numpy as np
from numpy.typing import NDArray

from xraygen.sources.phantom.film import Field, Film, between, curve, stream
from xraygen.sources.phantom.findings import Findings


def draw_lateral(findings: Findings, seed: int, k: int, size: int) -> NDArray[np.uint8]:
    """Pixels (size, size)."""
    film = Film(size, stream(seed, k, "lateral position"))
    return film.develop(0.5 + 0 * film.x, stream(seed, k, "lateral film"))
