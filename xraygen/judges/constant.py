"""Chooses the texts of the constant annotator: for each region the one that scores best on train
under the judge.

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
from xraygen.core.study import Annotation, Study
from xraygen.judges import Judge, opinions
from xraygen.judges.proxy.proxy import Proxy

_FREQUENT = 100
_SKIMMED = 50
_LISTED = 6
_JUDGED = 200


def fit(studies: Iterable[Study], judge: Judge, regions: Regions) -> Annotation:
    """The best text of each scored region, and the most frequent one of a region that is not
    scored.

    Studies are drawn by a fixed seed. UserError: no study has a reference.
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
        region: ranked[:_LISTED] for region, ranked in _ranked(frequent, skimmed, Proxy()).items()
    }
    finalists = {region: list(dict.fromkeys([*texts, ""])) for region, texts in listed.items()}
    ranked = _ranked(finalists, judged, judge)
    unscored = _texts(references, [name for name in regions if name not in regions.scored])
    ranked |= {region: _by_frequency(texts) for region, texts in unscored.items()}
    return regions.annotation({region: texts[0] for region, texts in ranked.items()})


def _texts(references: Sequence[Annotation], regions: Iterable[str]) -> dict[str, Counter[str]]:
    """By region the texts, and the number of references that have each."""
    return {region: Counter(reference[region] for reference in references) for region in regions}


def _by_frequency(texts: Counter[str]) -> list[str]:
    return sorted(texts, key=lambda text: (-texts[text], text))


def _ranked(
    candidates: dict[str, list[str]], references: dict[str, Counter[str]], judge: Judge
) -> dict[str, list[str]]:
    """The candidates of each region by their mean score over the references, best first; equal ones
    stay in the given order. Pairs that the judge could not score are left out, as in every mean.
    """
    pairs = [
        (reference, candidate)
        for region, texts in candidates.items()
        for candidate in texts
        for reference in references[region]
    ]
    asked = list(dict.fromkeys(pairs))
    scores = {
        pair: opinion.score for pair, opinion in zip(asked, opinions(asked, judge), strict=True)
    }

    def mean(region: str, candidate: str) -> float:
        found = [(times, scores[text, candidate]) for text, times in references[region].items()]
        scored = [(times, score) for times, score in found if score is not None]
        total = sum(times for times, _ in scored)
        return round(sum(times * score for times, score in scored) / total, 6) if total else 0.0

    return {
        region: sorted(texts, key=lambda text: -mean(region, text))
        for region, texts in candidates.items()
    }
