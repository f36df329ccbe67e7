"""From judgements to numbers: the scores of each study, and of a set of studies."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from xraygen.core.errors import UserError
from xraygen.core.study import Clinical, Judgement, Measure, Study
from xraygen.evaluation.resampling import bootstrap, intervals, means
from xraygen.language.text import token_f1

MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True)
class StudyScores:
    """The scores of each study, as arrays of shape (studies, regions), NaN where there is nothing
    to count. `regions`: the scored ones.

    `score`: right silence counts 1, a pair that could not be scored is NaN. `as_published`: the
    convention of green-score 0.0.12, where both count 0. `token_f1`: NaN where both sides are
    empty. `clinical`: in [-1, 1], 1 where neither side has an abnormal finding. `abnormal`: 1 where
    the reference has a significant one, else 0. Both are NaN where the judge does not tell.
    """

    ids: tuple[str, ...]
    score: np.ndarray
    as_published: np.ndarray
    token_f1: np.ndarray
    clinical: np.ndarray
    abnormal: np.ndarray
    regions: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return ("macro", *self.regions)

    def only(self, ids: Iterable[str]) -> "StudyScores":
        """The scores of these studies, in the order of this object."""
        chosen = set(ids)
        kept = np.array([id in chosen for id in self.ids], dtype=bool)
        return StudyScores(
            tuple(id for id in self.ids if id in chosen),
            self.score[kept],
            self.as_published[kept],
            self.token_f1[kept],
            self.clinical[kept],
            self.abnormal[kept],
            self.regions,
        )

    def measures(self) -> tuple[str, ...]:
        """`MEASURES`, without `clinical` where the judge tells it of no pair."""
        told = not np.isnan(self.clinical).all()
        return tuple(measure for measure in MEASURES if told or measure != "clinical")


def by_study(judgements: Iterable[Judgement], regions: Sequence[str]) -> StudyScores:
    """Judgements in any order, which may be a stream -> one row a study, sorted by id. A cell
    without a judgement is NaN. `regions`: the scored ones.
    """
    column = {region: number for number, region in enumerate(regions)}
    cells: dict[str, np.ndarray] = {}
    for judgement in judgements:
        # Interned, because all approaches have the same ids.
        row = cells.setdefault(sys.intern(judgement.id), np.full((5, len(column)), np.nan))
        clinical = judgement.clinical
        values = (
            judgement.score,
            _as_published(judgement),
            token_f1(judgement.reference, judgement.candidate),
            None if clinical is None else clinical.score,
            None if clinical is None else is_abnormal(clinical),
        )
        row[:, column[judgement.region]] = np.array(values, dtype=float)
    ids = tuple(sorted(cells))
    rows = np.array([cells[id] for id in ids]).reshape(len(ids), 5, len(column))
    score, as_published, f1, clinical_score, abnormal = np.ascontiguousarray(
        np.moveaxis(rows, 1, 0)
    )
    return StudyScores(ids, score, as_published, f1, clinical_score, abnormal, tuple(regions))


def is_abnormal(clinical: Clinical) -> bool:
    """Whether the reference has a finding of clinical significance; any abnormal finding, where the
    judge does not weigh them.
    """
    if clinical.present is None:
        return bool(clinical.matched or clinical.missed)
    return clinical.present > 0


def _as_published(judgement: Judgement) -> float | None:
    if judgement.verdict == "failed":  # never judged
        return None
    if judgement.score is None or judgement.verdict == "both_empty":
        return 0.0
    return judgement.score


def subsets(split: str, studies: Iterable[Study]) -> dict[str, set[str]]:
    """The ids of the study sets that are reported for a split: the split itself, and for test also
    the studies whose report is not in training.
    """
    curated = [study for study in studies if study.reference is not None]
    named = {split: {study.id for study in curated}}
    if split == "test":
        named["test_novel"] = {study.id for study in curated if study.novel}
    return named


def scores_of(
    judgements: Mapping[str, Iterable[Judgement]],
    studies: Mapping[str, Iterable[Study]],
    regions: Sequence[str],
) -> dict[str, StudyScores]:
    """Judgements, which may be streams, and studies by split -> scores by reported study set.
    `regions`: the scored ones.

    UserError: a study with a reference does not have exactly one judgement for each region, or
    another study has any.
    """
    all_regions = 2 ** len(regions) - 1
    scores: dict[str, StudyScores] = {}
    for split, judged in judgements.items():
        named = subsets(split, studies[split])
        seen: dict[str, int] = {}
        everyone = by_study(_noting(judged, seen, regions), regions)
        if seen != dict.fromkeys(named[split], all_regions):
            raise UserError(
                f"the judgements of {split} do not match its studies; "
                "run `dvc repro evaluate` again"
            )
        scores |= {name: everyone.only(ids) for name, ids in named.items()}
    return scores


def _noting(
    judgements: Iterable[Judgement], seen: dict[str, int], regions: Sequence[str]
) -> Iterator[Judgement]:
    """The same judgements. `seen` gets a bit for each region of a study, or -1 where a region has
    two judgements.
    """
    for judgement in judgements:
        if judgement.region not in regions:
            raise UserError(
                f"a judgement of the region {judgement.region!r}, which params.yaml does not "
                "declare as scored; run `dvc repro evaluate` again"
            )
        bit = 1 << regions.index(judgement.region)
        before = seen.get(judgement.id, 0)
        seen[judgement.id] = -1 if before & bit else before | bit
        yield judgement


def summarise(scores: StudyScores, resamples: int, seed: int) -> dict:
    """{"macro" | region: {"score", "ci_low", "ci_high", "n", "unscored", "as_published",
    "token_f1", "token_f1_ci_low", "token_f1_ci_high"}} of one study set, and the same three keys of
    "clinical" where the judge tells it.
    """
    n = len(scores.ids)
    measures = scores.measures()
    values = np.stack([getattr(scores, measure) for measure in measures])
    low = high = np.full((len(measures), len(scores.columns)), np.nan)
    if n > 1:
        low, high, _ = intervals(bootstrap(values, resamples, seed))
    found = dict(zip(measures, zip(means(values), low, high, strict=True), strict=True))
    unscored = np.isnan(scores.score).sum(axis=0).tolist()
    columns = {
        **_with_ends("score", "ci", *found.pop("score")),
        "n": [n] * len(scores.columns),
        "unscored": [sum(unscored), *unscored],
        "as_published": means(scores.as_published).tolist(),
    }
    for measure, measured in found.items():
        columns |= _with_ends(measure, f"{measure}_ci", *measured)
    rows = zip(*columns.values(), strict=True)
    cells = [
        {name: rounded(value) for name, value in zip(columns, row, strict=True)} for row in rows
    ]
    return dict(zip(scores.columns, cells, strict=True))


def _with_ends(
    measure: str, ends: str, value: np.ndarray, low: np.ndarray, high: np.ndarray
) -> dict[str, list[float]]:
    return {measure: value.tolist(), f"{ends}_low": low.tolist(), f"{ends}_high": high.tolist()}


def columns_of(cells: Mapping[str, object]) -> list[str]:
    """The columns of a study set in summary.json: "macro" and the scored regions."""
    return [column for column, cell in cells.items() if isinstance(cell, dict) and "score" in cell]


def rounded(value: float) -> float | None:
    """Rounded to six digits, so that a file does not depend on the last bit; NaN becomes None."""
    return None if math.isnan(value) else round(value, 6)
