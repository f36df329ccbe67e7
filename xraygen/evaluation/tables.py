"""Numbers and tables as every report prints them. A number that rounds to zero has no minus."""

from collections.abc import Sequence

from tabulate import tabulate


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """A Markdown table; cells are printed as they are."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def signed(value: float) -> str:
    return f"{value:+z.3f}"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def with_interval(cell: dict, measure: str, ends: str = "ci") -> str:
    """The value of a measure in a cell with its interval, whose ends are under `ends`_low and
    `ends`_high.
    """
    value, low, high = (cell.get(key) for key in (measure, f"{ends}_low", f"{ends}_high"))
    return f"{number(value)} [{number(low)}, {number(high)}]"


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
