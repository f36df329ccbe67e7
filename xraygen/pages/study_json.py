"""A study with its answers, as the report's files have it: a row of the index, and its content. All
numbers have at most four digits.
"""

from collections.abc import Sequence
from typing import get_args

from xraygen.core.regions import Regions
from xraygen.core.study import Evidence, Judgement, Listed, Study, Verdict
from xraygen.evaluation.scores import is_abnormal
from xraygen.language.text import disagreement
from xraygen.pages.answered import Answer

VERDICTS = get_args(Verdict)
_MISSED = "bf"  # the categories of `ErrorCounts` that are about what the reference has
_FALSE = "acde"  # those that are about what the candidate has


def row(study: Study, answers: Sequence[Answer], regions: Regions) -> dict:
    """A study in the index: what it can be filtered and sorted by."""
    judged = [[answer.judgements.get(region) for region in regions.scored] for answer in answers]
    texts = [answer.record.annotation for answer in answers]
    given = [text for text in texts if text is not None]
    evidence = [[answer.record.evidence.get(one) for one in regions] for answer in answers]
    content = {
        "id": study.id,
        "novel": bool(study.novel),
        "abnormal": _abnormal(judged),
        "disagreement": [
            round(disagreement([text.get(region, "") for text in given]), 3) for region in regions
        ],
        "score": [[one and _rounded(one.score) for one in cells] for cells in judged],
    }
    if any(one and one.clinical for cells in judged for one in cells):
        content["clinical"] = [
            [one and one.clinical and _rounded(one.clinical.score) for one in cells]
            for cells in judged
        ]
    return content | {
        "verdict": [[one and VERDICTS.index(one.verdict) for one in cells] for cells in judged],
        "confidence": [[one and _rounded(one.confidence) for one in cells] for cells in evidence],
        "support": [
            [one and one.support and one.support[0] for one in cells] for cells in evidence
        ],
        "failed": [number for number, text in enumerate(texts) if text is None],
    }


def _abnormal(judged: Sequence[Sequence[Judgement | None]]) -> list[int]:
    """The numbers of the scored regions whose reference has a significant finding. A judge that
    reads both sides at once may see it next to one approach only.
    """
    return [
        number
        for number, of_region in enumerate(zip(*judged, strict=True))
        if any(one and one.clinical and is_abnormal(one.clinical) for one in of_region)
    ]


def content(
    study: Study, answers: Sequence[Answer], pictures: Sequence[dict], regions: Regions
) -> dict:
    """A study in its page; `pictures` as `pictures.copy` describes them."""
    return {
        "id": study.id,
        "report": study.report,
        "pictures": list(pictures),
        "reference": dict(study.reference or {}),
        "answers": [_answer(answer, regions) for answer in answers],
    }


def _answer(answer: Answer, regions: Regions) -> dict:
    record = answer.record
    return {
        "error": record.error,
        "regions": {region: _region(answer, region) for region in regions},
    }


def _region(answer: Answer, region: str) -> dict:
    record = answer.record
    evidence = record.evidence.get(region, Evidence())
    judgement = answer.judgements.get(region)
    return {
        "text": (record.annotation or {}).get(region, ""),
        "support": evidence.support,
        "spans": [list(span) for span in evidence.spans],
        "confidence": _rounded(evidence.confidence),
        "judgement": None if judgement is None else _judgement(judgement),
    }


def _judgement(judgement: Judgement) -> dict:
    """What the judge made of a region. Where both sides are identical, or one is empty, no judge
    was asked and nothing is listed.
    """
    listed = judgement.listed or Listed()
    clinical = judgement.clinical
    return {
        "score": _rounded(judgement.score),
        "verdict": judgement.verdict,
        "matched": list(listed.matched),
        "missed": _named(listed, _MISSED),
        "false": _named(listed, _FALSE),
        "clinical": clinical
        and {
            "score": _rounded(clinical.score),
            "matched": list(clinical.matched),
            "missed": list(clinical.missed),
            "invented": list(clinical.invented),
        },
    }


def _named(listed: Listed, categories: str) -> list[str]:
    """The findings behind the significant errors of these categories."""
    return [name for one in categories for name in listed.significant.get(one, ())]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
