"""How the curators word a sentence for a region, learned as edits: each word is kept, dropped, or
replaced by a learned phrase.

Text editing by tagging as in LaserTagger (Malmi et al., EMNLP 2019), with a linear tagger over each
word's surroundings.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from xraygen.annotators.router.linear import Linear, fit_linear
from xraygen.language.alignment import Words, as_sentence, words

KEEP, DROP = (
    "=",
    "",
)  # further tags: "phrase" = put it for the word, "phrase =" = put it before the word
_RARE = 8  # a phrase that the curators put less often is not learned
_COPIED = 0.25  # share of a curated piece that must come from its sentence to learn edits from it
_BEAM = 4  # wordings weighed against one another
_LIKELY = 0.05


def edits(sentence: Words, piece: str) -> list[str]:
    """The tag of each word of `sentence` that turns it into `piece`."""
    said = words(piece)
    tags = [DROP] * len(sentence.lower)
    before = ""
    matcher = difflib.SequenceMatcher(None, sentence.lower, said.lower, autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        phrase = _phrase(said, j, j_end) if kind in ("insert", "replace") else ""
        if kind == "equal":
            tags[i:i_end] = [KEEP] * (i_end - i)
            tags[i] = f"{before} {KEEP}" if before else KEEP
            before = ""
        elif kind == "replace" or (kind == "insert" and i and tags[i - 1] == DROP):
            tags[i if kind == "replace" else i - 1] = phrase
        elif kind == "insert":
            before = phrase
    return tags


def _phrase(said: Words, start: int, end: int) -> str:
    text = said.text[said.spans[start][0] : said.spans[end - 1][1]]
    return " ".join(
        word if word.isupper() and len(word) > 1 else word.lower() for word in text.split()
    )


def edited(sentence: Words, tags: Sequence[str]) -> str:
    """The sentence after its edits, clean, or an empty string."""
    out = ""
    for k, (tag, (start, end)) in enumerate(zip(tags, sentence.spans, strict=True)):
        if tag == DROP:
            continue
        after = sentence.text[end : sentence.spans[k + 1][0]] if k + 1 < len(tags) else ""
        if not after[-1:].isspace() and (
            k + 1 == len(tags) or tags[k + 1] != KEEP or not tag.endswith(KEEP)
        ):
            after += " "
        word = sentence.text[start:end]
        if out or tag != KEEP:
            word = word if k or word.isupper() else word.lower()
        out += (
            word + after
            if tag == KEEP
            else f"{tag[:-1]}{word}{after}"
            if tag.endswith(KEEP)
            else f"{tag}{after}"
        )
    return as_sentence(out)


def features(word: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Of each word: itself and its neighbours up to three away, alone and joined."""
    at = ["<", "<", *word, ">", ">", ">"]
    first, start = word[0], " ".join(word[:3])
    for k in range(2, len(word) + 2):
        two, left, here, right, next_, third = at[k - 2 : k + 4]
        pair, ahead = f"{left} {here}", f"{here} {right}"
        yield (
            f"w {here}",
            f"l {left}",
            f"r {right}",
            f"L {two}",
            f"R {next_}",
            f"i {min(k, 5)}",
            f"lw {pair}",
            f"wr {ahead}",
            f"lwr {pair} {right}",
            f"wrr {ahead} {next_}",
            f"llw {two} {pair}",
            f"wt {here} {third}",
            f"sw {first} {here}",
            f"sssw {start} {here}",
        )


def _of(region: str, names: Iterable[str]) -> list[str]:
    return [f"{region}|{name}" for name in names]


def bigrams(word: Sequence[str]) -> Iterator[str]:
    yield from (f"{left} {right}" for left, right in zip(("<", *word), (*word, ">"), strict=True))


