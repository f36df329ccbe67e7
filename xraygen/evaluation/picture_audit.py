"""Does an approach look at the picture? Its answers with another study's pictures, with blank ones
and with none, judged against the references.

`judged` gives the content of data/judgements/<approach>/audit.json; docs/picture-audit.md says what
each number means. `xraygen/annotators/picture_audit.py` has made the cases.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, AuditRecord, Pictures, Study
from xraygen.evaluation.resampling import bootstrap, intervals, means
from xraygen.evaluation.scores import rounded
from xraygen.judges import Judge, Opinion, opinions
from xraygen.language.text import token_f1

OWN = "own"
SHOWN = (OWN, *get_args(Pictures))
AUDITED = ("score", "token_f1", "clinical")
_TIE = 1e-9

Texts = Mapping[str, str]


class _Judged:
    """Opinions on pairs of texts, all asked for at once, because a judge may have a model to
    load.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], judge: Judge) -> None:
        distinct = sorted(set(pairs))
        self.known = dict(zip(distinct, opinions(distinct, judge), strict=True))

    def __call__(self, reference: str, candidate: str) -> Opinion:
        return self.known[reference, candidate]

    def named(self, reference: str, candidate: str) -> set[str]:
        """The names of the reference's abnormal findings that the candidate has too."""
        clinical = self(reference, candidate).clinical
        return set(clinical.matched) if clinical else set()

    def missed(self, reference: str, candidate: str) -> set[str]:
        """The names of those that it has not."""
        clinical = self(reference, candidate).clinical
        return set(clinical.missed) - set(clinical.matched) if clinical else set()


class _Swap(NamedTuple):
    """Of a study with the pictures of another, the lender: both references, what was said of it,
    and what was said of the lender with its own pictures, all by region.
    """

    own: Texts
    shown: Texts
    said: Texts
    lenders_right: Texts

    def pairs(self, region: str) -> list[tuple[str, str]]:
        """All (reference, candidate) to be judged."""
        own, shown = self.own[region], self.shown[region]
        texts = (own, shown, self.said[region], self.lenders_right[region])
        return [(reference, text) for reference in (own, shown) for text in texts]


def judged(
    studies: Iterable[Study],
    annotations: Iterable[AnnotationRecord],
    audited: Sequence[AuditRecord],
    judge: Judge,
    regions: Regions,
    resamples: int,
    seed: int,
) -> dict:
    """`studies`, `annotations`: of the split that `audited` was drawn from, test. {"studies": 0}
    where nothing was audited. UserError: an audited study is not among them.
    """
    if not audited:
        return {"studies": 0}
    ids = {id for record in audited for id in (record.id, record.pictures_of) if id}
    references = {study.id: study for study in studies if study.id in ids}
    right = {record.id: record for record in annotations if record.id in ids}
    if unknown := sorted(ids - (references.keys() & right.keys())):
        raise UserError(
            f"the picture audit is of other studies than test: {unknown[0]}; "
            "run `dvc repro annotate` again"
        )
    drawn = list(dict.fromkeys(record.id for record in audited))
    answers: dict[str, dict[str, AnnotationRecord]] = {OWN: {id: right[id] for id in drawn}}
    for record in audited:
        answers.setdefault(record.pictures, {})[record.id] = record
    swaps = list(_swaps(audited, references, right, regions))
    told = _Judged(_pairs(drawn, references, answers, swaps, regions), judge)
    values = _values(drawn, references, answers, told, regions)
    return {
        "studies": len(drawn),
        **_conditions(answers, values, resamples, seed),
        "followed": _followed(swaps, told, regions.scored, resamples, seed),
    }


def _swaps(
    audited: Sequence[AuditRecord],
    references: Mapping[str, Study],
    right: Mapping[str, AnnotationRecord],
    regions: Regions,
) -> Iterable[_Swap]:
    """None for an answer that failed, the lender's own included: it is not about any picture, but
    counted as empty it would be nearer to whichever reference is silent.
    """
    blank = regions.annotation({})
    for record in audited:
        if record.pictures_of is None or record.annotation is None:
            continue
        lenders_right = right[record.pictures_of].annotation
        if lenders_right is None:
            continue
        yield _Swap(
            own=references[record.id].reference or blank,
            shown=references[record.pictures_of].reference or blank,
            said=record.annotation,
            lenders_right=lenders_right,
        )


