"""Two texts compared finding by finding, and the numbers that describe the comparison."""

from collections import Counter
from dataclasses import dataclass, field

from xraygen.core.study import ErrorCounts
from xraygen.judges.proxy.findings import Finding, Statement, read
from xraygen.judges.proxy.vocabulary import BONE, HEART, LUNG, UNREAD, WHOLE
from xraygen.language.text import tokens

# A structure called normal as a whole also says that these are absent.
_PLEURA = frozenset(("effusion", "pneumothorax", "pleural thickening", "blunting"))
_COVERS = {
    "lung": LUNG - _PLEURA,
    "pleura": _PLEURA,
    "bone": BONE | {"rib", "spine", "shoulder"},
    "spine": {"degenerative", "curvature", "kyphosis", "compression"},
    "rib": {"fracture"},
    "heart": HEART,
    "mediastinum": {"adenopathy", "hilum", "aorta", "trachea"},
    "cardiomediastinal": {"heart", "mediastinum"} | HEART,
}
# Different words for nearly the same thing.
_KIN = {
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
        ("fracture", "dislocation"),
        ("curvature", "kyphosis"),
    )
}


@dataclass(slots=True)
class Comparison:
    """What of the reference the candidate has, misses, contradicts, and what it has beyond the
    reference.
    """

    matched: list[tuple[Finding, Finding]] = field(
        default_factory=list
    )  # the same finding in the same state
    kin: list[tuple[Finding, Finding]] = field(
        default_factory=list
    )  # a related one in the same state
    covered: list[Finding] = field(
        default_factory=list
    )  # absent in the reference, covered by a "normal" of the candidate
    denials: list[Finding] = field(
        default_factory=list
    )  # normal in the reference, and the candidate denies a part of that
    contradicted: list[tuple[Finding, Finding]] = field(
        default_factory=list
    )  # present on one side, denied on the other
    missing: list[Finding] = field(default_factory=list)  # in the reference only
    extra: list[Finding] = field(default_factory=list)  # in the candidate only
    covering: list[Finding] = field(
        default_factory=list
    )  # absent in the candidate, covered by a "normal" of the reference
    location: int = 0
    zone: int = 0
    severity: int = 0
    severity_unsaid: int = 0
    prior_added: bool = False
    prior_omitted: bool = False


def _alike(one: Finding, other: Finding) -> bool:
    return one.positive == other.positive


def _difference(one: Finding, other: Finding) -> int:
    return (
        (one.side != other.side) * 4
        + (one.severity != other.severity) * 2
        + len(one.where ^ other.where)
    )


def _take(finding: Finding, pool: list[Finding], fits) -> Finding | None:
    """The finding of `pool` that fits and differs least, removed from it."""
    best = None
    for other in pool:
        if fits(finding, other) and (
            best is None or _difference(finding, other) < _difference(finding, best)
        ):
            best = other
    if best is not None:
        pool.remove(best)
    return best


def _same_key(one: Finding, other: Finding) -> bool:
    if one.key == UNREAD == other.key:
        return 2 * len(one.where & other.where) > len(one.where | other.where)
    return one.key == other.key


def _related(one: Finding, other: Finding) -> bool:
    if WHOLE in (one.key, other.key):
        return UNREAD not in (one.key, other.key) and (not one.positive or not other.positive)
    return frozenset((one.key, other.key)) in _KIN


