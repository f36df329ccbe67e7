"""Sentences and tokens, cut the same way everywhere."""

import re
from collections import Counter

_TOKEN = re.compile(r"[a-z0-9]+")
# A full stop ends a sentence where white space and no small letter follows, or at once a capitalised word ("seen.Heart").
_END = re.compile(r"(?<=[.!?;])\s+(?=[^a-z])|\n+|(?<=[a-z)][.])(?=[A-Z][a-z])")
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s*$")


_NO_VALUE = frozenset(("", "nan", "nat", "none", "null", "nil", "na", "n/a", "<na>", "#n/a", "-", "--"))


def has_no_value(cell: object) -> bool:
    """Whether a cell of a table is empty: blank, null or NaN, also spelt out ("nan", "None", "<NA>"), as pandas writes it."""
    if isinstance(cell, str):
        return cell.strip().rstrip(".").casefold() in _NO_VALUE
    return cell is None or (isinstance(cell, float) and cell != cell)


def tokens(text: str) -> list[str]:
    """Lower-case runs of letters and digits, as `token_f1` counts them."""
    return _TOKEN.findall(text.lower())


def sentences(text: str) -> list[str]:
    """The text's sentences, stripped, punctuation kept; list numbers and fragments without a token are dropped."""
    parts = (part.strip() for part in _END.split(text))
    return [part for part in parts if _TOKEN.search(part.lower()) and not _LIST_NUMBER.match(part)]


# Words for silence, matched against the lower-case parts of a text without its punctuation. What is said of the report ("not mentioned") is
# silence, what is said of the picture ("none seen", "no findings", "unremarkable") is not.
_TOLD = (
    "mentioned|described|reported|stated|documented|addressed|discussed|commented(?: on| upon)?|specified|provided|given|included"
    "|available|recorded|listed|covered|referenced"
)
_PARTS = (
    "the|this|these|any|other|additional|further|such|specific|explicit|relevant|particular|separate|region|regions|area|areas|part|parts"
    "|structures?|bones?|bony|osseous|skeletal|hearts?|cardiac|lungs?|pulmonary|pleural?|mediastinum|mediastinal|hila|hilar|others?|and|or"
)
_NOUNS = "findings?|information|info|data|details?|observations?|statements?|text|content|annotations?|specifics"
_SAYINGS = "mention|information|info|data|details?|comments?|descriptions?|statements?|references?|documentation|discussion|remarks?|text"
_HOW = "(?:(?:explicitly|specifically|directly|separately|clearly|otherwise) )?"
_WHERE = "(?: (?:in|within|for|about|on|of|by|to|regarding|concerning|here|at all|explicitly|specifically|separately)(?: .{0,60})?)?"
_BE = "(?:(?:is|are|was|were|has been|have been|being) )?"
_SILENCE_WORDS = re.compile(
    "na|none|null|nil|nan|nat|undefined|unspecified|unknown|empty|blank|void|nothing|(?:empty|blank) (?:string|text)|silent"
    f"|(?:(?:{_PARTS}|{_NOUNS}) )*{_BE}(?:not|never) (?:been )?{_HOW}(?:{_TOLD}|applicable|noted|evaluated|assessed){_WHERE}"
    f"|(?:there (?:is|are|was|were) )?(?:nothing|none|no (?:(?:{_PARTS}) )*(?:{_NOUNS})) {_BE}{_HOW}(?:{_TOLD}|said){_WHERE}"
    f"|(?:there (?:is|are|was|were) )?no (?:(?:{_PARTS}) )*(?:{_SAYINGS})(?: {_BE}(?:{_TOLD}))?{_WHERE}"
    "|(?:the )?report (?:does not|doesn't|did not|didn't) (?:explicitly |specifically )?"
    "(?:mention|describe|address|comment|discuss|specify|state|say|report|include|provide)(?: .{0,60})?"
    f"|(?:the )?report (?:says|said|states|mentions) nothing{_WHERE}"
)


def says_nothing(text: str) -> bool:
    """Whether a text is empty, a mark for an empty cell ("nan", "N/A", "-") or words for silence ("None", "Not mentioned.")."""
    plain = re.sub(r"\bn\s*[./]\s*a\b", "na", " ".join(text.lower().replace("’", "'").split()))
    parts = [re.sub(r"^[^\w]+|[^\w]+$", "", part) for part in re.split(r"[.,;:!?()/|\[\]<>{}]|(?:^|\s)[-–—]+(?:\s|$)", plain)]
    return all(_SILENCE_WORDS.fullmatch(part) for part in parts if part)


def token_f1(reference: str, candidate: str) -> float | None:
    """Multiset overlap F1 of the two token lists; None where neither side has a token: silence says nothing about wording."""
    ref, cand = Counter(tokens(reference)), Counter(tokens(candidate))
    total = ref.total() + cand.total()
    return 2 * (ref & cand).total() / total if total else None


# Two silences have no token F1, as no study is scored for them; they count as much as two curators mostly agree.
_SILENCE = 0.8


def medoid(texts: Counter[str]) -> str:
    """Of what was written for one thing, each text with how often, the one of the highest mean token F1 with all: the choice of minimum
    Bayes risk (Kumar and Byrne, 2004). "" stands for silence."""

    def likeness(text: str) -> float:
        scores = {other: token_f1(other, text) for other in texts}
        return sum(texts[other] * (_SILENCE if score is None else score) for other, score in scores.items())

    return max(sorted(texts), key=lambda text: (likeness(text), texts[text]))
