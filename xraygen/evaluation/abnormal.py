"""Abnormal findings: how many of them an approach reports and invents, which ones, and the scores
on abnormal and on normal references apart.

Most references are normal, so that a mean over all of them says little about disease.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from xraygen.core.study import Clinical, Judgement
from xraygen.evaluation.abnormal_table import KINDS, OTHER, STUDIES
from xraygen.evaluation.resampling import bootstrap, intervals, means
from xraygen.evaluation.scores import StudyScores, rounded
from xraygen.judges.proxy.names import names as names_of_the_reader

_KEPT = 10  # names of misses and of inventions in reports/comparison.json


def by_reference(scores: StudyScores, resamples: int, seed: int) -> dict[str, dict]:
    """{"abnormal" | "normal": the means on the pairs with such a reference}: {"n": pairs, "score",
    "ci_low", "ci_high", "clinical", "clinical_ci_low", "clinical_ci_high", "regions": {region:
    {"n", "score", "clinical"}}}.

    Means are over pairs, not over regions, because some regions have few abnormal references, or
    none. Intervals are by bootstrap over studies.
    """
    return {
        kind: _means(scores, scores.abnormal == value, resamples, seed)
        for kind, value in zip(KINDS, (1, 0), strict=True)
    }


def _means(scores: StudyScores, chosen: np.ndarray, resamples: int, seed: int) -> dict:
    """`chosen`: (studies, regions), which pairs count."""
    studies, regions = chosen.shape
    values = np.where(chosen, np.stack([scores.score, scores.clinical]), np.nan)
    pooled = values.reshape(2, -1, 1)
    low = high = np.full((2, 2), np.nan)
    if studies > 1:
        of_study = np.repeat(np.arange(studies), regions)
        low, high, _ = intervals(bootstrap(pooled, resamples, seed, of_study))
    score, clinical = means(pooled)[:, 0].tolist()
    by_region = zip(chosen.sum(axis=0).tolist(), *means(values)[:, 1:].tolist(), strict=True)
    return {
        "n": int(chosen.sum()),
        "score": rounded(score),
        "ci_low": rounded(float(low[0, 0])),
        "ci_high": rounded(float(high[0, 0])),
        "clinical": rounded(clinical),
        "clinical_ci_low": rounded(float(low[1, 0])),
        "clinical_ci_high": rounded(float(high[1, 0])),
        "regions": {
            region: {"n": n, "score": rounded(score), "clinical": rounded(clinical)}
            for region, (n, score, clinical) in zip(scores.regions, by_region, strict=True)
        },
    }


@dataclass
class _Tally:
    """The abnormal findings of some pairs, counted by name."""

    matched: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    invented: Counter[str] = field(default_factory=Counter)

    def add(self, clinical: Clinical) -> None:
        self.matched.update(clinical.matched)
        self.missed.update(clinical.missed)
        self.invented.update(clinical.invented)

    def content(self, shown: Collection[str]) -> dict:
        """`shown`: the names that may be told."""
        matched, missed, invented = (
            names.total() for names in (self.matched, self.missed, self.invented)
        )
        return {
            "recall": _share(matched, missed),
            "precision": _share(matched, invented),
            "matched": matched,
            "missed": missed,
            "invented": invented,
            "misses": _most_frequent(self.missed, shown),
            "inventions": _most_frequent(self.invented, shown),
        }


def _share(right: int, wrong: int) -> float | None:
    return rounded(right / (right + wrong)) if right + wrong else None


def _most_frequent(names: Counter[str], shown: Collection[str]) -> dict[str, int]:
    told = {name: count for name, count in names.items() if name in shown}
    most = dict(sorted(told.items(), key=lambda item: (-item[1], item[0]))[:_KEPT])
    other = names.total() - sum(told.values())
    return most | {OTHER: other} if other else most


def findings(judgements: Iterable[Judgement], regions: Sequence[str]) -> dict:
    """{"recall", "precision", "matched", "missed", "invented", "misses", "inventions"} of the
    abnormal findings of all pairs, and under "regions" the same of each region.

    Recall is matched / (matched + missed), precision matched / (matched + invented), None where
    there is none. `misses`, `inventions`: the most frequent names with their counts, and last under
    "other" how many findings have a name that is not told (`_shown`).
    """
    judged = list(judgements)
    everything = _Tally()
    by_region = {region: _Tally() for region in regions}
    for judgement in judged:
        if judgement.clinical is not None:
            everything.add(judgement.clinical)
            by_region[judgement.region].add(judgement.clinical)
    shown = _shown(judged)
    counted = {region: tally.content(shown) for region, tally in by_region.items()}
    return everything.content(shown) | {"regions": counted}


def _shown(judgements: Iterable[Judgement]) -> set[str]:
    """The names that may be told: those of the proxy's reader, and those found in several studies.
    The figures are committed, and a name that a language model chose for one study may be words of
    a patient's report.
    """
    studies: dict[str, set[str]] = defaultdict(set)
    for judgement in judgements:
        if clinical := judgement.clinical:
            for name in (*clinical.matched, *clinical.missed, *clinical.invented):
                studies[name].add(judgement.id)
    frequent = {name for name, ids in studies.items() if len(ids) >= STUDIES}
    return frequent.union(names_of_the_reader()) - {OTHER}
