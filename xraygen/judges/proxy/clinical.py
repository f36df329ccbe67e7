"""The clinical score of two texts: abnormal findings alone, weighted by clinical significance.

The formula is that of CRIMSON (arXiv 2603.06183). N: the sum of the weights of the reference's
findings; C: of the matched ones, less where an attribute is wrong; F: of those that only the
candidate has. With S = (C - F) / N the score is S, or where S < 0 -(F - C) / (1 + F - C); where the
reference has no finding with a weight, 1 if nothing is false.
"""

from xraygen.core.study import Clinical
from xraygen.judges.proxy.comparison import Comparison, compare
from xraygen.judges.proxy.findings import Finding, read


def assess(reference: str, candidate: str) -> Clinical:
    """The abnormal findings of a pair of texts, either of which may be empty."""
    return assess_comparison(compare(read(reference), read(candidate)))


def assess_comparison(comparison: Comparison) -> Clinical:
    pairs = [pair for pair in comparison.matched + comparison.kin if pair[0].positive]
    missed = comparison.omitted
    missed = [finding for finding in missed if finding.positive]
    invented = comparison.false
    correct = sum(weight(one) for one, _ in pairs)
    present = correct + sum(map(weight, missed))
    return Clinical(
        score=clinical_score(present, correct, sum(map(weight, invented))),
        present=present,
        matched=tuple(one.key for one, _ in pairs),
        missed=tuple(finding.key for finding in missed),
        invented=tuple(finding.key for finding in invented),
    )


def weight(finding: Finding) -> float:
    return 0.5


def clinical_score(present: float, correct: float, false: float) -> float:
    """The score in [-1, 1] from the weights `present` in the reference, `correct` in the candidate
    and `false` there, rounded to 4 digits.
    """
    wrong = false - correct
    if wrong > 0:
        return round(-wrong / (1 + wrong), 4)
    return round((correct - false) / present, 4) if present else 1.0
