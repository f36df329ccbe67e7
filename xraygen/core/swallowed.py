"""Rows of a CSV file that a quote out of place has made part of a cell."""

import re
from collections import Counter
from collections.abc import Sequence

# A size with a decimal comma ("1,5 cm"), which is not an integer id and the cell after it.
_MEASURE = re.compile(r"\s*\d+,\d+\s*(?:(?:[cm]m|ml)\b|[x×]\s*\d)", re.IGNORECASE)


def shape(id: str) -> str:
    """An id with each run of digits and each run of letters replaced by one of them."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", id.strip()))


def swallows_a_row(
    cells: Sequence[str], separator: str, columns: int, shapes: Counter[str]
) -> bool:
    """Whether a line within a cell looks like a row: it begins with what looks like an id, which is
    not the size of something, and has the separators of a row, or of its part up to this column.
    """
    rows_have_sizes = _MEASURE.match(separator.join(cells)) is not None
    for column, cell in enumerate(cells):
        lines = cell.splitlines()
        for place, line in enumerate(lines[1:], 2):
            form = shape(line.partition(separator)[0])
            needed = column if place == len(lines) else columns - 1
            has_separators = line.count(separator) >= max(needed, 1)
            known = "0" in form and shapes[form] > 1
            is_size = not rows_have_sizes and _MEASURE.match(line)
            if known and has_separators and not is_size:
                return True
    return False
