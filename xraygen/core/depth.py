"""Pictures of more than 8 bits as 8-bit grey."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

_ENOUGH = 4_000_000  # pixels, of which percentiles are taken


def to_8_bits(picture: "Picture | np.ndarray", inverted: bool = False) -> "np.ndarray":
    """Values (height, width) of more than 8 bits, scaled linearly so that the darkest and the
    brightest that belong to the picture become 0 and 255.

    Outliers are clipped: hot and dead pixels, burnt-in marks, padding. Outliers are further from
    the range of the middle 90 % of the values than that range is wide; the minimum and the maximum,
    of which marks and padding consist, do not count for the range. A picture without outliers is
    scaled from its minimum to its maximum. The range of a picture of more than 16 megapixels is
    that of a grid of its pixels.
    """
    import numpy as np

    values = np.asarray(picture)
    # Single precision holds 16 bits exactly, in half the memory.
    values = values.astype(np.result_type(values, np.float32))
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    lowest, highest = _ends(values, finite)
    step = max(1, math.isqrt(values.size // _ENOUGH))
    sampled = values[::step, ::step]
    inner = sampled[(sampled > lowest) & (sampled < highest)]
    spread = inner if inner.size and np.ptp(inner) else sampled[finite[::step, ::step]]
    low, high = np.percentile(spread, (5, 95)) if spread.size else (lowest, lowest)
    if high > low:
        reach = high - low
        belonging = finite & (values >= low - reach) & (values <= high + reach)
        lowest, highest = _ends(values, belonging)
    np.nan_to_num(values, copy=False, nan=lowest, posinf=highest, neginf=lowest)
    values -= lowest
    values *= 255 / ((highest - lowest) or 1)
    scaled = np.rint(np.clip(values, 0, 255, out=values), out=values)
    return (255 - scaled if inverted else scaled).astype(np.uint8)


def _ends(values: "np.ndarray", counted: "np.ndarray") -> tuple[float, float]:
    """The least and the greatest of the values that count."""
    low = values.min(where=counted, initial=math.inf)
    high = values.max(where=counted, initial=-math.inf)
    return float(low), float(high)