def _text(record: AnnotationRecord | None, region: str) -> str:
    return record.annotation.get(region, "") if record and record.annotation else ""


def _pairs(
    drawn: Sequence[str],
    references: Mapping[str, Study],
    answers: Mapping[str, Mapping[str, AnnotationRecord]],
    swaps: Sequence[_Swap],
    regions: Regions,
) -> Iterable[tuple[str, str]]:
    for region in regions.scored:
        for id in drawn:
            for given in answers.values():
                yield (references[id].reference or {})[region], _text(given.get(id), region)
        for swap in swaps:
            yield from swap.pairs(region)


def _values(
    drawn: Sequence[str],
    references: Mapping[str, Study],
    answers: Mapping[str, Mapping[str, AnnotationRecord]],
    told: _Judged,
    regions: Regions,
) -> np.ndarray:
    """(AUDITED, SHOWN, studies, regions), NaN where there is nothing to count. A study that was not
    shown in this way has no value; a failed answer counts as empty.
    """
    values = np.full((len(AUDITED), len(SHOWN), len(drawn), len(regions.scored)), np.nan)
    for place, shown in enumerate(SHOWN):
        given = answers.get(shown, {})
        for row, id in enumerate(drawn):
            if id not in given:
                continue
            for column, region in enumerate(regions.scored):
                reference = (references[id].reference or {})[region]
                candidate = _text(given[id], region)
                opinion = told(reference, candidate)
                clinical = opinion.clinical.score if opinion.clinical else None
                found = (opinion.score, token_f1(reference, candidate), clinical)
                values[:, place, row, column] = np.array(found, dtype=float)
    return values


def _conditions(
    answers: Mapping[str, Mapping[str, AnnotationRecord]],
    values: np.ndarray,
    resamples: int,
    seed: int,
) -> dict:
    """{"own" | "swapped" | "blank" | "none": {"answered", "changed", measure: {"value", "lost",
    "share"}}}, each of the three with its interval.

    A condition in which no case was answered has no scores. `changed`: the share of the answers
    that differ from those with the own pictures. `lost`: by how much the measure is lower than with
    the own pictures; `share`: its part that is left. Both are of the same studies, macro.
    """
    measures, shown, n, _ = values.shape
    result: dict = {}
    for place, name in enumerate(SHOWN):
        given = answers.get(name, {})
        answered = [id for id, record in given.items() if record.annotation is not None]
        cell: dict = {"cases": len(given), "answered": len(answered)}
        result[name] = cell
        if not answered:
            continue
        differ = [given[id].annotation != answers[OWN][id].annotation for id in given]
        cell["changed"] = rounded(sum(differ) / len(given))
        for measure, name_of in enumerate(AUDITED):
            pair = values[measure, [0, place]]
            # Studies without a partner count on neither side.
            pair = np.where(np.isnan(pair).any(axis=0), np.nan, pair)
            own, other = means(pair)[:, 0]
            draws = bootstrap(pair, resamples, seed)[:, :, 0] if n > 1 else None
            cell[name_of] = {
                "value": _estimate(other, None if draws is None else draws[:, 1]),
                "lost": _estimate(
                    own - other, None if draws is None else draws[:, 0] - draws[:, 1]
                ),
                "share": _share(own, other, draws),
            }
    return result


def _share(own: float, other: float, draws: np.ndarray | None) -> dict | None:
    """The part of a measure that is left; None where the whole is not positive, as `clinical` may
    be, in the estimate or in a resample.
    """
    if not own > 0 or (draws is not None and not (draws[:, 0] > 0).all()):
        return None
    return _estimate(other / own, None if draws is None else draws[:, 1] / draws[:, 0])


def _estimate(value: float, draws: np.ndarray | None) -> dict:
    low = high = float("nan")
    if draws is not None:
        low, high = map(float, intervals(draws)[:2])
    return {"value": rounded(float(value)), "ci_low": rounded(low), "ci_high": rounded(high)}


