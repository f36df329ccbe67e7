"""How far reports support what approaches say of them, and how much is invented: the share of the
region texts that the report does not support.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xraygen.core.study import AnnotationRecord, Study
from xraygen.evaluation.resampling import bootstrap, intervals
from xraygen.evaluation.scores import rounded, subsets
from xraygen.evaluation.tables import percent, table

_ABOUT = (
    "Shares of the region texts of test, of all regions. *Verbatim*: each sentence occurs in the"
    " report. *Reworded*: the report says it in other words. *Unsupported*: it states something"
    " that the report does not, such as a finding, a side or a severity, or turns a negation; then"
    " by region. In brackets: 95 % intervals over studies, by bootstrap, or exact for none and all."
    " What an approach reads from pictures may be right and unsupported."
)
_SHARES = ("verbatim", "reworded", "unsupported")


def added(
    summary: dict,
    studies: Mapping[str, Iterable[Study]],
    annotations: Mapping[str, Sequence[AnnotationRecord]],
    resamples: int,
    seed: int,
) -> dict:
    """The content of data/judgements/<approach>/summary.json with a key `support` in each study
    set. `studies`, `annotations`: by split.
    """
    result = dict(summary)
    for split, members in studies.items():
        for name, ids in subsets(split, members).items():
            records = [record for record in annotations[split] if record.id in ids]
            result[name] = summary[name] | {"support": shares(records, resamples, seed)}
    return result


def shares(records: Sequence[AnnotationRecord], resamples: int, seed: int) -> dict:
    """{"texts", "verbatim", "reworded", "unsupported", "ci_low", "ci_high", "regions": {region:
    {"texts", "unsupported", "ci_low", "ci_high"}}}: the number of texts with support, and shares of
    them with the interval of `unsupported`. None where there is no text.
    """
    regions = list(dict.fromkeys(region for record in records for region in record.evidence))
    counts: Counter[str | None] = Counter()
    invented = np.full((len(records), len(regions)), np.nan)
    for row, record in enumerate(records):
        for column, region in enumerate(regions):
            support = record.evidence[region].support if region in record.evidence else None
            if support is not None:
                counts[support] += 1
                invented[row, column] = support == "unsupported"
    texts = counts.total()
    result: dict = {"texts": texts}
    result |= {name: rounded(counts[name] / texts) if texts else None for name in _SHARES}
    # All regions as one, of which the texts of a study are drawn together.
    groups = np.repeat(np.arange(len(records)), len(regions))
    (overall,) = _intervals(invented.reshape(-1, 1), resamples, seed, groups)
    by_region = _intervals(invented, resamples, seed, np.arange(len(records)))
    result |= overall
    result["regions"] = {
        region: {
            "texts": int((~np.isnan(cells)).sum()),
            "unsupported": None if np.isnan(cells).all() else rounded(float(np.nanmean(cells))),
            **ends,
        }
        for region, cells, ends in zip(regions, invented.T, by_region, strict=True)
    }
    return result


def _intervals(
    invented: np.ndarray, resamples: int, seed: int, groups: np.ndarray
) -> list[dict[str, float | None]]:
    """The 95 % interval of each column's mean, by bootstrap over `groups` of rows; where all cells
    are alike, which no resample changes, the exact one for that many groups (Clopper and Pearson,
    Biometrika 26(4), 1934).
    """
    low = high = np.full(invented.shape[1], np.nan)
    if invented.size and len(set(groups.tolist())) > 1:
        drawn = bootstrap(invented[None], resamples, seed, groups)[:, 0, 1:]  # without macro
        low, high, _ = intervals(drawn)
    result: list[dict[str, float | None]] = []
    for cells, bottom, top in zip(invented.T, low.tolist(), high.tolist(), strict=True):
        known = ~np.isnan(cells)
        if known.any() and len(set(cells[known].tolist())) == 1:
            least = 0.025 ** (1 / len(set(groups[known].tolist())))
            bottom, top = (least, 1.0) if cells[known][0] else (0.0, 1 - least)
        result.append({"ci_low": rounded(bottom), "ci_high": rounded(top)})
    return result


def section(scores: Mapping[str, dict]) -> list[str]:
    """The part of a comparison about support on test; empty if the approaches have none. `scores`:
    the key `approaches` of reports/comparison.json.
    """
    rows = {
        name: content["test"]["support"]
        for name, content in scores.items()
        if "support" in content["test"]
    }
    regions = list(dict.fromkeys(region for row in rows.values() for region in row["regions"]))
    if not regions:
        return []
    cells = [
        [
            name,
            percent(row["verbatim"]),
            percent(row["reworded"]),
            _with_interval(row),
            *(percent(row["regions"].get(region, {}).get("unsupported")) for region in regions),
        ]
        for name, row in rows.items()
    ]
    headers = ["approach", "verbatim", "reworded", "unsupported", *regions]
    return ["## Support by the report", table(cells, headers), textwrap.fill(_ABOUT, 100)]


def _with_interval(row: dict) -> str:
    if row["ci_low"] is None:
        return percent(row["unsupported"])
    low, high = (100 * row[end] for end in ("ci_low", "ci_high"))
    return f"{percent(row['unsupported'])} [{low:.1f}, {high:.1f}]"
