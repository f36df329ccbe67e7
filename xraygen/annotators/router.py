"""The router: an annotator learned from curated training studies in seconds on a CPU.

Two things are learned. Where a report sentence goes: for each region a logistic regression on the sentence's word n-grams and
character n-grams and on the words of the report's other sentences (whether "cardiomediastinal silhouette normal" is repeated under
heart depends on what else the report says of the heart), combined with what the curators did with the same and the most similar
training sentences. And how it is worded: what the curators made of those sentences is carried over to this one (`wording.carry_over`)
and of all the wordings the one that agrees best with the others is taken.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from xraygen.annotators.wording import align, carry_over, most_agreed, tidy, words
from xraygen.errors import UserError
from xraygen.study import REGIONS, Annotation, Record, Study, replacing
from xraygen.text import sentences, tokens

MODEL = "router.json"
_NEAREST = 0.45  # least cosine similarity of a sentence that counts as similar
_NEARNESS = 5  # the power of its similarity by which a similar sentence counts
_VERBATIM = 0.05  # weight of the sentence's own wording among the curators'
_CHARACTERS = 1.0  # scale of the character n-grams against the word n-grams
_MEMORY = 20_000  # sentences whose reading is remembered


class RouterParams(Record):
    """Chosen by cross-validation on the training split of IU X-Ray.

    `neighbours`: similar sentences that are consulted. `prior`: how many training sentences the regression's opinion is worth.
    `first`, `further`: the cost of saying something wrong against that of omitting something right, for the only and for any
    further sentence of a region; lower says more.
    """

    neighbours: PositiveInt = 12
    prior: Annotated[float, Field(gt=0)] = 3.0
    first: Annotated[float, Field(gt=0)] = 0.45
    further: Annotated[float, Field(gt=0)] = 0.85
    inverse_regularisation: Annotated[float, Field(gt=0)] = 7.0


def _key(sentence: str) -> str:
    return " ".join(tokens(sentence))


def _word_ngrams(sentence: str) -> list[str]:
    single = tokens(sentence)
    return single + [f"{a} {b}" for a, b in zip(single, single[1:], strict=False)]


def _character_ngrams(sentence: str) -> list[str]:
    padded = [f" {token} " for token in tokens(sentence)]
    return [token[i : i + n] for token in padded for n in (3, 4, 5) for i in range(len(token) - n + 1)]


class _Features:
    """Sublinear tf-idf vectors of unit length over the n-grams that at least `least` of the texts have."""

    def __init__(self, ngrams: Callable[[str], list[str]], documents: int, frequency: dict[str, int]) -> None:
        self.ngrams, self.documents, self.frequency = ngrams, documents, frequency
        self.index = {ngram: index for index, ngram in enumerate(frequency)}
        self.idf = [math.log((1 + documents) / (1 + count)) + 1 for count in frequency.values()]

    @classmethod
    def learn(cls, ngrams: Callable[[str], list[str]], texts: list[str], least: int) -> "_Features":
        frequency = Counter(ngram for text in texts for ngram in set(ngrams(text)))
        return cls(ngrams, len(texts), {ngram: count for ngram, count in sorted(frequency.items()) if count >= least})

    def vector(self, text: str) -> tuple[list[int], list[float]]:
        """Indices and values."""
        found = Counter(self.index[ngram] for ngram in self.ngrams(text) if ngram in self.index)
        values = [(1 + math.log(count)) * self.idf[index] for index, count in found.items()]
        length = math.sqrt(sum(value * value for value in values)) or 1.0
        return list(found), [value / length for value in values]

    def matrix(self, texts: list[str]):
        """(texts, n-grams), sparse."""
        from scipy.sparse import csr_matrix

        vectors = [self.vector(text) for text in texts]
        ends = np.cumsum([0] + [len(indices) for indices, _ in vectors])
        indices = np.array([index for indices, _ in vectors for index in indices], dtype=np.int64)
        values = np.array([value for _, values in vectors for value in values], dtype=float)
        return csr_matrix((values, indices, ends), shape=(len(texts), len(self.index)))


class _Known(NamedTuple):
    """A training sentence: how often it occurs, and for each region how often the curators made what of it ("" = nothing)."""

    text: str
    times: int
    said: tuple[dict[str, int], ...]


class _Reading(NamedTuple):
    """What one sentence brings, by region: its share of the regression's logit for itself and for the report's other sentences,
    and the weight of similar training sentences that were used and that were left out."""

    own: list[float]
    context: list[float]
    used: list[float]
    unused: list[float]
    neighbours: list[tuple[int, float]]


def fit(studies: Iterable[Study], params: RouterParams) -> "Router":
    """Learn from the studies that have a reference. UserError: none has one."""
    from scipy.sparse import csr_matrix, diags, hstack

    members: list[int] = []  # of each sentence the number of its study
    texts: list[str] = []
    made: list[tuple[str, ...]] = []  # of each sentence what became of it, by region
    curated = (study for study in studies if study.reference is not None)
    for number, study in enumerate(curated):
        parts = sentences(study.report)
        texts += parts
        members += [number] * len(parts)
        made += zip(*(align(parts, study.reference[region]) for region in REGIONS), strict=True)
    if not texts:
        raise UserError("data/prepared/train.jsonl: no study with a report and a reference to learn from; check `data:` in params.yaml")

    said: dict[str, tuple[Counter, ...]] = defaultdict(lambda: tuple(Counter() for _ in REGIONS))
    shown: dict[str, str] = {}
    for text, pieces in zip(texts, made, strict=True):
        key = _key(text)
        shown[key] = min(text, shown.get(key, text))
        for counts, piece in zip(said[key], pieces, strict=True):
            counts[piece] += 1
    known = [
        _Known(shown[key], said[key][0].total(), tuple(dict(sorted(counts.items())) for counts in said[key])) for key in sorted(said)
    ]

    by_words, by_characters = _Features.learn(_word_ngrams, texts, 1), _Features.learn(_character_ngrams, texts, 3)
    sentence = by_words.matrix(texts)
    together = csr_matrix((np.ones(len(texts)), (members, np.arange(len(texts)))))
    others = np.maximum(together.T @ (together @ np.ones(len(texts))) - 1, 1)
    context = diags(1 / others) @ (together.T @ (together @ sentence) - sentence)
    features = hstack([sentence, context, _CHARACTERS * by_characters.matrix(texts)]).tocsr()
    weights = np.array(
        [_regress(features, [bool(pieces[index]) for pieces in made], params.inverse_regularisation) for index in range(len(REGIONS))]
    ).T
    return Router(params, known, by_words, by_characters, weights)


def _regress(features, labels: list[bool], inverse_regularisation: float) -> np.ndarray:
    """Weights, the intercept first, rounded so that the last bits of a library's arithmetic do not reach the saved model."""
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) < 2:  # nothing to tell apart: always or never
        return np.array([20.0 if labels[0] else -20.0] + [0.0] * features.shape[1])
    model = LogisticRegression(C=inverse_regularisation, solver="liblinear").fit(features, labels)
    return np.round(np.append(model.intercept_, model.coef_[0]), 3)


