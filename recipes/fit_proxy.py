"""Fit the proxy judge to recorded answers of GREEN, and measure the agreement by cross-validation
over studies.

    python -m recipes.fit_proxy ../shared/recorded

writes xraygen/judges/proxy/weights.json and docs/proxy.svg. The folder has green_*.csv with the
columns approach, region, id, reference, candidate, completion and green_score. Only numbers are
written, no text of the records.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from xraygen.core.errors import UserError, one_line
from xraygen.core.files import replacing
from xraygen.judges.proxy.comparison import counts
from xraygen.judges.proxy.features import DIRECTIONS, FEATURES, features
from xraygen.judges.proxy.proxy import (
    RATIO,
    UNIT,
    WEIGHTS,
    same,
    scores,
    table,
    trees_from,
)
from xraygen.language.text import token_f1

# Chosen by hand: the agreement changes by less than .01 when any of these is halved or doubled.
TREES = 150
LEARNING_RATE = 0.06
LEAVES = 8
MIN_SAMPLES_LEAF = 8
COLUMNS = 0.3  # share that each tree sees
ROWS = 0.7  # share that each tree sees
SHRINKAGE = 300  # rows that need no correction, which each leaf counts besides its own
FOLDS = 5
REPEATS = 4
REGIONS = ("bone", "heart", "lung", "mediastinal")  # of the recorded answers
COLUMNS_READ = (
    "approach",
    "region",
    "id",
    "reference",
    "candidate",
    "completion",
    "green_score",
    "matched_findings",
)
PLOT = Path(__file__).parents[1] / "docs" / "proxy.svg"


def recorded(folder: Path) -> pd.DataFrame:
    """All recorded pairs, with columns that say what kind of pair each is.

    `both_empty`; `differ`: neither side is empty, and they differ; `parsed`: GREEN's answer could
    be read; `usable`: for fitting, namely pairs that differ, and each text once against itself, so
    that the trees know how near copies score.
    """
    files = sorted(folder.glob("green_*.csv"))
    if not files:
        raise UserError(
            f"{folder}: no green_*.csv there; give the folder with GREEN's recorded answers"
        )
    frame = pd.concat(
        [pd.read_csv(file, keep_default_na=False).assign(source=file.stem) for file in files],
        ignore_index=True,
    )
    missing = [name for name in COLUMNS_READ if name not in frame]
    if missing:
        raise UserError(
            f"{folder}/green_*.csv: no column {', '.join(missing)}; "
            "these are not recorded answers of GREEN"
        )
    reference, candidate = frame.reference.str.strip(), frame.candidate.str.strip()
    frame["green"] = frame.green_score.astype(float)
    frame["both_empty"] = (reference == "") & (candidate == "")
    frame["differ"] = (reference != "") & (candidate != "") & (reference != candidate)
    frame["parsed"] = (
        frame.completion.str.contains("[Matched Findings]", regex=False)
        | (reference == "")
        | (candidate == "")
    )
    itself_again = (reference == candidate) & frame.duplicated(["reference", "candidate"])
    frame["usable"] = (reference != "") & (candidate != "") & frame.parsed & ~itself_again
    return frame


def folds(frame: pd.DataFrame, by: str, seed: int) -> np.ndarray:
    """(rows,) the fold of each row. `by` says what stays in one fold: `study`, the rows of a study;
    `pair`, these and equal pairs of texts; `reference`, equal reference texts; `source`, all rows
    of a file (one fold a file); `approach`, all rows of an approach.
    """
    if by in ("source", "approach"):
        return pd.factorize(frame[by])[0]
    parent: dict = {}

    def root(node):
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    if by == "reference":
        names = frame.reference
    else:
        for row in frame.itertuples():
            pair = (row.reference, row.candidate)
            parent[root(pair if by == "pair" else row.id)] = root(row.id)
        names = [str(root(id)) for id in frame.id]
    group = np.unique(names, return_inverse=True)[1]
    return (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]


def fit(rows: np.ndarray, target: np.ndarray, seed: int) -> dict:
    """Gradient boosting for squared error (Friedman, Annals of Statistics 2001) with trees that are
    monotone in DIRECTIONS, on top of the ratio. (rows, features) and (rows,) -> the content that
    `trees_from` reads.

    The leaves are shrunk towards 0 as if each had seen SHRINKAGE more rows that the ratio explains,
    as with the L2 penalty of XGBoost (Chen and Guestrin, KDD 2016, equation 5): the fewer rows
    support a correction, the less of it is applied to approaches that were not seen.
    """
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    plain = rows[:, RATIO]
    start = round(float((target - plain).mean()) * UNIT)
    predicted = plain + start / UNIT
    trees = []
    for number in range(TREES):
        drawn = rng.permutation(len(rows))[: int(ROWS * len(rows))]
        tree = DecisionTreeRegressor(
            max_leaf_nodes=LEAVES,
            min_samples_leaf=MIN_SAMPLES_LEAF,
            max_features=COLUMNS,
            monotonic_cst=DIRECTIONS,
            random_state=seed * TREES + number,
        )
        tree.fit(rows[drawn], (target - predicted)[drawn])
        held = tree.tree_.n_node_samples[:, None, None]
        tree.tree_.value[:] *= held / (held + SHRINKAGE)
        predicted += LEARNING_RATE * tree.predict(rows)
        trees.append(_nodes(tree.tree_))
    return {"start": start, "depth": LEAVES - 1, "trees": trees}


def _nodes(tree) -> dict[str, list]:
    """A tree of sklearn as lists over its nodes; a leaf points to itself."""
    leaf = tree.children_left < 0
    itself = np.arange(tree.node_count)
    thresholds = np.where(leaf, 0.0, tree.threshold)
    return {
        "feature": np.where(leaf, 0, tree.feature).tolist(),
        "threshold": [round(float(value), 5) for value in thresholds],
        "left": np.where(leaf, itself, tree.children_left).tolist(),
        "right": np.where(leaf, itself, tree.children_right).tolist(),
        "value": [round(float(value) * LEARNING_RATE * UNIT) for value in tree.value[:, 0, 0]],
    }


def out_of_fold(frame: pd.DataFrame, fold: np.ndarray, seed: int = 0) -> np.ndarray:
    """(rows,) scores of the proxy fitted to the other folds. Both sides empty: 1."""
    result = np.zeros(len(frame))
    compared = [features(*pair) for pair in zip(frame.reference, frame.candidate, strict=True)]
    rows, target = table([row for row, _ in compared]), frame.green.to_numpy()
    differ, usable = frame.differ.to_numpy(), frame.usable.to_numpy()
    for number in np.unique(fold):
        held = np.flatnonzero(differ & (fold == number))
        if len(held):
            others = usable & (fold != number)
            trees = trees_from(fit(rows[others], target[others], seed))
            result[held] = scores(trees, rows[held], [compared[at][1] for at in held])
    alike = [same(*pair) for pair in zip(frame.reference, frame.candidate, strict=True)]
    return np.where(alike, 1.0, result)


def measure(frame: pd.DataFrame, proxy: np.ndarray) -> dict:
    """Agreement of out-of-fold scores with GREEN's, in two conventions.

    As green-score prints them, pairs with both sides empty and unparseable answers count 0.
    `honest`: both sides empty count 1 for either judge, and unparseable answers are excluded.
    """
    differ = frame.differ.to_numpy()
    parsed = frame.parsed.to_numpy()
    empty = frame.both_empty.to_numpy()
    green = frame.green.to_numpy()
    printed = pd.DataFrame({"green": green, "proxy": np.where(empty, 0.0, proxy)})
    honest = pd.DataFrame({"green": np.where(empty, 1.0, green), "proxy": proxy})[parsed]
    by_region = printed.groupby(frame.region).mean()
    return {
        "n": len(frame),
        "n_differ": int(differ.sum()),
        "unparseable": int((~parsed).sum()),
        "pearson": _pearson(printed),
        "pearson_honest": _pearson(honest),
        "pearson_differ": _pearson(printed[differ]),
        "mae": _error(printed),
        "mae_differ": _error(printed[differ]),
        "region_gap": {
            region: float(by_region.proxy[region] - by_region.green[region]) for region in REGIONS
        },
        "approach_means": printed.groupby(frame.approach).mean().to_dict("index"),
        "approach_means_honest": honest.groupby(frame.approach[parsed]).mean().to_dict("index"),
    }


def _pearson(both: pd.DataFrame) -> float:
    return float(np.corrcoef(both.green, both.proxy)[0, 1])


def _error(both: pd.DataFrame) -> float:
    return float((both.green - both.proxy).abs().mean())


def _mean(values: list):
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    return values[0] if isinstance(values[0], int) else round(float(np.mean(values)), 4)


def cross_validate(
    frame: pd.DataFrame, by: str = "pair", repeats: int = REPEATS
) -> tuple[dict, np.ndarray]:
    """The mean agreement over `repeats` draws of the folds, and the out-of-fold scores of the first
    draw.
    """
    drawn = [out_of_fold(frame, folds(frame, by, seed), seed) for seed in range(repeats)]
    return _mean([measure(frame, proxy) for proxy in drawn]), drawn[0]


def across(frame: pd.DataFrame, by: str) -> dict:
    """How the proxy transfers to new approaches: each `source` (file) or `approach` scored by trees
    fitted to the others. Agreement is on pairs that differ; `region_gap`, proxy minus GREEN, is of
    the means over all pairs.
    """
    proxy = out_of_fold(frame, folds(frame, by, 0))
    both = pd.DataFrame({"green": frame.green, "proxy": np.where(frame.both_empty, 0.0, proxy)})
    gap = (both.proxy - both.green).groupby([frame[by], frame.region]).mean().round(4)
    return {
        name: {
            "n": len(part),
            "pearson": round(_pearson(part), 4),
            **part.mean().round(4).to_dict(),
            "region_gap": gap[name].to_dict(),
        }
        for name, part in both[frame.differ].groupby(frame[by][frame.differ])
    }


def baselines(frame: pd.DataFrame) -> dict:
    """Pearson correlation with GREEN, on pairs that differ, of two scores without fitting: token
    F1, and the plain ratio of the counts.
    """
    chosen = frame[frame.differ]
    pairs = list(zip(chosen.reference, chosen.candidate, strict=True))
    plain = {
        "token_f1": [token_f1(*pair) for pair in pairs],
        "ratio": [features(*pair)[0][RATIO] for pair in pairs],
    }
    return {
        name: round(float(np.corrcoef(chosen.green, values)[0, 1]), 4)
        for name, values in plain.items()
    }


def count_agreement(frame: pd.DataFrame) -> dict:
    """Pearson correlation of the counts with GREEN's, on the distinct pairs that differ. The counts
    come from rules; nothing is fitted.
    """
    chosen = frame[frame.differ & frame.parsed].drop_duplicates(["reference", "candidate"])
    own = [
        counts(features(*pair)[1]) for pair in zip(chosen.reference, chosen.candidate, strict=True)
    ]
    errors = chosen[[name for name in chosen if re.match("[a-f]_", name)]].astype(int).sum(axis=1)
    pairs = {
        "matched_findings": (chosen.matched_findings.astype(int), [matched for matched, _ in own]),
        "errors": (errors, [sum(wrong.model_dump().values()) for _, wrong in own]),
    }
    return {
        name: round(float(np.corrcoef(green, mine)[0, 1]), 4)
        for name, (green, mine) in pairs.items()
    }


def weights(frame: pd.DataFrame, agreement: dict) -> dict:
    """The content of weights.json: trees fitted to all pairs, and the agreement measured out of
    fold.
    """
    chosen = frame[frame.usable]
    rows = table(
        [features(*pair)[0] for pair in zip(chosen.reference, chosen.candidate, strict=True)]
    )
    return {
        "agreement": agreement,
        "features": FEATURES,
        **fit(rows, chosen.green.to_numpy(), seed=0),
    }


def scatter(frame: pd.DataFrame, proxy: np.ndarray, path: Path) -> None:
    """GREEN against the proxy, out of fold, on the pairs that differ."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    for region in REGIONS:
        of = (frame.differ & (frame.region == region)).to_numpy()
        jittered = frame.green[of] + rng.uniform(-0.015, 0.015, of.sum())
        axes.scatter(jittered, proxy[of], s=8, alpha=0.5, linewidths=0, label=region)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(
        xlabel="GREEN, recorded (jittered)",
        ylabel="proxy, out of fold",
        title="Pairs whose sides differ",
    )
    axes.legend(frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "proxy"}), replacing(path, "wb") as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("give one folder: python -m recipes.fit_proxy RECORDED")
    frame = recorded(Path(sys.argv[1]))
    agreement, proxy = cross_validate(frame)
    agreement |= {
        "folds": FOLDS,
        "repeats": REPEATS,
        "by_study": cross_validate(frame, "study")[0],
        "by_reference": cross_validate(frame, "reference")[0],
        "across_sources": across(frame, "source"),
        "across_approaches": across(frame, "approach"),
        "counts": count_agreement(frame),
        "baselines_differ": baselines(frame),
    }
    with replacing(WEIGHTS) as file:
        json.dump(weights(frame, agreement), file, separators=(",", ":"))
        file.write("\n")
    scatter(frame, proxy, PLOT)
    print(json.dumps(agreement, indent=2))


if __name__ == "__main__":
    with one_line():
        main()
