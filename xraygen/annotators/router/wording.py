"""How the curators word a sentence for a region: a linear tagger that edits it word by word."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from xraygen.annotators.router.edits import DROP, KEEP, edited, edits
from xraygen.annotators.router.linear import Linear, fit_linear
from xraygen.annotators.router.windows import window_features
from xraygen.language.alignment import Words, as_sentence, words
from xraygen.language.text import tokens

_RARE = 8  # a phrase that the curators used less often is not learned
_COPIED = 0.25  # share of a curated piece that must come from its sentence to learn edits from it
_BEAM = 4  # tag sequences of a sentence that are weighed against one another
_LIKELY = 0.05  # a tag below this probability is not considered


class Variant(NamedTuple):
    """A wording and its probability; those of a sentence add up to 1. `reads`: whether any two
    words that the edits brought together are together in some curated text.
    """

    text: str
    chance: float
    reads: bool


_Path = tuple[float, tuple[str, ...]]  # probability and the tag of each word


def _branched(paths: list[_Path], word: int, choices: Sequence[tuple[float, str]]) -> list[_Path]:
    """The best few paths in which the word has each of its likely tags: (probability, tag)."""
    grown = [
        (chance * share, (*tags[:word], tag, *tags[word + 1 :]))
        for chance, tags in paths
        for share, tag in choices
    ]
    return sorted(grown, key=lambda path: (-path[0], path[1]))[:_BEAM]


def _bigrams(lower: Sequence[str]) -> Iterator[str]:
    return map(" ".join, pairwise(["<", *lower, ">"]))


class Wording:
    """The fitted tagger, and which words the curators were seen to put next to each other."""

    def __init__(
        self, tagger: Linear, keys: np.ndarray, tags: Sequence[str], seen: Iterable[str]
    ) -> None:
        """`keys`: the hashes of the tagger's features, ascending. `seen`: pairs of words."""
        if keys.shape != tagger.weights.shape[:1] or len(tags) != len(tagger.bias):
            raise ValueError("the model's parts do not fit together")
        self.tagger = tagger
        self.keys = keys
        self.tags = list(tags)
        self.seen = frozenset(seen)
        self._vocabulary = frozenset(word for pair in self.seen for word in pair.split())

    def variants(self, pairs: Sequence[tuple[str, Words]]) -> list[list[Variant]]:
        """The likeliest wordings of each (region, sentence), best first. Sentences have words."""
        if not pairs:
            return []
        chances = self._tag_chances(pairs)
        likely = chances > _LIKELY
        choices = likely.sum(axis=1)
        best = np.where(choices, chances.argmax(axis=1), self.tags.index(KEEP)).tolist()
        ambiguous = np.flatnonzero(choices > 1)
        ends = np.cumsum([len(sentence.lower) for _, sentence in pairs])
        bounds = np.searchsorted(ambiguous, [0, *ends]).tolist()
        found = []
        start = 0
        for k, (end, (_, sentence)) in enumerate(zip(ends.tolist(), pairs, strict=True)):
            paths = [(1.0, tuple(self.tags[tag] for tag in best[start:end]))]
            for word in ambiguous[bounds[k] : bounds[k + 1]].tolist():
                tags = np.flatnonzero(likely[word]).tolist()
                options = [(float(chances[word, tag]), self.tags[tag]) for tag in tags]
                paths = _branched(paths, word - start, options)
            found.append(self._weighed(sentence, paths))
            start = end
        return found

    def _tag_chances(self, pairs: Sequence[tuple[str, Words]]) -> np.ndarray:
        """(words of all sentences, tags) probabilities."""
        keys = window_features(pairs)
        found = np.searchsorted(self.keys, keys)
        known = found < len(self.keys)
        known[known] = self.keys[found[known]] == keys[known]
        features = np.where(known, found, self.tagger.unknown)
        sums = self.tagger.sums(features.ravel(), np.full(len(keys), keys.shape[1]))
        odds = 1 / (1 + np.exp(-self.tagger.scores(sums)))
        return odds / odds.sum(axis=1, keepdims=True)

    def _weighed(self, sentence: Words, paths: Sequence[_Path]) -> list[Variant]:
        """What the paths make of the sentence, and where the best of it does not read well, what
        remains of that without the edits that do not.
        """
        whole = as_sentence(sentence.text)
        total = sum(chance for chance, _ in paths)
        texts = [edited(sentence, tags) for _, tags in paths]
        chances: dict[str, float] = defaultdict(float, {whole: 0.0})
        for (chance, _), text in zip(paths, texts, strict=True):
            chances[text or whole] += chance / total  # dropping every word is no wording
        own = frozenset(_bigrams(sentence.lower))
        reads = {text: self._reads(own, text) for text in chances}
        if not reads.get(texts[0]):
            repaired = edited(sentence, self._repaired(own, sentence, paths[0][1]))
            chances[repaired] += 0.0
            reads[repaired] = self._reads(own, repaired)
        variants = [Variant(text, chances[text], reads[text]) for text in chances if text]
        return sorted(variants, key=lambda variant: (-variant.chance, variant.text))

    def _reads(self, own: frozenset[str], text: str) -> bool:
        """Whether each pair of neighbours is the report's own or a curated one, or has a word that
        is in no curated text.
        """
        new = set(_bigrams(tokens(text))) - own - self.seen
        return not any(self._vocabulary.issuperset(pair.split()) for pair in new)

    def _repaired(self, own: frozenset[str], sentence: Words, tags: Sequence[str]) -> list[str]:
        """The tags with only those runs of edits that by themselves read well."""
        out = [KEEP] * len(tags)
        changed = [False, *(tag != KEEP for tag in tags), False]
        edges = [k for k, (left, right) in enumerate(pairwise(changed)) if left != right]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            alone = [KEEP] * start + list(tags[start:end]) + [KEEP] * (len(tags) - end)
            if self._reads(own, edited(sentence, alone)):
                out[start:end] = tags[start:end]
        return out


def fit_wording(pairs: Iterable[tuple[str, Words, str]], epochs: int) -> Wording:
    """`pairs`: (region, report sentence, curated piece), each once."""
    taught: list[tuple[str, Words]] = []
    tags: list[str] = []
    seen: set[str] = set()
    for region, sentence, piece in pairs:
        said = words(piece).lower
        seen.update(_bigrams(said))
        path = edits(sentence, piece)
        if sum(tag.endswith(KEEP) for tag in path) >= _COPIED * len(said):
            taught.append((region, sentence))
            tags += path
    common = {tag for tag, count in Counter(tags).items() if count >= _RARE} | {KEEP, DROP}
    outputs = sorted(common)
    column = {tag: k for k, tag in enumerate(outputs)}
    targets = np.zeros((len(tags), len(outputs)), dtype=np.int8)
    for row, tag in enumerate(tags):
        known = tag if tag in common else KEEP if tag.endswith(KEEP) else DROP
        targets[row, column[known]] = 1
    hashes = window_features(taught)
    keys, features = np.unique(hashes, return_inverse=True)
    lengths = np.full(len(hashes), hashes.shape[1])
    tagger, used = fit_linear(
        features.ravel(), lengths, targets, np.ones(len(tags)), alpha=3e-6, epochs=epochs
    )
    return Wording(tagger, keys[used], outputs, seen)
