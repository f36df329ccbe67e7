"""What both views are drawn with: a film with edges, curves, traces and clouds on it, and how it is
developed.

Coordinates are in half film sides: x from -1 (viewer's left) to 1, y from -1 (top) to 1, before the
patient is moved, scaled and leant to a side a little. Brightness is about 0 (black) to 1 (white),
in float32: films are drawn nearly twice as fast as in float64. On them only the operations that
IEEE 754 defines exactly and float64 accumulation are used, so that pixels are the same on any CPU.
Of the random generators only `random` is used, whose sequence numpy keeps.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.floating[Any]]
Knots = list[tuple[float, float]]  # (place, value) in order of place
Points = Union[Sequence[float], Field]  # noqa: UP007  # an alias for the type checker
Lines = list[tuple[Points, Points, float]]  # (xs, ys, brightness) through points in order


def stream(seed: int, k: int, name: str) -> np.random.Generator:
    """The random numbers for one purpose in study k: a finding that is added takes none of
    another's.
    """
    return np.random.Generator(np.random.PCG64([seed, k, zlib.crc32(name.encode())]))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


class Film:
    """`x` (size, size), `y` (size, 1): where in the body each pixel lies. `pixel`: one pixel's side
    in the same units.

    The patient leans by a shear, not a turn: `y` then is the same all along a row, and what depends
    on it alone costs a row's work.
    """

    def __init__(self, size: int, rng: np.random.Generator):
        self._lean, self._scale = between(rng, -0.045, 0.045), between(rng, 0.95, 1.04)
        self.size, self.pixel = size, 2 / size
        self._across, self._down = between(rng, -0.04, 0.04), between(rng, -0.04, 0.04)
        line = ((np.arange(size) + 0.5) * self.pixel - 1).astype(np.float32)
        self.y: Field = (line[:, None] - self._down) / self._scale
        self.x: Field = (line[None, :] - self._across) / self._scale - self._lean * self.y

    def edge(self, inside: Field, softness: float = 0.012) -> Field:
        """1 where `inside` > 0, 0 where it is < 0, a smooth step about 0 that is never sharper than
        a pixel.
        """
        return step(inside, max(softness, self.pixel))

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        softness: float = 0.012,
        flat: float = 1.0,
        both: bool = False,
    ) -> Field:
        """A filled circle, or an ellipse `flat` times as high as wide; `both`: on both sides of the
        midline.
        """
        across = np.abs(self.x) if both else self.x
        return self.edge(radius - np.sqrt((across - x) ** 2 + ((self.y - y) / flat) ** 2), softness)

    def blob(self, x: float, y: float, wide: float, high: float) -> Field:
        """A soft spot: 1 in the middle, 0 from `wide` and `high` on."""
        t = np.clip(1 - ((self.x - x) / wide) ** 2 - ((self.y - y) / high) ** 2, 0, None)
        return t * t

    def veil(self, light: Field, cover: Field, level: float) -> Field:
        """`light` drawn towards `level` as far as `cover` (0..1) says: what lies in fluid or solid
        lung loses its outlines.
        """
        return light + cover * (level - light)

    def trace(self, lines: Lines, width: float) -> Field:
        """Thin lines; `width` is the standard deviation across."""
        size, spacing = self.size, 0.5 * self.pixel
        points: list[list[Field]] = []
        for xs, ys, brightness in lines:
            x = np.asarray(xs, float)
            y = np.asarray(ys, float)
            along = np.zeros(len(x))
            np.cumsum(np.sqrt((x[1:] - x[:-1]) ** 2 + (y[1:] - y[:-1]) ** 2), out=along[1:])
            at = np.arange(0, along[-1], spacing)
            points.append(
                [np.interp(at, along, x), np.interp(at, along, y), np.full(len(at), brightness)]
            )
        px, py, weight = (np.concatenate(part) for part in zip(*points, strict=True))
        column = ((px + self._lean * py) * self._scale + self._across + 1) / self.pixel - 0.5
        row = (py * self._scale + self._down + 1) / self.pixel - 0.5
        inside = (column >= 0) & (column < size - 1) & (row >= 0) & (row < size - 1)
        column, row, weight = column[inside], row[inside], weight[inside]
        left, top = np.floor(column), np.floor(row)
        right_share, low_share = column - left, row - top
        place = (top * size + left).astype(np.int64)
        high, low = weight * (1 - low_share), weight * low_share
        shares = [
            high * (1 - right_share),
            high * right_share,
            low * (1 - right_share),
            low * right_share,
        ]
        places = [place, place + 1, place + size, place + size + 1]
        sums = np.bincount(np.concatenate(places), np.concatenate(shares), size * size)
        sigma = max(width / self.pixel, 0.6)
        blurred = ndimage.gaussian_filter(
            sums.reshape(size, size).astype(np.float32), sigma, mode="constant", truncate=3
        )
        return blurred * (
            sigma * math.sqrt(2 * math.pi) * 0.5
        )  # two points a pixel: the ridge is as bright as asked

    def cloud(self, rng: np.random.Generator, cell: float) -> Field:
        """Smooth noise, mean 0, about -1 to 1, with spots of `cell` across."""
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
        """Pixels (size, size): exposure, contrast, unsharpness, grain, the lines of a grid on some
        films.
        """
        exposure, contrast = between(rng, -0.05, 0.05), between(rng, 0.9, 1.1)
        grain, blur = between(rng, 0.008, 0.02), between(rng, 0.3, 0.55) * self.size / 224
        lit = ndimage.gaussian_filter(brightness, blur, mode="nearest", truncate=3)
        lit = (lit - 0.5) * contrast + 0.5 + exposure
        lit = np.clip(lit, 0, None)
        lit = np.where(
            lit > 0.75, 1 - 0.25 / (1 + 4 * np.clip(lit - 0.75, 0, None)), lit
        )  # the film's shoulder
        # Near enough to a normal variable, without its logarithms.
        noise = rng.random((4, self.size, self.size), dtype=np.float32).sum(0) - 2
        lit = lit + grain * 1.7 * noise
        if rng.random() < 0.15:
            period = between(rng, 2.6, 4.0)
            lit += 0.006 * np.sin(np.arange(self.size)[:, None] * (2 * math.pi / period))
        return np.rint(np.clip(lit, 0.02, 1) * 250).astype(np.uint8)


def step(inside: Field, half: float) -> Field:
    """0 below -`half`, 1 above it, smooth between."""
    t = inside * (0.5 / half)
    t += 0.5
    np.clip(t, 0, 1, out=t)
    smooth = t * -2
    smooth += 3
    smooth *= t
    smooth *= t
    return smooth


def curve(at: Field, *knots: tuple[float, float]) -> Field:
    """A smooth curve close to its (place, value) knots, in order of place; constant outside."""
    xs, ys = zip(*knots, strict=True)
    table = np.linspace(xs[0], xs[-1], 257)
    values = np.interp(table, xs, ys)
    sigma = 257 / (len(knots) - 1) / 4
    return np.interp(
        at, table, ndimage.gaussian_filter1d(values, sigma, mode="nearest", truncate=2)
    ).astype(np.float32)
