"""What both views are drawn with: a film, the edges, curves, traces and clouds on it, and its
development.

Coordinates are in half film sides: x from -1 (viewer's left) to 1, y from -1 (top) to 1, before the
patient is shifted, scaled and tilted a little. Brightness is about 0 (black) to 1 (white), in
float32, which is nearly twice as fast to draw as float64. Films are made only with operations that
IEEE 754 defines exactly, and with float64 accumulation, so that pixels are the same on any CPU. Of
the random generators only `random` is used, because numpy guarantees its sequence.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.floating[Any]]
Knots = list[tuple[float, float]]  # (position, value) in order of position
Points = Sequence[float] | Field
Line = tuple[Points, Points, float]  # (xs, ys, brightness) through these points
Lines = list[Line]


def stream(seed: int, k: int, name: str) -> np.random.Generator:
    """The random numbers for one purpose in study k, so that adding a finding does not change the
    numbers of another.
    """
    return np.random.Generator(np.random.PCG64([seed, k, zlib.crc32(name.encode())]))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


class Film:
    """`x` (size, size), `y` (size, 1): where in the body each pixel is. `pixel`: the side of a
    pixel in the same units.

    The patient is tilted by a shear, not a rotation: `y` is then constant along a row, and what
    depends on `y` alone is computed once for each row.
    """

    def __init__(self, size: int, rng: np.random.Generator):
        self._shear = between(rng, -0.045, 0.045)
        self._scale = between(rng, 0.95, 1.04)
        self._across = between(rng, -0.04, 0.04)
        self._down = between(rng, -0.04, 0.04)
        self.size = size
        self.pixel = 2 / size
        line = ((np.arange(size) + 0.5) * self.pixel - 1).astype(np.float32)
        self.y: Field = (line[:, None] - self._down) / self._scale
        self.x: Field = (line[None, :] - self._across) / self._scale - self._shear * self.y

    def edge(self, inside: Field, softness: float = 0.012) -> Field:
        """1 where `inside` > 0, 0 where it is < 0, with a smooth step around 0 that is at least one
        pixel wide.
        """
        return step(inside, max(softness, self.pixel))

    def disc(
        self,
        x: float | Field,
        y: float | Field,
        radius: float,
        softness: float = 0.012,
        flat: float = 1.0,
        both: bool = False,
    ) -> Field:
        """A filled circle, or an ellipse `flat` times as high as wide; `both`: on both sides of the
        midline.
        """
        across = np.abs(self.x) if both else self.x
        distance = np.sqrt((across - x) ** 2 + ((self.y - y) / flat) ** 2)
        return self.edge(radius - distance, softness)

    def blob(self, x: float, y: float, wide: float, high: float) -> Field:
        """A soft spot: 1 in the middle, 0 from `wide` and `high` on."""
        t = np.clip(1 - ((self.x - x) / wide) ** 2 - ((self.y - y) / high) ** 2, 0, None)
        return t * t

    def veil(self, light: Field, cover: Field, level: float) -> Field:
        """`light` moved towards `level` in the proportion `cover` (0..1): structures in fluid or in
        solid lung lose their outlines.
        """
        return light + cover * (level - light)

    def trace(self, lines: Lines, width: float) -> Field:
        """Thin lines; `width` is the standard deviation of their profile."""
        size = self.size
        x, y, brightness = self._points(lines)
        column = ((x + self._shear * y) * self._scale + self._across + 1) / self.pixel - 0.5
        row = (y * self._scale + self._down + 1) / self.pixel - 0.5
        inside = (column >= 0) & (column < size - 1) & (row >= 0) & (row < size - 1)
        sums = _splat(column[inside], row[inside], brightness[inside], size)
        sigma = max(width / self.pixel, 0.6)
        blurred = ndimage.gaussian_filter(
            sums.astype(np.float32), sigma, mode="constant", truncate=3
        )
        # There are two points a pixel; this makes the ridge as bright as asked for.
        return blurred * (sigma * math.sqrt(2 * math.pi) * 0.5)

    def _points(self, lines: Lines) -> tuple[NDArray, NDArray, NDArray]:
        """(x, y, brightness) of points along the lines, half a pixel apart."""
        points = []
        for xs, ys, brightness in lines:
            x = np.asarray(xs, float)
            y = np.asarray(ys, float)
            along = np.zeros(len(x))
            np.cumsum(np.sqrt((x[1:] - x[:-1]) ** 2 + (y[1:] - y[:-1]) ** 2), out=along[1:])
            at = np.arange(0, along[-1], 0.5 * self.pixel)
            values = np.full(len(at), brightness)
            points.append((np.interp(at, along, x), np.interp(at, along, y), values))
        across, down, weights = (np.concatenate(part) for part in zip(*points, strict=True))
        return across, down, weights

    def cloud(self, rng: np.random.Generator, cell: float) -> Field:
        """Smooth noise with mean 0, from about -1 to 1, with spots `cell` wide."""
        cells = max(3, round(2 / cell)) + 1
        coarse = rng.random((cells, cells)) * 2 - 1
        at = np.arange(self.size) * ((cells - 1) / (self.size - 1))
        low = np.minimum(at.astype(np.int64), cells - 2)
        t = at - low
        t = (t * t * (3 - 2 * t)).astype(np.float32)
        coarse = coarse.astype(np.float32)
        rows = coarse[low] * (1 - t)[:, None] + coarse[low + 1] * t[:, None]
        return rows[:, low] * (1 - t) + rows[:, low + 1] * t

    def develop(self, brightness: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Pixels (size, size), with exposure, contrast, blur and grain, and on some films the lines
        of a grid.
        """
        exposure = between(rng, -0.05, 0.05)
        contrast = between(rng, 0.9, 1.1)
        grain = between(rng, 0.008, 0.02)
        blur = between(rng, 0.3, 0.55) * self.size / 224
        lit = ndimage.gaussian_filter(brightness, blur, mode="nearest", truncate=3)
        lit = (lit - 0.5) * contrast + 0.5 + exposure
        lit = np.clip(lit, 0, None)
        shoulder = 1 - 0.25 / (1 + 4 * np.clip(lit - 0.75, 0, None))
        lit = np.where(lit > 0.75, shoulder, lit)
        # Close to a normal distribution, and cheaper to draw.
        noise = rng.random((4, self.size, self.size), dtype=np.float32).sum(0) - 2
        lit = lit + grain * 1.7 * noise
        if rng.random() < 0.15:
            period = between(rng, 2.6, 4.0)
            lit += 0.006 * np.sin(np.arange(self.size)[:, None] * (2 * math.pi / period))
        return np.rint(np.clip(lit, 0.02, 1) * 250).astype(np.uint8)


