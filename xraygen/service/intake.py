"""From the bytes of a request to the lines that a model is sent. Pure functions."""

from __future__ import annotations

from typing import NamedTuple

from xraygen.service.problems import Problem


class Failed(NamedTuple):
    """Why an item is not put to a model. `id`: the case's, None if it has none that is usable."""

    id: str | None
    problem: Problem
