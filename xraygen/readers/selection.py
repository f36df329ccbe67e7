"""Which regions readers review: those that are likely wrong, those that an approach is least sure
of, those in which it differs most from the other approaches, or random ones.
"""

import hashlib
import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Literal, NamedTuple

import numpy as np

from xraygen.core.errors import UserError
from xraygen.evaluation import results
from xraygen.readers.pool import Pool, Signs, wrong_regions

By = Literal["risk", "uncertainty", "disagreement", "random"]


class CannotRank(UserError):
    """There is nothing by which regions could be chosen in this way."""


class Region(NamedTuple):
    """A region of a study. Those with the largest `doubt` are reviewed first, and among equals in
    the order of `draw`, which is random.
    """

    doubt: float
    draw: str
    id: str
    name: str


def candidates(pool: Pool, by: By, seed: int) -> Iterator[Region]:
    """All regions of a pool. `seed` draws random ones and breaks ties. CannotRank: `by` cannot be
    used for this pool.
    """
    ranked = {
        "risk": _risk,
        "uncertainty": _uncertainty,
        "disagreement": _disagreement,
        "random": _equal,
    }
    for signs, doubt in ranked[by](pool):
        yield Region(doubt, _draw(seed, signs.id, signs.region), signs.id, signs.region)


def first(candidates: Iterable[Region], n: int) -> list[Region]:
    """The `n` that are reviewed first, in this order; all of them where there are fewer."""
    return heapq.nsmallest(n, candidates, key=lambda region: (-region.doubt, region.draw))


def by_study(chosen: Iterable[Region], shuffled: int | None) -> dict[str, list[str]]:
    """The names of the chosen regions by study. The studies are in the order of their first region,
    or, with a seed in `shuffled`, in a random one that tells nothing of doubt.
    """
    found: dict[str, list[str]] = {}
    for region in chosen:
        found.setdefault(region.id, []).append(region.name)
    if shuffled is not None:
        found = dict(sorted(found.items(), key=lambda item: _draw(shuffled, item[0])))
    return found


def _equal(pool: Pool) -> Iterator[tuple[Signs, float]]:
    return ((signs, 0.0) for signs in pool.signs())


def _uncertainty(pool: Pool) -> Iterator[tuple[Signs, float]]:
    """The least confident regions first, and those without a confidence before them."""
    regions = 0
    without = 0
    for signs in pool.signs():
        regions += 1
        without += signs.confidence is None
        yield signs, 1.0 if signs.confidence is None else -signs.confidence
    if regions and without == regions:
        raise CannotRank(
            f"{pool.approach} gives no confidence; choose with --by risk, disagreement or random"
        )


def _disagreement(pool: Pool) -> Iterator[tuple[Signs, float]]:
    """First the regions whose text is the furthest from what the other approaches say: the median
    of 1 - token F1, so that one approach that differs from all in every region does not count.
    """
    others = pool.others()
    if not others:
        raise CannotRank(
            f"{pool.split} has no texts of other approaches to disagree with; choose with "
            "--by risk, uncertainty or random"
        )
    for signs in pool.signs(others):
        known = [value for value in signs.apart if not math.isnan(value)]
        yield signs, median(known) if known else 0.0


_DIGITS = 6  # of a risk, so that the last bits of a sum do not decide
_SURE = 1e-4  # confidences closer to 0 or 1 are taken for this


def _risk(pool: Pool) -> Iterator[tuple[Signs, float]]:
    """The probability that a region is wrong: a logistic regression on the logit of its confidence
    and on how far its text is from that of each other approach, fitted to dev.
    """
    from sklearn.linear_model import LogisticRegression

    others = pool.others()
    on_dev = pool._replace(split="dev")
    wrong = wrong_regions(results.studies("dev"), on_dev)
    known = [signs for signs in on_dev.signs(others) if (signs.id, signs.region) in wrong]
    outcomes = [wrong[signs.id, signs.region] for signs in known]
    if len(set(outcomes)) < 2:
        raise CannotRank(
            f"dev has no reference that {pool.approach} is wrong about, or none that it is right "
            "about, to learn from; choose with --by uncertainty, disagreement or random"
        )
    model = LogisticRegression(max_iter=1000).fit(_features(known), outcomes)
    members = list(pool.signs(others))
    if members:
        risks = model.predict_proba(_features(members))[:, 1].round(_DIGITS)
        yield from zip(members, risks.tolist(), strict=True)


def _features(members: Sequence[Signs]) -> np.ndarray:
    """(n, 1 + number of other approaches). What is not known is in the middle."""
    confidence = np.array([signs.confidence for signs in members], dtype=float)
    confidence = np.nan_to_num(confidence, nan=0.5).clip(_SURE, 1 - _SURE)
    apart = np.array([signs.apart for signs in members], dtype=float).reshape(len(members), -1)
    logit = np.log(confidence / (1 - confidence))
    return np.column_stack([logit, np.nan_to_num(apart, nan=0.5)])


def _draw(seed: int, *parts: str) -> str:
    """A random number as text, which depends on nothing but its arguments."""
    return hashlib.sha256("\n".join((str(seed), *parts)).encode()).hexdigest()
