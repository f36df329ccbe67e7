"""Abnormal findings: how many of them an approach reports and invents, which ones, and the scores
on abnormal and on normal references apart.

Most references are normal, so that a mean over all of them says little about disease.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from xraygen.core.study import Clinical, Judgement
from xraygen.evaluation.resampling import bootstrap, intervals, means
from xraygen.evaluation.scores import StudyScores, columns_of, rounded
from xraygen.evaluation.tables import number, table, with_interval
from xraygen.judges.proxy.names import names as names_of_the_reader

KINDS = ("abnormal", "normal")
_KEPT = 10  # names of misses and of inventions in reports/comparison.json
_SHOWN = 3  # names in a table
_STUDIES = 3  # with a name that the reader of the proxy does not know, before it is shown
_OTHER = "other"
FINDING_HEADERS = ("recall", "precision", "misses", "inventions")
ABOUT = """\
A reference is *abnormal* if the judge finds anything of clinical significance in it; *pairs* are
regions of studies. Means are over pairs, intervals over studies. On abnormal references a text that
calls everything normal has a clinical score of 0, on normal ones of 1.
"""
ABOUT_FINDINGS = """\
*Recall*: the share of the references' abnormal findings that the approach reports; *precision*: the
share of those that it reports that are in the reference; over all pairs, benign findings included.
Matches are counted in the reference: one broad finding that stands for two of them counts as two.
Then the most frequent misses and inventions, with their numbers.
"""
ABOUT_OTHER = f"""\
*{_OTHER.capitalize()}*: findings under names of the judge's in fewer than {_STUDIES} studies.
"""


def by_reference(scores: StudyScores, resamples: int, seed: int) -> dict[str, dict]:
    """{"abnormal" | "normal": the means on the pairs with such a reference}: {"n": pairs, "score",
    "ci_low", "ci_high", "clinical", "clinical_ci_low", "clinical_ci_high", "regions": {region:
    {"n", "score", "clinical"}}}.

    Means are over pairs, not over regions, because some regions have few abnormal references, or
    none. Intervals are by bootstrap over studies.
    """
    return {
        kind: _means(scores, scores.abnormal == value, resamples, seed)
        for kind, value in zip(KINDS, (1, 0), strict=True)
    }


def _means(scores: StudyScores, chosen: np.ndarray, resamples: int, seed: int) -> dict:
    """`chosen`: (studies, regions), which pairs count."""
    studies, regions = chosen.shape
    values = np.where(chosen, np.stack([scores.score, scores.clinical]), np.nan)
    pooled = values.reshape(2, -1, 1)
    low = high = np.full((2, 2), np.nan)
    if studies > 1:
        of_study = np.repeat(np.arange(studies), regions)
        low, high, _ = intervals(bootstrap(pooled, resamples, seed, of_study))
    score, clinical = means(pooled)[:, 0].tolist()
    by_region = zip(chosen.sum(axis=0).tolist(), *means(values)[:, 1:].tolist(), strict=True)
    return {
        "n": int(chosen.sum()),
        "score": rounded(score),
        "ci_low": rounded(float(low[0, 0])),
        "ci_high": rounded(float(high[0, 0])),
        "clinical": rounded(clinical),
        "clinical_ci_low": rounded(float(low[1, 0])),
        "clinical_ci_high": rounded(float(high[1, 0])),
        "regions": {
            region: {"n": n, "score": rounded(score), "clinical": rounded(clinical)}
            for region, (n, score, clinical) in zip(scores.regions, by_region, strict=True)
        },
    }


@dataclass
class _Tally:
    """The abnormal findings of some pairs, counted by name."""

    matched: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    invented: Counter[str] = field(default_factory=Counter)

    def add(self, clinical: Clinical) -> None:
        self.matched.update(clinical.matched)
        self.missed.update(clinical.missed)
        self.invented.update(clinical.invented)

    def content(self, shown: Collection[str]) -> dict:
        """`shown`: the names that may be told."""
        matched, missed, invented = (
            names.total() for names in (self.matched, self.missed, self.invented)
        )
        return {
            "recall": _share(matched, missed),
            "precision": _share(matched, invented),
            "matched": matched,
            "missed": missed,
            "invented": invented,
            "misses": _most_frequent(self.missed, shown),
            "inventions": _most_frequent(self.invented, shown),
        }


def _share(right: int, wrong: int) -> float | None:
    return rounded(right / (right + wrong)) if right + wrong else None


def _most_frequent(names: Counter[str], shown: Collection[str]) -> dict[str, int]:
    told = {name: count for name, count in names.items() if name in shown}
    most = dict(sorted(told.items(), key=lambda item: (-item[1], item[0]))[:_KEPT])
    other = names.total() - sum(told.values())
    return most | {_OTHER: other} if other else most


def findings(judgements: Iterable[Judgement], regions: Sequence[str]) -> dict:
    """{"recall", "precision", "matched", "missed", "invented", "misses", "inventions"} of the
    abnormal findings of all pairs, and under "regions" the same of each region.

    Recall is matched / (matched + missed), precision matched / (matched + invented), None where
    there is none. `misses`, `inventions`: the most frequent names with their counts, and last under
    "other" how many findings have a name that is not told (`_shown`).
    """
    judged = list(judgements)
    everything = _Tally()
    by_region = {region: _Tally() for region in regions}
    for judgement in judged:
        if judgement.clinical is not None:
            everything.add(judgement.clinical)
            by_region[judgement.region].add(judgement.clinical)
    shown = _shown(judged)
    counted = {region: tally.content(shown) for region, tally in by_region.items()}
    return everything.content(shown) | {"regions": counted}


def _shown(judgements: Iterable[Judgement]) -> set[str]:
    """The names that may be told: those of the proxy's reader, and those found in several studies.
    The figures are committed, and a name that a language model chose for one study may be words of
    a patient's report.
    """
    studies: dict[str, set[str]] = defaultdict(set)
    for judgement in judgements:
        if clinical := judgement.clinical:
            for name in (*clinical.matched, *clinical.missed, *clinical.invented):
                studies[name].add(judgement.id)
    frequent = {name for name, ids in studies.items() if len(ids) >= _STUDIES}
    return frequent.union(names_of_the_reader()) - {_OTHER}


def told(scores: dict) -> bool:
    """Whether any judge told abnormal findings. `scores`: the key `approaches` of
    reports/comparison.json.
    """
    return any("clinical" in content["test"]["macro"] for content in scores.values())


def on_abnormal(cells: dict) -> dict:
    """The scores of a study set on abnormal references; empty where the judge does not tell."""
    return cells.get("by_reference", {}).get("abnormal", {})


def sections(scores: dict, name: str, complete: bool) -> list[str]:
    """The tables of one study set as Markdown, of the approaches whose judge tells abnormal
    findings. `scores`: as in `told`. `complete`: also by region.
    """
    known = {
        approach: content[name]
        for approach, content in scores.items()
        if "abnormal_findings" in content[name]
    }
    if not known:
        return []
    found = {approach: cells["abnormal_findings"] for approach, cells in known.items()}
    rows = [[approach, *_finding_cells(counted)] for approach, counted in found.items()]
    parts = [
        _clinical_table(known),
        _reference_table(known),
        ABOUT.strip(),
        table(rows, ["approach", *FINDING_HEADERS]),
        ABOUT_FINDINGS.strip(),
    ]
    if any(
        _OTHER in counted[key] for counted in found.values() for key in ("misses", "inventions")
    ):
        parts.append(ABOUT_OTHER.strip())
    if complete:
        rows = [
            [approach, region, *_finding_cells(regional)]
            for approach, counted in found.items()
            for region, regional in counted["regions"].items()
        ]
        parts.append(table(rows, ["approach", "region", *FINDING_HEADERS]))
    return parts


def _clinical_table(known: dict[str, dict]) -> str:
    regions = columns_of(next(iter(known.values())))[1:]
    rows = [
        [
            approach,
            with_interval(cells["macro"], "clinical", "clinical_ci"),
            *(number(cells[region].get("clinical")) for region in regions),
        ]
        for approach, cells in known.items()
    ]
    return table(rows, ["approach", "clinical, macro", *regions])


def _reference_table(known: dict[str, dict]) -> str:
    rows = []
    for approach, cells in known.items():
        row = [approach]
        for kind in KINDS:
            cell = cells["by_reference"][kind]
            clinical = with_interval(cell, "clinical", "clinical_ci")
            row += [f"{cell['n']:,}", clinical, with_interval(cell, "score")]
        rows.append(row)
    measured = [f"{kind}: {what}" for kind in KINDS for what in ("pairs", "clinical", "score")]
    return table(rows, ["approach", *measured])


def _finding_cells(counted: dict) -> list[str]:
    """The cells under `FINDING_HEADERS`."""
    matched, missed, invented = (counted[key] for key in ("matched", "missed", "invented"))
    return [
        f"{number(counted['recall'])} ({matched:,} of {matched + missed:,})",
        f"{number(counted['precision'])} ({matched:,} of {matched + invented:,})",
        _named(counted["misses"]),
        _named(counted["inventions"]),
    ]


def _named(counts: dict[str, int]) -> str:
    shown = [item for item in counts.items() if item[0] != _OTHER][:_SHOWN]
    if _OTHER in counts:
        shown.append((_OTHER, counts[_OTHER]))
    # A judge of the user's, or a language model, may give a finding any name.
    plain = [(" ".join(name.replace("|", "/").split()), count) for name, count in shown]
    return ", ".join(f"{name} {count:,}" for name, count in plain) or "–"
