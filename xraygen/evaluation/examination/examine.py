"""Any judge, examined: the project's own cases, radiologists' judgements, and damaged references.

All pairs are given to the judge in one call, so that judges which ask a model batch their questions
and find stored answers. Each check is made for every measure that the judge gives, and for token F1
as the yardstick.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from xraygen.core.errors import UserError
from xraygen.evaluation.examination import orders, radpref
from xraygen.evaluation.examination.orders import EQUAL, OrderCase, Pair, Values
from xraygen.evaluation.examination.perturbations import DAMAGE, damaged, reworded
from xraygen.evaluation.examination.radpref import Figure, Form, Rated
from xraygen.judges import Judge, Opinion, opinions
from xraygen.language.text import token_f1

RESAMPLES = 2000
SEED = 0
OF_EACH_KIND = 200  # damaged texts, and reworded ones, at most
TOLERANCE = 0.1  # a rewording may score this much below a copy
TOKEN_F1 = "token F1"
OWN, RADPREF, RADJUDGE, REWORDED = "own cases", "RadPref", "RadJudge", "reworded"
_CHECKS = {
    "rating": "tau with the mean rating",
    "errors": "tau with minus the errors that matter",
    "pairs": "preferred candidate scored higher",
}


@dataclass(frozen=True)
class Material:
    """What a judge is examined with. `versions`: by reference text, its damaged versions by kind
    and, under `REWORDED`, the one in other words.
    """

    own: Sequence[OrderCase]
    radjudge: Sequence[OrderCase] = ()
    rated: Sequence[Rated] = ()
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def pairs(self) -> list[Pair]:
        """All pairs that the judge is given, each once."""
        pairs = [pair for case in (*self.own, *self.radjudge) for pair in case.pairs.values()]
        pairs += [row.pair(form) for form in radpref.FORMS for row in self.rated]
        for text, versions in self.versions.items():
            pairs += [(text, other) for other in (text, *versions.values())]
        return list(dict.fromkeys(pairs))


@dataclass(frozen=True)
class Row:
    """One check. `figures`: by measure. `radiologists`: what they reach, where that is known."""

    part: str
    check: str
    figures: Mapping[str, Figure]
    radiologists: Figure | None = None


def read_material(folder: Path | None, references: Sequence[str]) -> Material:
    """The project's own cases; RadPref and RadJudge, those that are in the folder; and versions of
    the reference texts. UserError: the folder has neither, or one of them is damaged.
    """
    radjudge: list[OrderCase] = []
    rated: list[Rated] = []
    if folder is not None:
        paths = [folder / orders.FILE, folder / radpref.FILE]
        if not any(path.exists() for path in paths):
            raise UserError(f"{folder}: neither {orders.FILE} nor {radpref.FILE} is there")
        radjudge = orders.read_radjudge(paths[0]) if paths[0].exists() else []
        rated = radpref.read_radpref(paths[1]) if paths[1].exists() else []
    return Material(orders.own_cases(), radjudge, rated, versions_of(references))


def versions_of(
    texts: Sequence[str], of_each_kind: int = OF_EACH_KIND, seed: int = SEED
) -> dict[str, dict[str, str]]:
    """By text its damaged versions and its rewording, at most `of_each_kind` of each kind, of texts
    drawn by the seed.
    """
    counts = dict.fromkeys((*DAMAGE, REWORDED), 0)
    drawn: dict[str, dict[str, str]] = {}
    for text in Random(seed).sample(sorted(texts), len(texts)):
        if min(counts.values()) >= of_each_kind:
            break
        versions = damaged(text, seed)
        if (other := reworded(text, seed)) is not None:
            versions[REWORDED] = other
        kept = {kind: other for kind, other in versions.items() if counts[kind] < of_each_kind}
        for kind in kept:
            counts[kind] += 1
        if kept:
            drawn[text] = kept
    return drawn


def measured(pairs: Sequence[Pair], judged: Sequence[Opinion]) -> dict[str, Values]:
    """By name of the measure its value for every pair: `score`, `clinical` if the judge gives it,
    and token F1.
    """
    by_pair = dict(zip(pairs, judged, strict=True))
    values: dict[str, Values] = {}
    values["score"] = {pair: _number(opinion.score) for pair, opinion in by_pair.items()}
    if any(opinion.clinical for opinion in judged):
        values["clinical"] = {
            pair: _number(opinion.clinical.score if opinion.clinical else None)
            for pair, opinion in by_pair.items()
        }
    values[TOKEN_F1] = {pair: overlap(*pair) for pair in by_pair}
    return values


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def overlap(reference: str, candidate: str) -> float:
    """Token F1; two sides without a token are equal."""
    f1 = token_f1(reference, candidate)
    return 1.0 if f1 is None else f1


def examine(judge: Judge, material: Material) -> dict[str, Values]:
    """What the judge says of all pairs of the material, by measure."""
    pairs = material.pairs()
    return measured(pairs, opinions(pairs, judge))


def rows_of(material: Material, measures: Mapping[str, Values]) -> list[Row]:
    """All checks, in the order of the table."""
    rows = _order_rows(OWN, material.own, measures, by_category=True)
    if material.rated:
        for form in radpref.FORMS:
            rows += _radpref_rows(material.rated, form, measures)
    if material.radjudge:
        rows += _order_rows(RADJUDGE, material.radjudge, measures, by_category=False)
    if material.versions:
        rows += _perturbation_rows(material.versions, measures)
    return rows


def _order_rows(
    part: str, cases: Sequence[OrderCase], measures: Mapping[str, Values], by_category: bool
) -> list[Row]:
    rows = []
    for category in dict.fromkeys(case.category for case in cases) if by_category else ():
        chosen = [case for case in cases if case.category == category]
        rows.append(Row(part, category, _held(chosen, measures)))
    return [*rows, Row(part, "all orders", _held(cases, measures))]


def _held(cases: Sequence[OrderCase], measures: Mapping[str, Values]) -> dict[str, Figure]:
    return {
        name: share([case.holds(values) for case in cases]) for name, values in measures.items()
    }


def share(held: Sequence[bool]) -> Figure:
    """The share of True, with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    right, n = sum(held), len(held)
    interval = binomtest(right, n).proportion_ci(method="wilson")
    return Figure(right / n, float(interval.low), float(interval.high), n, right)


