"""The reports: reports/comparison.md, reports/index.html and the table behind `dvc plots`."""

import itertools
import textwrap
from collections.abc import Sequence

from xraygen.core.study import VERSUS
from xraygen.evaluation import abnormal_table, confidence, support
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.resampling import smallest_p
from xraygen.evaluation.scores import MEASURES, columns_of
from xraygen.evaluation.tables import listed, number, signed, table, with_interval

TITLES = {
    "test": "Test",
    "test_novel": "Test, reports that no training study has",
    "dev": "Dev",
}
LEGEND = (
    "`score` is the judge's mean; right silence (both sides empty) counts 1. `as published` is the"
    " mean that green-score itself would print, which gives right silence 0. `token F1` is the"
    " overlap of words with the reference. Macro is the mean of {regions}. In brackets: 95 %"
    " bootstrap intervals over studies."
)
METHOD = (
    "The table of differences has the best approach against each, and each against the next; all"
    " pairs are in reports/comparison.json. A difference is **bold** when its p-value, from a"
    " paired permutation test over studies with {permutations:,} permutations, or all that there"
    " are, corrected by Holm for the number of comparisons, is below {alpha:g}; otherwise it is not"
    " significant (n.s.)."
)
NAMES = {"score": "score", "clinical": "clinical score", "token_f1": "token F1"}
DETECTABLE = (
    "With {studies:,} studies, a difference of {medians} is detected with power {power:g} (paired"
    " z-test at {alpha:g} over {pairs:,} {noun}), if the two approaches differ from study to study"
    " as the median pair does; {ranges} over all pairs."
)
TOO_FEW = """\
{studies:,} studies are too few for a difference to be significant: the smallest possible p-value
is {smallest:.2g}, before Holm's correction ({pairs:,} pairs)."""
REPEATED = """\
Curators' agreement on repeated reports: token F1 on the {studies:,} test studies whose report
another study has too ({reports:,} reports; intervals over reports). *Curators*: the study's
reference against the text most like all that curators wrote for the other studies."""
ATTAINABLE = """\
*Attainable*: what the best answer to each report gets on average from the generator's curators, who
can be asked again: the text most like 32 redrawn references, against 32 others. By chance an
approach may exceed it on these studies."""


def comparison_markdown(
    comparison: dict, overview: str, source: str, params: CompareParams, complete: bool = False
) -> str:
    """`comparison`: the content of reports/comparison.json; `overview`: the first table; `source`:
    where the studies come from. `complete`: every study set in full, as test is, rather than its
    macro scores alone, which is what git keeps.
    """
    scores = comparison["approaches"]
    judges = ", ".join(sorted({content["judge"] for content in scores.values()}))
    regions = regions_of(scores)
    legend = textwrap.fill(LEGEND.format(regions=listed(regions)), 100)
    parts = ["# Comparison of approaches", f"Studies: {source}. Judge: {judges}."]
    parts += ["## Overview", overview, legend]
    sizes = {name: next(iter(scores.values()))[name]["macro"]["n"] for name in TITLES}
    for name, title in TITLES.items():
        if name == "test" or complete:
            use = ", for choosing only" if name == "dev" else ""
            parts.append(f"## {title} ({sizes[name]:,} studies{use})")
            parts += _study_set(comparison, name, params, complete) if sizes[name] else []
    if not complete:
        parts += ["## Other study sets", _other_sets(scores, sizes)]
    parts += support.section(scores)
    parts += confidence.section(comparison.get("confidence", {}))
    method = METHOD.format(permutations=comparison["permutations"], alpha=params.alpha)
    parts.append(textwrap.fill(method, 100))
    return "\n\n".join(parts) + "\n"


def regions_of(scores: dict) -> list[str]:
    """The scored regions, in the declared order."""
    return columns_of(next(iter(scores.values()))["test"])[1:]


def _study_set(comparison: dict, name: str, params: CompareParams, complete: bool) -> list[str]:
    scores = comparison["approaches"]
    pairs = comparison["pairs"][name]
    attainable = comparison["attainable"] if name == "test" else None
    repeated = comparison["repeated"] if name == "test" else None
    about = "\n".join(sorted({content["about"] for content in scores.values()}))
    parts = [_score_table(scores, name), about, *abnormal_table.sections(scores, name, complete)]
    parts.append(_token_f1_table(scores, name, attainable))
    if attainable:
        parts.append(ATTAINABLE)
    if repeated:
        parts += [REPEATED.format(**repeated), _repeated_table(repeated, regions_of(scores))]
    parts.append(_comparisons(scores, pairs, name))
    studies = next(iter(scores.values()))[name]["macro"]["n"]
    sensitivity = _sensitivity(comparison["detectable"][name], studies, len(pairs), params)
    return [*parts, sensitivity] if sensitivity else parts


