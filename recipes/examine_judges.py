"""What docs/judges.md shows: the judge `proxy` examined, and GREEN as far as its recorded answers
go.

    python -m recipes.examine_judges ../shared/judges ../shared/recorded

writes the tables between the marks in docs/judges.md, and the few figures that captions cite to
xraygen/judges/proxy/examined.json. The first folder has radpref.jsonl and radjudge.jsonl, the
second GREEN's answers as recipes/fit_proxy.py reads them. The damaged and reworded texts are those
of the generated studies in data/prepared/test.jsonl.
"""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from recipes.fit_proxy import folds, out_of_fold, recorded
from xraygen.core.errors import UserError, one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json, write_metrics
from xraygen.evaluation.examination.examine import (
    OWN,
    RADPREF,
    RESAMPLES,
    SEED,
    TOKEN_F1,
    Row,
    examine,
    overlap,
    read_material,
    rows_of,
    share,
)
from xraygen.evaluation.examination.orders import EQUAL
from xraygen.evaluation.examination.perturbations import read_references
from xraygen.evaluation.examination.radpref import Figure
from xraygen.evaluation.examination.report import shown, table
from xraygen.evaluation.resampling import bootstrap, intervals
from xraygen.judges.proxy.proxy import EXAMINED, Proxy, same
from xraygen.language.text import sentences, tokens

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "judges.md"
REFERENCES = ROOT / "data" / "prepared" / "test.jsonl"
BEGIN, END = "<!-- examined -->\n", "<!-- /examined -->"
TITLES = {"score": "proxy: score", "clinical": "proxy: clinical"}
MEASURES = ("GREEN", "score", "clinical", TOKEN_F1)
_EPSILON = 1e-9


def cited(rows: list[Row]) -> dict:
    """The figures behind `Proxy.about()`."""
    by_name = {(row.part, row.check): row for row in rows}
    own = by_name[OWN, "all orders"].figures
    rating = by_name[f"{RADPREF}, reports", "tau with the mean rating"]
    pairs = by_name[f"{RADPREF}, reports", "preferred candidate scored higher"]
    content: dict = {
        name: {
            "tau": rating.figures[name].value,
            "pairs": pairs.figures[name].n,
            "pairs_in_order": pairs.figures[name].right,
            "cases": own[name].n,
            "cases_in_order": own[name].right,
        }
        for name in ("score", "clinical")
    }
    if rating.radiologists:
        content["radiologists"] = {"tau": rating.radiologists.value}
    return content


def with_measures(frame: pd.DataFrame) -> pd.DataFrame:
    """The recorded pairs with a column for each of `MEASURES`. The proxy's score is out of fold,
    equal references in one fold.
    """
    pairs = list(zip(frame.reference, frame.candidate, strict=True))
    return frame.assign(
        **{
            "GREEN": frame.green,
            "score": out_of_fold(frame, folds(frame, "reference", SEED), SEED),
            "clinical": [found.score for found in Proxy().clinical(pairs) if found],
            TOKEN_F1: [overlap(*pair) for pair in pairs],
        }
    )


def green_table(frame: pd.DataFrame) -> str:
    """GREEN's recorded answers, and what others give to the same pairs."""
    distinct = frame[frame.parsed].drop_duplicates(["reference", "candidate"])
    differ = distinct[distinct.differ]
    texts = list(zip(differ.reference, differ.candidate, strict=True))
    copies = distinct[(distinct.reference == distinct.candidate) & ~distinct.both_empty]
    kinds = {
        "the same words, in other case or order: scores 1": [same(*pair) for pair in texts],
        "sentences left out, else a copy: falls": [_is_part(b, a) for a, b in texts],
        "sentences added, else a copy: falls": [_is_part(*pair) for pair in texts],
    }
    rows: list[tuple[str, dict[str, Figure]]] = [
        ("both sides empty: scores 1", _full(frame[frame.both_empty])),
        ("a copy: scores 1", _full(copies)),
    ]
    for title, chosen in kinds.items():
        if any(chosen):
            figures = _fallen if title.endswith("falls") else _full
            rows.append((title, figures(differ[chosen])))
    rows += _orders(differ)
    cells = []
    for title, figures in rows:
        n = max(figure.n for figure in figures.values())
        cells.append([title, n, *(shown(figures.get(name)) for name in MEASURES)])
    headers = ["check", "n", "GREEN", *(TITLES.get(name, name) for name in MEASURES[1:])]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def _is_part(one: str, other: str) -> bool:
    """Whether the sentences of one text are some of those of the other."""
    return _sentences(one) < _sentences(other)


