"""The router: an annotator learned from curated training studies, in seconds on a CPU.

It sends each sentence of a report to the regions that it speaks of and words it there as the
curators would:

    alignment   cuts curated texts along the report's sentences: a piece per sentence and region,
                mostly empty
    routing     a linear classifier: the probability that a region gets something of a sentence
    wording     a linear tagger: which words are kept, dropped and replaced for a region
    memory      the pieces that known sentences got, also after the sentence before, counted

For a sentence and a region, the two classifiers give a distribution over pieces, the memory's
counts sharpen it, and the piece with the highest expected token overlap is chosen (minimum Bayes
risk). `confidence` sums up how likely the choices for a region are to be right. Nothing is known of
any collection beforehand.
"""

import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from xraygen.annotators.router.choice import Choice, best_text, expected_of, sharpened
from xraygen.annotators.router.confidence import (
    Confidence,
    features,
    fit_confidence,
    unlearned,
)
from xraygen.annotators.router.linear import Linear
from xraygen.annotators.router.routing import LEVELS, Routing, feature_names, fit_routing
from xraygen.annotators.router.sentence import Counts, Mode, Sentence
from xraygen.annotators.router.wording import Variant, Wording, fit_wording
from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.json_lines import write_json
from xraygen.core.regions import Regions
from xraygen.core.study import Annotation, Record, Study
from xraygen.language.alignment import Aligner, Words, words
from xraygen.language.text import is_right, sentences

FORMAT = 4
_ENOUGH = 4  # times `shrinkage`: a sentence seen this often is worded from memory alone
_KEPT = 750_000  # characters of sentences whose results are kept in memory
_LEAST = 50  # that a sentence counts as, because its results take memory as well
_CHUNK = 1024  # reports that are annotated together
_FOLDS = 3  # of the studies from which confidence is learned

Memory = dict[str, Counts]  # by sentence, and by `context_key`


class RouterParams(Record):
    """`shrinkage`: how often a known sentence must be seen for its own record to weigh as much as
    the classifiers. `context_shrinkage`: the same for a sentence and the one before it, against the
    sentence alone. `silence_price`: what a word must be worth, as a token F1, to be said; a higher
    price gives shorter answers. `epochs`: passes over the training data; more changed nothing. The
    defaults are the best of a few tried by cross-validation within IU X-Ray train; results are flat
    around all of them.
    """

    shrinkage: PositiveFloat = 3.0
    context_shrinkage: PositiveFloat = 2.0
    silence_price: Annotated[float, Field(gt=0, lt=1)] = 0.75
    epochs: PositiveInt = 8


def context_key(previous: str | None, sentence: str) -> str:
    """The memory's key of a sentence that follows another one; both are given as `Words.key`."""
    return f"{'^' if previous is None else previous} | {sentence}"


class _Example(NamedTuple):
    """A curated study: its report, its reference, the sentences of the report, and by region the
    piece of the reference that came from each sentence.
    """

    report: str
    reference: Annotation
    sentences: list[Words]
    pieces: dict[str, list[str]]


class Answer(NamedTuple):
    """`features` (regions, 2) and `confidence` by region, as in `confidence`."""

    annotation: Annotation
    features: np.ndarray
    confidence: dict[str, float]


def fit(studies: Iterable[Study], params: RouterParams, regions: Regions) -> "Router":
    """Learn from the studies that have a reference. UserError if there is none."""
    pairs = [
        (study.report, study.reference)
        for study in studies
        if study.reference is not None and sentences(study.report)
    ]
    if not pairs:
        raise UserError(
            "no study has both a report and a reference to fit the router on; "
            "see `data:` in params.yaml"
        )
    aligner = Aligner(pairs)
    examples = []
    for report, reference in pairs:
        parts = [words(sentence) for sentence in sentences(report)]
        pieces = {region: aligner.pieces(reference[region], parts) for region in regions}
        examples.append(_Example(report, reference, parts, pieces))
    router = _fit(examples, params, regions)
    router.confidence = _confidence(examples, params, regions)
    return router


