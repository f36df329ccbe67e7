"""Agreement of the clinical score with radiologists on RadPref and RadJudge (CRIMSON, arXiv
2603.06183), which are in ../shared/judges.

    python bench/radpref.py [--cases ../shared/judges] [--measure clinical|score]

The figures are those of `xraygen examine` (xraygen/evaluation/examination/radpref.py), on whole
reports and on the lists of findings joined to one text.

Prints one JSON line. `out_of_fold`: the parameters for each case are those that do best on the
other folds of cases, mean of several draws of the folds. `radiologists`: each one against the mean
of the others. `their_errors`: the clinical formula, given the errors that each radiologist counted,
which is what a perfect reader of findings would reach.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from xraygen.evaluation.examination.orders import OrderCase, read_radjudge
from xraygen.evaluation.examination.radpref import (
    FORMS,
    Errors,
    Figure,
    Form,
    Rated,
    agreement,
    radiologists,
    read_radpref,
)
from xraygen.judges.proxy import hardware
from xraygen.judges.proxy.clinical import (
    WEIGHTS,
    Parameters,
    Weights,
    assess,
    clinical_score,
    significance,
)
from xraygen.judges.proxy.proxy import Proxy

FOLDS, DRAWS = 5, 4
# What is chosen: the error for a less or more specific name, and the weight of hardware in place.
GRID = list(product((0.25, 0.5, 1.0), (0.0, 0.25)))
Scorer = Callable[[str, str], float]


def scores(rated: Sequence[Rated], form: Form, scorer: Scorer) -> np.ndarray:
    """(rows)"""
    return np.array([scorer(*row.pair(form)) for row in rated])


def orders_right(cases: Sequence[OrderCase], scorer: Scorer) -> list[str]:
    """The categories of the cases of RadJudge whose expected order holds."""
    right = []
    for case in cases:
        if case.holds({pair: scorer(*pair) for pair in case.pairs.values()}):
            right.append(case.category)
    return right


def both_of(cases: np.ndarray) -> np.ndarray:
    """Positions of the two candidates of each case."""
    return np.stack([2 * cases, 2 * cases + 1], axis=1).ravel()


def values(figures: Mapping[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


def out_of_fold(of_values: np.ndarray, rated: Sequence[Rated]) -> dict[str, float]:
    """The agreement of scores whose parameters were chosen on other cases, by the sum of the three
    figures; mean of several draws of the folds. `of_values`: (values of GRID, rows) scores.
    """
    cases = len(rated) // 2
    figures = []
    for seed in range(DRAWS):
        found = np.empty(2 * cases)
        for fold in np.array_split(np.random.default_rng(seed).permutation(cases), FOLDS):
            rest = both_of(np.setdiff1d(np.arange(cases), fold))
            others = [rated[at] for at in rest]
            sums = [
                sum(values(agreement(others, scored[rest], resamples=0)).values())
                for scored in of_values
            ]
            found[both_of(fold)] = of_values[int(np.argmax(sums))][both_of(fold)]
        figures.append(values(agreement(rated, found, resamples=0)))
    return {name: round(float(np.mean([one[name] for one in figures])), 3) for name in figures[0]}


def shown(figures: Mapping[str, Figure]) -> dict[str, list[float]]:
    """The values with their intervals."""
    return {
        name: [round(number, 3) for number in (figure.value, figure.low, figure.high)]
        for name, figure in figures.items()
    }


def from_their_errors(row: Rated, errors: Errors) -> float:
    """The clinical score of a row where the reader of findings is the radiologist. Findings that
    are not counted as errors are matched, and weigh as the mean of those that are not urgent.
    """
    false = sum(WEIGHTS[kind] * n for kind, n in errors.false.items())
    missed = sum(WEIGHTS[kind] * n for kind, n in errors.missing.items())
    matched = len(row.reference_findings) - sum(errors.missing.values())
    correct = max(0, matched) * (WEIGHTS["actionable_not_urgent"] + 0.25) / 2
    return clinical_score(correct + missed, correct, false)


def by_formula(rated: Sequence[Rated]) -> list[float]:
    """(rows): the clinical formula on the errors that the radiologists counted."""
    return [
        float(np.mean([from_their_errors(row, rater.errors) for rater in row.raters]))
        for row in rated
    ]


def with_hardware(weight: float) -> dict[str, Weights | None]:
    """The table of significance with this weight for hardware that is in place."""
    kinds = (hardware.DEVICES.keys() | hardware.SURGERY.keys()) - {"malpositioned device"}
    return {**significance(), **dict.fromkeys(kinds, (weight,) * 4)}


def clinical(name: float, weight: float) -> Scorer:
    """The clinical score with other parameters."""
    parameters, table = Parameters(name=name), with_hardware(weight)
    return lambda reference, candidate: assess(reference, candidate, parameters, table).score


def scorer_of(measure: str) -> Scorer:
    if measure == "clinical":
        return lambda reference, candidate: assess(reference, candidate).score
    proxy = Proxy()
    return lambda reference, candidate: float(proxy.judge([(reference, candidate)])[0].score or 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=Path, default=Path("../shared/judges"))
    parser.add_argument("--measure", choices=("clinical", "score"), default="clinical")
    arguments = parser.parse_args()
    rated = read_radpref(arguments.cases / "radpref.jsonl")
    cases = read_radjudge(arguments.cases / "radjudge.jsonl")
    scorer = scorer_of(arguments.measure)
    result: dict = {"measure": arguments.measure, "rows": len(rated)}
    for form in FORMS:
        result[form] = shown(agreement(rated, scores(rated, form, scorer)))
        if arguments.measure == "clinical":
            of_values = np.array([scores(rated, form, clinical(*chosen)) for chosen in GRID])
            result[form]["out_of_fold"] = out_of_fold(of_values, rated)
    result["radjudge"] = {"right": len(orders_right(cases, scorer)), "of": len(cases)}
    result["radiologists"] = shown(radiologists(rated))
    result["their_errors"] = shown(agreement(rated, by_formula(rated)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
