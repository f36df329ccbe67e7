"""What the judge's process does: pairs, one JSON line each, to lines of the response."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xraygen import judges
from xraygen.core.study import Record
from xraygen.service.schemas import JudgedPair, Pair
from xraygen.service.worker import Work


class Judging:
    def __init__(self, name: str, settings: Mapping[str, Record]) -> None:
        self.judge = judges.load(name, settings)

    def work(self, lines: list[bytes]) -> list[bytes]:
        pairs = [Pair.model_validate_json(line) for line in lines]
        opinions = judges.opinions([(one.reference, one.candidate) for one in pairs], self.judge)
        fields = JudgedPair.model_fields
        return [
            JudgedPair(**{key: getattr(opinion, key) for key in fields}).model_dump_json().encode()
            for opinion in opinions
        ]


def _build(*args) -> Work:
    return Judging(*args).work


def build(name: str, settings: Mapping[str, Record]) -> partial[Work]:
    """What `model.Model` runs in the judge's process."""
    return partial(_build, name, dict(settings))