def _confidence(examples: Sequence[_Example], params: RouterParams, regions: Regions) -> Confidence:
    """Learned by cross-fitting: from the answers to each fold of a router fitted on the others.
    The alignment, half of the time to fit, is that of all: it cuts the texts that are learned from
    and knows no answer.
    """
    if len(examples) < _FOLDS:
        return unlearned(len(regions))
    found, silent, right = [], [], []
    for fold in range(_FOLDS):
        held_out = examples[fold::_FOLDS]
        others = [example for k, example in enumerate(examples) if k % _FOLDS != fold]
        answers = _fit(others, params, regions).answers(example.report for example in held_out)
        for example, answer in zip(held_out, answers, strict=True):
            said = [answer.annotation[region] for region in regions]
            wanted = [example.reference[region] for region in regions]
            found.append(answer.features)
            silent.append([text == "" for text in said])
            right.append([is_right(*pair) for pair in zip(wanted, said, strict=True)])
    return fit_confidence(np.array(found), np.array(silent), np.array(right))


def _fit(examples: Sequence[_Example], params: RouterParams, regions: Regions) -> "Router":
    memory: dict = defaultdict(lambda: defaultdict(Counter))
    rows, targets, keys = [], [], []
    wordings: dict[tuple[str, str, str], Words] = {}
    for _, _, parts, pieces in examples:
        rows += feature_names([part.lower for part in parts])
        for k, part in enumerate(parts):
            previous = parts[k - 1].key if k else None
            said = {region: pieces[region][k] for region in regions}
            targets.append([int(piece != "") for piece in said.values()])
            keys.append(part.key)
            for region, piece in said.items():
                memory[part.key][region][piece] += 1
                memory[context_key(previous, part.key)][region][piece] += 1
                if piece:
                    wordings.setdefault((region, part.key, piece), part)
    times = Counter(keys)
    # A sentence that is in every report teaches little about other sentences.
    weights = [times[key] ** -0.5 for key in keys]
    routing = fit_routing(rows, targets, weights, params.epochs)
    wording = fit_wording(
        ((region, part, piece) for (region, _, piece), part in wordings.items()), params.epochs
    )
    return Router(regions.names, params, routing, wording, _worth_keeping(memory, regions))


def _worth_keeping(memory: dict, regions: Regions) -> Memory:
    """The memory in a fixed order, without contexts seen once: they tell no more than their
    sentence.
    """
    first = regions.names[0]
    return {
        key: {region: dict(sorted(by_region[region].items())) for region in regions}
        for key, by_region in sorted(memory.items())
        if " | " not in key or by_region[first].total() > 1
    }


