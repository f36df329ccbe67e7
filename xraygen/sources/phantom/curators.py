"""The reference that curators make of a report's statements. Mostly, but not always, they file and
reword alike.
"""

import re
from collections.abc import Sequence
from random import Random

from xraygen.sources.phantom.filing import FIVE, Filing, Statement


def curate(sentences: Sequence[Statement], rng: Random, filing: Filing = FIVE) -> dict[str, str]:
    """A reference for these statements, with every region. Each draw is another curator's."""
    reference: dict[str, list[str]] = {region: [] for region in filing.names}
    for statement in sentences:
        for region, text in _curate(statement, rng, filing).items():
            reference[region].append(text)
    return {region: " ".join(texts) for region, texts in reference.items()}


def _curate(statement: Statement, rng: Random, filing: Filing) -> dict[str, str]:
    divided = filing.divided(statement)
    if len(divided) > 1:
        if rng.random() < 0.08:
            return dict.fromkeys(divided, statement.text)
        return {region: _reword(text, rng) for region, text in divided.items()}
    if len(statement.about) == 1 and rng.random() < 0.1:
        (topic,) = statement.parts
        divided = {filing.elsewhere.get(topic, region): text for region, text in divided.items()}
    if statement.text.startswith("XXXX"):
        return divided
    return {region: _reword(text, rng) for region, text in divided.items()}


# (pattern, what it becomes, how often curators do it), tried in order on a sentence of one region.
_RULES = tuple(
    (re.compile(pattern), becomes, share)
    for pattern, becomes, share in (
        (r"XXXX (?!is\b|are\b)|(?<!are)(?<!is) XXXX\b", "", 0.8),
        (r"^There (?:is|are) (?:an? )?(?=\w)", "", 0.85),
        (r" (?:is|are) (?:noted|seen|present|identified)(?=\.)", "", 0.8),
        (r"^A (?=\w)", "", 0.85),
        (
            r"^The (?=heart|lungs|mediast|bones|bony|aorta|osseous|cardi|visualized|thoracic)",
            "",
            0.3,
        ),
        (r"^Cardiac contours are", "Cardiac silhouette is", 0.1),
        (r"^Mediastinal contours are", "Mediastinum is", 0.1),
        (r"^No evidence of ", "No ", 0.15),
        (r"^(No [\w ]+) or (\w[\w ]*)\.$", r"\1. No \2.", 0.18),
        (r" (?:is|are) (?=within normal limits|normal\.|unremarkable\.|intact|clear)", " ", 0.12),
    )
)


def _reword(text: str, rng: Random) -> str:
    for pattern, becomes, share in _RULES:
        if rng.random() < share:
            text = pattern.sub(becomes, text)
    text = " ".join(text.split())
    return text[0].upper() + text[1:]
