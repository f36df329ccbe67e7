"""What the judge's process does: pairs, one JSON line each, to lines of the response."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xraygen import judges
from xraygen.core.study import Record
from xraygen.judges import Opinion
from xraygen.service.problems import without_addresses
from xraygen.service.schemas import JudgedPair, Pair
from xraygen.service.worker import Build


class Judging:
    """UserError: there is no such judge."""

    def __init__(self, name: str, settings: Mapping[str, Record]) -> None:
        self.judge = judges.load(name, settings)

    def __call__(self, lines: list[bytes]) -> list[bytes]:
        pairs = [Pair.model_validate_json(line) for line in lines]
        given = judges.opinions([(one.reference, one.candidate) for one in pairs], self.judge)
        return [_line(opinion) for opinion in given]

    def failed(self, line: bytes, bug: bool) -> bytes:
        return _line(Opinion(None, verdict="failed"))


def _line(opinion: Opinion) -> bytes:
    fields = {key: getattr(opinion, key) for key in JudgedPair.model_fields}
    if opinion.verdict == "failed":  # its explanation is that of a server
        fields["explanation"] = without_addresses(opinion.explanation or "") or None
    return JudgedPair(**fields).model_dump_json().encode()


def build(name: str, settings: Mapping[str, Record]) -> Build:
    """What `model.Model` runs in the judge's process."""
    return partial(Judging, name, dict(settings))
