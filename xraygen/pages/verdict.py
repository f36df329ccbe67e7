"""What a comparison shows, in words: what holds on test, and what it does not determine.

In all functions `comparison` is the content of reports/comparison.json, `usage` and `audits` are
those of metrics/usage and data/judgements/<approach>/audit.json by approach, and `floor` is the
approach that gives every report the same text, if there is one. Sentences are Markdown.
"""

from collections.abc import Mapping, Sequence

from xraygen.core.study import VERSUS
from xraygen.evaluation.abnormal_table import told
from xraygen.evaluation.overview import COST
from xraygen.evaluation.picture_audit_table import verdict as of_pictures
from xraygen.evaluation.tables import number, percent, signed, with_interval


def holds(comparison: dict, audits: Mapping[str, dict], floor: str | None) -> list[str]:
    """What was found, the most important first."""
    order = _best_first(comparison)
    if not order:
        return ["**No approach has a score on test.**"]
    best = order[0]
    sentences = [_lead(comparison, order)]
    if floor is not None:
        sentences.append(_above_the_floor(comparison, order, floor))
    differs, agreement = _agreement(comparison, best)
    sentences += [agreement if differs else "", _abnormal(comparison, best)]
    sentences += [
        f"{name}: {of_pictures(audit)}" for name, audit in audits.items() if audit["studies"]
    ]
    sentences += [_review(comparison, best), _failed(comparison)]
    return [sentence for sentence in sentences if sentence]


def undetermined(
    comparison: dict,
    usage: Mapping[str, dict],
    audits: Mapping[str, dict],
    source: str,
    floor: str | None,
) -> list[str]:
    """What the comparison says nothing about, and why. `source`: where the studies come from."""
    sentences = []
    if source == "phantom":
        sentences.append("Anything about patients: the studies are generated.")
    if floor is None:
        sentences.append("How far scores are above a constant text: no approach is `constant`.")
    if not comparison["repeated"]:
        sentences.append("How far curators agree: no test study shares its report with another.")
    elif order := _best_first(comparison):
        differs, agreement = _agreement(comparison, order[0])
        sentences += [] if differs else [agreement]
    if not told(comparison["approaches"]):
        sentences.append("Abnormal findings alone: the judge does not tell which ones are.")
    if not comparison.get("confidence"):
        sentences.append("Which regions need no review: no approach gives confidences.")
    if not any(audit["studies"] for audit in audits.values()):
        sentences.append("Whether pictures are used: no approach that sees any was audited.")
    if not any(used.get(COST) is not None for used in usage.values()):
        sentences.append("Cost: no approach asks a server that has a price.")
    return [sentence for sentence in sentences if sentence]


def _on_test(comparison: dict, name: str) -> dict:
    return comparison["approaches"][name]["test"]


def _best_first(comparison: dict) -> list[str]:
    """The approaches with a score on test; equal ones in the order of params.yaml."""
    scores = {
        name: content["test"]["macro"]["score"]
        for name, content in comparison["approaches"].items()
    }
    scored = [name for name, score in scores.items() if score is not None]
    return sorted(scored, key=lambda name: -scores[name])


def _compared(comparison: dict, ahead: str, behind: str) -> tuple[dict, int]:
    """The comparison of two macro scores on test, and the sign that makes it `ahead` minus
    `behind`.
    """
    pairs = comparison["pairs"]["test"]
    if (found := pairs.get(f"{ahead}{VERSUS}{behind}")) is not None:
        return found["score"]["macro"], 1
    return pairs[f"{behind}{VERSUS}{ahead}"]["score"]["macro"], -1


def _difference(comparison: dict, ahead: str, behind: str) -> str:
    """In digits, with the interval where there is one."""
    found, sign = _compared(comparison, ahead, behind)
    if found["difference"] is None:
        return "not known"
    text = signed(sign * found["difference"])
    if found["ci_low"] is None:
        return text
    low, high = sorted(sign * found[end] for end in ("ci_low", "ci_high"))
    return f"{text} [{signed(low)}, {signed(high)}]"


def _is_significant(comparison: dict, ahead: str, behind: str) -> bool:
    return _compared(comparison, ahead, behind)[0]["holds"]


def _lead(comparison: dict, order: Sequence[str]) -> str:
    """Which approach is the best, and whether that can be told."""
    best, *others = order
    score = with_interval(_on_test(comparison, best)["macro"], "score")
    if not others:
        return (
            f"**{best} is the only approach with a score**: {score} on test. There is nothing to "
            "compare it with."
        )
    tied = [name for name in others if not _is_significant(comparison, best, name)]
    if not tied:
        lead = _difference(comparison, best, others[0])
        rest = "; its lead over all others is significant too" if len(others) > 1 else ""
        return (
            f"**{best} is the best approach on test**: its score is {score}, {lead} against the "
            f"next, {others[0]}, which is significant{rest}."
        )
    names = _listed([f"{name} ({_difference(comparison, best, name)})" for name in tied])
    studies = _on_test(comparison, best)["macro"]["n"]
    return (
        f"**Which approach is the best is not determined**: {best} has the highest score on test, "
        f"{score}, but its lead over {names} is not significant at {studies:,} studies."
        f"{_detectable(comparison)}"
    )