class Router:
    """A fitted router for `regions`. An answer depends on the text of its report alone."""

    def __init__(
        self,
        regions: Sequence[str],
        params: RouterParams,
        routing: Routing,
        wording: Wording,
        memory: Memory,
        confidence: Confidence | None = None,
    ) -> None:
        self.confidence = confidence or unlearned(len(regions))
        if not len(regions) == len(routing.linear.bias) == len(self.confidence.offsets):
            raise ValueError("the model's parts do not fit together")
        self.regions = tuple(regions)
        self._params, self._routing, self._wording, self._memory = params, routing, wording, memory
        # From this level on, saying what no curator is known to have said may be worth its words,
        # by the formula of `best_text`.
        self._pays_from = LEVELS * params.silence_price / 2
        self._unseen = np.array([[False] * len(regions), [True] * len(regions)])
        self._sentences: dict[str, Sentence] = {}
        self._size = 0  # their characters

    def annotate(self, report: str, wording: Mode = "learned") -> Annotation:
        """What the report says of each region. `verbatim`: the same routing, but in the report's
        own sentences.
        """
        return next(self.annotate_all([report], wording))

    def annotate_all(
        self, reports: Iterable[str], wording: Mode = "learned"
    ) -> Iterator[Annotation]:
        """`annotate` for many reports, in their order, at several times the speed."""
        return (answer.annotation for answer in self.answers(reports, wording))

    def answers(self, reports: Iterable[str], wording: Mode = "learned") -> Iterator[Answer]:
        """`annotate_all` with the confidence in each region."""
        reports = iter(reports)
        while chunk := list(islice(reports, _CHUNK)):
            if self._size > _KEPT:
                self._sentences.clear()
                self._size = 0
            yield from self._answer_chunk([sentences(report) for report in chunk], wording)

    def _answer_chunk(self, chunk: list[list[str]], wording: Mode) -> Iterator[Answer]:
        self._add_sentences(dict.fromkeys(chain.from_iterable(chunk)))
        reports = [[self._sentences[text] for text in texts] for texts in chunk]
        flat = list(chain.from_iterable(reports))
        levels = self._routing.levels([[part.shares for part in report] for report in reports])
        pays = levels >= self._pays_from
        regions = len(self.regions)
        flags = [self._unseen[:0], *(sentence.known_and_open for sentence in flat)]
        known, open_ = np.moveaxis(np.concatenate(flags).reshape(len(flat), 2, regions), 1, 0)
        self._add_variants(flat, pays & open_)

        contexts = [context for report in reports for context in self._contexts(report)]
        origins = [(number, text) for number, texts in enumerate(chunk) for text in texts]
        said: list[dict[str, list[str]]] = [{region: [] for region in self.regions} for _ in chunk]
        weighed = pays | known
        expected = []
        for place, column in np.argwhere(weighed).tolist():
            region = self.regions[column]
            level = int(levels[place, column])
            piece, of_piece = self._choice(flat[place], contexts[place], region, level, wording)
            expected.append(of_piece)
            if piece:
                number, text = origins[place]
                said[number][region].append(piece if wording == "learned" else text)
        annotations = [
            {region: " ".join(pieces) for region, pieces in by_region.items()} for by_region in said
        ]
        doubts = np.array([sentence.doubt for sentence in flat]).reshape(-1, 1)
        spoken = levels / LEVELS * doubts
        words_of = np.array([len(sentence.words.lower) for sentence in flat], dtype=int)
        found = features([len(texts) for texts in chunk], spoken, words_of, weighed, expected)
        silent = np.array([[not text for text in one.values()] for one in annotations])
        confidences = self.confidence(found, silent).tolist()
        for annotation, row, confidence in zip(annotations, found, confidences, strict=True):
            yield Answer(annotation, row, dict(zip(self.regions, confidence, strict=True)))

    def _add_sentences(self, texts: Iterable[str]) -> None:
        new = {text: words(text) for text in texts if text not in self._sentences}
        self._size += sum(max(len(text), _LEAST) for text in new)
        all_shares = self._routing.shares(list(new.values()))
        for (text, given), shares in zip(new.items(), all_shares, strict=True):
            counts = self._memory.get(given.key)
            doubt, known_and_open = self._doubt(counts)
            self._sentences[text] = Sentence(given, shares, counts, doubt, known_and_open)

    def _doubt(self, counts: Counts | None) -> tuple[float, np.ndarray]:
        """What is `doubt` and `known_and_open` of a sentence with these counts. A learned wording
        may not matter where curators are known to say nothing, or to say something so often that
        another wording would hardly weigh.
        """
        if counts is None:
            return 1.0, self._unseen
        shrinkage = self._params.shrinkage
        times = sum(counts[self.regions[0]].values())  # of every region
        known = [counts[region].keys() != {""} for region in self.regions]
        open_ = known if times < _ENOUGH * shrinkage else [False] * len(known)
        return shrinkage / (shrinkage + times), np.array([known, open_])

    def _add_variants(self, flat: list[Sentence], wanted: np.ndarray) -> None:
        asked: dict[tuple[str, Sentence], None] = {}
        for place, column in np.argwhere(wanted).tolist():
            region = self.regions[column]
            if region not in flat[place].variants:
                asked[region, flat[place]] = None
        found = self._wording.variants([(region, sentence.words) for region, sentence in asked])
        for (region, sentence), variants in zip(asked, found, strict=True):
            sentence.variants[region] = variants

    def _contexts(self, report: list[Sentence]) -> Iterator[str]:
        """The memory's key of each sentence: with the sentence before, where it knows the two."""
        previous = None
        for sentence in report:
            key = context_key(previous, sentence.key)
            yield key if key in self._memory else sentence.key
            previous = sentence.key

    def _choice(
        self, sentence: Sentence, context: str, region: str, level: int, wording: Mode
    ) -> Choice:
        """The piece of highest expected worth for a sentence that speaks of the region with a
        probability of `level` / LEVELS; verbatim, the sentence in its place.
        """
        key = wording, context, region, level
        if key not in sentence.choices:
            chances, readable = self._distribution(sentence, context, region, level)
            text = best_text(chances, readable, self._params.silence_price)
            if text and wording == "verbatim":
                text = sentence.whole
            sentence.choices[key] = text, expected_of(text, chances)
        return sentence.choices[key]

    def _distribution(
        self, sentence: Sentence, context: str, region: str, level: int
    ) -> tuple[dict[str, float], set[str]]:
        """The probability of each piece, and which of the pieces read well."""
        chance = level / LEVELS
        chances = {"": 1 - chance}
        readable = {"", sentence.whole}
        variants = sentence.variants.get(region) if level >= self._pays_from else None
        for text, share, reads in variants or [Variant(sentence.whole, 1.0, True)]:
            chances[text] = chances.get(text, 0.0) + chance * share
            if reads:
                readable.add(text)
        seen = [(sentence.counts, self._params.shrinkage)]
        if context != sentence.key:
            seen.append((self._memory[context], self._params.context_shrinkage))
        for counts, shrinkage in seen:
            if counts is not None:
                chances = sharpened(chances, counts[region], shrinkage)
                readable.update(counts[region])
        return chances, readable

    def save(self, folder: Path) -> None:
        """Two files in `folder`, the same bytes for the same model: `router.json` and, first,
        `router.npz`.
        """
        folder = Path(folder)
        with replacing(folder / "router.npz", "wb") as file:
            np.savez(
                file,
                routing=self._routing.linear.weights,
                routing_bias=self._routing.linear.bias,
                tagger=self._wording.tagger.weights,
                tagger_bias=self._wording.tagger.bias,
                tagger_features=self._wording.keys,
            )
        content = {
            "format": FORMAT,
            "regions": list(self.regions),
            "params": self._params.model_dump(),
            "routing": self._routing.names,
            "tags": self._wording.tags,
            "seen": sorted(self._wording.seen),
            "memory": self._memory,
            "confidence": self.confidence.weights.tolist(),
            "confidence_offsets": self.confidence.offsets.tolist(),
        }
        write_json(folder / "router.json", content)

    @classmethod
    def load(cls, folder: Path) -> "Router":
        """UserError where the folder holds no complete model."""
        folder = Path(folder)
        try:
            return cls._read(folder)
        except FileNotFoundError:
            reason = "is missing"
        except _DAMAGE:
            reason = "is damaged or of another version"
        raise UserError(f"{folder}: the router's model {reason}; run `dvc repro fit_router`")

    @classmethod
    def _read(cls, folder: Path) -> "Router":
        content = json.loads((folder / "router.json").read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        archive = io.BytesIO((folder / "router.npz").read_bytes())
        with np.load(archive, allow_pickle=False) as arrays:
            routing = Linear(arrays["routing"], arrays["routing_bias"])
            tagger = Linear(arrays["tagger"], arrays["tagger_bias"])
            features = arrays["tagger_features"]
        return cls(
            content["regions"],
            RouterParams(**content["params"]),
            Routing(routing, content["routing"]),
            Wording(tagger, features, content["tags"], content["seen"]),
            content["memory"],
            Confidence(content["confidence"], content["confidence_offsets"]),
        )


_DAMAGE = OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile
