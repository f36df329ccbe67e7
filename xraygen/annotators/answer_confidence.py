"""How sure a model in this process is of each region's text: from the probabilities of its tokens,
or from the agreement of several sampled answers.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate

from xraygen.core.study import Annotation, Evidence
from xraygen.language.text import token_f1
from xraygen.prompting.region_names import RegionNames

# Of each token of an answer, where it ends in the answer's text, and its log-probability.
Chances = Sequence[tuple[int, float]]
_ENTRY = re.compile(
    r"""
    "((?:[^"\\]|\\.)*)" \s*:\s*                     # a key, and
    (?: "((?:[^"\\]|\\.)+)" | ( "" | null | \[ [^\]]* \] ) )  # a text, or its absence, or a list
    """,
    re.VERBOSE,
)


class Tokens:
    """The texts of a tokenizer's tokens."""

    def __init__(self, tokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def chances(
        self, tokens: Sequence[int], log_probs: Sequence[float], text: str
    ) -> list[tuple[int, float]]:
        """Of an answer whose first tokens, with their log-probabilities, are those of `text`; empty
        without log-probabilities.
        """
        if not log_probs:
            return []
        ends = list(accumulate(len(self._text(token)) for token in tokens))
        if not ends or ends[-1] != len(text):  # some tokens are a part of a letter, for example
            ends = [
                min(len(self._decoded(tokens[:count])), len(text))
                for count in range(1, len(tokens) + 1)
            ]
        return [(end, round(value, 4)) for end, value in zip(ends, log_probs, strict=False)]

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._decoded([token])
        return self._texts[token]

    def _decoded(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)


def from_tokens(answer: str, chances: Chances, names: RegionNames) -> dict[str, Evidence]:
    """By region the geometric mean of the probabilities of its text's tokens in the answer, the
    exponential of their mean log-probability, so that long texts are not unlikely for their length
    (Malinin and Gales, ICLR 2021). Of an empty text, those that say that it is empty; of a region
    that the answer does not name, all.
    """
    named: dict[str, tuple[int, int]] = {}
    for entry in _ENTRY.finditer(answer):
        named[entry[1]] = entry.span(2) if entry[2] else entry.span(3)
    spans: dict[str, list[tuple[int, int]]] = {}
    for key, span in named.items():
        spans.setdefault(names.region_of(key) or "", []).append(span)
    whole = [(0, len(answer))]
    return {
        region: Evidence(confidence=_mean(chances, spans.get(region, whole)))
        for region in names.regions
    }


def _mean(chances: Chances, spans: Sequence[tuple[int, int]]) -> float | None:
    """The geometric mean of the probabilities of the tokens in these parts of an answer; None where
    there are none, or where the model overflowed and has NaN.
    """
    inside = []
    before = 0
    for end, log_prob in chances:
        if any(before < until and end > start for start, until in spans):
            inside.append(log_prob)
        before = end
    mean = math.exp(math.fsum(inside) / len(inside)) if inside else math.nan
    return None if math.isnan(mean) else round(min(1.0, mean), 4)


def from_samples(
    chosen: Annotation, read: Sequence[Mapping[str, str]], samples: int
) -> dict[str, Evidence]:
    """By region the mean token F1 of the chosen text with the other samples' texts, of which it is
    one; two empty texts agree, and an answer that could not be read agrees with nothing. None for a
    single sample.
    """
    return {
        region: Evidence(confidence=_agreement(text, [one[region] for one in read], samples))
        for region, text in chosen.items()
    }


def _agreement(text: str, texts: list[str], samples: int) -> float | None:
    if samples < 2:
        return None
    texts.remove(text)
    scores = [token_f1(other, text) for other in texts]
    agreeing = math.fsum(1.0 if score is None else score for score in scores)
    return round(agreeing / (samples - 1), 4)
