"""The router: an annotator learned from curated training studies, in seconds on a CPU.

It sends each sentence of a report to the regions that it speaks of and words it there as the
curators would:

    alignment   curated texts are cut along the report's sentences: (sentence, region) -> piece, mostly empty
    routing     a linear classifier over words, letters and the sentences around: the chance that a region gets something
    wording     a linear tagger: what is kept, dropped and replaced for a region (wording.py)
    memory      the pieces that known sentences got, also by the sentence before, counted

For a sentence and a region, the two classifiers give a distribution over pieces, the memory's
counts sharpen it, and the piece with the highest expected token overlap is chosen (minimum Bayes
risk). Nothing is known of any collection beforehand.
"""

import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from xraygen.annotators.router.linear import Linear, fit_linear
from xraygen.annotators.router.wording import Wording, fit_wording
from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.regions import Regions
from xraygen.core.study import Annotation, Record, Study, write_json
from xraygen.language.alignment import Aligner, Words, as_sentence, words
from xraygen.language.text import sentences, tokens

FORMAT = 2
_LEVELS = (
    64  # chances are rounded to 1/64, so that answers can be kept and are the same on every machine
)
_ENOUGH = 4  # times `shrinkage`: a sentence that was seen so often is worded from memory alone
_KEPT = 2**14  # sentences whose answers are kept in memory

Memory = dict[
    str, dict[str, dict[str, int]]
]  # sentence, or the one before and the sentence -> region -> piece -> times


class RouterParams(Record):
    """`shrinkage`: times that a known sentence must be seen for its own record to weigh as much as
    the classifiers. `context_shrinkage`: the same for a sentence and the one before it, against the
    sentence alone. `silence_price`: what a word must be worth, as a token F1, to be said: higher is more
    silent. `epochs`: passes over the training data; more changed nothing. The defaults are the best
    of a few tried by cross-validation within IU X-Ray train; all are flat around them.
    """

    shrinkage: PositiveFloat = 3.0
    context_shrinkage: PositiveFloat = 2.0
    silence_price: Annotated[float, Field(gt=0, lt=1)] = 0.75
    epochs: PositiveInt = 8


class _Part(NamedTuple):
    """A sentence and its share in three routing scores: its own, the next sentence's, the one
    before's: (sum, features).
    """

    sentence: Words
    key: str
    whole: str  # the sentence, clean
    own: tuple[np.ndarray, int]
    as_previous: tuple[np.ndarray, int]
    as_next: tuple[np.ndarray, int]


def _own_features(lower: tuple[str, ...]) -> set[str]:
    around = ("<", *lower, ">")
    names = {f"w {word}" for word in lower}
    names.update(f"ww {left} {right}" for left, right in zip(around, around[1:], strict=False))
    for word in lower:
        names.update(_letters(word))
    return names


@lru_cache(maxsize=_KEPT)
def _letters(word: str) -> tuple[str, ...]:
    """Runs of 3 to 5 letters, which an unknown word shares with known ones."""
    word = f"<{word}>"[:40]
    return tuple(f"c {word[i : i + n]}" for n in (3, 4, 5) for i in range(len(word) - n + 1))


@lru_cache(maxsize=_KEPT)
def _bag(text: str) -> Counter:
    return Counter(tokens(text))


def _previous_features(lower: tuple[str, ...]) -> set[str]:
    return {f"p {word}" for word in lower}


def _next_features(lower: tuple[str, ...]) -> set[str]:
    return {f"n {word}" for word in lower}


def _place(k: int, count: int) -> str:
    return f"at {min(k, 3)} {min(count - k, 3)}"