def _splat(column: NDArray, row: NDArray, weight: NDArray, size: int) -> NDArray:
    """(size, size) sums of weights, each divided between the four pixels around its point."""
    left = np.floor(column)
    top = np.floor(row)
    right_share = column - left
    lower_share = row - top
    upper = weight * (1 - lower_share)
    lower = weight * lower_share
    shares = [
        upper * (1 - right_share),
        upper * right_share,
        lower * (1 - right_share),
        lower * right_share,
    ]
    corner = (top * size + left).astype(np.int64)
    pixels = [corner, corner + 1, corner + size, corner + size + 1]
    sums = np.bincount(np.concatenate(pixels), np.concatenate(shares), size * size)
    return sums.reshape(size, size)


def step(inside: Field, half: float) -> Field:
    """0 below -`half`, 1 above `half`, smooth in between."""
    t = inside * (0.5 / half)
    t += 0.5
    np.clip(t, 0, 1, out=t)
    smooth = t * -2
    smooth += 3
    smooth *= t
    smooth *= t
    return smooth


def curve(at: Field, *knots: tuple[float, float]) -> Field:
    """A smooth curve close to its (position, value) knots, in order of position, and constant
    outside.
    """
    xs, ys = zip(*knots, strict=True)
    table = np.linspace(xs[0], xs[-1], 257)
    values = np.interp(table, xs, ys)
    sigma = 257 / (len(knots) - 1) / 4
    smooth = ndimage.gaussian_filter1d(values, sigma, mode="nearest", truncate=2)
    return np.interp(at, table, smooth).astype(np.float32)
