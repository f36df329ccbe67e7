"""What review buys: wrong regions that are left against regions reviewed.

    python bench/review.py [APPROACH ...]     # after `dvc repro`; by default all

Reads the test studies in data/ of this folder, phantoms by default. A region is wrong as `is_right`
says. Two simulated readers look at it, each of whom corrects a wrong text except with probability
MISSED, and spoils a right one with probability SPOILT; where they differ, a third one of the same
kind settles it. Regions are reviewed in the orders of `xraygen review --by`.

Prints one JSON line: for each approach the number of regions and the share of wrong ones. For each
order: `remain`, the share of wrong regions that is left after each tenth of the regions, the mean
over SEEDS seeds; for the first fifth `removed`, the share of the errors that is gone (corrected
minus spoilt), and `studies`, how many reports have to be read; and `gain`, how many times as many
errors are gone as at random, with its 95 % interval from resampling studies. `most`: the gain of an
order that has the wrong regions first.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple, get_args

import numpy as np

from xraygen import params
from xraygen.evaluation import results
from xraygen.readers import selection
from xraygen.readers.pool import Pool, wrong_regions

MISSED, SPOILT = 0.05, 0.02
SEEDS = 200
RESAMPLES = 2000
FIFTH = 0.2
SETTINGS = params.load()


class Order(NamedTuple):
    """Regions in the order of review: `wrong` (n,) bool, the number of the `study` (n,) int."""

    wrong: np.ndarray
    study: np.ndarray


def ordered(chosen: Iterable[selection.Region], wrong: Mapping[tuple[str, str], bool]) -> Order:
    numbers: dict[str, int] = {}
    judged = [region for region in chosen if (region.id, region.name) in wrong]
    return Order(
        np.array([wrong[region.id, region.name] for region in judged]),
        np.array([numbers.setdefault(region.id, len(numbers)) for region in judged]),
    )


def reviewed(wrong: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which regions are wrong after review: what two of three readers say."""
    chance = np.where(wrong, MISSED, SPOILT)
    votes = rng.random((3, len(wrong))) < chance
    return votes.sum(axis=0) >= 2


def fewer(wrong: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By how many errors review makes the regions fewer: 1, 0, or -1 where it spoils one."""
    return wrong.astype(int) - reviewed(wrong, rng)


def curve(orders: list[Order]) -> list[float]:
    """The share of wrong regions after each tenth; the mean over the orders' seeds."""
    left = []
    for seed, order in enumerate(orders):
        gone = np.cumsum(fewer(order.wrong, np.random.default_rng(seed)))
        steps = np.round(np.linspace(0, 1, 11) * len(gone)).astype(int)
        left.append(order.wrong.sum() - np.concatenate([[0], gone])[steps])
    return (np.mean(left, axis=0) / len(orders[0].wrong)).round(4).tolist()


def gain(order: Order) -> tuple[float, float, float]:
    """(gain, low, high) of the first fifth of an order over the mean of all random ones."""
    rng = np.random.default_rng(0)
    studies = order.study.max() + 1
    everyone = np.ones(studies, dtype=int)
    found = np.mean([_gain(order, everyone, rng) for _ in range(SEEDS)])
    draws = rng.integers(0, studies, (RESAMPLES, studies))
    resampled = [_gain(order, np.bincount(draw, minlength=studies), rng) for draw in draws]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return round(found, 2), round(low, 2), round(high, 2)


def _gain(order: Order, copies: np.ndarray, rng: np.random.Generator) -> float:
    """With `copies` of each study. Of random orders the first fifth has a fifth of what is gone, in
    the mean.
    """
    weight = copies[order.study]
    gone = weight * fewer(order.wrong, rng)
    first = np.cumsum(weight) <= FIFTH * weight.sum()
    return gone[first].sum() / (FIFTH * gone.sum())


def measured(approach: str) -> dict:
    pool = Pool(approach, tuple(SETTINGS.approaches), SETTINGS.regions, "test")
    wrong = wrong_regions(results.studies("test"), pool)
    share = np.mean(list(wrong.values()))
    result: dict = {
        "regions": len(wrong),
        "wrong": round(share, 4),
        "most": round(min(1 / FIFTH, 1 / share), 2),
    }
    for by in get_args(selection.By):
        seeds = range(SEEDS if by == "random" else 1)
        try:
            orders = [
                ordered(selection.first(selection.candidates(pool, by, seed), len(wrong)), wrong)
                for seed in seeds
            ]
        except selection.CannotRank:  # no confidences
            continue
        result[by] = reviewing(orders)
        if by != "random":
            result[by]["gain"] = gain(orders[0])
    return result


def reviewing(orders: list[Order]) -> dict:
    """What an order buys; random ones are several."""
    remain = curve(orders if len(orders) > 1 else orders * SEEDS)
    fifth = round(FIFTH * len(orders[0].wrong))
    return {
        "remain": remain,
        "removed": round(1 - remain[2] / remain[0], 3),
        "studies": round(np.mean([len(set(order.study[:fifth])) for order in orders])),
    }


def main(*approaches: str) -> None:
    print(json.dumps({name: measured(name) for name in approaches or SETTINGS.approaches}))


if __name__ == "__main__":
    main(*sys.argv[1:])