def compare(reference: list[Statement], candidate: list[Statement]) -> Comparison:
    """Pair the findings of two texts: first the same ones, then contradictions, then related and
    covered ones.
    """
    left = list(dict.fromkeys(finding for statement in reference for finding in statement.findings))
    right = list(
        dict.fromkeys(finding for statement in candidate for finding in statement.findings)
    )
    normal_left = {finding.key for finding in left if finding.state == "normal"}
    normal_right = {finding.key for finding in right if finding.state == "normal"}
    result = Comparison()

    def pair(into: list, fits) -> None:
        nonlocal left
        rest = []
        for finding in left:
            other = _take(finding, right, fits)
            if other is None:
                rest.append(finding)
            else:
                into.append((finding, other))
        left = rest

    pair(result.matched, lambda one, other: _same_key(one, other) and _alike(one, other))
    pair(result.contradicted, _same_key)
    pair(result.kin, lambda one, other: _related(one, other) and _alike(one, other))
    pair(
        result.contradicted,
        lambda one, other: _related(one, other) and WHOLE not in (one.key, other.key),
    )
    covered_right = frozenset().union(*(_COVERS.get(key, ()) for key in normal_right))
    covered_left = frozenset().union(*(_COVERS.get(key, ()) for key in normal_left))
    absent_right = {finding.key for finding in right if not finding.positive}
    present_right = {finding.key for finding in right if finding.positive}
    for finding in left:
        parts = _COVERS.get(finding.key, frozenset())
        if finding.positive:
            result.missing.append(finding)
        elif finding.key in covered_right:
            result.covered.append(finding)
        elif (
            finding.state == "normal"
            and not parts.isdisjoint(absent_right)
            and parts.isdisjoint(present_right)
        ):
            result.denials.append(finding)
        else:
            result.missing.append(finding)
    for finding in right:
        (
            result.covering
            if not finding.positive and finding.key in covered_left
            else result.extra
        ).append(finding)
    for one, other in result.matched + result.kin:
        result.location += {one.side, other.side} == {1, 2}
        if one.positive:
            result.zone += one.where != other.where or one.side != other.side
            if one.severity and other.severity:
                result.severity += one.severity != other.severity
            else:
                result.severity_unsaid += one.severity != other.severity
    prior_left, prior_right = (any(s.prior for s in side) for side in (reference, candidate))
    result.prior_added, result.prior_omitted = (
        prior_right and not prior_left,
        prior_left and not prior_right,
    )
    return result


def counts(comparison: Comparison) -> tuple[int, ErrorCounts]:
    """Matched findings and significant errors in GREEN's categories.

    A present finding that the other side denies counts once: as false (a) where the candidate has
    it, as missing (b) else. What the reference says is absent or normal counts as missing only if
    nothing in the candidate covers it.
    """
    matched = (
        len(comparison.matched)
        + len(comparison.kin)
        + len(comparison.covered)
        + len(comparison.denials)
    )
    false = sum(f.positive for f in comparison.extra) + sum(
        other.positive for _, other in comparison.contradicted
    )
    missing = len(comparison.missing) + sum(one.positive for one, _ in comparison.contradicted)
    return matched, ErrorCounts(
        a=false,
        b=missing,
        c=comparison.location,
        d=comparison.severity,
        e=int(comparison.prior_added),
        f=int(comparison.prior_omitted),
    )


# Feature names; the sign says how a score may move with it (+ up, - down, nothing: either way).
_WORDS = (
    "size contour silhouette clear unremarkable stable visualized volume pulmonary thoracic tissue "
    "cardiomediastinal intact normal"
).split()
_STRUCTURES = (
    "heart",
    "cardiomediastinal",
    "mediastinum",
    "lung",
    "vasculature",
    "aorta",
    "hilum",
    "bone",
    "spine",
)
FEATURES = (
    (
        "+ratio +matched -errors +matched_positive +matched_quiet +kin_positive +kin_quiet +covered denials covering "
        "-missing_positive -missing_absent -missing_normal -extra_positive extra_absent extra_normal -denied -invented "
        "-zone -severity_unsaid -prior_added -prior_omitted reference_findings candidate_quiet reference_positive "
        "-candidate_positive +recall +precision +word_recall +word_precision +word_jaccard -words_missing -words_extra "
        "+token_f1 +token_precision +bigram_f1 reference_terms candidate_terms +sentence_recall "
        "+sentence_precision stable_reference stable_candidate"
    ).split()
    + [f"names_{name}" for name in _STRUCTURES]
    + [f"word_{word}" for word in _WORDS]
)
DIRECTIONS = [{"+": 1, "-": -1}.get(name[0], 0) for name in FEATURES]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _best_overlap(sentences: list[Statement], others: list[Statement]) -> float:
    """Mean over `sentences` of the word F1 with the most similar of `others`."""
    if not sentences or not others:
        return 0.0
    total = 0.0
    for one in sentences:
        total += max(
            2 * len(one.words & other.words) / (len(one.words) + len(other.words))
            for other in others
        )
    return total / len(sentences)


