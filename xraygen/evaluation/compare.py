"""Every approach against every other on the same studies: by how much they differ, and whether that
is significant.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median

import numpy as np

from xraygen.core.study import VERSUS, Agreement
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.resampling import (
    bootstrap,
    compare_pairs,
    detectable,
    holm,
    intervals,
    means,
    permutations_needed,
)
from xraygen.evaluation.scores import MEASURES, StudyScores, rounded


def report_of(
    scores: Mapping[str, Mapping[str, StudyScores]],
    summaries: Mapping[str, dict],
    agreement: Sequence[Agreement],
    params: CompareParams,
) -> dict:
    """The content of reports/comparison.json. `scores`: by approach and study set; `summaries`: the
    content of data/judgements/<approach>/summary.json by approach; `agreement`: the records of
    data/prepared/agreement.jsonl.
    """
    pairs = compare_all(scores, params)
    regions = next(iter(scores.values()))["test"].regions
    on_test = {name: by_set["test"] for name, by_set in scores.items()}
    return {
        "approaches": dict(summaries),
        "permutations": permutations(len(scores), len(regions), params),
        "pairs": pairs,
        "detectable": {
            name: detectable_differences(table, params) for name, table in pairs.items()
        },
        "repeated": on_repeated_reports(on_test, agreement, params),
        "attainable": attainable((member.attainable for member in agreement), regions),
    }


def compare_all(approaches: Mapping[str, Mapping[str, StudyScores]], params: CompareParams) -> dict:
    """{approach: {study set: scores}} -> {study set: {"a vs b": {measure: {"macro" | region:
    comparison}}}}.

    `difference` is a minus b. Holm's correction runs over the pairs of approaches for macro, and
    over pairs times regions for the regions, within one study set and measure. `holds`: the
    corrected p-value is below `alpha`. The measure `clinical` is compared where a judge tells it.
    """
    told = {
        measure
        for by_set in approaches.values()
        for scores in by_set.values()
        for measure in scores.measures()
    }
    measures = [measure for measure in MEASURES if measure in told]
    sets = next(iter(approaches.values()))
    return {
        name: _compare_set(
            {key: scores[name] for key, scores in approaches.items()}, measures, params
        )
        for name in sets
    }


def permutations(approaches: int, regions: int, params: CompareParams) -> int:
    """The number of permutations of each test: enough for the larger family of comparisons, pairs
    of approaches times regions.
    """
    pairs = approaches * (approaches - 1) // 2
    return max(params.resamples, permutations_needed(pairs * regions, params.alpha))


def _compare_set(
    scores: Mapping[str, StudyScores], measures: Sequence[str], params: CompareParams
) -> dict:
    if len({one.ids for one in scores.values()}) > 1:
        raise ValueError("approaches are compared on the same studies")
    first = next(iter(scores.values()))
    names = [f"{a}{VERSUS}{b}" for a, b in combinations(scores, 2)]
    table: dict = {name: {} for name in names}
    for measure in measures:
        found = compare_pairs(
            np.stack([getattr(one, measure) for one in scores.values()]),
            params.resamples,
            permutations(len(scores), len(first.regions), params),
            params.seed,
            # A pair that the judge could not score on one side counts on neither.
            both_known=measure != "token_f1",
        )
        for name, comparisons in zip(names, found, strict=True):
            table[name][measure] = dict(zip(first.columns, comparisons, strict=True))
        measured = [pair[measure] for pair in table.values()]
        _correct([columns["macro"] for columns in measured], params)
        _correct([columns[region] for columns in measured for region in first.regions], params)
    return table


def _correct(family: list[dict], params: CompareParams) -> None:
    """Add `p_holm` and `holds` to the comparisons of one family, and round their numbers."""
    corrected = holm([comparison["p"] for comparison in family])
    for comparison, p_holm in zip(family, corrected, strict=True):
        comparison |= {"p_holm": p_holm, "holds": p_holm < params.alpha}
        for key, value in comparison.items():
            if isinstance(value, float):
                comparison[key] = rounded(value)


def detectable_differences(pairs: Mapping[str, dict], params: CompareParams) -> dict:
    """For one study set, {measure: {"median", "least", "most"}}: the smallest macro difference that
    its number of studies detects with power `params.power`, if two approaches differ from study to
    study as much as the median, the most similar and the least similar pair do. The level is alpha
    over the number of pairs, where Holm's correction starts. None where no pair has a spread.
    """
    alpha = params.alpha / max(1, len(pairs))
    result: dict[str, dict[str, float | None] | None] = {}
    for measure in next(iter(pairs.values()), dict.fromkeys(MEASURES)):
        macros = [pair[measure]["macro"] for pair in pairs.values()]
        spreads = [macro["sd"] for macro in macros if macro["sd"]]
        if not spreads:
            result[measure] = None
            continue
        chosen = {"median": median(spreads), "least": min(spreads), "most": max(spreads)}
        n = macros[0]["n"]
        result[measure] = {
            name: rounded(detectable(sd, n, alpha, params.power)) for name, sd in chosen.items()
        }
    return result


def on_repeated_reports(
    approaches: Mapping[str, StudyScores], agreement: Iterable[Agreement], params: CompareParams
) -> dict | None:
    """Token F1 of the curators, and of the approaches on the same studies: the test studies whose
    report another study has too. {"studies", "reports", "curators": cells, "approaches": {name:
    cells}}, with cells {"macro" | region: {"token_f1", "ci_low", "ci_high"}}, those of approaches
    also with "difference", "difference_low" and "difference_high": from the curators, paired.

    Intervals are by bootstrap over reports, because studies with the same report are not
    independent. None: there are no such studies.
    """
    members = {member.id: member for member in agreement}
    repeated = {id: one.curators for id, one in members.items() if one.curators is not None}
    if not repeated:
        return None
    chosen = {name: scores.only(repeated) for name, scores in approaches.items()}
    first = next(iter(chosen.values()))
    ids = first.ids
    curators = [[repeated[id][region] for region in first.regions] for id in ids]
    measured = [scores.token_f1 for scores in chosen.values()]
    values = np.stack([np.array(curators, dtype=float), *measured])
    reports, groups = np.unique([members[id].report for id in ids], return_inverse=True)
    found = means(values)
    drawn = np.full((2, *found.shape), np.nan)  # where there are no intervals
    if len(reports) > 1:
        drawn = bootstrap(values, params.resamples, params.seed, groups)
    names = ("token_f1", "ci_low", "ci_high")
    curator_cells, *cells = _cells(first.columns, names, found, *intervals(drawn)[:2])
    # From one bootstrap: both sides of a difference are of the same reports.
    names = ("difference", "difference_low", "difference_high")
    ends = intervals(drawn[:, 1:] - drawn[:, :1])[:2]
    differences = _cells(first.columns, names, found[1:] - found[0], *ends)
    return {
        "studies": len(ids),
        "reports": len(reports),
        "curators": curator_cells,
        "approaches": {
            name: {column: measured[column] | paired[column] for column in first.columns}
            for name, measured, paired in zip(chosen, cells, differences, strict=True)
        },
    }


def _cells(columns: Sequence[str], names: Sequence[str], *values: np.ndarray) -> list[dict]:
    """Arrays of (rows, columns), one for each name -> of each row {column: {name: value}}."""
    return [
        {
            column: dict(zip(names, map(rounded, cell), strict=True))
            for column, cell in zip(columns, row, strict=True)
        }
        for row in np.stack(values, axis=-1).tolist()
    ]


def attainable(
    scores: Iterable[dict[str, tuple[float, int]] | None], regions: Sequence[str]
) -> dict | None:
    """`attainable` of each study -> {"macro" | scored region: mean token F1}; None: no study has
    it.

    The mean is over redraws, not over studies: where the best answer is empty, most redraws are
    empty too and do not count, and the few others must not weigh as much as a whole study.
    """
    known = [by_region for by_region in scores if by_region is not None]
    if not known:
        return None
    cells = np.array([[by_region[region] for region in regions] for by_region in known])
    sums, counts = cells.sum(axis=0).T
    with np.errstate(invalid="ignore", divide="ignore"):
        regional = np.where(counts > 0, sums / counts, np.nan)
    values = [float(regional.mean()), *regional.tolist()]
    return dict(zip(("macro", *regions), map(rounded, values), strict=True))
