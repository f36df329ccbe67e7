"""The router: an annotator learned from curated training studies in seconds on a CPU (first working version)."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from xraygen.errors import UserError
from xraygen.study import REGIONS, Annotation, Record, Study, write_json
from xraygen.text import sentences, token_f1, tokens


class RouterParams(Record):
    """`neighbours`: known sentences that an unseen one is compared with."""

    neighbours: PositiveInt = 8


def _key(sentence: str) -> str:
    return " ".join(tokens(sentence))


def _align(report: list[str], text: str) -> list[str]:
    """The part of a region's text that each report sentence gave rise to."""
    bags = [Counter(tokens(s)) for s in report]
    pieces: list[list[str]] = [[] for _ in report]
    for part in sentences(text):
        bag = Counter(tokens(part))
        scores = [2 * (bag & b).total() / (bag.total() + b.total()) for b in bags]
        if scores and max(scores) > 0:
            pieces[scores.index(max(scores))].append(part)
    return [" ".join(p) for p in pieces]


def fit(studies: Iterable[Study], params: RouterParams) -> "Router":
    memory: dict[str, dict[str, Counter]] = defaultdict(lambda: {region: Counter() for region in REGIONS})
    for study in studies:
        if study.reference is None:
            continue
        report = sentences(study.report)
        for region in REGIONS:
            for sentence, piece in zip(report, _align(report, study.reference[region]), strict=True):
                memory[_key(sentence)][region][piece] += 1
    known = {
        key: {r: sorted(c.items(), key=lambda i: (-i[1], i[0])) for r, c in regions.items() if set(c) != {""}}
        for key, regions in sorted(memory.items())
    }
    return Router(params, known)


def _choose(variants: list) -> str:
    """The variant of highest expected token F1 under the variants' own frequencies."""
    if not variants:
        return ""
    return max((v for v, _ in variants), key=lambda v: sum(n * (1.0 if (f := token_f1(v, w)) is None else f) for w, n in variants))


class Router:
    def __init__(self, params: RouterParams, known: dict) -> None:
        self._params, self._known = params, known
        self._postings: dict[str, list[int]] = defaultdict(list)
        self._keys = list(known)
        for i, key in enumerate(self._keys):
            for token in set(key.split()):
                self._postings[token].append(i)
        self._sentence = lru_cache(maxsize=20_000)(self._uncached_sentence)

    def _uncached_sentence(self, sentence: str) -> dict[str, str]:
        key = _key(sentence)
        if key in self._known:
            return {r: _choose(v) for r, v in self._known[key].items()}
        scores: Counter = Counter()
        for token in dict.fromkeys(key.split()):
            postings = self._postings.get(token, ())
            for i in postings:
                scores[i] += 1 / len(postings) ** 0.5
        votes: Counter = Counter()
        total = 0.0
        for i, score in scores.most_common(self._params.neighbours):
            total += score
            for region, variants in self._known[self._keys[i]].items():
                said = sum(n for v, n in variants if v)
                votes[region] += score * said / sum(n for _, n in variants)
        return {region: sentence for region in REGIONS if total and votes[region] / total > 0.5}

    def annotate(self, report: str, wording: Literal["learned", "verbatim"] = "learned") -> Annotation:
        """What the report says of each region; `verbatim` leaves its sentences as they stand."""
        said: dict[str, list[str]] = {region: [] for region in REGIONS}
        for sentence in sentences(report):
            for region, piece in self._sentence(sentence).items():
                if piece:
                    said[region].append(piece if wording == "learned" else sentence)
        return Annotation(**{region: " ".join(pieces) for region, pieces in said.items()})

    def save(self, folder: Path) -> None:
        write_json(Path(folder) / "router.json", {"params": self._params.model_dump(), "known": self._known})

    @classmethod
    def load(cls, folder: Path) -> "Router":
        path = Path(folder) / "router.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(RouterParams(**content["params"]), content["known"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{path}: no readable router model; run `dvc repro fit_router`") from None
