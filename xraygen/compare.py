"""Every approach against every other on the studies they share: how far apart, and whether that can be told from noise."""

from itertools import combinations

import numpy as np

from xraygen.params import CompareParams
from xraygen.scores import MEASURES, StudyScores, compare_each, holm, rounded, studies_to_tell
from xraygen.study import SCORED_REGIONS

VERSUS = " vs "  # between two names, which hold no spaces
COLUMNS = ("macro", *SCORED_REGIONS)


def compare_all(approaches: dict[str, dict[str, StudyScores]], params: CompareParams) -> dict:
    """{approach: {study set: scores}} -> {study set: {"a vs b": {measure: {"macro" | region: comparison}}}}.

    `difference` is a minus b. Holm's correction runs over the pairs of approaches for macro, and over pairs times regions for
    the regions, within one study set and measure. `holds`: the corrected p is below `alpha`. `studies_to_tell` reckons with
    alpha over the size of that family, which is where Holm's correction starts.
    """
    sets = next(iter(approaches.values()))
    return {name: _compare_set({key: scores[name] for key, scores in approaches.items()}, params) for name in sets}


def _compare_set(scores: dict[str, StudyScores], params: CompareParams) -> dict:
    table: dict = {}
    for a, b in combinations(scores, 2):
        shared = set(scores[a].ids) & set(scores[b].ids)
        pair = table[f"{a}{VERSUS}{b}"] = {}
        for measure in MEASURES:
            left, right = (getattr(scores[name].only(shared), measure) for name in (a, b))
            if measure == "score":  # a pair that the judge could not score on one side counts on neither
                unscored = np.isnan(left) | np.isnan(right)
                left, right = np.where(unscored, np.nan, left), np.where(unscored, np.nan, right)
            pair[measure] = dict(zip(COLUMNS, compare_each(left, right, params.resamples, params.seed), strict=True))
    for measure in MEASURES:
        _correct([pair[measure]["macro"] for pair in table.values()], params)
        _correct([pair[measure][region] for pair in table.values() for region in SCORED_REGIONS], params)
    return table


def _correct(family: list[dict], params: CompareParams) -> None:
    """Complete the comparisons of one family with what the correction decides, and round them."""
    for comparison, p_holm in zip(family, holm([comparison["p"] for comparison in family]), strict=True):
        comparison |= {
            "p_holm": p_holm,
            "holds": p_holm < params.alpha,
            "studies_to_tell": studies_to_tell(comparison["effect"], params.alpha / len(family), params.power),
        }
        for key, value in comparison.items():
            if isinstance(value, float):
                comparison[key] = rounded(value)
