"""How many cases may fail, and how many have failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord

_FEW = 20  # failures from which on their share is checked before the end


def is_of_pictures(record: AnnotationRecord) -> bool:
    return bool(record.usage.get("unreadable_pictures"))


class Failures:
    """The cases that failed in a way that counts; at most `share` of all may. `answers`,
    `pictures`: how many failed for each reason, the latter with unreadable pictures.

    A few unreadable pictures do not stop a run, even in a short file of cases, unless every case
    has one.
    """

    def __init__(
        self,
        share: float,
        answers: Mapping[str, int] | None = None,
        pictures: Mapping[str, int] | None = None,
    ) -> None:
        self.share = share
        self.answers = Counter(answers)
        self.pictures = Counter(pictures)

    def add(self, record: AnnotationRecord) -> None:
        reasons = self.pictures if is_of_pictures(record) else self.answers
        reasons[str(record.error)] += 1

    def check(self, cases: int, ended: bool = False) -> None:
        """UserError: of this many cases a larger share has failed."""
        pictures = self.pictures.total()
        are_few = self.answers.total() + pictures < _FEW
        if are_few and not ended:
            return
        reasons = self.answers
        if not are_few or pictures >= min(_FEW, cases):
            reasons = self.answers + self.pictures
        if reasons.total() > self.share * cases:
            listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
            raise UserError(
                f"{reasons.total():,} of {cases:,} cases have no annotation, more than "
                f"llm.max_failed allows: {listed}. What was answered is kept; fix the prompt, the "
                "model or the pictures, or raise llm.max_failed"
            )
