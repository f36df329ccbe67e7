"""More studies out of few: sentences of curated reports, each with what the curators made of it, in new company."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from xraygen.study import REGIONS, Annotation, Study
from xraygen.text import sentences, token_f1

_LIKE = 0.3  # token F1 from which on a curated sentence is taken to be made of the report's sentence that it is most like


class Piece(NamedTuple):
    """A sentence of a report, and what the curators wrote of it by region; nothing where they left it out."""

    said: str
    curated: dict[str, str]


def recombined(studies: Sequence[Study], count: int, seed: int) -> list[Study]:
    """So many studies without images: each is one of `studies` in which half of the sentences are those of others, in any order.

    Studies whose curated text cannot be traced to sentences of the report are left out.
    """
    rng = Random(f"recombine {seed}")
    known = [found for study in studies if study.reference and (found := pieces(study.report, study.reference))]
    every = [piece for found in known for piece in found]
    return [_recombined(number, rng.choice(known), every, rng) for number in range(count)] if known else []


def pieces(report: str, reference: Annotation) -> list[Piece] | None:
    """The sentences of a report in order; None where a curated sentence is like none of them."""
    found = [Piece(said, {}) for said in sentences(" ".join(report.split()))]
    for region in REGIONS:
        for text in sentences(reference[region]):
            likeness = [token_f1(piece.said, text) or 0.0 for piece in found]
            if max(likeness, default=0) < _LIKE:
                return None
            curated = found[likeness.index(max(likeness))].curated
            curated[region] = f"{curated[region]} {text}" if region in curated else text
    return found


def _recombined(number: int, original: list[Piece], every: list[Piece], rng: Random) -> Study:
    chosen = [piece if rng.random() < 0.5 else rng.choice(every) for piece in original]
    rng.shuffle(chosen)
    reference = {region: " ".join(piece.curated[region] for piece in chosen if region in piece.curated) for region in REGIONS}
    report = " ".join(piece.said for piece in chosen)
    return Study(id=f"recombined-{number}", uid=str(number), split="train", report=report, images=[], reference=Annotation(**reference))