def fit(studies: Iterable[Study], params: RouterParams, regions: Regions) -> "Router":
    """Learn from the studies that have a reference. UserError if there is none."""
    pairs = [
        (study.report, study.reference)
        for study in studies
        if study.reference is not None and sentences(study.report)
    ]
    if not pairs:
        raise UserError(
            "no study with a report and a reference to fit the router on; see `data:` in params.yaml"
        )
    aligner = Aligner(pairs)
    memory: dict = defaultdict(lambda: defaultdict(Counter))
    rows, targets, keys = [], [], []
    wordings: dict[tuple[str, str, str], Words] = {}
    for report, said in pairs:
        parts = [words(sentence) for sentence in sentences(report)]
        pieces = {region: aligner.pieces(said[region], parts) for region in regions}
        for k, part in enumerate(parts):
            previous = parts[k - 1].lower if k else ("^",)
            following = parts[k + 1].lower if k + 1 < len(parts) else ("$",)
            rows.append(
                sorted(
                    _own_features(part.lower)
                    | _previous_features(previous)
                    | _next_features(following)
                )
                + [_place(k, len(parts))]
            )
            targets.append([int(pieces[region][k] != "") for region in regions])
            keys.append(part.key)
            for key in (part.key, f"{' '.join(previous)} | {part.key}"):
                for region in regions:
                    memory[key][region][pieces[region][k]] += 1
            for region in regions:
                if pieces[region][k]:
                    wordings.setdefault((region, part.key, pieces[region][k]), part)
    times = Counter(keys)
    weights = [
        times[key] ** -0.5 for key in keys
    ]  # a sentence that stands in every report teaches little about others
    routing = fit_linear(rows, targets, weights, alpha=2e-5, epochs=params.epochs)
    wording = fit_wording(
        ((region, part, piece) for (region, _, piece), part in wordings.items()), params.epochs
    )
    plain: Memory = {
        key: {region: dict(sorted(by_region[region].items())) for region in regions}
        for key, by_region in sorted(memory.items())
        if " | " not in key
        or sum(by_region[regions.names[0]].values())
        > 1  # a context seen once tells no more than its sentence
    }
    return Router(regions.names, params, routing, wording, plain)