def _sensitivity(detectable: dict, studies: int, pairs: int, params: CompareParams) -> str | None:
    """Which differences a study set of this size detects, or that it detects none."""
    smallest = smallest_p(studies)
    if pairs and smallest * pairs >= params.alpha:
        return TOO_FEW.format(studies=studies, pairs=pairs, smallest=smallest)
    known = {measure: found for measure, found in detectable.items() if found}
    if not known:
        return None
    medians = [f"{found['median']:.3f} in macro {NAMES[one]}" for one, found in known.items()]
    ranges = [f"{found['least']:.3f} to {found['most']:.3f}" for found in known.values()]
    text = DETECTABLE.format(
        studies=studies,
        medians=listed(medians),
        ranges=listed(ranges),
        pairs=pairs,
        noun="pair" if pairs == 1 else "pairs",
        power=params.power,
        alpha=params.alpha,
    )
    return textwrap.fill(text, 100)


def _score_table(scores: dict, name: str) -> str:
    rows, names = [], regions_of(scores)
    for approach, content in scores.items():
        cells = content[name]
        macro = cells["macro"]
        regions = [number(cells[region]["score"]) for region in names]
        rows.append(
            [
                approach,
                with_interval(macro, "score"),
                *regions,
                number(macro["as_published"]),
                macro["unscored"],
                cells["failed_annotations"],
            ]
        )
    return table(rows, ["approach", "score, macro", *names, "as published", "unscored", "failed"])


def _token_f1_table(scores: dict, name: str, attainable: dict | None) -> str:
    columns = ["macro", *regions_of(scores)]
    rows = [
        [approach, *(number(cells[name][column]["token_f1"]) for column in columns)]
        for approach, cells in scores.items()
    ]
    if attainable:
        rows.append(["*attainable*", *(number(attainable[column]) for column in columns)])
    return table(rows, ["approach", "token F1, macro", *columns[1:]])


def _repeated_table(repeated: dict, names: Sequence[str]) -> str:
    named = repeated["approaches"] | {"*curators*": repeated["curators"]}
    rows = []
    for name, cells in named.items():
        regions = [number(cells[region]["token_f1"]) for region in names]
        rows.append([name, with_interval(cells["macro"], "token_f1"), *regions])
    return table(rows, ["", "token F1, macro", *names])


def _other_sets(scores: dict, sizes: dict[str, int]) -> str:
    """Macro score with interval, clinical score and token F1, of every set but test;
    reports/index.html has the rest.
    """
    others = [name for name in TITLES if name != "test" and sizes[name]]
    measures = [one for one in MEASURES[1:] if one != "clinical" or abnormal_table.told(scores)]
    rows = []
    for approach, content in scores.items():
        cells = [content[name]["macro"] for name in others]
        shown = [
            [with_interval(cell, "score"), *(number(cell.get(measure)) for measure in measures)]
            for cell in cells
        ]
        rows.append([approach, *itertools.chain.from_iterable(shown)])
    titles = [NAMES[measure] for measure in measures]
    headers = [[f"{name} ({sizes[name]:,}): score, macro", *titles] for name in others]
    return table(rows, ["approach", *itertools.chain.from_iterable(headers)])


def _comparisons(scores: dict, pairs: dict, name: str) -> str:
    """The best approach against each, and each against the next one; every other pair is in
    reports/comparison.json.
    """
    order = sorted(scores, key=lambda approach: -(scores[approach][name]["macro"]["score"] or 0))
    if len(order) < 2:
        return "One approach only: nothing to compare it with."
    against_best = [(order[0], other) for other in order[1:]]
    neighbours = list(itertools.pairwise(order[1:]))
    names = regions_of(scores)
    measures = list(next(iter(pairs.values())))
    rows = []
    for ahead, behind in against_best + neighbours:
        sign = 1 if f"{ahead}{VERSUS}{behind}" in pairs else -1
        found = pairs[VERSUS.join((ahead, behind)[::sign])]
        regions = [_difference(found["score"][region], sign) for region in names]
        macro, *others = (_compared(found[measure]["macro"], sign) for measure in measures)
        rows.append([ahead, behind, macro, *regions, *others])
    titles = [f"{NAMES[measure]}, macro" for measure in measures]
    return table(rows, ["approach", "against", titles[0], *names, *titles[1:]])


def _difference(found: dict, sign: int) -> str:
    if found["difference"] is None:
        return "–"
    text = signed(sign * found["difference"])
    return f"**{text}**" if found["holds"] else text


def _compared(found: dict, sign: int) -> str:
    if found["difference"] is None or found["ci_low"] is None:
        return "not enough scored studies in every region"
    low, high = sorted(sign * found[bound] for bound in ("ci_low", "ci_high"))
    text = f"{_difference(found, sign)} [{signed(low)}, {signed(high)}]"
    return text if found["holds"] else f"{text} n.s."


def scores_rows(scores: dict) -> list[dict]:
    """One row an approach with its macro scores on test, for `dvc plots`."""
    rows = []
    for approach, content in scores.items():
        macro = content["test"]["macro"]
        shown = {key: macro[key] for key in ("score", "ci_low", "ci_high", "token_f1")}
        if abnormal_table.told(scores):
            keys = ("clinical", "clinical_ci_low", "clinical_ci_high")
            shown |= {key: macro.get(key) for key in keys}
            shown["clinical_on_abnormal"] = abnormal_table.on_abnormal(content["test"]).get(
                "clinical"
            )
        digits = {key: None if value is None else round(value, 4) for key, value in shown.items()}
        rows.append({"approach": approach} | digits)
    return rows
