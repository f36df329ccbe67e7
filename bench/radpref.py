"""Agreement of the clinical score with radiologists on RadPref and RadJudge (CRIMSON, arXiv
2603.06183), which are in ../shared/judges.

    python bench/radpref.py [--cases ../shared/judges] [--measure clinical|score]

On whole reports, and on the lists of findings joined to one text: Kendall's tau-b with the mean
rating, and with minus the mean number of errors that matter (false and missing, without benign
ones); the share of cases whose two candidates are in the radiologists' order (equal scores count
half; cases with equal mean ratings are left out). 95 % intervals are by bootstrap over cases.

Prints one JSON line. `out_of_fold`: the parameters for each case are those that do best on the
other folds of cases, mean of several draws of the folds. `radiologists`: each one against the mean
of the other two. `their_errors`: the clinical formula, given the errors that each radiologist
counted, which is what a perfect reader of findings would reach.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

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

FOLDS, DRAWS, RESAMPLES = 5, 4, 1000
EQUAL = 0.02  # "C1 = C2" in RadJudge
SHOWN = ("reports", "findings")
# What is chosen: the error for a less or more specific name, and the weight of hardware in place.
GRID = list(product((0.25, 0.5, 1.0), (0.0, 0.25)))
Scorer = Callable[[str, str], float]


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(row: dict, shown: str) -> tuple[str, str]:
    """The (reference, candidate) of a row, as whole reports or as lists of findings."""
    if shown == "reports":
        return row["reference"], row["candidate"]
    return ". ".join(row["reference_findings"]), ". ".join(row["candidate_findings"])


def errors_that_matter(errors: dict) -> int:
    """False and missing findings, without benign or expected ones."""
    counts = (errors["false"], errors["missing"])
    return sum(n for kinds in counts for kind, n in kinds.items() if kind != "benign_expected")


def ratings(rows: Sequence[dict]) -> np.ndarray:
    """(rows, raters)"""
    return np.array([[rater["rating"] for rater in row["raters"]] for row in rows], dtype=float)


def errors(rows: Sequence[dict]) -> np.ndarray:
    """(rows, raters): the errors that matter."""
    return np.array(
        [[errors_that_matter(rater["errors"]) for rater in row["raters"]] for row in rows]
    )


def scores(rows: Sequence[dict], shown: str, scorer: Scorer) -> np.ndarray:
    """(rows)"""
    return np.array([scorer(*texts(row, shown)) for row in rows])


def order(values: np.ndarray) -> np.ndarray:
    """(2 cases) -> (cases): 1 where the first candidate has more, -1 where the second has."""
    return np.sign(values[::2] - values[1::2])


def in_order(found: np.ndarray, rated: np.ndarray) -> float:
    """The share of cases in the order of the ratings; NaN if no ratings differ."""
    ordered, wanted = order(found), order(rated)
    differ = wanted != 0
    if not differ.any():
        return float("nan")
    return float(np.mean(np.where(ordered == 0, 0.5, ordered == wanted)[differ]))


def agreement(found: np.ndarray, rated: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """All arrays (2 cases): the candidates of a case follow each other."""
    return {
        "tau_rating": float(kendalltau(found, rated).statistic),
        "tau_errors": float(kendalltau(found, -wrong).statistic),
        "pairs": in_order(found, rated),
    }


def both_of(cases: np.ndarray) -> np.ndarray:
    """Positions of the two candidates of each case."""
    return np.stack([2 * cases, 2 * cases + 1], axis=1).ravel()


def intervals(found: np.ndarray, rated: np.ndarray, wrong: np.ndarray) -> dict[str, list[float]]:
    """95 % intervals by bootstrap over cases."""
    draw = np.random.default_rng(0)
    cases = len(found) // 2
    drawn = []
    for _ in range(RESAMPLES):
        rows = both_of(draw.integers(cases, size=cases))
        drawn.append(agreement(found[rows], rated[rows], wrong[rows]))
    return {
        name: np.round(np.nanpercentile([one[name] for one in drawn], [2.5, 97.5]), 3).tolist()
        for name in drawn[0]
    }


def holds(scores: dict[str, float], expected: str) -> bool:
    """Whether the scores are in an order such as "C1 > C2" or "C1 = C2"."""
    first, sign, second = expected.split()
    if sign == "=":
        return abs(scores[first] - scores[second]) <= EQUAL
    return scores[first] > scores[second]


def orders_right(rows: Sequence[dict], scorer: Scorer) -> list[str]:
    """The ids of the cases of RadJudge whose expected order holds."""
    right = []
    for row in rows:
        of = {name: scorer(row["reference"], text) for name, text in row["candidates"].items()}
        expected = row["expected"]
        wanted = [expected] if isinstance(expected, str) else expected
        if all(holds(of, one) for one in wanted):
            right.append(row["id"])
    return right


def out_of_fold(of_values: np.ndarray, rated: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """The agreement of scores whose parameters were chosen on other cases, by the sum of the three
    figures; mean of several draws of the folds. `of_values`: (values of GRID, rows) scores.
    """
    cases = len(rated) // 2
    figures = []
    for seed in range(DRAWS):
        found = np.empty(2 * cases)
        for fold in np.array_split(np.random.default_rng(seed).permutation(cases), FOLDS):
            rest = both_of(np.setdiff1d(np.arange(cases), fold))
            sums = [
                sum(agreement(scored[rest], rated[rest], wrong[rest]).values())
                for scored in of_values
            ]
            found[both_of(fold)] = of_values[int(np.argmax(sums))][both_of(fold)]
        figures.append(agreement(found, rated, wrong))
    return mean(figures)


def mean(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([one[name] for one in figures])), 3) for name in figures[0]}


def from_their_errors(row: dict, errors: dict) -> float:
    """The clinical score of a row where the reader of findings is the radiologist. Findings that
    are not counted as errors are matched, and weigh as the mean of those that are not urgent.
    """
    false = sum(WEIGHTS[kind] * n for kind, n in errors["false"].items())
    missed = sum(WEIGHTS[kind] * n for kind, n in errors["missing"].items())
    matched = len(row["reference_findings"]) - sum(errors["missing"].values())
    correct = max(0, matched) * (WEIGHTS["actionable_not_urgent"] + 0.25) / 2
    return clinical_score(correct + missed, correct, false)


def radiologists(rows: Sequence[dict]) -> dict[str, dict[str, float]]:
    """The upper references: radiologists among themselves, and the formula on their errors."""
    rated, wrong = ratings(rows), errors(rows)
    among = []
    for one in range(rated.shape[1]):
        others = np.delete(rated, one, axis=1).mean(axis=1)
        counted = np.delete(wrong, one, axis=1).mean(axis=1)
        among.append(agreement(rated[:, one], others, wrong[:, one]))
        among[-1]["tau_errors"] = kendalltau(wrong[:, one], counted).statistic
    formula = [
        np.mean([from_their_errors(row, rater["errors"]) for rater in row["raters"]])
        for row in rows
    ]
    reached = agreement(np.array(formula), rated.mean(axis=1), wrong.mean(axis=1))
    return {"radiologists": mean(among), "their_errors": mean([reached])}


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
    rows = read(arguments.cases / "radpref.jsonl")
    rated, wrong = ratings(rows).mean(axis=1), errors(rows).mean(axis=1)
    scorer = scorer_of(arguments.measure)
    result: dict = {"measure": arguments.measure, "rows": len(rows)}
    for shown in SHOWN:
        found = scores(rows, shown, scorer)
        measured: dict = mean([agreement(found, rated, wrong)])
        measured["interval"] = intervals(found, rated, wrong)
        if arguments.measure == "clinical":
            of_values = np.array([scores(rows, shown, clinical(*values)) for values in GRID])
            measured["out_of_fold"] = out_of_fold(of_values, rated, wrong)
        result[shown] = measured
    judged = read(arguments.cases / "radjudge.jsonl")
    result["radjudge"] = {"right": orders_right(judged, scorer), "of": len(judged)}
    print(json.dumps(result | radiologists(rows)))


if __name__ == "__main__":
    main()
