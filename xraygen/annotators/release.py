"""The release: which approach is best on dev and by how much, and its annotations of the val
split.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import VERSUS, Annotation, AnnotationRecord, NonEmpty, Record

if TYPE_CHECKING:
    from xraygen.annotators.base import Settings


class Released(Record):
    """A study in val.jsonl: its annotation, or the error that prevented it, the regions that should
    be reviewed, the approach that made it, and the judge by which that was chosen.
    """

    id: NonEmpty
    annotation: Annotation | None
    review: tuple[str, ...]
    error: str | None
    approach: str
    judge: str


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
    approaches: Mapping[str, "Settings"], scores: Mapping[str, dict], pairs: Mapping[str, dict]
) -> dict:
    """The facts of the choice: the approach with the best macro score on dev, the first by name
    among equals, and its paired comparison with the next one. `scores`, `pairs`: the keys
    `approaches` and `pairs.dev` of reports/comparison.json.

    Approaches of the annotator recorded are excluded, because they have no answers to studies that
    nobody asked them about; they are named. UserError: no other approach has a score on dev, or the
    comparison is of other approaches.
    """
    absent = sorted(approaches.keys() - scores.keys())
    if absent:
        raise UserError(
            f"reports/comparison.json: no scores of {absent[0]}; run `dvc repro compare`"
        )
    recorded = sorted(
        name for name, approach in approaches.items() if approach.annotator == "recorded"
    )
    macro = {name: scores[name]["dev"]["macro"] for name in approaches if name not in recorded}
    ranked = sorted(
        (name for name in macro if macro[name]["score"] is not None),
        key=lambda name: (-macro[name]["score"], name),
    )
    if not ranked:
        raise UserError(
            "no approach that can annotate has a macro score on dev: params.yaml needs one whose "
            "annotator is not recorded, and dev needs scored studies in every region; "
            "metrics/data.json counts its references"
        )
    best = ranked[0]
    chosen = {"approach": best, "judge": scores[best]["judge"], "candidates": len(ranked)}
    chosen |= {key: macro[best][key] for key in ("score", "ci_low", "ci_high")}
    if len(ranked) > 1:
        chosen |= {"runner_up": ranked[1]} | _margin(best, ranked[1], pairs)
    chosen |= {"dev_used_for": dev_used_for(approaches)}
    return chosen | ({"left_out": recorded} if recorded else {})


def metrics(facts: Mapping) -> dict:
    """The content of metrics/release.json: the facts without the intervals, which are in
    README.md.
    """
    return {
        key: value
        for key, value in facts.items()
        if not key.endswith(("ci_low", "ci_high")) and key not in ("p_holm", "confidence")
    }


def _margin(best: str, second: str, pairs: Mapping[str, dict]) -> dict:
    """The tested difference best minus second, in whichever order the pair is stored."""
    ahead = pairs.get(f"{best}{VERSUS}{second}")
    behind = pairs.get(f"{second}{VERSUS}{best}")
    found = ahead or behind
    if found is None:
        raise UserError(
            f"reports/comparison.json: no comparison of {best} with {second} on dev; "
            "run `dvc repro compare`"
        )
    macro = found["score"]["macro"]
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
        review=review,
        error=record.error,
        approach=chosen["approach"],
        judge=chosen["judge"],
    )


def columns(regions: Regions) -> tuple[str, ...]:
    """The columns of val.csv."""
    return ("id", *regions, "review", "error", "approach", "judge")


def rows(members: Sequence[Released], regions: Regions) -> list[dict]:
    """The rows of val.csv. The regions of a failed study are empty, and its error says why. The
    column `review` names regions, separated by commas.
    """
    return [
        member.model_dump(exclude={"annotation"})
        | regions.annotation(member.annotation or {})
        | {"review": ", ".join(member.review)}
        for member in members
    ]


def readme(facts: dict) -> str:
    """README.md next to the files. `facts`: those of `choose`, the numbers of `studies` and of
    `failed` ones, and `confidence` as in `to_review` with the number of regions `to_review`.
    """
    judge = facts["judge"]
    if judge == "proxy":
        judge += ", the embedded approximation of GREEN"
    score = _interval(facts["score"], facts["ci_low"], facts["ci_high"])
    *uses, last_use = facts["dev_used_for"]
    used = f"{', '.join(uses)} and {last_use}" if uses else last_use
    optimistic = f"Dev was used for {used}, so scores on dev are optimistic"
    if CHECKPOINT_SELECTION in uses:
        optimistic += ", and those of a fine-tuned approach more than others"
    lines = [
        f"Studies: {facts['studies']:,}, of the split val. Failed: {facts['failed']:,}; their "
        "column `error` says why.",
        f"Approach: **{facts['approach']}**, the best of {facts['candidates']} by macro score on "
        "dev.",
        f"Judge: {judge}.",
        f"Macro score on dev: {score}. Scores on test are in reports/comparison.md.",
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
    listed = "".join(f"- {line}\n" for line in lines)
    return f"# The val split, annotated\n\n{listed}\nResearch only, not for clinical use.\n"


def _review_line(facts: Mapping) -> str:
    confidence = facts.get("confidence")
    if confidence is None:
        return (
            f"Review: no region is marked, because {facts['approach']} gives no confidence on dev "
            "and test from which a threshold could be chosen."
        )
    review = confidence["review"]
    marked = f"Review: the column `review` names {facts['to_review']:,} of the scored regions"
    wanted = f"at most {review['risk']:g} of the others are wrong"
    if review["threshold"] is None:
        return f"{marked}: all, because no threshold on dev ensures that {wanted}."
    test = f"{review['coverage']:.3f} of the regions were kept"
    if review["wrong_kept"] is not None:
        test += f" and {review['wrong_kept']:.3f} of them wrong"
    return (
        f"{marked}: those with a confidence below {review['threshold']:.6g}. This was chosen on "
        f"dev so that {wanted}, except with probability {review['delta']:g} (upper bound on dev "
        f"{review['bound']:.3f}). On test, {test}, of {confidence['regions']:,}. A region is wrong "
        "where its token F1 with the reference is below 0.7, or just one of the two is empty."
    )


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    numbers = ["–" if number is None else f"{number:.3f}" for number in (value, low, high)]
    return "{} [{}, {}]".format(*numbers)
