"""From readers' decisions to references: what they agree on, what has to be settled, and
references.jsonl.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import NonNegativeInt, model_validator

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import NonEmpty, Record
from xraygen.readers.exports import Decision, Key, Review, add, read_export
from xraygen.sources.reviewed import ReviewedReference

SettledFormat = Literal["xraygen settled 1"]
(SETTLED,) = get_args(SettledFormat)


class SettledHeader(Record):
    """The first line of what the settling page exports. `items`: number shown; `sample`: that of
    the readers' exports.
    """

    format: SettledFormat
    reader: NonEmpty
    created: str
    items: NonNegativeInt
    sample: NonEmpty


class Settlement(Record):
    """What the adjudicator decided about a region. `text`: one of the readers' (`chosen`), or their
    own (`written`); None where there is to be no reference (`excluded`).
    """

    id: NonEmpty
    region: NonEmpty
    decision: Literal["chosen", "written", "excluded"]
    text: str | None
    comment: str = ""

    @model_validator(mode="after")
    def _text_fits_the_decision(self) -> "Settlement":
        if (self.text is None) != (self.decision == "excluded"):
            raise ValueError("text has to be null where the decision is excluded, and only there")
        return self


class Settled(NamedTuple):
    reader: str
    settlements: dict[Key, Settlement]


class Item(NamedTuple):
    """What the readers said of a region: the decisions of those who made one, by reader."""

    key: Key
    decisions: tuple[Decision, ...]

    def texts(self) -> list[tuple[str, int]]:
        """The different final texts with the number of readers who left each, the most frequent
        first.
        """
        given = Counter(_tidy(one.text) for one in self.decisions if one.text is not None)
        spellings = sorted(given.items(), key=lambda item: (-item[1], item[0]))
        found: dict[str, tuple[str, int]] = {}
        for text, count in spellings:
            first, before = found.get(_content(text), (text, 0))
            found[_content(text)] = first, before + count
        return sorted(found.values(), key=lambda item: (-item[1], item[0]))

    def is_agreed(self) -> bool:
        """Nobody rejected, and all final texts are the same but for white space, case and a full
        stop at the end.
        """
        rejected = any(one.decision == "rejected" for one in self.decisions)
        return not rejected and len(self.texts()) == 1


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _content(text: str) -> str:
    return text.casefold().removesuffix(".")


class Outcome(NamedTuple):
    """`agreed`: by item, as all readers left it; `differing`: items to settle; `undecided`: items
    that too few readers decided.
    """

    agreed: list[Item]
    differing: list[Item]
    undecided: int


def outcome(reviews: Sequence[Review]) -> Outcome:
    """Items sorted by study and region. With several readers an item needs two decisions: a second
    reader is there to find what the first one missed.
    """
    needed = min(2, len(reviews))
    keys = sorted({key for review in reviews for key in review.decisions})
    items = [
        Item(key, tuple(one.decisions[key] for one in reviews if key in one.decisions))
        for key in keys
    ]
    enough = [item for item in items if len(item.decisions) >= needed]
    shown = max(review.shown for review in reviews)
    return Outcome(
        agreed=[item for item in enough if item.is_agreed()],
        differing=[item for item in enough if not item.is_agreed()],
        undecided=max(shown, len(items)) - len(enough),
    )


def read_settled(path: Path, reviews: Sequence[Review], regions: Sequence[str]) -> Settled:
    """What the settling page exported. UserError: damaged, of another sample than the readers', an
    item occurs twice or no reader saw it.
    """
    header, lines = read_export(path, SettledHeader, Settlement, "xraygen adjudicate --page")
    if header.sample != reviews[0].sample:
        raise UserError(
            f"{path} and {reviews[0].path}: made from different samples; settle the page that "
            "`xraygen adjudicate --page` writes for these readers"
        )
    seen = {key for review in reviews for key in review.decisions}
    found: dict[Key, Settlement] = {}
    for number, settlement in lines:
        add(found, settlement, f"{path}:{number}", regions)
        if (settlement.id, settlement.region) not in seen:
            raise UserError(
                f"{path}:{number}: {settlement.region} of {settlement.id} is in no reader's "
                "export; remove the line"
            )
    return Settled(header.reader, found)


class References(NamedTuple):
    """`records`: by study, sorted; `unsettled`, `excluded`: numbers of items that are left out."""

    records: list[ReviewedReference]
    unsettled: int
    excluded: int


def references(
    found: Outcome,
    settled: Settled | None,
    regions: Sequence[str] = (),
    approach: str | None = None,
) -> References:
    """What the readers agree on and what was settled, which wins over the readers. An adjudicator
    counts as a reader of the studies of which they settled a region. `regions`: their order; others
    follow by name. `approach`: whose texts a blind review was of.
    """
    settlements: Mapping[Key, Settlement] = settled.settlements if settled else {}
    items = {item.key: item for item in [*found.agreed, *found.differing]}
    texts: dict[Key, str | None] = {item.key: item.texts()[0][0] for item in found.agreed}
    texts |= {key: one.text for key, one in settlements.items()}
    records: dict[str, ReviewedReference] = {}
    for (id, region), text in sorted(texts.items()):
        if text is None:
            continue
        key = id, region
        decisions = items[key].decisions if key in items else ()
        readers = {one.reader for one in decisions}
        shown = {one.approach or approach for one in decisions}
        if settled and key in settlements:
            readers.add(settled.reader)
        new = ReviewedReference(
            id=id,
            reference={region: _tidy(text)},
            readers=tuple(sorted(readers)),
            settled=(region,) if key in settlements else (),
            approaches=tuple(sorted({name for name in shown if name})),
        )
        records[id] = _joined(records[id], new, regions) if id in records else new
    return References(
        list(records.values()),
        unsettled=sum(item.key not in settlements for item in found.differing),
        excluded=sum(one.text is None for one in settlements.values()),
    )


class Former(NamedTuple):
    """Of the regions in a file that is written again: how many were `kept`, of which `unsettled`
    because these readers do not agree on them; how many got another text (`replaced`), and how many
    the adjudicator `excluded`.
    """

    kept: int = 0
    unsettled: int = 0
    replaced: int = 0
    excluded: int = 0


def with_former(
    records: Iterable[ReviewedReference],
    path: Path,
    reviews: Sequence[Review],
    settled: Settled | None,
    regions: Sequence[str] = (),
) -> tuple[list[ReviewedReference], Former]:
    """The records with what the file at `path` has about other regions, and what became of that. A
    former region goes only where there is a decision: its new text is in `records`, or it was
    excluded in `settled`.
    """
    found = {record.id: record for record in records}
    if not path.exists():
        return list(found.values()), Former()
    settlements = settled.settlements if settled else {}
    excluded = {key for key, one in settlements.items() if one.text is None}
    reviewed = {key for review in reviews for key in review.decisions}
    counts: Counter[str] = Counter()
    remedy = "name a file of references, or restore it with `dvc checkout`"
    for former in read_jsonl(path, ReviewedReference, remedy=remedy):
        new = found.get(former.id)
        kept = {}
        for region, text in former.reference.items():
            key = former.id, region
            if new and region in new.reference:
                counts["replaced"] += new.reference[region] != text
            elif key in excluded:
                counts["excluded"] += 1
            else:
                kept[region] = text
                counts["unsettled"] += key in reviewed
        if not kept:
            continue
        counts["kept"] += len(kept)
        still_settled = tuple(region for region in former.settled if region in kept)
        former = former.model_copy(update={"reference": kept, "settled": still_settled})
        found[former.id] = _joined(former, new, regions) if new else former
    return sorted(found.values(), key=lambda record: record.id), Former(**counts)


def _joined(
    first: ReviewedReference, second: ReviewedReference, regions: Sequence[str]
) -> ReviewedReference:
    """Two records of different regions of one study as one, with regions in the given order."""
    order = {region: place for place, region in enumerate(regions)}
    texts = first.reference | second.reference
    names = sorted(texts, key=lambda region: (order.get(region, len(order)), region))
    settled = {*first.settled, *second.settled}
    return ReviewedReference(
        id=first.id,
        reference={region: texts[region] for region in names},
        readers=tuple(sorted({*first.readers, *second.readers})),
        settled=tuple(region for region in names if region in settled),
        approaches=tuple(sorted({*first.approaches, *second.approaches})),
    )
