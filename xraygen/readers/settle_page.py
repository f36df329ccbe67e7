"""The page on which an adjudicator settles what readers disagree on.

The readers' texts come without names and in an order that depends on the texts alone, so that it is
the texts that are weighed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import SPLITS, Study
from xraygen.pages import render
from xraygen.readers.references import SETTLED, Item, Settled, Settlement
from xraygen.readers.review_page import small_pictures


def prepared_studies(root: Path, ids: Iterable[str]) -> dict[str, Study]:
    """By id, those of these studies that data/prepared has."""
    wanted = set(ids)
    found: dict[str, Study] = {}
    for split in SPLITS:
        path = root / f"data/prepared/{split}.jsonl"
        if path.exists():
            for study in read_jsonl(path, Study):
                if study.id in wanted:
                    found[study.id] = study
    return found


def page(
    items: Sequence[Item],
    sample: str,
    settled: Settled | None,
    studies: Mapping[str, Study],
    root: Path,
) -> tuple[str, list[str]]:
    """The page, and what it lacks, a line each. `settled`: what it starts with. `studies`: with
    report and pictures; of others only the texts are shown.
    """
    shown = [_item(item) for item in items]
    content = json.dumps([sample, shown], sort_keys=True).encode()
    settlements = settled.settlements if settled else {}
    shown_studies = {}
    problems = []
    for id, study in sorted(studies.items()):
        pictures, unread = small_pictures(study, root)
        shown_studies[id] = {"report": study.report, "pictures": pictures}
        problems += unread
    data = {
        "format": SETTLED,
        "sample": sample,
        "key": hashlib.sha256(content).hexdigest()[:16],
        "reader": settled.reader if settled else "",
        "items": [
            one | {"settled": _start(item, settlements.get(item.key))}
            for one, item in zip(shown, items, strict=True)
        ],
        "studies": shown_studies,
    }
    lacking = []
    if without := {item.key[0] for item in items} - studies.keys():
        lacking.append(
            f"{len(without):,} studies are shown without report and pictures: data/prepared does "
            f"not have them, for example {min(without)}"
        )
    if problems:
        lacking.append(f"{len(problems):,} pictures cannot be read: {problems[0]}")
    html = render(
        "settle.html.jinja",
        styles=["page.css", "review.css", "settle.css"],
        scripts=["dom.js", "words.js", "review_decisions.js", "review_parts.js", "settle.js"],
        data=data,
        count=len(items),
    )
    return html, lacking


def _item(item: Item) -> dict:
    rejected = [one for one in item.decisions if one.decision == "rejected"]
    return {
        "id": item.key[0],
        "region": item.key[1],
        "texts": [{"text": text, "readers": readers} for text, readers in item.texts()],
        "rejected": {"text": rejected[0].shown, "readers": len(rejected)} if rejected else None,
        "comments": sorted(one.comment for one in item.decisions if one.comment.strip()),
    }


def _start(item: Item, settlement: Settlement | None) -> dict | None:
    """A settlement as the page has it. A text that no reader left any more counts as written."""
    if settlement is None:
        return None
    decision = settlement.decision
    if decision == "chosen" and settlement.text not in [text for text, _ in item.texts()]:
        decision = "written"
    return {"decision": decision, "text": settlement.text, "comment": settlement.comment}
