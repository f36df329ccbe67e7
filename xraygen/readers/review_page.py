"""The page on which a reader accepts, edits or rejects the texts of chosen regions.

It is one file that needs no server: readers in hospitals have none. Of a study it holds the report,
the pictures and the chosen texts; no reference and no confidence, which would sway a reader.
"""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Study
from xraygen.pages import pictures, render
from xraygen.readers.exports import REVIEW


class Shown(NamedTuple):
    """A study on the page: its `pictures` as the page's data have them, and the names of the
    regions to review.
    """

    study: Study
    record: AnnotationRecord
    pictures: list[dict]
    regions: Sequence[str]


def page(shown: Sequence[Shown], approach: str | None) -> str:
    """`approach`: None for a blind review, whose page does not hold its name."""
    studies = [_study(*one) for one in shown]
    data = {
        "format": REVIEW,
        "sample": sample(studies),
        "approach": approach,
        "studies": studies,
    }
    return render(
        "review.html.jinja",
        styles=["page.css", "review.css"],
        scripts=["dom.js", "review_decisions.js", "review_parts.js", "review.js"],
        data=data,
        approach=approach,
    )


def _study(
    study: Study, record: AnnotationRecord, pictures: list[dict], regions: Sequence[str]
) -> dict:
    annotation = record.annotation or {}
    return {
        "id": study.id,
        "report": study.report,
        "pictures": pictures,
        "regions": [
            {
                "region": name,
                "text": annotation[name],
                "spans": record.evidence[name].spans if name in record.evidence else [],
            }
            for name in regions
        ],
    }


def sample(studies: Sequence[Mapping]) -> str:
    """The SHA-256 of what readers judge, whatever its order and the approach's name: two exports
    with the same one are of the same texts.
    """
    items = sorted(
        [study["id"], study["report"], item["region"], item["text"]]
        for study in studies
        for item in study["regions"]
    )
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()


def small_pictures(study: Study, root: Path) -> tuple[list[dict], list[str]]:
    """(pictures, problems): for the page, small grey copies as data URIs, without a `src` where one
    cannot be read; and why not.
    """
    found, problems = [], []
    for image in study.images:
        entry: dict = {"projection": image.projection}
        buffer = io.BytesIO()
        copied = pictures.copy(root / image.path, buffer)
        if isinstance(copied, str):
            problems.append(copied)
        else:
            entry["width"], entry["height"] = copied
            encoded = base64.b64encode(buffer.getvalue()).decode()
            entry["src"] = f"data:image/webp;base64,{encoded}"
        found.append(entry)
    return found, problems


def shown_studies(
    chosen: Mapping[str, Sequence[str]],
    studies: Mapping[str, Study],
    records: Mapping[str, AnnotationRecord],
    regions: Sequence[str],
    root: Path,
) -> tuple[list[Shown], list[str]]:
    """(studies as the page shows them, why pictures cannot be read). `chosen`: the names of regions
    by study, which are shown in the order of `regions`. UserError: an annotated study is not in
    the split, or no picture can be read, which is a folder that is missing rather than damage.
    """
    shown, problems, count = [], [], 0
    for id, names in chosen.items():
        if id not in studies:
            raise UserError(f"data/prepared: has no study {id}; run `dvc repro`")
        found, unread = small_pictures(studies[id], root)
        problems += unread
        count += len(found)
        ordered = [name for name in regions if name in names]
        shown.append(Shown(studies[id], records[id], found, ordered))
    if count and len(problems) == count:
        raise UserError(f"none of {count:,} pictures can be read: {problems[0]}")
    return shown, problems
