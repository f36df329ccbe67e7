"""The picture audit: cases whose pictures were replaced, and what an annotator says of them.

docs/picture-audit.md explains it. `xraygen/evaluation/picture_audit.py` judges the answers.
"""

import hashlib
import heapq
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import NonNegativeInt

from xraygen.annotators.base import Annotator
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_jsonl
from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.core.progress import progress
from xraygen.core.study import AuditRecord, Case, Image, Pictures, Record, Study
from xraygen.language.text import token_f1

BLANK = Path(".cache/blank")  # of the project's folder; DVC and git leave it alone
_GREY = 128
_PARTNERS = 5  # studies among which the one with the least similar reference lends its pictures


class AuditParams(Record):
    """`sample`: at most this many test studies; 0 = no audit. `seed`: draws them and whose pictures
    they are shown.
    """

    sample: NonNegativeInt
    seed: NonNegativeInt


class Altered(NamedTuple):
    """A case with other pictures than its own; the fields are those of AuditRecord."""

    case: Case
    pictures: Pictures
    pictures_of: str | None = None


def cases_for(annotate: Annotator, params: AuditParams, root: Path) -> list[Altered]:
    """Those of the test studies of the project at `root`; none for an annotator that sees no
    pictures.
    """
    if not annotate.shows_pictures:
        return []
    return altered(read_jsonl(root / "data/prepared/test.jsonl", Study), params, root)


def altered(studies: Iterable[Study], params: AuditParams, root: Path) -> list[Altered]:
    """Cases of a sample of these studies, with another study's pictures, with blank ones, and with
    none.

    Drawn by a hash of seed and id, out of the studies that have a reference and pictures, all of
    which can be read. Each is shown the pictures of one of the next five, whose reference is the
    least similar to its own. References choose only whose pictures are shown. `root`: what the
    paths of images are relative to; blank pictures are written below it.
    """
    eligible = (study for study in studies if study.reference is not None and study.images)
    drawn = heapq.nsmallest(
        params.sample, eligible, key=lambda study: (_draw(study.id, params.seed), study.id)
    )
    blank = {study.id: images for study in drawn if (images := _blank(study, root))}
    readable = [study for study in drawn if study.id in blank]
    cases = []
    for place, study in enumerate(readable):
        others = [*readable[place + 1 :], *readable[:place]]
        if lender := _least_similar(study, others[:_PARTNERS]):
            cases.append(Altered(_showing(study, lender.images), "swapped", lender.id))
    cases += [Altered(_showing(study, blank[study.id]), "blank") for study in readable]
    cases += [Altered(_showing(study, ()), "none") for study in readable]
    return cases


def _showing(study: Study, images: tuple[Image, ...]) -> Case:
    return study.case().model_copy(update={"images": images})


def _draw(id: str, seed: int) -> bytes:
    return hashlib.sha256(f"picture audit {seed} {id}".encode()).digest()


def _least_similar(study: Study, others: Sequence[Study]) -> Study | None:
    """None where there is none with other pictures and another reference."""
    pictures = {image.path for image in study.images}
    differing = [
        other
        for other in others
        if other.reference != study.reference
        and pictures.isdisjoint(image.path for image in other.images)
    ]
    return min(differing, key=lambda other: _similarity(study, other), default=None)


def _similarity(study: Study, other: Study) -> float:
    """Mean token F1 of the regions of which both references speak."""
    one, two = study.reference or {}, other.reference or {}
    found = [token_f1(one[region], two.get(region, "")) for region in one if two.get(region)]
    return fmean(f1 or 0.0 for f1 in found) if found else 1.0


def _blank(study: Study, root: Path) -> tuple[Image, ...] | None:
    """The study's images as grey ones of the same size; None where one of them cannot be read."""
    try:
        return tuple(_grey(image, root) for image in study.images)
    except UnreadablePicture:
        return None


def _grey(image: Image, root: Path) -> Image:
    from PIL import Image as Picture

    size = open_picture(root / image.path).size
    file = io.BytesIO()
    Picture.new("L", size, _GREY).save(file, "PNG")
    path = BLANK / f"{size[0]}x{size[1]}.png"
    with replacing(root / path, "wb") as out:
        out.write(file.getvalue())
    sha256 = hashlib.sha256(file.getvalue()).hexdigest()
    return Image(path=path.as_posix(), projection=image.projection, sha256=sha256)


def answers(annotate: Annotator, cases: Sequence[Altered], name: str) -> Iterator[AuditRecord]:
    """One record for each case, in order. `llm.max_failed` does not apply: that there is no answer
    without the right picture is a result. `name`: of the approach.
    """
    if not cases:
        return
    answered = annotate.unlimited()(one.case for one in cases)
    records = progress(answered, f"{name} audit", "cases", len(cases))
    for record, (_, pictures, pictures_of) in zip(records, cases, strict=True):
        yield AuditRecord(pictures=pictures, pictures_of=pictures_of, **dict(record))
