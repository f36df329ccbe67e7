"""The proxy judge: an embedded approximation of the GREEN judge (Ostmeier et al., EMNLP Findings
2024), on CPU, without a model.

Each text is read into findings (`findings.py`), and the two sides are compared finding by finding
(`comparison.py`), which gives the counts. The score is their ratio, with half credit for what is
said otherwise, corrected by small regression trees that are fitted to recorded answers of GREEN
(`features.py`). `recipes/fit_proxy.py` fits them and measures the agreement.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xraygen.core.study import Clinical, Listed
from xraygen.judges import Judge, Opinion
from xraygen.judges.proxy.clinical import assess
from xraygen.judges.proxy.comparison import Comparison, counts
from xraygen.judges.proxy.features import FEATURES, features
from xraygen.language.text import sentences, tokens, without_list_markers

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = Path(__file__).with_name("weights.json")
EXAMINED = Path(__file__).with_name("examined.json")
# Leaf values are whole numbers of 1 / UNIT, so that their sum is the same on any machine.
UNIT = 1e6
RATIO = FEATURES.index("+ratio")
BEST_UNEQUAL = 0.99  # 1 is kept for texts that say the same in the same words


class Trees(NamedTuple):
    """Regression trees as arrays (trees, nodes); a leaf is its own child."""

    feature: "np.ndarray"  # int, column to look at
    threshold: "np.ndarray"  # float64, go left where the value is at most this
    left: "np.ndarray"  # int, where to go
    right: "np.ndarray"
    value: "np.ndarray"  # int64, in 1 / UNIT
    depth: int
    start: int  # in 1 / UNIT: what the leaves are added to

    def predict(self, rows: "np.ndarray") -> "np.ndarray":
        """(rows, features) float64 -> (rows,) sums over the trees."""
        import numpy as np

        tree = np.arange(len(self.feature))
        row = np.arange(len(rows))[:, None]
        node = np.zeros((len(rows), len(tree)), dtype=np.int64)
        for _ in range(self.depth):
            goes_left = rows[row, self.feature[tree, node]] <= self.threshold[tree, node]
            node = np.where(goes_left, self.left[tree, node], self.right[tree, node])
        return (self.start + self.value[tree, node].sum(axis=1)) / UNIT


@cache
def _weights() -> dict:
    content = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    if content["features"] != FEATURES:
        raise RuntimeError(
            f"{WEIGHTS} was fitted to other features: run python -m recipes.fit_proxy"
        )
    return content


def trees_from(content: dict) -> Trees:
    """Trees from the JSON that the recipe writes; smaller trees are padded."""
    import numpy as np

    trees = content["trees"]
    width = max(len(tree["feature"]) for tree in trees)

    def array(name: str, dtype) -> np.ndarray:
        return np.array(
            [tree[name] + [0] * (width - len(tree[name])) for tree in trees], dtype=dtype
        )

    return Trees(
        array("feature", np.int64),
        array("threshold", np.float64),
        array("left", np.int64),
        array("right", np.int64),
        array("value", np.int64),
        content["depth"],
        content["start"],
    )


@cache
def _fitted() -> Trees:
    return trees_from(_weights())


def same(reference: str, candidate: str) -> bool:
    """Equal but for case, punctuation and the order of sentences."""
    left, right = tokens(reference), tokens(candidate)
    if left == right or sorted(left) != sorted(right):
        return left == right
    return sorted(map(tokens, sentences(reference))) == sorted(map(tokens, sentences(candidate)))


def table(rows: Sequence[Sequence[float]]) -> "np.ndarray":
    """Feature rows as float64, rounded so that they mean the same wherever they are computed."""
    import numpy as np

    return np.round(np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES)), 4)


def scores(
    trees: Trees, rows: Sequence[Sequence[float]], comparisons: Sequence[Comparison]
) -> list[float]:
    """(n) feature rows and their comparisons -> (n) scores of pairs that are not `same`.

    The ratio, which carries over to texts unlike the recorded ones, corrected by what the trees
    predict. What one side affirms and the other denies bounds the
    score as in GREEN's formula. Wrong sides and severities are too rare in the recorded answers to
    be fitted, so they also count as in the formula.
    """
    result = []
    predictions = trees.predict(table(rows)).tolist()
    for predicted, row, comparison in zip(predictions, rows, comparisons, strict=True):
        matched, errors = counts(comparison)
        score = predicted + float(row[RATIO])
        score = min(max(score, 0.0), BEST_UNEQUAL, _share(matched, len(comparison.contradicted)))
        result.append(round(score * _share(matched, errors.c + errors.d), 4))
    return result


def _share(matched: int, wrong: int) -> float:
    return matched / (matched + wrong) if wrong else 1.0


def listed(comparison: Comparison) -> Listed:
    """The findings behind the counts: matched, false (a) and missing (b)."""
    errors = {"a": comparison.false, "b": comparison.omitted}
    return Listed(
        matched=tuple(map(str, comparison.found)),
        significant={letter: tuple(map(str, found)) for letter, found in errors.items() if found},
    )


def explain(listed: Listed) -> str:
    """One line: the findings that matched, are missing, are false."""
    parts = {
        "matched": listed.matched,
        "missing": listed.significant.get("b"),
        "false": listed.significant.get("a"),
    }
    return "; ".join(
        f"{name}: {', '.join(findings or ['none'])}" for name, findings in parts.items()
    )


def _unscored_opinion(comparison: Comparison) -> Opinion:
    matched, errors = counts(comparison)
    named = listed(comparison)
    return Opinion(None, matched, errors, listed=named, completion=explain(named))


class Proxy(Judge):
    """Judges pairs of texts roughly as GREEN would; its scores are always shown as a proxy's."""

    name = "proxy"

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Opinion]:
        """One opinion for each (reference, candidate), in order. The same words on both sides, or
        none on either, score 1; one empty side, 0.
        """
        opinions: list[Opinion] = []
        rows, comparisons, unscored = [], [], []
        for pair in pairs:
            # "1." is not a finding, nor a word that one side lacks.
            reference, candidate = map(without_list_markers, pair)
            row, comparison = features(reference, candidate)
            opinion = _unscored_opinion(comparison)
            if same(reference, candidate):
                opinion = opinion._replace(score=1.0)
            elif not tokens(reference) or not tokens(candidate):
                opinion = opinion._replace(score=0.0)
            else:
                unscored.append(len(opinions))
                rows.append(row)
                comparisons.append(comparison)
            opinions.append(opinion)
        if unscored:
            found = scores(_fitted(), rows, comparisons)
            for position, score in zip(unscored, found, strict=True):
                opinions[position] = opinions[position]._replace(score=score)
        return opinions

    def clinical(self, pairs: Sequence[tuple[str, str]]) -> list[Clinical | None]:
        return [
            assess(without_list_markers(reference), without_list_markers(candidate))
            for reference, candidate in pairs
        ]

    @staticmethod
    def about() -> str:
        """How well the proxy agrees with GREEN, as the recipe measured it by cross-validation, and
        with radiologists, as `xraygen examine` measures it.
        """
        measured = _weights()["agreement"]
        unseen = sorted(source["pearson"] for source in measured["across_sources"].values())
        differ = (
            f"Pearson {measured['pearson_differ']:.2f} and mean absolute error "
            f"{measured['mae_differ']:.2f} on the {measured['n_differ']:,} recorded pairs whose "
            "sides are not empty and differ"
        )
        elsewhere = (
            f"{unseen[0]:.2f} to {unseen[-1]:.2f} on approaches of a kind that it was not fitted to"
        )
        everywhere = (
            f"{measured['pearson']:.2f} on all {measured['n']:,} pairs, most of which need no judge"
        )
        return (
            f"Agreement of the proxy with GREEN: {differ}; {elsewhere}; {everywhere}. "
            f"See docs/proxy.md. {examined()}"
        )


def examined() -> str:
    """What the examination of the proxy found, as recipes/examine_judges.py wrote it."""
    content = json.loads(EXAMINED.read_text(encoding="utf-8"))
    score, clinical = content["score"], content["clinical"]
    return (
        "Agreement with radiologists (RadPref, on the half it was developed with): the preferred "
        f"report scores higher in {score['pairs_in_order']:g} of {score['pairs']} pairs by score, "
        f"{clinical['pairs_in_order']:g} by clinical score; Kendall's tau with their ratings is "
        f"{score['tau']:.2f} and {clinical['tau']:.2f} (one radiologist with the others: "
        f"{content['radiologists']['tau']:.2f}). Of the project's own cases, also used in "
        f"development, {score['cases_in_order']} and {clinical['cases_in_order']} of "
        f"{score['cases']} are in the right order. "
        "See docs/judges.md"
    )
