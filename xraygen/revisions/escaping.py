"""Texts from data and params, made fit for a terminal and for a comment on GitHub."""

import re
from collections.abc import Sequence

from xraygen.evaluation import tables

_LONGEST_NAME = 40  # characters
_MOST_LISTED = 5


def visible(text: str) -> str:
    """The text in one line: spaces for white space, and escapes for what is not printable, such as
    what moves a cursor or turns the direction of writing.
    """
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else f"\\u{ord(char):04x}"


def shortened(text: str, most: int = _LONGEST_NAME) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def plain(text: str) -> str:
    """A name in a sentence or table of a terminal."""
    return shortened(visible(text)) or "''"


def code(text: str) -> str:
    """A name in a sentence or table of GitHub's Markdown, as a code span: nothing in it is markup,
    a link or a mention. A bar would end the cell of a table even there.
    """
    text = plain(text).replace("|", "¦")
    ticks = "`" * (_longest_run(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") or text.isspace() else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def fence(lines: Sequence[str]) -> str:
    """A row of backticks that none of the lines, fenced by it, can close."""
    return "`" * max(3, 1 + max(map(_longest_run, lines), default=0))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c; of many the first five, and the number of the others."""
    shown = list(names[:_MOST_LISTED])
    if len(names) > len(shown):
        others = len(names) - len(shown)
        shown.append(f"{others:,} other{'' if others == 1 else 's'}")
    return tables.listed(shown)
