"""The contents of a table by column."""

from collections.abc import Callable, Mapping, Sequence

from xraygen.core.tables import has_no_value, text_of_id

ALMOST_ALL = 0.9


class Profile:
    """The cells of a table by column, empty ones left out."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self.rows = rows
        self.cells: dict[str, list] = {}
        for row in rows:
            for name, cell in row.items():
                kept = self.cells.setdefault(name, [])
                if not has_no_value(cell) and cell != []:
                    kept.append(cell)

    def share(self, name: str, fits: Callable[[object], bool]) -> float:
        """Of the column's cells that are not empty."""
        cells = self.cells[name]
        return sum(map(fits, cells)) / len(cells) if cells else 0.0

    def coverage(self, name: str) -> float:
        return len(self.cells[name]) / max(1, len(self.rows))

    def distinct(self, name: str) -> int:
        return len({str(text_of_id(cell)) for cell in self.cells[name]})

    def words(self, name: str) -> float:
        """The mean number of words; 0 for a column that is not of text."""
        texts = [cell for cell in self.cells[name] if isinstance(cell, str)]
        if not texts or len(texts) < ALMOST_ALL * len(self.cells[name]):
            return 0.0
        return sum(len(text.split()) for text in texts) / len(texts)
