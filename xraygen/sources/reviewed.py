"""References that readers have corrected: data/references/references.jsonl, which `xraygen
adjudicate` writes, and its way into the studies of a source.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import NonEmpty, Record, Study, id_form
from xraygen.sources import Incident
from xraygen.sources.incident_log import incident

REFERENCES = Path("data/references/references.jsonl")
KINDS = {
    "reviewed_unknown": "excluded: reviewed regions of a study that the source does not have",
    "reviewed_incomplete": "excluded: reviewed regions, not all that are scored, of a study "
    "without a reference",
}


class ReviewedReference(Record):
    """The reviewed regions of a study. `readers`: who decided; `settled`: the regions on which they
    differed and that were settled by hand; `approaches`: whose texts they were shown, if known.
    """

    id: NonEmpty
    reference: Annotated[dict[str, str], Field(min_length=1)]
    readers: tuple[NonEmpty, ...]
    settled: tuple[str, ...] = ()
    approaches: tuple[NonEmpty, ...] = ()


class Merged(NamedTuple):
    """`studies`: those of the source, in their order; `used`: the reviewed references that are in
    them, by study.
    """

    studies: list[Study]
    used: dict[str, ReviewedReference]
    incidents: list[Incident]


def read_reviewed(path: Path, regions: Regions) -> dict[str, ReviewedReference]:
    """By study; {} where there is no such file. UserError: damaged, a study occurs twice, a region
    is not declared, or DVC tracks the file and it is not there.
    """
    if not path.exists():
        if path.with_name(f"{path.name}.dvc").exists():
            raise UserError(
                f"{path}: missing, but DVC tracks it; get it with `dvc checkout` or `dvc pull`"
            )
        return {}
    found: dict[str, ReviewedReference] = {}
    remedy = "write it again with `xraygen adjudicate`"
    for reviewed in read_jsonl(path, ReviewedReference, remedy=remedy):
        if reviewed.id in found:
            raise UserError(f"{path}: study {reviewed.id} is there twice; {remedy}")
        try:
            regions.check(reviewed.reference, "reference")
        except ValueError as error:
            raise UserError(f"{path}: study {reviewed.id}: {error}") from None
        found[reviewed.id] = reviewed
    return found


def merge(
    studies: Sequence[Study],
    reviewed: Mapping[str, ReviewedReference],
    regions: Regions,
    path: Path = REFERENCES,
) -> Merged:
    """The studies with the reviewed regions in place of those of their reference. A study without a
    reference gets one if all scored regions were reviewed. What is not used is an incident.

    UserError: the ids of the reviewed references are of another form than those of the studies.
    """
    _check_ids(studies, reviewed, path)
    used: dict[str, ReviewedReference] = {}
    incidents = []
    merged = []
    for study in studies:
        one = reviewed.get(study.id)
        if one is not None:
            missing = [region for region in regions.scored if region not in one.reference]
            if study.reference is None and missing:
                detail = f"not reviewed: {', '.join(missing)}; left without a reference"
                incidents.append(
                    incident(KINDS, "excluded", "reviewed_incomplete", study.id, detail)
                )
            else:
                used[study.id] = one
                reference = regions.annotation((study.reference or {}) | one.reference)
                study = study.model_copy(update={"reference": reference})
        merged.append(study)
    for id in sorted(reviewed.keys() - {study.id for study in studies}):
        detail = "no study has this id; its reviewed regions were left out"
        incidents.append(incident(KINDS, "excluded", "reviewed_unknown", id, detail))
    return Merged(merged, used, incidents)


def _check_ids(
    studies: Sequence[Study], reviewed: Mapping[str, ReviewedReference], path: Path
) -> None:
    forms = {id_form(study.id) for study in studies}
    if studies and reviewed and not any(id_form(id) in forms for id in reviewed):
        raise UserError(
            f"{path}: study ids do not fit: those of the studies look like {studies[0].id}, those "
            f"of the file like {next(iter(reviewed))}; move the file away, or choose the source "
            "that was reviewed"
        )


def as_curated(members: Iterable[Study], studies: Iterable[Study]) -> list[Study]:
    """The members with the references that they have in `studies`, as the source gave them: how far
    curators agree is measured on what curators wrote.
    """
    references = {study.id: study.reference for study in studies}
    return [study.model_copy(update={"reference": references[study.id]}) for study in members]


def describe_reviewed(
    splits: Mapping[str, Iterable[Study]], used: Mapping[str, ReviewedReference]
) -> dict:
    """{"reviewed": ...} for metrics/data.json: the studies of these splits with reviewed regions,
    and how many of them are in `test`; these regions, and those that were settled; the `approaches`
    whose texts were reviewed, and the number of studies where that is `unknown`. {} where nothing
    was reviewed.
    """
    found = [used[study.id] for members in splits.values() for study in members if study.id in used]
    if not found:
        return {}
    facts: dict = {
        "studies": len(found),
        "test": sum(study.id in used for study in splits.get("test", ())),
        "regions": sum(len(one.reference) for one in found),
        "settled": sum(len(one.settled) for one in found),
    }
    if approaches := sorted({name for one in found for name in one.approaches}):
        facts["approaches"] = ", ".join(approaches)
    if unknown := sum(not one.approaches for one in found):
        facts["unknown"] = unknown
    return {"reviewed": facts}
