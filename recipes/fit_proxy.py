"""Fit the proxy judge to recorded answers of GREEN, and measure the agreement by cross-validation
over studies.

    python -m recipes.fit_proxy ../shared/recorded

writes proxy_weights.json next to this file, and docs/proxy.svg. The folder holds green_*.csv:
approach, region, id, reference, candidate, completion, green_score. What is written are numbers: no
text of the records.
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
    PLAIN_SHARE,
    RATIO,
    UNIT,
    WEIGHTS,
    same,
    scores,
    table,
    trees_from,
)
from xraygen.language.text import token_f1

# How many trees, what share of each is taken, its size, and the shares of columns and rows that it
# sees. Chosen by hand once: the agreement changes by less than .01 when any of them is halved or
# doubled.
TREES, RATE, LEAVES, SMALLEST_LEAF, COLUMNS, ROWS = 150, 0.06, 8, 8, 0.3, 0.7
FOLDS, REPEATS = 5, 4
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
PLOT = Path(__file__).parents[2] / "docs" / "proxy.svg"


def recorded(folder: Path) -> pd.DataFrame:
    """All recorded pairs, and what kind of pair each is.

    `both_empty`; `differ`: neither side empty, sides unlike; `parsed`: GREEN's answer could be
    read; `usable`: to learn from, that is what differs, and each text against itself once, to know
    how near copies score.
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
    lacking = [name for name in COLUMNS_READ if name not in frame]
    if lacking:
        raise UserError(
            f"{folder}/green_*.csv: no column {', '.join(lacking)}; these are not recorded answers of GREEN"
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
    """(rows,) the fold of each row. What stays on one side: `study`, a study's rows; `pair`, these
    and equal pairs of texts; `reference`, equal reference texts; `source`, all rows of one file
    (one fold a file).
    """
    if by == "source":
        return pd.factorize(frame.source)[0]
    parent: dict = {}

    def root(node):
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    if by != "reference":
        for row in frame.itertuples():
            parent[root((row.reference, row.candidate) if by == "pair" else row.id)] = root(row.id)
    names = frame.reference if by == "reference" else [str(root(identity)) for identity in frame.id]
    group = np.unique(names, return_inverse=True)[1]
    return (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]


def fit(rows: np.ndarray, target: np.ndarray, seed: int) -> dict:
    """Gradient boosting for squared error (Friedman, Annals of Statistics 2001) of trees that are
    monotone in DIRECTIONS, on top of the plain ratio's share. (rows, features) and (rows,) -> what
    `trees_from` reads.
    """
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    plain = PLAIN_SHARE * rows[:, RATIO]
    start = round(float((target - plain).mean()) * UNIT)
    predicted = plain + start / UNIT
    trees = []
    for number in range(TREES):
        drawn = rng.permutation(len(rows))[: int(ROWS * len(rows))]
        tree = DecisionTreeRegressor(
            max_leaf_nodes=LEAVES,
            min_samples_leaf=SMALLEST_LEAF,
            max_features=COLUMNS,
            monotonic_cst=DIRECTIONS,
            random_state=seed * TREES + number,
        )
        tree.fit(rows[drawn], (target - predicted)[drawn])
        predicted += RATE * tree.predict(rows)
        nodes, leaf = tree.tree_, tree.tree_.children_left < 0
        own = np.arange(nodes.node_count)
        trees.append(
            {
                "feature": np.where(leaf, 0, nodes.feature).tolist(),
                "threshold": [
                    round(float(value), 5) for value in np.where(leaf, 0.0, nodes.threshold)
                ],
                "left": np.where(leaf, own, nodes.children_left).tolist(),
                "right": np.where(leaf, own, nodes.children_right).tolist(),
                "value": [round(float(value) * RATE * UNIT) for value in nodes.value[:, 0, 0]],
            }
        )
    return {"start": start, "depth": LEAVES - 1, "trees": trees}


def out_of_fold(frame: pd.DataFrame, fold: np.ndarray, seed: int = 0) -> np.ndarray:
    """(rows,) scores of the proxy, each fitted to the other folds. Both sides empty: 1."""
    result = np.zeros(len(frame))
    compared = [features(*pair) for pair in zip(frame.reference, frame.candidate, strict=True)]
    rows, target = table([row for row, _ in compared]), frame.green.to_numpy()
    differ, usable = frame.differ.to_numpy(), frame.usable.to_numpy()
    for number in np.unique(fold):
        held = np.flatnonzero(differ & (fold == number))
        if len(held):
            learnt = usable & (fold != number)
            trees = trees_from(fit(rows[learnt], target[learnt], seed))
            result[held] = scores(trees, rows[held], [compared[at][1] for at in held])
    alike = [same(*pair) for pair in zip(frame.reference, frame.candidate, strict=True)]
    return np.where(alike, 1.0, result)


def measure(frame: pd.DataFrame, proxy: np.ndarray) -> dict:
    """Agreement of out-of-fold scores with GREEN's, in two conventions.

    As green-score prints it, both sides empty and unparseable count 0. `honest`: both sides empty
    count 1 on either side, and what could not be read of GREEN is left out.
    """
    differ, parsed, empty = (
        frame.differ.to_numpy(),
        frame.parsed.to_numpy(),
        frame.both_empty.to_numpy(),
    )
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
    """Agreement, the mean over `repeats` drawings of the folds, and the out-of-fold scores of the
    first.
    """
    drawn = [out_of_fold(frame, folds(frame, by, seed), seed) for seed in range(repeats)]
    return _mean([measure(frame, proxy) for proxy in drawn]), drawn[0]


def across_sources(frame: pd.DataFrame) -> dict:
    """Pairs that differ, each file scored by what was fitted to the other files: how the proxy
    carries over to new approaches.
    """
    both = pd.DataFrame(
        {"green": frame.green, "proxy": out_of_fold(frame, folds(frame, "source", 0))}
    )[frame.differ]
    return {
        source: {
            "n": len(part),
            "pearson": round(_pearson(part), 4),
            **part.mean().round(4).to_dict(),
        }
        for source, part in both.groupby(frame.source[frame.differ])
    }


def baselines(frame: pd.DataFrame) -> dict:
    """Pearson with GREEN, on the pairs that differ, of what needs no fitting: token F1, and the
    plain ratio of the counts.
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
    """Pearson of the counts with GREEN's, on the distinct pairs that differ. The counts come from
    rules, nothing is fitted.
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
    """What is shipped: trees fitted to every pair, and the agreement that was measured out of
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
        "across_sources": across_sources(frame),
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
