"""What the browser of the report should find and list, from the records."""

from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from itertools import product
from operator import add

import synthetic_report
from conftest import REGIONS

from xraygen.language.text import disagreement


class Expected:
    """What the page should find, from the records."""

    def __init__(self, made: synthetic_report.Collection):
        self.made = made
        self.judged = {
            (name, judgement.id, judgement.region): judgement
            for name, judgements in made.judgements.items()
            for judgement in judgements
        }

    def answer(self, approach: str, number: int):
        return self.made.annotations[approach][number]

    def pairs(self, number: int, approaches, regions, **asked):
        """(approach, region) of a study that have all that is asked of a pair."""
        for region, approach in product(regions, approaches):
            if self._has(number, approach, region, **asked):
                yield approach, region

    def _has(
        self,
        number,
        approach,
        region,
        verdict=None,
        clinical=None,
        low=None,
        high=None,
        disagree=None,
        disagreeing=None,
        abnormal=False,
        unsupported=False,
        failed=False,
    ) -> bool:
        id = self.made.studies[number].id
        record = self.answer(approach, number)
        judgement = self.judged.get((approach, id, region))
        if low is not None or high is not None:
            score = None if judgement is None else judgement.score
            if score is None or not (low or 0) <= round(score, 4) <= (1 if high is None else high):
                return False
        present = 0 if judgement is None else judgement.clinical.present or 0
        if clinical and (judgement is None or not self._is(clinical, judgement.clinical)):
            return False
        support = record.evidence[region].support if record.annotation is not None else None
        return (
            (verdict is None or (judgement is not None and judgement.verdict == verdict))
            and (disagree is None or self.disagreement(number, region, disagreeing) >= disagree)
            and (not abnormal or present > 0)
            and (not unsupported or support == "unsupported")
            and (not failed or record.annotation is None)
        )

    @staticmethod
    def _is(asked: str, clinical) -> bool:
        if clinical.score == 1:
            return asked == "right"
        missed, invented = map(bool, (clinical.missed, clinical.invented))
        return {
            "missed": missed,
            "invented": invented,
            "either": missed or invented,
            "detail": not missed and not invented,
            "right": False,
        }[asked]

    def found(self, approaches, regions=tuple(REGIONS), novel=False, text="", **asked) -> list[str]:
        return [
            study.id
            for number, study in enumerate(self.made.studies)
            if (study.novel or not novel)
            and all(word in self._texts(number) for word in text.lower().split())
            and (not asked or any(self.pairs(number, approaches, regions, **asked)))
        ]

    def disagreement(self, number: int, region: str, approaches) -> float:
        answers = [self.answer(name, number).annotation for name in approaches]
        return round(disagreement([one[region] for one in answers if one is not None]), 3)

    def _texts(self, number: int) -> str:
        study = self.made.studies[number]
        answers = [
            text
            for records in self.made.annotations.values()
            for text in (records[number].annotation or {}).values()
        ]
        return "\n".join(
            [study.id, study.report, *(study.reference or {}).values(), *answers]
        ).lower()

    def clinical(self, number: int, approach: str, region: str) -> float | None:
        judgement = self.judged.get((approach, self.made.studies[number].id, region))
        return None if judgement is None else judgement.clinical.score

    def scores(self, number: int, approaches, regions=REGIONS.scored) -> list[float]:
        id = self.made.studies[number].id
        judged = [
            self.judged.get((approach, id, region))
            for region, approach in product(regions, approaches)
        ]
        return [round(one.score, 4) for one in judged if one is not None and one.score is not None]


def mean(scores: list[float]) -> float:
    """With the last bit as JavaScript has it; fmean and sum are more exact."""
    return reduce(add, scores) / len(scores)


def two_digits(value: float) -> Decimal:
    """As JavaScript rounds."""
    return Decimal(value).quantize(Decimal("0.01"), ROUND_HALF_UP)


def summaries(scores) -> list[str]:
    return [
        f"worst {two_digits(min(one))}mean {two_digits(mean(one))}" if one else "worst –mean –"
        for one in scores
    ]
