"""The comparison of two texts as numbers, from which the proxy's trees predict a score."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from xraygen.judges.proxy.comparison import Comparison, compare, counts
from xraygen.judges.proxy.findings import Finding, Statement, read
from xraygen.language.text import tokens

_STRUCTURES = "heart cardiomediastinal mediastinum lung vasculature aorta hilum bone spine".split()
_WORDS = """
size contour silhouette clear unremarkable stable visualized volume pulmonary thoracic tissue
cardiomediastinal intact normal
""".split()
# Names in the order of the trees' columns. The sign says how a score may move with the feature: +
# up, - down, none: either way.
FEATURES = [
    *"""
    +ratio +matched -errors +matched_positive +matched_quiet +kin_positive +kin_quiet +covered
    denials covering -missing_positive -missing_absent -missing_normal -extra_positive extra_absent
    extra_normal -denied -invented -zone -severity_unsaid -prior_added -prior_omitted
    reference_findings candidate_quiet reference_positive -candidate_positive +recall +precision
    +word_recall +word_precision +word_jaccard -words_missing -words_extra +token_f1
    +token_precision +bigram_f1 reference_terms candidate_terms +sentence_recall +sentence_precision
    stable_reference stable_candidate
    """.split(),
    *(f"names_{name}" for name in _STRUCTURES),
    *(f"word_{word}" for word in _WORDS),
]
DIRECTIONS = [{"+": 1, "-": -1}.get(name[0], 0) for name in FEATURES]
_NAMES = [name.lstrip("+-") for name in FEATURES]


def features(reference: str, candidate: str) -> tuple[list[float], Comparison]:
    """One number for each of FEATURES, and the comparison that most of them describe."""
    left, right = read(reference), read(candidate)
    comparison = compare(left, right)
    values = (
        _of_matches(comparison)
        | _of_findings(comparison, _findings(left), _findings(right))
        | _of_words(comparison, left, right)
        | _of_tokens(tokens(reference), tokens(candidate))
        | _of_names(_findings(left), _findings(right))
    )
    return [values[name] for name in _NAMES], comparison


def _of_matches(comparison: Comparison) -> dict[str, float]:
    matched, errors = counts(comparison)
    wrong = sum(errors.model_dump().values())
    matched_positive = _positive(one for one, _ in comparison.matched)
    kin_positive = _positive(one for one, _ in comparison.kin)
    denied = _positive(one for one, _ in comparison.contradicted)
    stated = matched + wrong + comparison.vague
    return {
        "ratio": comparison.credit / stated if stated else 0.5,
        "matched": matched,
        "errors": wrong,
        "matched_positive": matched_positive,
        "matched_quiet": len(comparison.matched) - matched_positive,
        "kin_positive": kin_positive,
        "kin_quiet": len(comparison.kin) - kin_positive,
        "covered": len(comparison.covered),
        "denials": len(comparison.denials),
        "covering": len(comparison.covering),
        "denied": denied,
        "invented": len(comparison.contradicted) - denied,
        "zone": comparison.zone,
        "severity_unsaid": comparison.severity_unsaid,
        "prior_added": comparison.prior_added,
        "prior_omitted": comparison.prior_omitted,
    }


def _of_findings(
    comparison: Comparison, left: Sequence[Finding], right: Sequence[Finding]
) -> dict[str, float]:
    matched, _ = counts(comparison)
    contradicted = [one for one, _ in comparison.contradicted]
    supported = len(comparison.matched) + len(comparison.kin) + len(comparison.covering)
    return {
        **_states("missing", comparison.missing + contradicted),
        **_states("extra", comparison.extra),
        "reference_findings": len(left),
        "candidate_quiet": len(right) - _positive(right),
        "reference_positive": _positive(left),
        "candidate_positive": _positive(right),
        "recall": _share(matched, len(left)),
        "precision": _share(supported, len(right)),
        "stable_reference": any(finding.state == "stable" for finding in left),
        "stable_candidate": any(finding.state == "stable" for finding in right),
    }


def _of_words(
    comparison: Comparison, left: Sequence[Statement], right: Sequence[Statement]
) -> dict[str, float]:
    words = frozenset().union(*(statement.words for statement in left))
    other_words = frozenset().union(*(statement.words for statement in right))
    terms = frozenset().union(*(statement.terms for statement in left))
    other_terms = frozenset().union(*(statement.terms for statement in right))
    shared = len(words & other_words)
    false = set(comparison.false)
    unrefuted = [statement for statement in right if false.isdisjoint(statement.findings)]
    return {
        "word_recall": _share(shared, len(words)),
        "word_precision": _share(shared, len(other_words)),
        "word_jaccard": _share(shared, len(words | other_words)),
        "words_missing": len(words) - shared,
        "words_extra": len(other_words) - shared,
        "reference_terms": sum(len(statement.terms) for statement in left),
        "candidate_terms": sum(len(statement.terms) for statement in unrefuted),
        "sentence_recall": _best_overlap(left, right),
        "sentence_precision": _best_overlap(right, left),
        **{f"word_{word}": (word in terms) - (word in other_terms) for word in _WORDS},
    }


def _of_tokens(left: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    shared = (Counter(left) & Counter(right)).total()
    bigrams, other_bigrams = set(pairwise(left)), set(pairwise(right))
    shared_bigrams = len(bigrams & other_bigrams)
    return {
        "token_f1": _share(2 * shared, len(left) + len(right)),
        "token_precision": _share(shared, len(right)),
        "bigram_f1": _share(2 * shared_bigrams, len(bigrams) + len(other_bigrams)),
    }


def _of_names(left: Sequence[Finding], right: Sequence[Finding]) -> dict[str, float]:
    """Which side names a structure: 0 none, 1 the reference, 2 the candidate, 3 both."""
    named, other_named = _named(left), _named(right)
    return {f"names_{name}": (name in named) + 2 * (name in other_named) for name in _STRUCTURES}


def _findings(statements: Sequence[Statement]) -> list[Finding]:
    return [finding for statement in statements for finding in statement.findings]


def _positive(findings: Iterable[Finding]) -> int:
    return sum(finding.positive for finding in findings)


def _named(findings: Sequence[Finding]) -> set[str]:
    return {finding.key for finding in findings}.union(*(finding.where for finding in findings))


def _states(name: str, findings: Sequence[Finding]) -> dict[str, int]:
    positive = _positive(findings)
    absent = sum(finding.state == "absent" for finding in findings)
    return {
        f"{name}_positive": positive,
        f"{name}_absent": absent,
        f"{name}_normal": len(findings) - positive - absent,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _best_overlap(sentences: Sequence[Statement], others: Sequence[Statement]) -> float:
    """Mean over `sentences` of the word F1 with the most similar of `others`."""
    if not sentences or not others:
        return 0.0
    best = [max(_overlap(one, other) for other in others) for one in sentences]
    return sum(best) / len(sentences)


def _overlap(one: Statement, other: Statement) -> float:
    return 2 * len(one.words & other.words) / (len(one.words) + len(other.words))
