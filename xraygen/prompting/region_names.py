"""The keys under which language models file their texts, as regions: "Lungs and pleura",
"bonyStructures", "**Other findings**"."""

import re
from collections.abc import Mapping
from functools import cached_property

from xraygen.core.regions import Regions

_QUOTED = "\"'`“”‘’"


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _tokens(text: str) -> list[str]:
    """Lower-case words and numbers, in the singular as far as an -s shows it."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    return [_singular(token) for token in re.findall(r"[^\W_]+", apart)]


_JOINING = frozenset(_tokens("a an the of in on for and or with"))
# Words that do not change which region a key names. Alone they name none.
_NEUTRAL = _JOINING | set(
    _tokens(
        "all any region area section part finding annotation text description observation statement"
        " sentence report structure system organ anatomy field space cavity cavities zone lobe size"
        " silhouette shadow contour border cage wall thorax thoracic chest tissue vessel"
        " vasculature vascularity left right bilateral both upper lower medical abnormality"
        " abnormalities evaluation assessment"
    )
)
# Keys that answers often have next to the annotation, and that hold no findings.
_METADATA = frozenset(
    _tokens(
        "reasoning reason rationale explanation thinking thought process chain analysis plan"
        " confidence certainty score note comment remark id uid study case patient report input"
        " original source language version status type format schema name title disclaimer warning"
        " model date summary impression conclusion indication comparison technique"
    )
)


def _words(key: str) -> list[str]:
    """Without numbers: "1. Lungs"."""
    return _tokens(re.sub(r"\d", " ", key))


def is_metadata(key: str) -> bool:
    """Whether a key is one that answers have next to the annotation, such as "reasoning" or
    "study_id"."""
    words = _words(key)
    return bool(words) and all(word in _METADATA for word in words)


class RegionNames:
    """The declared regions by the names that models give them: the declared name in any case and
    spacing, singular or plural; words of it; and the words of `also`.
    """

    def __init__(self, regions: Regions) -> None:
        self.regions = regions
        self._named = {tuple(_tokens(name)): name for name in regions}
        # A word may belong to several names, as "lung" does to "left lung" and "right lung".
        self._regions_of: dict[str, set[str]] = {}
        for name, region in regions.root.items():
            for word in _tokens(" ".join((name, *region.also))):
                if word not in _JOINING and not word.isdecimal():
                    self._regions_of.setdefault(word, set()).add(name)

    def region_of(self, key: str) -> str | None:
        """The one region that a key names; None if it names none, or several, or has an unknown
        word."""
        if key in self.regions.root:
            return key
        if named := self._named.get(tuple(_tokens(key))):
            return named
        words = _words(key)
        if not all(word in self._regions_of or word in _NEUTRAL for word in words):
            return None
        known = [word for word in words if word in self._regions_of]
        known.sort(key=lambda word: word in _NEUTRAL)  # specific words first
        regions = set(self._regions_of[known[0]]) if known else set()
        for word in known[1:]:
            both = regions & self._regions_of[word]
            if both or word not in _NEUTRAL:
                regions = both
        return regions.pop() if len(regions) == 1 else None

    def filed(self, said: Mapping[str, str]) -> dict[str, str]:
        """The annotation in texts under other names; those that name no declared region are left
        out."""
        found: dict[str, list[str]] = {}
        for name, text in said.items():
            region = self.region_of(name)
            if region and text:
                found.setdefault(region, []).append(text)
        return self.regions.annotation({region: " ".join(parts) for region, parts in found.items()})

    def mentioned(self, text: str) -> bool:
        """Whether a text contains a word of any region."""
        return bool(self._name.search(text))

    def has_key(self, text: str) -> bool:
        """Whether a part of (damaged) JSON has a region as a key."""
        return bool(self._key.search(text))

    def anonymous(self, text: str) -> str:
        """The text with "region" in place of regions' words: "No pleural findings mentioned."."""
        return self._word.sub("region", text)

    @cached_property
    def _pattern(self) -> str:
        words = set(self._regions_of)
        for tokens in self._named:
            if words.isdisjoint(tokens):  # a name such as "1"
                words.update(tokens)
        longest_first = sorted(words, key=lambda word: (-len(word), word))
        return "|".join(map(re.escape, longest_first))

    @cached_property
    def _name(self) -> re.Pattern:
        return re.compile(self._pattern, re.IGNORECASE)

    @cached_property
    def _word(self) -> re.Pattern:
        return re.compile(rf"\b(?:{self._pattern})s?\b", re.IGNORECASE)

    @cached_property
    def _key(self) -> re.Pattern:
        """A region in quotes, or unquoted after a brace or comma, and before a colon."""
        return re.compile(
            rf"(?:[{_QUOTED}]|[{{,]\s*)[\s*_#]*(?:[^\W_]+[\s_/&]+){{0,3}}"
            rf"(?:{self._pattern})s?\b[^{_QUOTED}\n:{{}}]{{0,30}}[{_QUOTED}*_\s]*:",
            re.IGNORECASE,
        )
