"""A study with its answers, as the report's files have it: a row of the index, and its content. All
numbers have at most four digits.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, get_args

from xraygen.core.regions import Regions
from xraygen.core.study import Category, Evidence, Judgement, Listed, Study, Verdict
from xraygen.evaluation.scores import is_abnormal
from xraygen.language.text import disagreement
from xraygen.pages.answered import Answer

VERDICTS = get_args(Verdict)
# The categories of `ErrorCounts`: what of the reference is left out, and what is false or wrong.
_MISSED: tuple[Category, ...] = ("b", "f")
_FALSE: tuple[Category, ...] = ("a", "c", "d", "e")
T = TypeVar("T")


def row(study: Study, answers: Sequence[Answer], regions: Regions) -> dict:
    """A study in the index: what it can be filtered and sorted by."""
    judged = [[answer.judgements.get(region) for region in regions.scored] for answer in answers]
    evidence = [[answer.record.evidence.get(one) for one in regions] for answer in answers]
    clinical = _each(judged, lambda one: one.clinical and _rounded(one.clinical.score))
    told = any(score is not None for cells in clinical for score in cells)
    return {
        "id": study.id,
        "novel": bool(study.novel),
        "abnormal": _abnormal(judged),
        "disagreement": [_disagreement(answers, region) for region in regions],
        "score": _each(judged, lambda one: _rounded(one.score)),
        **({"clinical": clinical, "errors": _errors(judged)} if told else {}),
        "verdict": _each(judged, lambda one: VERDICTS.index(one.verdict)),
        "confidence": _each(evidence, lambda one: _rounded(one.confidence)),
        "support": _each(evidence, lambda one: one.support and one.support[0]),
        "failed": [
            number for number, answer in enumerate(answers) if answer.record.annotation is None
        ],
    }


def _each(cells: Sequence[Sequence[T | None]], value: Callable[[T], object]) -> list[list]:
    """The value of each cell; None where there is nothing in it."""
    return [[None if one is None else value(one) for one in row] for row in cells]


def _errors(judged: Sequence[Sequence[Judgement | None]]) -> list[str]:
    """Of each approach, a character for each scored region: 0 = no abnormal finding is missed or
    invented, 1 = missed, 2 = invented, 3 = both, - = the judge does not tell. Findings that cost no
    clinical score do not count: the judge gives them no clinical significance.
    """
    return ["".join(map(_error, cells)) for cells in judged]


def _error(judgement: Judgement | None) -> str:
    clinical = judgement and judgement.clinical
    if not clinical:
        return "-"
    if clinical.score >= 1:
        return "0"
    return str(bool(clinical.missed) + 2 * bool(clinical.invented))


def _disagreement(answers: Sequence[Answer], region: str) -> float:
    """How far the texts of a region are apart; annotations that failed have none."""
    given = [answer.record.annotation for answer in answers]
    texts = [texts.get(region, "") for texts in given if texts is not None]
    return round(disagreement(texts), 3)


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


def _named(listed: Listed, categories: Sequence[Category]) -> list[str]:
    """The findings behind the significant errors of these categories."""
    return [name for one in categories for name in listed.significant.get(one, ())]


def _rounded(value: float | None) -> float | None:
    """With four digits; 1 rather than 1.0, which is a tenth of a large index."""
    if value is None:
        return None
    short = round(value, 4)
    return int(short) if short.is_integer() else short