def _sentences(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(tokens(sentence)) for sentence in sentences(text))


def _full(pairs: pd.DataFrame) -> dict[str, Figure]:
    return {name: share(list(pairs[name] >= 1 - _EPSILON)) for name in MEASURES}


def _fallen(pairs: pd.DataFrame) -> dict[str, Figure]:
    return {name: share(list(pairs[name] < 1 - EQUAL)) for name in MEASURES}


def _orders(pairs: pd.DataFrame) -> list[tuple[str, dict[str, Figure]]]:
    """Two candidates for one reference: how often each measure tells them apart, and how often it
    orders them as GREEN does where GREEN does. Equal ones count half.
    """
    groups, differences = [], []
    for number, (_, of) in enumerate(pairs.groupby("reference")):
        values = of[list(MEASURES)].to_numpy()
        for one, other in combinations(range(len(values)), 2):
            groups.append(number)
            differences.append(values[one] - values[other])
    signs = np.where(np.abs(differences) > _EPSILON, np.sign(differences), 0.0)
    by_reference = np.unique(groups, return_inverse=True)[1]
    apart = _by_reference(np.abs(signs), by_reference)
    ranked = signs[:, 0] != 0
    same_order = (signs[ranked] * signs[ranked][:, :1] + 1) / 2
    agree = _by_reference(same_order, np.unique(by_reference[ranked], return_inverse=True)[1])
    del agree["GREEN"]
    return [
        ("two candidates for one reference: scores differ", apart),
        ("the one that GREEN scores higher: scores higher", agree),
    ]


def _by_reference(values: np.ndarray, groups: np.ndarray) -> dict[str, Figure]:
    """(pairs, measures) -> the mean of each, with an interval by bootstrap over references."""
    drawn = bootstrap(values.T[:, :, None], RESAMPLES, SEED, groups)[:, :, 1]
    low, high, _ = intervals(drawn)
    return {
        name: Figure(float(values[:, at].mean()), float(low[at]), float(high[at]), len(values))
        for at, name in enumerate(MEASURES)
    }


def page_with(page: str, block: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{PAGE}: the marks {BEGIN.strip()} and {END} are not there")
    return f"{before}{begin}{block}\n{end}{after}"


def main() -> None:
    if len(sys.argv) != 3:
        raise UserError("give two folders: python -m recipes.examine_judges CASES RECORDED")
    if read_json(ROOT / "metrics" / "data.json")["source"] != "phantom":
        raise UserError(
            f"{REFERENCES}: the published figures are those of generated studies; "
            "set data.source to phantom and run `dvc repro prepare`"
        )
    frame = recorded(Path(sys.argv[2]))
    material = read_material(Path(sys.argv[1]), read_references(REFERENCES))
    if not material.rated or not material.radjudge:
        raise UserError(f"{sys.argv[1]}: needs both radpref.jsonl and radjudge.jsonl")
    rows = rows_of(material, examine(Proxy(), material))
    block = "\n\n".join(
        [
            "**The judge `proxy`**",
            table(rows, TITLES),
            "**GREEN's recorded answers**",
            green_table(with_measures(frame)),
        ]
    )
    page = page_with(PAGE.read_text(encoding="utf-8"), block)
    write_metrics(EXAMINED, cited(rows))
    with replacing(PAGE) as file:
        file.write(page)
    print(block)


if __name__ == "__main__":
    with one_line():
        main()
