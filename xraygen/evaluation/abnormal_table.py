"""The tables of abnormal findings. Apart from what computes them, because the stage compare does
not depend on judges.
"""

from xraygen.evaluation.scores import columns_of
from xraygen.evaluation.tables import number, table, with_interval

KINDS = ("abnormal", "normal")
STUDIES = 3  # with a name that the reader of the proxy does not know, before it is shown
OTHER = "other"
_SHOWN = 3  # names in a table
FINDING_HEADERS = ("recall", "precision", "misses", "inventions")
ABOUT = """\
A reference is *abnormal* if the judge finds anything of clinical significance in it; *pairs* are
regions of studies. Means are over pairs, intervals over studies. On abnormal references a text that
calls everything normal has a clinical score of 0, on normal ones of 1.
"""
ABOUT_FINDINGS = """\
*Recall*: the share of the references' abnormal findings that the approach reports; *precision*: the
share of those that it reports that are in the reference; over all pairs, benign findings included.
A pair may have several findings, so that there may be more of them than abnormal pairs.
Matches are counted in the reference: one broad finding that stands for two of them counts as two.
Then the most frequent misses and inventions, with their numbers.
"""
ABOUT_OTHER = f"""\
*{OTHER.capitalize()}*: findings under names of the judge's in fewer than {STUDIES} studies.
"""


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
    if any(OTHER in counted[key] for counted in found.values() for key in ("misses", "inventions")):
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
    shown = [item for item in counts.items() if item[0] != OTHER][:_SHOWN]
    if OTHER in counts:
        shown.append((OTHER, counts[OTHER]))
    # A judge of the user's, or a language model, may give a finding any name.
    plain = [(" ".join(name.replace("|", "/").split()), count) for name, count in shown]
    return ", ".join(f"{name} {count:,}" for name, count in plain) or "–"
