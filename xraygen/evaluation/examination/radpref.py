"""RadPref: how three radiologists rated two candidate reports for each of some cases (CRIMSON,
arXiv 2603.06183), and how far a judge agrees with them.

Three figures, each for whole reports and for the lists of findings joined to one text:

- `rating`: Kendall's tau-b of the scores with the mean rating, over candidates;
- `errors`: the same with minus the mean number of errors that matter, which are false and missing
  findings without benign ones;
- `pairs`: the share of the cases whose two candidates the scores put in the order of the mean
  ratings. Equal scores count half; cases with equal mean ratings are left out.

Intervals are by bootstrap over cases. The radiologists' own agreement is that of each with the mean
of the others, in the same figures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.study import NonEmpty
from xraygen.core.tables import read_rows
from xraygen.evaluation.resampling import intervals

FILE = "radpref.jsonl"
FIGURES = ("rating", "errors", "pairs")
_EQUAL = 1e-9  # mean ratings, and scores, that differ by less are equal

Form = Literal["reports", "findings"]
FORMS: tuple[Form, ...] = get_args(Form)
Counts = dict[str, NonNegativeInt]


class Errors(BaseModel):
    """The errors that a rater counted, by significance."""

    false: Counts
    missing: Counts

    @property
    def that_matter(self) -> int:
        both = (self.false, self.missing)
        return sum(n for counts in both for name, n in counts.items() if name != "benign_expected")


class Rater(BaseModel):
    rating: Annotated[float, Field(ge=1, le=5)]
    errors: Errors


class Rated(BaseModel):
    """A row of radpref.jsonl: one candidate for a case, and what each radiologist said of it."""

    case: NonEmpty
    reference: str
    candidate: str
    reference_findings: list[str]
    candidate_findings: list[str]
    raters: Annotated[list[Rater], Field(min_length=2)]

    def pair(self, form: Form) -> tuple[str, str]:
        """The (reference, candidate) that a judge is given."""
        if form == "reports":
            return self.reference, self.candidate
        return ". ".join(self.reference_findings), ". ".join(self.candidate_findings)


class Figure(NamedTuple):
    """A value with its 95 % interval. `n`: the candidates or cases behind it. `right`: of `pairs`,
    the number of cases in order.
    """

    value: float
    low: float
    high: float
    n: int
    right: float | None = None


def read_radpref(path: Path) -> list[Rated]:
    """The rows, the two candidates of a case one after the other. UserError: the file cannot be
    read, or a line is not such a row.
    """
    rated: list[Rated] = []
    for number, row in read_rows(path, tuple(Rated.model_fields)):
        try:
            rated.append(Rated.model_validate(row))
        except ValidationError as error:
            raise UserError(
                f"{path}:{number}: not a row of RadPref: {first_problem(error)}"
            ) from None
        at = len(rated) - 1
        if at % 2 and rated[at].case != rated[at - 1].case:
            raise UserError(f"{path}:{number}: a case has two candidates, one below the other")
        if len(rated[at].raters) != len(rated[0].raters):
            raise UserError(f"{path}:{number}: not as many raters as in the first row")
    if len(rated) < 4 or len(rated) % 2:
        raise UserError(f"{path}: needs at least two cases, each with two candidates")
    return rated


class _Series(NamedTuple):
    """What is compared, each (rows,): `by_rating` and `by_errors` with `ratings` and `errors`, of
    which more is better.
    """

    by_rating: np.ndarray
    by_errors: np.ndarray
    ratings: np.ndarray
    errors: np.ndarray


def agreement(
    rated: Sequence[Rated], scores: Sequence[float], resamples: int = 2000, seed: int = 0
) -> dict[str, Figure]:
    """How far `scores`, one for each row and NaN where there is none, agree with the mean of the
    radiologists: `FIGURES`. Rows without a score are left out of tau; the order of their case
    counts half.
    """
    values = np.array(scores, dtype=float)
    ratings = _ratings(rated).mean(axis=1)
    errors = _errors(rated).mean(axis=1)
    return _figures([_Series(values, values, ratings, errors)], resamples, seed)


def radiologists(rated: Sequence[Rated], resamples: int = 2000, seed: int = 0) -> dict[str, Figure]:
    """How far a radiologist agrees with the mean of the others: the mean over the radiologists, of
    the same figures.
    """
    ratings, errors = _ratings(rated), _errors(rated)
    series = []
    for one in range(ratings.shape[1]):
        others = np.delete(ratings, one, axis=1).mean(axis=1)
        errors_of_others = np.delete(errors, one, axis=1).mean(axis=1)
        series.append(_Series(ratings[:, one], errors[:, one], others, errors_of_others))
    return _figures(series, resamples, seed)


def _ratings(rated: Sequence[Rated]) -> np.ndarray:
    """(rows, raters)."""
    return np.array([[rater.rating for rater in row.raters] for row in rated], dtype=float)


def _errors(rated: Sequence[Rated]) -> np.ndarray:
    """(rows, raters) minus the number of errors that matter, so that more is better."""
    counts = [[rater.errors.that_matter for rater in row.raters] for row in rated]
    return -np.array(counts, dtype=float)


def _figures(series: Sequence[_Series], resamples: int, seed: int) -> dict[str, Figure]:
    """The mean of each figure over `series`."""
    cases = len(series[0].ratings) // 2
    drawn = np.random.default_rng(seed).multinomial(cases, np.full(cases, 1 / cases), resamples)
    weights = np.vstack([np.ones(cases), drawn])  # the first row: every case once
    rows = np.repeat(weights, 2, axis=1)
    of_ratings = [tau_b(one.by_rating, one.ratings, rows) for one in series]
    of_errors = [tau_b(one.by_errors, one.errors, rows) for one in series]
    of_pairs = []
    ordered = [_in_order(one.by_rating, one.ratings) for one in series]
    for in_order, known in ordered:
        with np.errstate(invalid="ignore"):
            of_pairs.append(weights @ in_order / (weights @ known))
    scored = int(np.isfinite(series[0].by_rating).sum())
    counted = max(int(known.sum()) for _, known in ordered)
    right = float(ordered[0][0].sum()) if len(series) == 1 else None
    return {
        "rating": _figure(of_ratings, scored),
        "errors": _figure(of_errors, scored),
        "pairs": _figure(of_pairs, counted, right),
    }


def _figure(values: list[np.ndarray], n: int, right: float | None = None) -> Figure:
    """From (1 + resamples,) values of each series."""
    mean = np.mean(values, axis=0)
    known = mean[1:][np.isfinite(mean[1:])]
    low, high, _ = intervals(known) if len(known) > 1 else (np.nan, np.nan, np.nan)
    return Figure(float(mean[0]), float(low), float(high), n, right)


def tau_b(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of (rows,) `x` and `y`, in which each row occurs as often as (draws, rows)
    `weights` say -> (draws,). Rows without a value are left out; NaN where one side is constant.

    tau-b = (concordant - discordant) / sqrt(pairs untied in x * pairs untied in y), where all three
    counts are sums over pairs of rows, so that one matrix product serves all draws.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y, weights = x[known], y[known], weights[:, known]
    of_x, of_y = _signs(x), _signs(y)

    def total(pairs: np.ndarray) -> np.ndarray:
        return ((weights @ pairs) * weights).sum(axis=1)

    untied = total(np.abs(of_x)) * total(np.abs(of_y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(untied > 0, total(of_x * of_y) / np.sqrt(untied), np.nan)


def _signs(values: np.ndarray) -> np.ndarray:
    """(rows, rows): 1 where the first is greater, -1 where it is less, 0 where they are equal."""
    differences = values[:, None] - values[None, :]
    return np.where(np.abs(differences) > _EQUAL, np.sign(differences), 0.0)


def _in_order(scores: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cases,) 1, .5 or 0 where `scores` order the two rows of a case as `ratings` do, and (cases,)
    1 where `ratings` differ.
    """
    better = ratings[0::2] - ratings[1::2]
    scored = np.nan_to_num(scores[0::2] - scores[1::2])
    known = np.abs(better) > _EQUAL
    half = np.abs(scored) <= _EQUAL
    in_order = np.where(half, 0.5, np.sign(better) == np.sign(scored))
    return in_order * known, known.astype(float)
