"""Every approach against every other on the same studies: how far apart, and whether that can be told from noise."""

from collections.abc import Mapping
from itertools import combinations
from statistics import median

import numpy as np

from xraygen.params import CompareParams
from xraygen.resampling import compare_pairs, detectable, holm, permutations_needed
from xraygen.scores import COLUMNS, MEASURES, StudyScores, rounded
from xraygen.study import SCORED_REGIONS

VERSUS = " vs "  # between two names, which hold no spaces


def compare_all(approaches: Mapping[str, Mapping[str, StudyScores]], params: CompareParams) -> dict:
    """{approach: {study set: scores}} -> {study set: {"a vs b": {measure: {"macro" | region: comparison}}}}.

    `difference` is a minus b. Holm's correction runs over the pairs of approaches for macro, and over pairs times regions for
    the regions, within one study set and measure. `holds`: the corrected p is below `alpha`.
    """
    sets = next(iter(approaches.values()))
    return {name: _compare_set({key: scores[name] for key, scores in approaches.items()}, params) for name in sets}


def permutations(approaches: int, params: CompareParams) -> int:
    """Of each test: enough for the larger of the two families, pairs of approaches times regions."""
    pairs = approaches * (approaches - 1) // 2
    return max(params.resamples, permutations_needed(pairs * len(SCORED_REGIONS), params.alpha))


def _compare_set(scores: Mapping[str, StudyScores], params: CompareParams) -> dict:
    if len({one.ids for one in scores.values()}) > 1:
        raise ValueError("approaches are compared on the same studies")
    names = [f"{a}{VERSUS}{b}" for a, b in combinations(scores, 2)]
    table: dict = {name: {} for name in names}
    for measure in MEASURES:
        found = compare_pairs(
            np.stack([getattr(one, measure) for one in scores.values()]),
            params.resamples,
            permutations(len(scores), params),
            params.seed,
            both_known=measure == "score",  # a pair that the judge could not score on one side counts on neither
        )
        for name, comparisons in zip(names, found, strict=True):
            table[name][measure] = dict(zip(COLUMNS, comparisons, strict=True))
        _correct([pair[measure]["macro"] for pair in table.values()], params)
        _correct([pair[measure][region] for pair in table.values() for region in SCORED_REGIONS], params)
    return table


def _correct(family: list[dict], params: CompareParams) -> None:
    """Complete the comparisons of one family with what the correction decides, and round them."""
    for comparison, p_holm in zip(family, holm([comparison["p"] for comparison in family]), strict=True):
        comparison |= {"p_holm": p_holm, "holds": p_holm < params.alpha}
        for key, value in comparison.items():
            if isinstance(value, float):
                comparison[key] = rounded(value)


def detectable_differences(pairs: Mapping[str, dict], params: CompareParams) -> dict:
    """Of one study set: {measure: {"median", "least", "most"}}, the smallest macro difference that its number of studies detects
    with power `params.power`, for a pair whose results differ from study to study as those of the median, the most similar and
    the most dissimilar pair do. At alpha over the number of pairs, where Holm's correction starts. None where no pair has a spread.
    """
    alpha = params.alpha / max(1, len(pairs))
    result = {}
    for measure in MEASURES:
        macros = [pair[measure]["macro"] for pair in pairs.values()]
        spreads = [macro["sd"] for macro in macros if macro["sd"]]
        if not spreads:
            result[measure] = None
            continue
        chosen = {"median": median(spreads), "least": min(spreads), "most": max(spreads)}
        n = macros[0]["n"]
        result[measure] = {name: rounded(detectable(sd, n, alpha, params.power)) for name, sd in chosen.items()}
    return result