def features(reference: str, candidate: str) -> tuple[list[float], Comparison]:
    """The comparison of two texts as one number for each of FEATURES."""
    left, right = read(reference), read(candidate)
    result = compare(left, right)
    matched, errors = counts(result)
    wrong = errors.a + errors.b + errors.c + errors.d + errors.e + errors.f
    ones = [finding for statement in left for finding in statement.findings]
    others = [finding for statement in right for finding in statement.findings]
    words, other_words = (frozenset().union(*(s.words for s in side)) for side in (left, right))
    terms, other_terms = (frozenset().union(*(s.terms for s in side)) for side in (left, right))
    shared_words = len(words & other_words)
    tokens_left, tokens_right = tokens(reference), tokens(candidate)
    shared = (Counter(tokens_left) & Counter(tokens_right)).total()
    bigrams, other_bigrams = (
        set(zip(tokens_left, tokens_left[1:], strict=False)),
        set(zip(tokens_right, tokens_right[1:], strict=False)),
    )
    matched_positive = sum(one.positive for one, _ in result.matched)
    kin_positive = sum(one.positive for one, _ in result.kin)
    denied = sum(one.positive for one, _ in result.contradicted)
    false = {f for f in result.extra if f.positive}.union(
        other for one, other in result.contradicted if other.positive
    )
    denials = [one for one, _ in result.contradicted]

    def states(findings: list[Finding]) -> list[int]:
        positive, absent = (
            sum(f.positive for f in findings),
            sum(f.state == "absent" for f in findings),
        )
        return [positive, absent, len(findings) - positive - absent]

    row = [
        matched / (matched + wrong) if matched + wrong else 0.5,
        matched,
        wrong,
        matched_positive,
        len(result.matched) - matched_positive,
        kin_positive,
        len(result.kin) - kin_positive,
        len(result.covered),
        len(result.denials),
        len(result.covering),
        *states(result.missing + denials),
        *states(result.extra),
        denied,
        len(result.contradicted) - denied,
        result.zone,
        result.severity_unsaid,
        result.prior_added,
        result.prior_omitted,
        len(ones),
        sum(not f.positive for f in others),
        sum(f.positive for f in ones),
        sum(f.positive for f in others),
        _share(matched, len(ones)),
        _share(len(result.matched) + len(result.kin) + len(result.covering), len(others)),
        _share(shared_words, len(words)),
        _share(shared_words, len(other_words)),
        _share(shared_words, len(words | other_words)),
        len(words) - shared_words,
        len(other_words) - shared_words,
        _share(2 * shared, len(tokens_left) + len(tokens_right)),
        _share(shared, len(tokens_right)),
        _share(2 * len(bigrams & other_bigrams), len(bigrams) + len(other_bigrams)),
        sum(len(s.terms) for s in left),
        sum(len(s.terms) for s in right if false.isdisjoint(s.findings)),
        _best_overlap(left, right),
        _best_overlap(right, left),
        any(f.state == "stable" for f in ones),
        any(f.state == "stable" for f in others),
    ]
    named, other_named = (
        {f.key for f in side}.union(*(f.where for f in side)) for side in (ones, others)
    )
    row += [(name in named) + 2 * (name in other_named) for name in _STRUCTURES]
    row += [(word in terms) - (word in other_terms) for word in _WORDS]
    return row, result
