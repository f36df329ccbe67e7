"""Chooses the texts of the constant annotator: for each region the one that is best on train under
the judge, by the measure in `evaluate.measure`; among equal ones, the one with the best score.

Judging every text against every other is quadratic, and a large judge is slow. So the proxy,
whatever the judge is, shortlists the `_LISTED` best of the `_FREQUENT` most frequent texts, against
the references of `_SKIMMED` studies; then the judge scores these and the empty text against the
references of `_JUDGED` studies. A text that several studies have is judged once.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import Annotation, Measure, Study
from xraygen.judges import NO_CLINICAL, Judge, Opinion, opinions
from xraygen.judges.proxy.proxy import Proxy
from xraygen.language.text import token_f1

_FREQUENT = 100
_SKIMMED = 50
_LISTED = 6
_JUDGED = 200


def fit(
    studies: Iterable[Study], judge: Judge, regions: Regions, measure: Measure = "score"
) -> Annotation:
    """The best text of each scored region, and the most frequent one of a region that is not
    scored.

    Studies are drawn by a fixed seed. UserError: no study has a reference, or the judge does not
    tell what `measure` takes.
    """
    references = [study.reference for study in studies if study.reference is not None]
    if not references:
        raise UserError(
            "data/prepared/train.jsonl: no study has a reference to choose a constant from; "
            "check metrics/data.json"
        )
    shuffled = random.Random(0).sample(references, len(references))
    skimmed = _texts(shuffled[:_SKIMMED], regions.scored)
    judged = _texts(shuffled[:_JUDGED], regions.scored)
    known = _texts(references, regions.scored)
    frequent = {region: _by_frequency(texts)[:_FREQUENT] for region, texts in known.items()}
    listed = {
        region: ranked[:_LISTED]
        for region, ranked in _ranked(frequent, skimmed, Proxy(), measure).items()
    }
    finalists = {region: list(dict.fromkeys([*texts, ""])) for region, texts in listed.items()}
    ranked = _ranked(finalists, judged, judge, measure)
    unscored = _texts(references, [name for name in regions if name not in regions.scored])
    ranked |= {region: _by_frequency(texts) for region, texts in unscored.items()}
    return regions.annotation({region: texts[0] for region, texts in ranked.items()})


def _texts(references: Sequence[Annotation], regions: Iterable[str]) -> dict[str, Counter[str]]:
    """By region the texts, and the number of references that have each."""
    return {region: Counter(reference[region] for reference in references) for region in regions}


def _by_frequency(texts: Counter[str]) -> list[str]:
    return sorted(texts, key=lambda text: (-texts[text], text))


def _ranked(
    candidates: dict[str, list[str]],
    references: dict[str, Counter[str]],
    judge: Judge,
    measure: Measure,
) -> dict[str, list[str]]:
    """The candidates of each region by the mean of the measure over the references, best first;
    equal ones by their mean score, then in the given order. Pairs without a value are left out, as
    in every mean.
    """
    pairs = [
        (reference, candidate)
        for region, texts in candidates.items()
        for candidate in texts
        for reference in references[region]
    ]
    asked = list(dict.fromkeys(pairs))
    given = dict(zip(asked, opinions(asked, judge), strict=True))
    if measure == "clinical" and all(opinion.clinical is None for opinion in given.values()):
        raise UserError(NO_CLINICAL.format(name=judge.name))

    def mean(region: str, candidate: str, measure: Measure) -> float:
        found = [
            (times, _value((text, candidate), given[text, candidate], measure))
            for text, times in references[region].items()
        ]
        known = [(times, value) for times, value in found if value is not None]
        total = sum(times for times, _ in known)
        return round(sum(times * value for times, value in known) / total, 6) if total else 0.0

    return {
        region: sorted(
            texts, key=lambda text: (-mean(region, text, measure), -mean(region, text, "score"))
        )
        for region, texts in candidates.items()
    }


def _value(pair: tuple[str, str], opinion: Opinion, measure: Measure) -> float | None:
    if measure == "token_f1":
        return token_f1(*pair)
    if measure == "clinical":
        return None if opinion.clinical is None else opinion.clinical.score
    return opinion.score