def _detectable(comparison: dict) -> str:
    found = comparison["detectable"]["test"].get("score")
    if not found:
        return ""
    return f" A difference of about {number(found['median'])} would be detected."


def _above_the_floor(comparison: dict, order: Sequence[str], floor: str) -> str:
    """Which approaches are better than the same text for every report, and which are not."""
    if floor not in order:
        return f"**The floor, {floor}, has no score** to hold others against."
    others = [name for name in order if name != floor]
    if not others:
        return ""
    about = f"the floor, {floor}, which gives every report the same text"
    leads = {name: f"{name} ({_difference(comparison, name, floor)})" for name in others}
    significant = [name for name in others if _is_significant(comparison, name, floor)]
    above = [name for name in significant if _is_ahead(comparison, name, floor)]
    below = [leads[name] for name in significant if name not in above]
    unclear = [leads[name] for name in others if name not in significant]
    if above:
        every = len(above) == len(others)
        number_of = f"{len(above):,} of the {len(others):,} other approaches are"
        who = "Every other approach is" if every else number_of
        lead = _difference(comparison, above[0], floor)
        text = f"**{who} significantly above {about}**: the best, {above[0]}, by {lead}."
    else:
        text = f"**No approach is significantly above {about}**."
    if below:
        text += f" Significantly below it: {_listed(below)}."
    if unclear:
        text += f" Not significantly different from it: {_listed(unclear)}."
    return text


def _is_ahead(comparison: dict, name: str, other: str) -> bool:
    found, sign = _compared(comparison, name, other)
    return sign * found["difference"] > 0


def _agreement(comparison: dict, best: str) -> tuple[bool, str]:
    """How the best approach compares with curators, and whether a difference was found. Without one
    nothing follows: the two may be equal, or the studies may be too few. Empty where they cannot
    be compared.
    """
    repeated = comparison["repeated"]
    if not repeated:
        return False, ""
    curators = repeated["curators"]["macro"]
    cell = repeated["approaches"][best]["macro"]
    if cell["difference"] is None:
        return False, ""
    studies = f"the {repeated['studies']:,} test studies whose report other studies have too"
    low, high = cell["difference_low"], cell["difference_high"]
    values = (
        f"token F1 is {with_interval(cell, 'token_f1')} for {best} and "
        f"{with_interval(curators, 'token_f1')} for the curators"
    )
    if low is None:
        return False, (
            f"Whether {best} is as close to the curators as they are to each other: {studies} "
            f"allow no interval. On them {values}."
        )
    difference = f"a difference of {signed(cell['difference'])} [{signed(low)}, {signed(high)}]"
    if low <= 0 <= high:
        return False, (
            f"Whether {best} is as close to the curators as they are to each other: the two cannot "
            f"be told apart on {studies}. There, {values}, {difference}."
        )
    if low > 0:
        distance = "closer to the curators than they are to each other"
    else:
        distance = "further from the curators than they are from each other"
    return True, f"**{best} is {distance}**: on {studies}, {values}, {difference}."


def _abnormal(comparison: dict, best: str) -> str:
    """Which of the abnormal findings the best approach reports."""
    found = _on_test(comparison, best).get("abnormal_findings")
    if not found or found["recall"] is None:
        return ""
    total = found["matched"] + found["missed"]
    invented = f"{found['invented']:,}" if found["invented"] else "none"
    return (
        f"**Abnormal findings**: {best} reports {found['matched']:,} of {total:,} "
        f"({percent(found['recall'])}) and invents {invented}."
    )


def _review(comparison: dict, best: str) -> str:
    """How many regions the confidences of the best approach spare a reader."""
    found = comparison.get("confidence", {}).get(best)
    if found is None:
        return ""
    chosen = found["review"]
    risk = f"{100 * chosen['risk']:g} %"
    if chosen["threshold"] is None:
        return (
            f"**All regions need review**: for the confidences of {best} no threshold could be "
            f"certified that leaves at most {risk} wrong."
        )
    return (
        f"**{percent(chosen['coverage'])} of the regions need no review** with {best} if at most "
        f"{risk} of them may be wrong; on test {percent(chosen['wrong_kept'])} were."
    )


def _failed(comparison: dict) -> str:
    counts = {
        name: content["test"]["failed_annotations"]
        for name, content in comparison["approaches"].items()
    }
    failed = [f"{name} {count:,}" for name, count in counts.items() if count]
    if not failed:
        return ""
    return f"**Studies without an annotation**, which are judged as empty: {_listed(failed)}."


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