class Router:
    """A fitted router. `weights`: (1 + word n-grams + word n-grams + character n-grams, regions): intercept, sentence, context,
    characters."""

    def __init__(
        self, params: RouterParams, known: list[_Known], by_words: _Features, by_characters: _Features, weights: np.ndarray
    ) -> None:
        self._params, self._known, self._by_words, self._by_characters, self._weights = params, known, by_words, by_characters, weights
        size = len(by_words.index)
        self._intercept = weights[0].tolist()
        self._own, self._context, self._letters = weights[1 : size + 1], weights[size + 1 : 2 * size + 1], weights[2 * size + 1 :]
        self._postings = by_words.matrix([sentence.text for sentence in known]).tocsc()
        self._exact = {_key(sentence.text): index for index, sentence in enumerate(known)}
        # Remembered by sentence, boundedly: reports repeat themselves, and a stream of them must not fill the memory.
        self._read = lru_cache(_MEMORY)(self._read_sentence)
        self._word = lru_cache(_MEMORY)(self._word_sentence)
        self._known_words = lru_cache(_MEMORY)(words)

    def annotate(self, report: str, wording: Literal["learned", "verbatim"] = "learned") -> Annotation:
        """What the report says of each region; `verbatim`: the same sentences in the same regions, as they stand in the report."""
        parts = sentences(report)
        readings = [self._read(part) for part in parts]
        said = {}
        for number, region in enumerate(REGIONS):
            context = sum(reading.context[number] for reading in readings)
            merits = []
            for part, reading in zip(parts, readings, strict=True):
                elsewhere = (context - reading.context[number]) / max(1, len(parts) - 1)
                merits.append(self._merit(part, reading, number, elsewhere))
            chosen = [index for index, merit in enumerate(merits) if merit > self._params.further]
            if not chosen and merits and max(merits) > self._params.first:
                chosen = [merits.index(max(merits))]
            texts = (self._word(parts[index], number)[0] if wording == "learned" else parts[index] for index in chosen)
            said[region] = " ".join(texts)
        return Annotation(**said)

    def _merit(self, sentence: str, reading: _Reading, region: int, elsewhere: float) -> float:
        """The odds that the curators used the sentence in the region, times the expected token F1 of the wording for it."""
        logit = reading.own[region] + elsewhere
        opinion = self._params.prior / (1 + math.exp(-max(-50.0, min(50.0, logit))))
        odds = (reading.used[region] + opinion) / (reading.unused[region] + self._params.prior - opinion + 1e-9)
        return odds * self._word(sentence, region)[1] if odds > self._params.first else odds

    def _read_sentence(self, sentence: str) -> _Reading:
        indices, values = self._by_words.vector(sentence)
        letter_indices, letter_values = self._by_characters.vector(sentence)
        own = np.array(values) @ self._own[indices] + _CHARACTERS * np.array(letter_values) @ self._letters[letter_indices]
        neighbours = self._neighbours(sentence, indices, values)
        used, unused = [0.0] * len(REGIONS), [0.0] * len(REGIONS)
        for index, weight in neighbours:
            known = self._known[index]
            for region, counts in enumerate(known.said):
                left_out = counts.get("", 0)
                unused[region] += weight * left_out
                used[region] += weight * (known.times - left_out)
        context = (np.array(values) @ self._context[indices]).tolist()
        return _Reading([a + b for a, b in zip(self._intercept, own.tolist(), strict=True)], context, used, unused, neighbours)

    def _neighbours(self, sentence: str, indices: list[int], values: list[float]) -> list[tuple[int, float]]:
        """Similar training sentences and the weight of each of their occurrences: the same sentence counts as often as it
        occurs, another one once at most, and less the less it is like this one."""
        if not indices:
            return []
        starts, rows, found = self._postings.indptr, self._postings.indices, self._postings.data
        spans = [slice(starts[index], starts[index + 1]) for index in indices]
        similarity = np.bincount(
            np.concatenate([rows[span] for span in spans]),
            np.concatenate([found[span] * value for span, value in zip(spans, values, strict=True)]),
            minlength=len(self._known),
        )
        near = np.flatnonzero(similarity >= _NEAREST)
        near = near[np.argsort(-np.round(similarity[near], 9), kind="stable")][: self._params.neighbours]
        exact = self._exact.get(_key(sentence))
        return [
            (index, 1.0 if index == exact else float(similarity[index]) ** _NEARNESS / self._known[index].times) for index in near.tolist()
        ]

    def _word_sentence(self, sentence: str, region: int) -> tuple[str, float]:
        """The wording of the sentence for the region, and its expected token F1."""
        exact = self._exact.get(_key(sentence))
        mine = words(sentence)
        weights: dict[str, float] = defaultdict(float)
        for index, weight in self._read(sentence).neighbours:
            known = self._known[index]
            for piece, times in known.said[region].items():
                if piece and index == exact:
                    weights[tidy(piece)] += weight * times
                elif piece:
                    text, worth = carry_over(mine, self._known_words(known.text), self._known_words(piece))
                    weights[text] += weight * times * worth
        weights[tidy(sentence)] += _VERBATIM
        weights.pop("", None)
        return most_agreed(weights)

    def save(self, folder: Path) -> None:
        """One JSON file, the same bytes for the same model."""
        size = len(self._by_words.index)
        content = {
            "params": self._params.model_dump(),
            "documents": self._by_words.documents,
            "words": self._by_words.frequency,
            "characters": self._by_characters.frequency,
            "weights": [[float(f"{weight:.3f}") for weight in row] for row in self._weights.tolist()],
            "sentences": [[known.text, [list(counts.items()) for counts in known.said]] for known in self._known],
        }
        assert len(content["weights"]) == 1 + 2 * size + len(self._by_characters.index)
        with replacing(Path(folder) / MODEL) as file:
            json.dump(content, file, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, folder: Path) -> "Router":
        """UserError: no model there, or a damaged one."""
        path = Path(folder) / MODEL
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            documents = content["documents"]
            by_words = _Features(_word_ngrams, documents, content["words"])
            by_characters = _Features(_character_ngrams, documents, content["characters"])
            known = [
                _Known(text, sum(times for _, times in said[0]), tuple(dict(counts) for counts in said))
                for text, said in content["sentences"]
            ]
            weights = np.array(content["weights"], dtype=float)
            if weights.shape != (1 + 2 * len(by_words.index) + len(by_characters.index), len(REGIONS)):
                raise ValueError("weights do not fit the features")
            return cls(RouterParams(**content["params"]), known, by_words, by_characters, weights)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; run `dvc repro fit_router` to make it") from None
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise UserError(f"{path}: damaged ({error}); remove it and run `dvc repro fit_router`") from None
