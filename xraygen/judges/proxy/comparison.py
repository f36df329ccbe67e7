"""Two texts compared finding by finding, and GREEN's counts of matches and errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from xraygen.core.study import ErrorCounts
from xraygen.judges.proxy.findings import Finding, Statement
from xraygen.judges.proxy.vocabulary import (
    BONE,
    HEART,
    LUNG,
    STRUCTURE_NAMES,
    UNREAD,
    WHOLE,
)

Pair = tuple[Finding, Finding]  # of the reference and of the candidate

_CARDIOMEDIASTINAL = "cardiomediastinal"
# A structure called normal as a whole also says that these are absent.
_PLEURA = frozenset(("effusion", "pneumothorax", "pleural thickening", "blunting"))
_COVERS = {
    "lung": LUNG - _PLEURA,
    "pleura": _PLEURA,
    "bone": BONE | {"rib", "spine", "shoulder"},
    "spine": {"degenerative", "scoliosis", "kyphosis", "compression"},
    "rib": {"fracture"},
    "heart": HEART,
    "mediastinum": {"adenopathy", "hilum"},
    "cardiomediastinal": {"heart", "mediastinum"} | HEART,
}
# Findings that reports name one for another.
_FAMILIES = (
    ("consolidation", "pneumonia", "tuberculosis"),
    ("nodule", "mass", "malignancy"),
    ("edema", "congestion", "heart failure"),
    ("scarring", "fibrosis"),
    ("emphysema", "hyperinflation", "bulla"),
    ("tortuous", "aneurysm"),
    ("cavity", "lucency", "bulla"),
    ("interstitial", "bronchiectasis", "fibrosis"),
    ("destruction", "malignancy"),
)
# Different words for nearly the same thing.
_KIN = {frozenset(pair) for family in _FAMILIES for pair in combinations(family, 2)} | {
    frozenset(pair)
    for pair in (
        ("heart", "cardiomediastinal"),
        ("mediastinum", "cardiomediastinal"),
        ("consolidation", "opacity"),
        ("calcification", "granuloma"),
        ("calcification", "atherosclerosis"),
        ("nodule", "granuloma"),
        ("nodule", "opacity"),
        ("atelectasis", "opacity"),
        ("scarring", "opacity"),
        ("scarring", "atelectasis"),
        ("effusion", "blunting"),
        ("fracture", "compression"),
        ("fracture", "deformity"),
        ("fracture", "injury"),
        ("vasculature", "edema"),
        ("tortuous", "aorta"),
        ("emphysema", "flattening"),
        ("edema", "interstitial"),
        ("interstitial", "opacity"),
        ("bone", "spine"),
        ("bone", "rib"),
        ("bone", "fracture"),
        ("consolidation", "nodule"),
        ("enlargement", "tortuous"),
        ("enlargement", "aneurysm"),
        ("aneurysm", "aorta"),
        ("pneumonia", "opacity"),
        ("mass", "opacity"),
        ("hyperinflation", "flattening"),
        ("congestion", "vasculature"),
        ("congestion", "interstitial"),
        ("crowding", "interstitial"),
        ("crowding", "low volume"),
        ("thickening", "pleural thickening"),
        ("thickening", "interstitial"),
        ("lesion", "nodule"),
        ("nodular opacity", "nodule"),
        ("nodular opacity", "opacity"),
        ("nodular opacity", "mass"),
        ("lesion", "opacity"),
        ("lesion", "destruction"),
        ("lesion", "mass"),
        ("pneumothorax", "pneumomediastinum"),
        ("fracture", "dislocation"),
        ("scoliosis", "kyphosis"),
    )
}


@dataclass(slots=True)
class Comparison:
    """What the candidate shares with the reference, what it lacks, contradicts and adds.

    `location`, `zone`, `severity` and `severity_unsaid` count pairs that differ in that respect.
    """

    matched: list[Pair] = field(default_factory=list)  # the same finding in the same state
    kin: list[Pair] = field(default_factory=list)  # a related one in the same state
    contradicted: list[Pair] = field(default_factory=list)  # present on one side, denied on one
    limits: list[Pair] = field(default_factory=list)  # normal on one side, just normal on the other
    # In the reference only:
    covered: list[Finding] = field(default_factory=list)  # absent; a "normal" in the other says so
    denials: list[Finding] = field(default_factory=list)  # normal; the other denies a part of it
    missing: list[Finding] = field(default_factory=list)  # the others
    # In the candidate only:
    covering: list[Finding] = field(default_factory=list)  # absent; a "normal" in the other says so
    extra: list[Finding] = field(default_factory=list)  # the others
    location: int = 0
    zone: int = 0
    severity: int = 0
    severity_unsaid: int = 0
    prior_added: bool = False
    prior_omitted: bool = False

    @property
    def false(self) -> list[Finding]:
        """What the candidate states as present and the reference does not."""
        contradicting = [other for _, other in self.contradicted + self.limits]
        return [finding for finding in self.extra + contradicting if finding.positive]

    @property
    def omitted(self) -> list[Finding]:
        """What the reference states, and the candidate does not."""
        contradicting = self.contradicted + self.limits
        return self.missing + [one for one, _ in contradicting if one.positive]

    @property
    def found(self) -> list[Finding]:
        """The findings of the reference that the candidate has, in whatever words."""
        pairs = self.matched + self.kin + self.limits
        return [one for one, _ in pairs] + self.covered + self.denials

    @property
    def credit(self) -> float:
        """`found`, less a half for what is said otherwise (a related finding, the whole for a part,
        "unchanged" for "normal") and a quarter for a "normal" that one side does not say of what.
        """
        unnamed = sum(WHOLE in (one.key, other.key) for one, other in self.kin)
        otherwise = len(self.kin) - unnamed + len(self.covered)
        otherwise += sum(one.state != other.state for one, other in self.matched)
        return len(self.found) - otherwise / 2 - unnamed / 4

    @property
    def vague(self) -> float:
        """What the counts leave out and GREEN mostly does not: a severity or a place that one side
        lacks, what only the candidate mentions, and a quarter of what only the candidate calls
        normal or stable.
        """
        mentioned = sum(finding.state == "named" for finding in self.extra)
        quiet = sum(finding.state in ("normal", "stable") for finding in self.extra)
        return self.severity_unsaid + self.zone + mentioned + quiet / 4


def _alike(one: Finding, other: Finding) -> bool:
    return one.positive == other.positive


def _difference(one: Finding, other: Finding) -> int:
    side = one.side != other.side
    severity = one.severity != other.severity
    return 4 * side + 2 * severity + len(one.where ^ other.where)


def _same_key(one: Finding, other: Finding) -> bool:
    if one.key == UNREAD == other.key:
        return 2 * len(one.where & other.where) > len(one.where | other.where)
    return one.key == other.key


def _related(one: Finding, other: Finding) -> bool:
    if WHOLE in (one.key, other.key):
        return UNREAD not in (one.key, other.key) and not (one.positive and other.positive)
    return frozenset((one.key, other.key)) in _KIN


def _same(one: Finding, other: Finding) -> bool:
    return _same_key(one, other) and _alike(one, other)


def _at_the_limit(one: Finding, other: Finding) -> bool:
    """A heart "at the upper limit of normal" and one that is normal."""
    limit = one if one.positive else other
    return limit.doubtful and limit.key in STRUCTURE_NAMES and _same_key(one, other)


def _kin(one: Finding, other: Finding) -> bool:
    return _related(one, other) and _alike(one, other)


def _kin_denied(one: Finding, other: Finding) -> bool:
    return _related(one, other) and WHOLE not in (one.key, other.key)


def _paired(
    left: list[Finding], right: list[Finding], fits: Callable[[Finding, Finding], bool]
) -> list[Pair]:
    """Pairs of findings that fit, removed from both lists. Each of `left` in turn takes the one
    that differs least, the first of equal ones.
    """
    pairs = []
    for one in list(left):
        fitting = [other for other in right if fits(one, other)]
        if fitting:
            other = min(fitting, key=lambda candidate: _difference(one, candidate))
            left.remove(one)
            right.remove(other)
            pairs.append((one, other))
    return pairs


def _distinct(statements: Sequence[Statement]) -> list[Finding]:
    """The findings of a text, each once. A quiet cardiomediastinal silhouette is that of the heart
    and of the mediastinum.
    """
    found: dict[Finding, None] = {}
    for statement in statements:
        for finding in statement.findings:
            if finding.key == _CARDIOMEDIASTINAL and not finding.positive:
                found[replace(finding, key="heart")] = None
                found[replace(finding, key="mediastinum")] = None
            else:
                found[finding] = None
    return list(found)


def _of_silhouette(finding: Finding) -> bool:
    """Whether it is half of what is said of a cardiomediastinal silhouette."""
    return not finding.positive and _CARDIOMEDIASTINAL in finding.where


def _covered_by(findings: Sequence[Finding]) -> frozenset[str]:
    """What need not be said where these findings are: parts of the structures called normal."""
    normal = (finding.key for finding in findings if finding.state == "normal")
    return frozenset().union(*(_COVERS.get(key, ()) for key in normal))


def compare(reference: Sequence[Statement], candidate: Sequence[Statement]) -> Comparison:
    """Pair the findings of two texts: first the same ones, then contradictions, then related ones;
    then sort what is left on each side.
    """
    left, right = _distinct(reference), _distinct(candidate)
    covered_left, covered_right = _covered_by(left), _covered_by(right)
    result = Comparison()
    result.matched = _paired(left, right, _same)
    result.limits = _paired(left, right, _at_the_limit)
    result.contradicted = _paired(left, right, _same_key)
    result.kin = _paired(left, right, _kin)
    result.contradicted += _paired(left, right, _kin_denied)
    _sort_left(result, left, right, covered_right)
    half_paired = any(_of_silhouette(other) for _, other in result.matched + result.contradicted)
    for finding in right:
        if not finding.positive and finding.key in covered_left:
            result.covering.append(finding)
        elif not (half_paired and _of_silhouette(finding)):
            result.extra.append(finding)
    for one, other in result.matched + result.kin:
        _count_differences(result, one, other)
    prior_left = any(statement.prior for statement in reference)
    prior_right = any(statement.prior for statement in candidate)
    result.prior_added = prior_right and not prior_left
    result.prior_omitted = prior_left and not prior_right
    return result


def _sort_left(
    result: Comparison, left: list[Finding], right: list[Finding], covered: frozenset[str]
) -> None:
    absent = {finding.key for finding in right if not finding.positive}
    present = {finding.key for finding in right if finding.positive}
    for finding in left:
        parts = _COVERS.get(finding.key, frozenset())
        denied = not parts.isdisjoint(absent) and parts.isdisjoint(present)
        if finding.positive:
            result.missing.append(finding)
        elif finding.key in covered:
            result.covered.append(finding)
        elif finding.state == "normal" and denied:
            result.denials.append(finding)
        else:
            result.missing.append(finding)


def _count_differences(result: Comparison, one: Finding, other: Finding) -> None:
    result.location += {one.side, other.side} == {1, 2}
    if not one.positive:
        return
    result.zone += one.where != other.where or one.side != other.side
    if one.severity and other.severity:
        result.severity += one.severity != other.severity
    else:
        result.severity_unsaid += one.severity != other.severity


def counts(comparison: Comparison) -> tuple[int, ErrorCounts]:
    """Matched findings and significant errors in GREEN's categories.

    A present finding that the other side denies counts once: as false (a) where the candidate has
    it, as missing (b) otherwise. What the reference says is absent or normal counts as missing only
    if nothing in the candidate covers it.
    """
    errors = ErrorCounts(
        a=len(comparison.false),
        b=len(comparison.omitted),
        c=comparison.location,
        d=comparison.severity,
        e=int(comparison.prior_added),
        f=int(comparison.prior_omitted),
    )
    return len(comparison.found), errors
