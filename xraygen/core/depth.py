"""Pictures of more than 8 bits as 8-bit grey."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture


def to_8_bits(picture: "Picture | np.ndarray", inverted: bool = False) -> "np.ndarray":
    """Values (height, width) of more than 8 bits, scaled linearly so that the darkest and the
    brightest that belong to the picture become 0 and 255.

    Outliers are clipped: hot and dead pixels, burnt-in marks, padding. Outliers are further from
    the range of the middle 90 % of the values than that range is wide; the minimum and the maximum,
    of which marks and padding consist, do not count for the range. A picture without outliers is
    scaled from its minimum to its maximum.
    """
    import numpy as np

    values = np.asarray(picture, dtype=np.float64)
    counted = values[np.isfinite(values)]
    if not counted.size:
        return np.zeros(values.shape, np.uint8)
    inner = counted[(counted > counted.min()) & (counted < counted.max())]
    spread = inner if inner.size and np.ptp(inner) else counted
    low, high = np.percentile(spread, (5, 95))
    if high > low:
        reach = high - low
        counted = counted[(counted >= low - reach) & (counted <= high + reach)]
    low, high = counted.min(), counted.max()
    finite = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = np.rint(np.clip((finite - low) * (255 / ((high - low) or 1)), 0, 255))
    return (255 - scaled if inverted else scaled).astype(np.uint8)
