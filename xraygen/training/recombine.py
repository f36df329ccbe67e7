"""More studies out of few: sentences of curated reports, each with what the curators made of it, in
new company.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from xraygen.core.study import Study
from xraygen.language.alignment import Aligner, words
from xraygen.language.text import medoid, sentences


class Piece(NamedTuple):
    """A sentence of a report, and what the curators wrote of it by region; nothing where they left
    it out.
    """

    said: str
    curated: dict[str, str]


def recombined(studies: Sequence[Study], count: int, seed: int) -> list[Study]:
    """So many studies without images: each is one of `studies` in which half of the sentences are
    those of others, in any order.

    Of a sentence that several reports have, the curators' words are those that are most like what
    they wrote of it elsewhere.
    """
    if not count:
        return []
    rng = Random(f"recombine {seed}")
    known = [
        report
        for report in agreed(pieces([study for study in studies if study.reference]))
        if report
    ]
    every = [piece for report in known for piece in report]
    names = next((tuple(study.reference) for study in studies if study.reference), ())
    return (
        [_recombined(number, rng.choice(known), every, names, rng) for number in range(count)]
        if known
        else []
    )


def pieces(studies: Sequence[Study]) -> list[list[Piece]]:
    """The sentences of each report in order. What was written without any sentence to make it of is
    with one of them nevertheless.
    """
    pairs = [(" ".join(study.report.split()), study.reference or {}) for study in studies]
    aligner, found = Aligner(pairs), []
    for report, reference in pairs:
        parts = [words(sentence) for sentence in sentences(report)]
        cut = [aligner.pieces(text, parts) for text in reference.values()]
        made = [
            {region: text for region, text in zip(reference, texts, strict=True) if text}
            for texts in zip(*cut, strict=True)
        ]
        found.append([Piece(part.text, curated) for part, curated in zip(parts, made, strict=True)])
    return found


def agreed(known: Sequence[list[Piece]]) -> list[list[Piece]]:
    """The same reports, each sentence with the words on which the curators come nearest to
    agreement, by region: of all that they wrote of this sentence, or that they wrote nothing, what
    has the highest mean token F1 with all of it.
    """
    written: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    names = sorted({name for report in known for piece in report for name in piece.curated})
    for said, curated in (piece for report in known for piece in report):
        regions = written[words(said).key]
        for region in names:
            regions[region][curated.get(region, "")] += 1
    middle = {
        said: {region: medoid(texts) for region, texts in regions.items()}
        for said, regions in written.items()
    }
    return [
        [
            Piece(said, {region: text for region, text in middle[words(said).key].items() if text})
            for said, _ in report
        ]
        for report in known
    ]


def _recombined(
    number: int, original: list[Piece], every: list[Piece], names: Sequence[str], rng: Random
) -> Study:
    chosen = [piece if rng.random() < 0.5 else rng.choice(every) for piece in original]
    rng.shuffle(chosen)
    reference = {
        region: " ".join(piece.curated[region] for piece in chosen if region in piece.curated)
        for region in names
    }
    report = " ".join(piece.said for piece in chosen)
    return Study(
        id=f"recombined-{number}",
        uid=str(number),
        split="train",
        report=report,
        images=[],
        reference=reference,
    )
