"""Scores and their differences as a comparison prints them, so that what is shown fits together."""

from typing import NamedTuple

_FEW = 3
_MOST = 4  # what metrics/scores has


class Step(NamedTuple):
    """Two values and new minus old, as texts."""

    old: str
    new: str
    difference: str


def score(value: float | None) -> str:
    """Three digits; a fourth where it is a 5 and the last one known, as in metrics/scores: rounded
    again, 0.95849 would become 0.9585 and then 0.959.
    """
    return "–" if value is None else _text(value, _MOST if _is_tie(value) else _FEW)


def step(old: float, new: float) -> Step:
    """With three digits where the difference of what is shown is the difference rounded, or else
    with four. The difference is that of what is shown; only equal values have one of 0.000.
    """
    if _is_zero(new - old):
        return Step(score(old), score(old), _text(0, _FEW))
    digits = _FEW
    shown = round(round(new, _FEW) - round(old, _FEW), _FEW)
    unlike = shown != round(new - old, _FEW)
    if unlike or shown == 0 or _is_tie(old) or _is_tie(new):
        digits = _MOST
        shown = round(round(new, _MOST) - round(old, _MOST), _MOST)
    texts = _text(old, digits), _text(new, digits)
    return Step(*texts, f"{shown:+.{digits}f}" if shown else _tiny())


def exact(difference: float) -> str:
    """A difference with four digits."""
    if _is_zero(difference):
        return _text(0, _MOST)
    return f"{difference:+.{_MOST}f}" if round(difference, _MOST) else _tiny()


def end(value: float) -> str:
    """An end of the interval of a difference, with four digits."""
    return f"{value:+.{_MOST}f}" if round(value, _MOST) else _text(0, _MOST)


def _text(value: float, digits: int) -> str:
    return f"{value:z.{digits}f}"


def _tiny() -> str:
    return f"<{10**-_MOST:.{_MOST}f}"


def _is_zero(difference: float) -> bool:
    """But for what adding floats in another order makes of it."""
    return abs(difference) < 1e-12


def _is_tie(value: float) -> bool:
    return round(value, _MOST) == value and f"{value:.{_MOST}f}".endswith("5")