def _followed(
    swaps: Sequence[_Swap], told: _Judged, scored: Sequence[str], resamples: int, seed: int
) -> dict:
    """What the answers to swapped pictures are about; shares are None where none was answered.

    "texts": the `n` regions in which the two references differ for the judge. `follows`: the share
    in which the answer is nearer to the reference of the study whose pictures were shown, the
    lender; `stays`: nearer to that of its own; `possible`: as `follows`, of the answers that the
    lender itself got.
    "findings": the `n` abnormal findings that only the lender's reference has. `follows`: the share
    that the answer names; `possible`: that the lender's own answer names; `stays`: the share that
    the answer names of the `n_own` findings that only its own reference has.
    "by_finding": the same by name, as counts.
    """
    texts = np.zeros((4, len(swaps)))
    findings = np.zeros((5, len(swaps)))
    by_name: dict[str, Counter[str]] = defaultdict(Counter)
    for row, swap in enumerate(swaps):
        for region in scored:
            texts[:, row] += _text_counts(swap, told, region)
            findings[:, row] += _finding_counts(swap, told, region, by_name)
    n, follows, stays, possible = texts
    gained, named, kept_of, kept, gained_right = findings
    draw = {"resamples": resamples, "seed": seed}
    return {
        "texts": {
            "n": int(n.sum()),
            "follows": _ratio(follows, n, **draw),
            "stays": _ratio(stays, n, **draw),
            "possible": _ratio(possible, n, **draw),
        },
        "findings": {
            "n": int(gained.sum()),
            "follows": _ratio(named, gained, **draw),
            "possible": _ratio(gained_right, gained, **draw),
            "n_own": int(kept_of.sum()),
            "stays": _ratio(kept, kept_of, **draw),
        },
        "by_finding": {
            name: {key: counts[key] for key in ("n", "follows", "possible", "n_own", "stays")}
            for name, counts in sorted(by_name.items(), key=lambda item: (-item[1]["n"], item[0]))
        },
    }


def _text_counts(swap: _Swap, told: _Judged, region: str) -> tuple[int, int, int, int]:
    """(1 if the two references differ, and of that: 1 if the answer follows, stays, and if the
    lender's own answer follows). Nothing counts where a pair could not be scored.
    """
    own, shown = swap.own[region], swap.shown[region]
    texts = (own, shown, swap.said[region], swap.lenders_right[region])
    scores = [[told(reference, text).score for text in texts] for reference in (own, shown)]
    to_own, to_shown = np.array(scores, dtype=float)  # NaN for None
    if np.isnan([to_own, to_shown]).any() or min(to_own[1], to_shown[0]) > 1 - _TIE:
        return 0, 0, 0, 0
    nearer = to_shown[2:] - to_own[2:]
    return 1, int(nearer[0] > _TIE), int(nearer[0] < -_TIE), int(nearer[1] > _TIE)


def _finding_counts(
    swap: _Swap, told: _Judged, region: str, by_name: dict[str, Counter[str]]
) -> tuple[int, int, int, int, int]:
    """(findings of the shown study alone, of these named, findings of the own study alone, of these
    named, and of the first ones named by the lender's own answer)
    """
    own, shown, said = swap.own[region], swap.shown[region], swap.said[region]
    gained = told.missed(shown, own)
    lost = told.missed(own, shown)
    named = gained & told.named(shown, said)
    possible = gained & told.named(shown, swap.lenders_right[region])
    for name in gained:
        by_name[name].update(n=1, follows=name in named, possible=name in possible)
    kept = lost & told.named(own, said)
    for name in lost:
        by_name[name].update(n_own=1, stays=int(name in kept))
    return len(gained), len(named), len(lost), len(kept), len(possible)


def _ratio(part: np.ndarray, whole: np.ndarray, resamples: int, seed: int) -> dict | None:
    """The ratio of two sums over studies with its interval; None where the whole is 0."""
    if not whole.sum():
        return None
    draws = None
    if len(whole) > 1:
        sums = bootstrap(np.stack([part, whole])[:, :, None], resamples, seed)[:, :, 0]
        sums = sums[sums[:, 1] > 0]
        draws = sums[:, 0] / sums[:, 1]
    return _estimate(part.sum() / whole.sum(), draws)


def metrics(audit: dict) -> dict:
    """The part of `judged` that metrics/scores/<approach>.json shows: the share of the score that
    is left with other pictures, and how often the answer follows the picture. Empty without an
    audit.
    """
    if not audit["studies"]:
        return {}
    share = {name: _value(audit[name].get("score", {}).get("share")) for name in SHOWN[1:]}
    followed = {
        f"follows_{kind}": _value(audit["followed"][kind]["follows"])
        for kind in ("texts", "findings")
    }
    return {"pictures": {f"share_{name}": value for name, value in share.items()} | followed}


def _value(estimate: dict | None) -> float | None:
    return estimate["value"] if estimate else None