class Wording:
    """The learned tagger, and which words the curators were seen to put side by side."""

    def __init__(self, tagger: Linear, tags: Sequence[str], seen: Iterable[str]) -> None:
        if len(tags) != len(tagger.bias):
            raise ValueError("the model's parts do not fit together")
        self.tagger, self.tags, self.seen = tagger, list(tags), frozenset(seen)
        self._vocabulary = frozenset(word for pair in self.seen for word in pair.split())
        self._index: dict[str, dict[str, int]] = defaultdict(dict)
        for name, i in tagger.index.items():
            region, _, rest = name.partition("|")
            self._index[region][rest] = i

    def variants(self, region: str, sentence: Words) -> list[tuple[str, float, bool]]:
        """The likeliest wordings, (text, probability, readable), best first. Probabilities add up
        to 1.

        A wording is readable if any two words that the edits brought together stand together in
        some curated text.
        """
        get = self._index[region].get
        rows = [
            [i for name in names if (i := get(name)) is not None]
            for names in features(sentence.lower)
        ]
        odds = 1 / (1 + np.exp(-self.tagger.score_rows(rows)))
        odds /= odds.sum(axis=1, keepdims=True)
        paths: list[tuple[float, tuple[str, ...]]] = [(1.0, ())]
        for row in odds.tolist():
            likely = [
                (chance, tag)
                for chance, tag in zip(row, self.tags, strict=True)
                if chance > _LIKELY
            ] or [(1.0, KEEP)]
            if len(likely) == 1:
                paths = [(score, (*path, likely[0][1])) for score, path in paths]
            else:
                grown = [
                    (score * more, (*path, tag)) for score, path in paths for more, tag in likely
                ]
                paths = sorted(grown, key=lambda item: (-item[0], item[1]))[:_BEAM]
        total = sum(score for score, _ in paths)
        chances: Counter = Counter()
        for score, path in paths:
            chances[edited(sentence, path)] += score / total
        chances[as_sentence(sentence.text)] += chances.pop(
            "", 0.0
        )  # an edit that leaves nothing is none
        own = frozenset(bigrams(sentence.lower))
        if paths and not self._reads(own, edited(sentence, paths[0][1])):
            chances[edited(sentence, self._repaired(own, sentence, paths[0][1]))] += 0.0
        found = ((text, chance, self._reads(own, text)) for text, chance in chances.items() if text)
        return sorted(found, key=lambda item: (-item[1], item[0]))

    def _reads(self, own: frozenset[str], text: str) -> bool:
        """Whether each pair of neighbours is the report's own or a curated one, or has a word of
        which no curated text tells.
        """
        return all(
            pair in own or pair in self.seen or not self._vocabulary.issuperset(pair.split())
            for pair in bigrams(words(text).lower)
        )

    def _repaired(self, own: frozenset[str], sentence: Words, path: Sequence[str]) -> list[str]:
        """The path with only those runs of edits that read well each by itself."""
        out = [KEEP] * len(path)
        edges = [
            k
            for k in range(len(path) + 1)
            if (k > 0 and path[k - 1] != KEEP) != (k < len(path) and path[k] != KEEP)
        ]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            alone = [KEEP] * start + list(path[start:end]) + [KEEP] * (len(path) - end)
            if self._reads(own, edited(sentence, alone)):
                out[start:end] = path[start:end]
        return out


def fit_wording(pairs: Iterable[tuple[str, Words, str]], epochs: int) -> Wording:
    """`pairs`: (region, report sentence, curated piece), each once."""
    rows, tags = [], []
    seen: set[str] = set()
    for region, sentence, piece in pairs:
        said = words(piece).lower
        seen.update(bigrams(said))
        path = edits(sentence, piece)
        if sum(tag.endswith(KEEP) for tag in path) >= _COPIED * len(said):
            rows += [_of(region, names) for names in features(sentence.lower)]
            tags += path
    common = {tag for tag, count in Counter(tags).items() if count >= _RARE} | {KEEP, DROP}
    tags = [tag if tag in common else KEEP if tag.endswith(KEEP) else DROP for tag in tags]
    outputs = sorted(common)
    targets = (
        np.array(tags)[:, None] == np.array(outputs)[None, :]
        if tags
        else np.zeros((0, len(outputs)))
    )
    tagger = fit_linear(
        rows, targets.astype(np.int8), np.ones(len(rows)), alpha=3e-6, epochs=epochs
    )
    return Wording(tagger, outputs, seen)
