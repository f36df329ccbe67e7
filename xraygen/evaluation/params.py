"""The sections `evaluate` and `compare` of params.yaml."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from xraygen.core.study import Measure, NonEmpty, Record, Share


class EvaluateParams(Record):
    """`judge`: a built-in name, or `package.module:Class`. `settings`: those of each judge, by its
    name, whether it is the chosen one or not. `measure`: what the floor and the release are chosen
    by. `resamples`: bootstrap resamples for each interval.
    """

    judge: NonEmpty
    settings: dict[str, Record]
    measure: Measure
    resamples: PositiveInt
    seed: NonNegativeInt


class CompareParams(Record):
    """`resamples`: bootstrap resamples for each interval, and the minimum number of permutations of
    a test, which takes 20 times the number of comparisons over alpha where that is more. `alpha`:
    family-wise error rate after Holm's correction. `power`: probability of detecting a difference
    as large as the detectable one that is printed. `review_risk`: the largest share of wrong
    regions among those that a release does not mark for review, except with probability `alpha`.
    `gate`: what makes `xraygen diff --gate` fail: the released approach got significantly worse or
    is gone; any approach got significantly worse, too; None = nothing does.
    """

    resamples: PositiveInt
    alpha: Share
    power: Share
    seed: NonNegativeInt
    review_risk: Share = 0.05
    gate: Literal["released", "any"] | None = None
