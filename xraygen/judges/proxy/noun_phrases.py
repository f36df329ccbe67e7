"""Words of a clause that count or not by the noun phrase that follows them."""

from xraygen.judges.proxy.measures import singular
from xraygen.judges.proxy.vocabulary import (
    JOINED,
    OBSERVATION,
    OVERRIDES,
    PREFERRED,
    SEPARATES,
    SEVERITY,
    SIDE,
    STRUCTURE,
    UNLIKELY,
    YIELDS,
    ZONE,
)

# Between "unlikely" and what it is about.
_ARTICLES = frozenset("a an the any acute focal active early superimposed definite true".split())
# After "unlikely", these begin another thought: "pneumonia is unlikely given clear lungs".
_GROUNDS = frozenset("given based because as since in on at for by without due than".split())
# Put for "unlikely" where what stands before it is unlikely.
UNLIKELY_BEFORE = "unlikelybefore"
# What may stand between an adjective and its noun.
_ADJECTIVES = frozenset(YIELDS) | {"nodular"}
_BETWEEN = frozenset(
    "and pulmonary old multiple scattered small stable patchy diffuse focal faint".split()
)


def without_doublets(words: list[str]) -> list[str]:
    """The words, with one observation for each noun phrase: "calcified granuloma" is a granuloma,
    "granulomatous infection" no infection.
    """
    kept = list(words)
    for at, word in enumerate(words):
        if word not in YIELDS and word not in OVERRIDES:
            continue
        head = _head(words, at)
        name = OBSERVATION[singular(words[head])] if head else ""
        if name in YIELDS.get(word, ()):
            kept[at] = "-"
        elif name in OVERRIDES.get(word, ()):
            kept[at] = "-" if (word, name) == ("nodular", "opacity") else word
            kept[head] = JOINED.get((word, name), "-")
    return kept


def directed(words: list[str]) -> list[str]:
    """The words, with "unlikely" where what follows is unlikely, `UNLIKELY_BEFORE` where what
    stands before it is, and neither where it is about an attribute: "unlikely to be acute". The
    second of "favors A over B" and of "more likely A than B" is unlikely.
    """
    found = list(words)
    for at, word in enumerate(words):
        if word in PREFERRED and not PREFERRED[word].isdisjoint(words[:at]):
            found[at] = UNLIKELY if _head(words, at, _ARTICLES) else word
        elif word == UNLIKELY:
            following = words[at + 1] if at + 1 < len(words) else ","
            if following in SEPARATES or following in _GROUNDS or not following[0].isalpha():
                found[at] = UNLIKELY_BEFORE
            elif not _head(words, at, _ARTICLES):
                found[at] = "-"
    return found


def _head(words: list[str], at: int, between: frozenset[str] = frozenset()) -> int:
    """Where the next observation of the same noun phrase is; 0: there is none."""
    for place in range(at + 1, len(words)):
        word = singular(words[place])
        if word in OBSERVATION and word not in _ADJECTIVES:
            # "interstitial and airspace disease" are two, "... and nodular opacities" are one.
            two = words[at] == "interstitial" and "and" in words[at:place]
            return 0 if two and OBSERVATION[word] != "opacity" else place
        qualifies = word in SIDE or word in ZONE or word in STRUCTURE or word in SEVERITY
        if not qualifies and word not in _ADJECTIVES | _BETWEEN | between:
            return 0
    return 0