class Router:
    """A fitted router. `annotate` is a function of the report's text alone. `regions`: the names it
    was fitted with.
    """

    def __init__(
        self,
        regions: Sequence[str],
        params: RouterParams,
        routing: Linear,
        wording: Wording,
        memory: Memory,
    ) -> None:
        if len(regions) != len(routing.bias):
            raise ValueError("the model's parts do not fit together")
        self.regions = tuple(regions)
        self._params, self._routing, self._wording, self._memory = params, routing, wording, memory
        self._part = lru_cache(maxsize=_KEPT)(self._new_part)
        self._variants = lru_cache(maxsize=_KEPT)(
            lambda region, text: wording.variants(region, self._part(text).sentence)
        )
        self._piece = lru_cache(maxsize=4 * _KEPT)(self._new_piece)
        self._edge = {name: self._sum([name]) for name in ("p ^", "n $")}
        self._places = {
            name: self._sum([name])
            for k in range(4)
            for n in range(1, 4)
            for name in [f"at {k} {n}"]
        }

    def annotate(
        self, report: str, wording: Literal["learned", "verbatim"] = "learned"
    ) -> Annotation:
        """What the report says of each region. `verbatim`: routed alike, but in the report's own
        sentences.
        """
        given = sentences(report)
        parts = [self._part(sentence) for sentence in given]
        said: dict[str, list[str]] = {region: [] for region in self.regions}
        for k, part in enumerate(parts):
            sums = (
                part.own,
                parts[k - 1].as_previous if k else self._edge["p ^"],
                parts[k + 1].as_next if k + 1 < len(parts) else self._edge["n $"],
                self._places[_place(k, len(parts))],
            )
            scores = self._routing.scores(
                sum(total for total, _ in sums), sum(count for _, count in sums)
            )
            levels = np.rint(_LEVELS / (1 + np.exp(-scores))).astype(int).tolist()
            context = f"{parts[k - 1].key if k else '^'} | {part.key}"
            context = context if context in self._memory else part.key
            for region, level in zip(self.regions, levels, strict=True):
                piece = self._piece(given[k], context, region, level)
                if piece:
                    said[region].append(piece if wording == "learned" else given[k])
        return {region: " ".join(pieces) for region, pieces in said.items()}

    def _sum(self, names: Iterable[str]) -> tuple[np.ndarray, int]:
        known = self._routing.known(names)
        return self._routing.weights[known].sum(axis=0), len(known)

    def _new_part(self, sentence: str) -> _Part:
        part = words(sentence)
        named = _own_features, _previous_features, _next_features
        return _Part(
            part,
            part.key,
            as_sentence(part.text),
            *(self._sum(names(part.lower)) for names in named),
        )

    def _new_piece(self, text: str, context: str, region: str, level: int) -> str:
        """The piece of highest expected worth for a sentence whose chance to speak of the region is
        `level` / 64.
        """
        part = self._part(text)
        chance = level / _LEVELS
        known = self._memory.get(part.key, {}).get(region, {"": 0})
        if 2 * chance < self._params.silence_price and known.keys() == {""}:
            return ""  # by the formula of _best: no wording can be worth its words
        # Not asked where the sentence will hardly be said, where the curators are known to say
        # nothing, nor where their own wordings are so many that another would hardly weigh.
        ask = 2 * chance >= self._params.silence_price and (known.keys() != {""} or not known[""])
        ask = ask and sum(known.values()) < _ENOUGH * self._params.shrinkage
        variants = self._variants(region, text) if ask else [(part.whole, 1.0, True)]
        chances = {"": 1 - chance}
        readable = {"", part.whole}
        for variant, share, reads in variants:
            chances[variant] = chances.get(variant, 0.0) + chance * share
            if reads:
                readable.add(variant)
        keys = [(part.key, self._params.shrinkage)]
        keys += [(context, self._params.context_shrinkage)] if context != part.key else []
        for key, shrinkage in keys:
            if key in self._memory:
                counts = self._memory[key][region]
                readable.update(counts)
                total = sum(counts.values()) + shrinkage
                texts = sorted({*chances, *counts})
                chances = {
                    said: (counts.get(said, 0) + shrinkage * chances.get(said, 0.0)) / total
                    for said in texts
                }
        return self._best(chances, readable)

    def _best(self, chances: dict[str, float], readable: set[str]) -> str:
        """The readable text of the highest 2 E[overlap] - silence_price * length: what maximises F1 = 2
        overlap / (sum of both lengths) where it stands at `silence_price` (Dinkelbach's transform), and
        unlike F1 adds up over a report's sentences.
        """
        likely = sorted(chances.items(), key=lambda item: (-item[1], item[0]))[:12]
        if len(likely) == 1 or likely[0] == ("", 1.0):
            return likely[0][0]
        bags = [(text, chance, _bag(text)) for text, chance in likely]
        best, worth = "", 0.0
        for text, _, bag in bags:
            if text and text in readable:
                overlap = sum(chance * (bag & other).total() for _, chance, other in bags)
                gain = 2 * overlap - self._params.silence_price * bag.total()
                if gain > worth + 1e-9:
                    best, worth = text, gain
        return best

    def save(self, folder: Path) -> None:
        """Two files in `folder`, the same bytes for the same model: `router.json` and, first,
        `router.npz`.
        """
        folder = Path(folder)
        arrays = {"routing": self._routing.weights, "routing_bias": self._routing.bias}
        arrays |= {"tagger": self._wording.tagger.weights, "tagger_bias": self._wording.tagger.bias}
        with replacing(folder / "router.npz", "wb") as file:
            np.savez(file, **arrays)
        content = {
            "format": FORMAT,
            "regions": list(self.regions),
            "params": self._params.model_dump(),
            "routing": self._routing.names,
            "tagger": self._wording.tagger.names,
            "tags": self._wording.tags,
            "seen": sorted(self._wording.seen),
            "memory": self._memory,
        }
        write_json(folder / "router.json", content)

    @classmethod
    def load(cls, folder: Path) -> "Router":
        """UserError where the folder holds no whole model."""
        folder = Path(folder)
        try:
            content = json.loads((folder / "router.json").read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError("another format")
            with np.load(
                io.BytesIO((folder / "router.npz").read_bytes()), allow_pickle=False
            ) as arrays:
                routing = Linear(content["routing"], arrays["routing"], arrays["routing_bias"])
                tagger = Linear(content["tagger"], arrays["tagger"], arrays["tagger_bias"])
            wording = Wording(tagger, content["tags"], content["seen"])
            params = RouterParams(**content["params"])
            return cls(content["regions"], params, routing, wording, content["memory"])
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            reason = (
                "is missing"
                if isinstance(error, FileNotFoundError)
                else "is damaged or of another version"
            )
            raise UserError(
                f"{folder}: the router's model {reason}; run `dvc repro fit_router`"
            ) from None
