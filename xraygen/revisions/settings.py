"""Changed keys of params.yaml, each with what it was and what it is."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import zip_longest

from xraygen.revisions.escaping import shortened, visible

_CONTEXT = 6  # words around those that differ in a long line
_LONG_LINE = 90  # characters
_MOST = 600  # characters of a line that is shown
_MOST_LINES = 300  # of a value; the time to find those that differ grows with the square


def changed(old: dict, new: dict) -> list[list[str]]:
    """For each key whose value differs, in the order of the new side and then of the old one, the
    lines of a diff: they start with -, + or a space.
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = dict.fromkeys((*after, *before))
    return [
        _block(before, after, key)
        for key in keys
        if key not in before or key not in after or _differ(before[key], after[key])
    ]


def _block(before: dict, after: dict, key: tuple[str, ...]) -> list[str]:
    """A value of one line stands next to its key, a longer one below it."""
    name = shortened(visible(".".join(key)), _LONG_LINE)
    old, new = _lines(before, key), _lines(after, key)
    if old == new:  # they differ in type or white space
        old, new = ([shortened(repr(side[key]), _MOST)] for side in (before, after))
    if max(len(old), len(new)) > 1:
        rest = max(0, len(old) - _MOST_LINES, len(new) - _MOST_LINES)
        more = [f"  … {rest:,} more lines are not compared"] if rest else []
        return [f"  {name}:", *_differing(old[:_MOST_LINES], new[:_MOST_LINES]), *more]
    return [f"{line[:2]}{name}: {line[2:]}" for line in _differing(old, new)]


def _differ(a: object, b: object) -> bool:
    """1, 1.0 and True are not the same setting."""
    return type(a) is not type(b) or repr(a) != repr(b)


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """The values that are no sections, by their path; also empty sections."""
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, part in value.items():
        yield from _leaves(part, (*path, str(key)))


def _lines(leaves: dict, key: tuple[str, ...]) -> list[str]:
    """A value as lines: those of a text; none where there is no value."""
    if key not in leaves:
        return []
    value = leaves[key]
    if isinstance(value, str):
        return [visible(line) for line in value.splitlines()] or ['""']
    if isinstance(value, list) and value:
        return [visible(", ".join(map(str, value)))]
    return [visible("null" if value is None else str(value))]


def _differing(old: list[str], new: list[str]) -> Iterator[str]:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(1):
        for tag, old_start, old_end, new_start, new_end in group:
            removed, added = old[old_start:old_end], new[new_start:new_end]
            if tag == "equal":
                yield from (f"  {_ends(line)}" for line in removed)
                continue
            pairs = [_around(*pair) for pair in zip_longest(removed, added)]
            yield from (f"- {line}" for line, _ in pairs[: len(removed)])
            yield from (f"+ {line}" for _, line in pairs[: len(added)])


def _ends(line: str) -> str:
    return shortened(line, _LONG_LINE)


def _around(old: str | None, new: str | None) -> tuple[str, str]:
    """Two lines; of long ones, the words that differ and some around them."""
    if old is None or new is None or max(len(old), len(new)) <= _LONG_LINE:
        return shortened(old or "", _MOST), shortened(new or "", _MOST)
    a, b = old.split(" "), new.split(" ")
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    return _part(a, start, len(a) - end), _part(b, start, len(b) - end)


def _common(a: list[str], b: list[str]) -> int:
    """The number of equal words at the start."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((number for number, (x, y) in pairs if x != y), min(len(a), len(b)))


def _part(words: list[str], start: int, end: int) -> str:
    first, last = max(0, start - _CONTEXT), min(len(words), end + _CONTEXT)
    before = "… " if first else ""
    after = " …" if last < len(words) else ""
    return shortened(before + " ".join(words[first:last]) + after, _MOST)
