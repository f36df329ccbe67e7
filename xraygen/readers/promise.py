"""By what to choose regions for review: what finds more wrong ones on dev, which has references."""

from collections.abc import Iterable
from typing import get_args

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Study
from xraygen.evaluation import results
from xraygen.language.text import is_right
from xraygen.readers import selection

SHARE = 0.2  # of the regions that are looked at


def best_on_dev(pool: selection.Pool) -> tuple[selection.By, dict[selection.By, float]]:
    """(by, found): what to choose by, and the shares of dev's wrong regions that are among the
    first fifth by uncertainty and by disagreement.

    Uncertainty where both find the same, as where dev has no wrong region. What cannot be used for
    this split is left out; UserError: neither can.
    """
    on_dev = pool._replace(split="dev")
    wrong = wrong_regions(results.studies("dev"), on_dev.records(), pool.regions)
    found: dict[selection.By, float] = {}
    for by in get_args(selection.By):
        if by == "random" or (by == "disagreement" and pool.split == "val"):
            continue
        try:
            candidates = list(on_dev.candidates(by))
        except UserError:
            continue
        found[by] = _found(candidates, {key for key, is_wrong in wrong.items() if is_wrong})
    if not found:
        raise UserError(
            f"{pool.approach}: no confidence and no other approach to choose by; use --by random"
        )
    return max(found, key=lambda by: found[by]), found


def wrong_regions(
    studies: Iterable[Study], records: Iterable[AnnotationRecord], regions: Regions
) -> dict[tuple[str, str], bool]:
    """Whether each scored region is wrong, by id and name, of studies with a reference and an
    annotation.
    """
    texts = {record.id: record.annotation for record in records}
    wrong = {}
    for study in studies:
        text = texts.get(study.id)
        if study.reference is not None and text is not None:
            for name in regions.scored:
                wrong[study.id, name] = not is_right(study.reference[name], text[name])
    return wrong


def _found(candidates: list[selection.Region], wrong: set[tuple[str, str]]) -> float:
    chosen = selection.first(candidates, round(SHARE * len(candidates)))
    return sum((one.id, one.name) in wrong for one in chosen) / max(1, len(wrong))