def _radpref_rows(rated: Sequence[Rated], form: Form, measures: Mapping[str, Values]) -> list[Row]:
    pairs = [row.pair(form) for row in rated]
    found = {
        name: radpref.agreement(rated, [values[pair] for pair in pairs], RESAMPLES, SEED)
        for name, values in measures.items()
    }
    among = radpref.radiologists(rated, RESAMPLES, SEED)
    return [
        Row(
            f"{RADPREF}, {form}",
            check,
            {name: of[figure] for name, of in found.items()},
            among[figure],
        )
        for figure, check in _CHECKS.items()
    ]


def _perturbation_rows(
    versions: Mapping[str, Mapping[str, str]], measures: Mapping[str, Values]
) -> list[Row]:
    rows = []
    for kind in DAMAGE:
        pairs = [(text, of[kind]) for text, of in versions.items() if kind in of]
        if pairs:
            falls = {name: _falls(pairs, values) for name, values in measures.items()}
            rows.append(Row("damage", f"{kind}: falls", falls))
    others = {text: of for text, of in versions.items() if REWORDED in of}
    if others:
        near = {name: _stays_near(others, values) for name, values in measures.items()}
        rows.append(Row(REWORDED, f"within {TOLERANCE} of a copy", near))
    both = {text: of for text, of in others.items() if len(of) > 1}
    if both:
        above = {name: _stays_above(both, values) for name, values in measures.items()}
        rows.append(Row(REWORDED, "above every damaged version", above))
    return rows


def _falls(pairs: Sequence[Pair], values: Values) -> Figure:
    """How often a damaged text scores lower than a copy, by more than what counts as equal."""
    return share([values[pair] < values[pair[0], pair[0]] - EQUAL for pair in pairs])


def _stays_near(versions: Mapping[str, Mapping[str, str]], values: Values) -> Figure:
    return share(
        [
            values[text, of[REWORDED]] >= values[text, text] - TOLERANCE
            for text, of in versions.items()
        ]
    )


def _stays_above(versions: Mapping[str, Mapping[str, str]], values: Values) -> Figure:
    held = []
    for text, of in versions.items():
        worse = [values[text, other] for kind, other in of.items() if kind != REWORDED]
        held.append(all(values[text, of[REWORDED]] > score for score in worse))
    return share(held)
