"""The release: which approach is best on dev and by how much, and its annotations of the val
split.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xraygen.core import cards
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import (
    VERSUS,
    Annotation,
    AnnotationRecord,
    Evidence,
    Measure,
    NonEmpty,
    Record,
)
from xraygen.language.text import RIGHT

if TYPE_CHECKING:
    from xraygen.annotators.base import Settings


class Released(Record):
    """A study in val.jsonl: its annotation and what that rests on, or the error that prevented it,
    the regions to review, the approach that made it, and the judge by which that was chosen.
    """

    id: NonEmpty
    annotation: Annotation | None
    evidence: dict[str, Evidence]
    review: tuple[str, ...]
    error: str | None
    approach: str
    judge: str


# How the README names a measure. The ends of a measure's interval are `<measure>_ci_low` and
# `_high` in a comparison, those of the score are `ci_low` and `ci_high`.
_NAMES: dict[Measure, str] = {
    "score": "score",
    "clinical": "clinical score",
    "token_f1": "token F1",
}
CHECKPOINT_SELECTION = "checkpoint selection in fine-tuning"
_FINE_TUNED = "models/adapter"  # what the stage finetune writes


def dev_used_for(approaches: Mapping[str, "Settings"]) -> list[str]:
    """What dev has been used for by the time the score of the chosen one of these approaches on it
    is reported.
    """
    uses = []
    if any(approach.reads == _FINE_TUNED for approach in approaches.values()):
        uses.append(CHECKPOINT_SELECTION)
    if any(approach.annotator == "llm" for approach in approaches.values()):
        uses.append("prompt selection")
    return [*uses, "the final choice of the approach"]


def choose(
    approaches: Mapping[str, "Settings"],
    scores: Mapping[str, dict],
    pairs: Mapping[str, dict],
    measure: Measure = "score",
) -> dict:
    """The facts of the choice: the approach that is best on dev by the macro of `measure`, among
    equals the one with the best score, then one that is not made of others, which costs less, then
    the first by name; and its paired comparison with the next one. `scores`, `pairs`: the keys
    `approaches` and `pairs.dev` of reports/comparison.json.

    Approaches of the annotator recorded, and cascades of them, are excluded, because they have no
    answers to studies that nobody asked them about; they are named. UserError: no other approach
    has a score on dev, or the comparison is of other approaches.
    """
    absent = sorted(approaches.keys() - scores.keys())
    if absent:
        raise UserError(
            f"reports/comparison.json: no scores of {absent[0]}; run `dvc repro compare`"
        )
    recorded = sorted(
        name
        for name, approach in approaches.items()
        if any(one.annotator == "recorded" for one in [approach, *approach.parts(approaches)])
    )
    macro = {name: scores[name]["dev"]["macro"] for name in approaches if name not in recorded}
    ranked = sorted(
        (name for name in macro if macro[name].get(measure) is not None),
        key=lambda name: (
            -macro[name][measure],
            -(macro[name]["score"] or 0),
            len(approaches[name].parts(approaches)),
            name,
        ),
    )
    if not ranked:
        raise UserError(
            f"no approach that can annotate has a macro {_NAMES[measure]} on dev: params.yaml "
            "needs one whose annotator is not recorded, and dev needs scored studies in every "
            "region; metrics/data.json counts its references"
        )
    best = ranked[0]
    ends = "ci" if measure == "score" else f"{measure}_ci"
    chosen = {
        "approach": best,
        "judge": scores[best]["judge"],
        "candidates": len(ranked),
        "measure": measure,
        measure: macro[best][measure],
        "ci_low": macro[best][f"{ends}_low"],
        "ci_high": macro[best][f"{ends}_high"],
    }
    if len(ranked) > 1:
        chosen |= {"runner_up": ranked[1]} | _margin(best, ranked[1], pairs, measure)
    chosen |= {"dev_used_for": dev_used_for(approaches)}
    return chosen | ({"left_out": recorded} if recorded else {})


def metrics(facts: Mapping) -> dict:
    """The content of metrics/release.json: the facts without the intervals, which are in
    README.md.
    """
    return {
        key: value
        for key, value in facts.items()
        if not key.endswith(("ci_low", "ci_high"))
        and key not in ("p_holm", "confidence", "scored", "references")
    }


def _margin(best: str, second: str, pairs: Mapping[str, dict], measure: Measure) -> dict:
    """The tested difference best minus second, in whichever order the pair is stored."""
    ahead = pairs.get(f"{best}{VERSUS}{second}")
    behind = pairs.get(f"{second}{VERSUS}{best}")
    found = ahead or behind
    if found is None:
        raise UserError(
            f"reports/comparison.json: no comparison of {best} with {second} on dev; "
            "run `dvc repro compare`"
        )
    macro = found[measure]["macro"]
    margin, low, high = macro["difference"], macro["ci_low"], macro["ci_high"]
    if not ahead:
        margin, low, high = _negative(margin), _negative(high), _negative(low)
    # Pairs that the judge could not score count on neither side of a comparison, which may reverse
    # a small lead.
    holds = macro["holds"] and margin is not None and margin > 0
    return {
        "margin": margin,
        "margin_ci_low": low,
        "margin_ci_high": high,
        "p_holm": macro["p_holm"],
        "holds": holds,
    }


def _negative(value: float | None) -> float | None:
    return value and -value


def to_review(
    record: AnnotationRecord, confidence: Mapping | None, regions: Regions
) -> tuple[str, ...]:
    """The scored regions that are not certified to be right often enough: all of them where no
    threshold is, none where the approach gives no confidence. `confidence`: what
    reports/comparison.json has of the approach under that key.
    """
    if confidence is None:
        return ()
    threshold = confidence["review"]["threshold"]
    given = {region: evidence.confidence for region, evidence in record.evidence.items()}

    def is_kept(region: str) -> bool:
        value = given.get(region)
        return None not in (value, threshold) and value >= threshold

    return tuple(region for region in regions.scored if not is_kept(region))


def released(record: AnnotationRecord, chosen: dict, review: tuple[str, ...] = ()) -> Released:
    return Released(
        id=record.id,
        annotation=record.annotation,
        evidence=record.evidence,
        review=review,
        error=record.error,
        approach=chosen["approach"],
        judge=chosen["judge"],
    )


def columns(regions: Regions) -> tuple[str, ...]:
    """The columns of val.csv."""
    return ("id", *regions, "review", "error", "approach", "judge", "evidence")


def rows(members: Sequence[Released], regions: Regions) -> list[dict]:
    """The rows of val.csv. The regions and the evidence of a failed study are empty, and its error
    says why. Evidence is JSON, as in val.jsonl; `review` names regions, separated by commas.
    """
    return [
        member.model_dump(exclude={"annotation"})
        | regions.annotation(member.annotation or {})
        | {"evidence": _as_json(member.evidence)}
        | {"review": ", ".join(member.review)}
        for member in members
    ]


def _as_json(evidence: Mapping[str, Evidence]) -> str:
    by_region = {region: one.model_dump(mode="json") for region, one in evidence.items()}
    return json.dumps(by_region) if by_region else ""


def readme(facts: Mapping) -> str:
    """The part of README.md that says how the release was made, a list. `facts`: those of `choose`,
    the numbers of `studies` and of `failed` ones, and `confidence` as in `to_review` with the
    number of regions `to_review`, of those that are `scored`.
    """
    judge, measure = facts["judge"], facts["measure"]
    if judge == "proxy" and measure == "score":
        judge += ", the embedded approximation of GREEN"
    value = _interval(facts[measure], facts["ci_low"], facts["ci_high"])
    *uses, last_use = facts["dev_used_for"]
    used = f"{', '.join(uses)} and {last_use}" if uses else last_use
    optimistic = f"Dev was used for {used}, so scores on dev are optimistic"
    if CHECKPOINT_SELECTION in uses:
        optimistic += ", and those of a fine-tuned approach more than others"
    tied = f", tied with {facts['runner_up']}" if facts.get("margin") == 0 else ""
    lines = [
        f"Studies: {facts['studies']:,}, of the split val. Failed: {facts['failed']:,}; their "
        "column `error` says why.",
        f"Approach: **{facts['approach']}**, the best of {facts['candidates']} by macro "
        f"{_NAMES[measure]} on dev{tied}.",
        f"Judge: {judge}.",
        f"Macro {_NAMES[measure]} on dev: {value}. Scores on test are in reports/comparison.md.",
        f"{optimistic}.",
    ]
    if "margin" in facts and facts["margin"] is None:
        lines.append(
            f"Margin over the next, {facts['runner_up']}: too few studies were scored for both."
        )
    elif "margin" in facts:
        margin = _interval(facts["margin"], facts["margin_ci_low"], facts["margin_ci_high"])
        verdict = "significant" if facts["holds"] else "not significant at this number of studies"
        p = f"p = {facts['p_holm']:.4f} after Holm's correction"
        lines.append(
            f"Margin over the next, {facts['runner_up']}: {margin}, {p}. This is {verdict}."
        )
    if "left_out" in facts:
        names = ", ".join(facts["left_out"])
        lines.append(
            f"Excluded from the choice: {names}. Answers recorded elsewhere cover only the studies "
            "that were asked about."
        )
    lines.append(_review_line(facts))
    lines.append(
        "Evidence: `evidence` says for each region whether the report supports the text. Its "
        "`spans` are character offsets into `report` of data/prepared/val.jsonl. See "
        "docs/evidence.md."
    )
    return cards.listed(lines)


_WRONG = (
    f"A region is wrong where its token F1 with the reference is below {RIGHT}, or just one of the "
    "two is empty."
)


def _review_line(facts: Mapping) -> str:
    confidence = facts.get("confidence")
    if confidence is None:
        return (
            f"Review: no region is marked, because {facts['approach']} gives no confidence on dev "
            "and test from which a threshold could be chosen."
        )
    review = confidence["review"]
    wanted = f"with {_percent(1 - review['delta'])} confidence, at most {_percent(review['risk'])}"
    if review["threshold"] is None:
        return (
            f"Review: all {facts['scored']:,} scored regions are marked in the column `review`, "
            f"because no threshold on dev ensures that, {wanted} of the others are wrong: dev has "
            f"{confidence['dev_regions']:,} regions; more of them may do. {_WRONG}"
        )
    test = f"On test it kept {_percent(review['coverage'])} of the regions"
    if review["wrong_kept"] is not None:
        test += f", of which {_percent(review['wrong_kept'])} were wrong"
    return (
        f"Review: {facts['to_review']:,} of {facts['scored']:,} scored regions are marked in the "
        f"column `review`, those with a confidence below {review['threshold']:.4g}. The threshold "
        f"was chosen on dev so that, {wanted} of the others are wrong. {test}. {_WRONG}"
    )


def _percent(share: float) -> str:
    return f"{round(100 * share, 1):g} %"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    numbers = ["–" if number is None else f"{number:z.3f}" for number in (value, low, high)]
    return "{} [{}, {}]".format(*numbers)
