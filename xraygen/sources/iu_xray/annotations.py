"""IU X-Ray's annotation file: its entries, checked one by one, and at most one for each uid."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.tables import has_no_value
from xraygen.sources.incident_log import Log, shown
from xraygen.sources.iu_xray.images import STUDY_ID, plain_uid
from xraygen.sources.iu_xray.text_files import clean, read_text

REGIONS = ("bone", "heart", "lung", "mediastinal", "others")
_SPLITS = ("train", "test", "val")
_ENTRY_KEYS = {"id", "split", "report", "original_report"}


class Entry(NamedTuple):
    """`reference` is None in val; `original`: the text of original_report, "" where it has none."""

    id: str
    uid: str
    series: str
    split: str
    reference: dict[str, str] | None
    original: str


def entries_of(path: Path, log: Log) -> tuple[list[Entry], set[str]]:
    """The usable entries, including duplicates, and the splits that have any entry, usable or not.

    UserError: the file is not an object with lists of entries under train, test and, optionally,
    val.
    """
    content = _splits(path, log)
    entries = []
    for split, members in content.items():
        for number, member in enumerate(members):
            entry = _entry(member, split, f"{path.name}:{split}[{number}]", log)
            if entry is not None:
                entries.append(entry)
    return entries, {split for split, members in content.items() if members}


def _splits(path: Path, log: Log) -> dict[str, list]:
    text = read_text(path, log)
    damaged = "the file is damaged, fetch it again"
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}; {damaged}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: should be an object with the lists train, test and val")
    for key in sorted(content.keys() | {"train", "test"}):
        if key not in _SPLITS:
            name = shown(key)[:40]
            raise UserError(f"{path}: {name!r} is none of train, test and val; {damaged}")
        if not isinstance(content.get(key), list):
            problem = "not a list" if key in content else "missing"
            raise UserError(f"{path}: {key!r} is {problem}; {damaged}")
    return content


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. ValueError: a key is duplicated; json would silently keep the last one."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        duplicate = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {shown(duplicate)[:40]!r} is duplicated in one object")
    return content


def _entry(member: object, split: str, where: str, log: Log) -> Entry | None:
    """An entry of the list `split`, or None where it has to be excluded."""
    if not isinstance(member, dict):
        log.excluded("entry_malformed", where, "not an object")
        return None
    id = member.get("id")
    match = STUDY_ID.fullmatch(id) if isinstance(id, str) else None
    if not isinstance(id, str) or not match:
        log.excluded("entry_malformed", where, f"no study id: {_brief(id)}")
        return None
    if unknown := sorted(member.keys() - _ENTRY_KEYS):
        log.repaired("entry_unknown_key", id, f"{unknown!r:.80} ignored")
    if "split" not in member:
        log.repaired("split_missing", id, f"taken as {split}")
    elif member["split"] != split:
        log.excluded("split_mismatch", id, f"split {_brief(member['split'])} in the list {split}")
        return None
    original = _original_report(member, id, log)
    reference = None
    if split == "val":
        if member.get("report") is not None:
            log.repaired("annotation_of_val", id, "ignored: val has no references")
    else:
        reference = _reference(member.get("report"), id, log)
        if reference is None:
            return None
    original = clean(original, id, log).strip()
    return Entry(id, plain_uid(match[1]), match[2], split, reference, original)


def _original_report(member: dict, id: str, log: Log) -> str:
    original = member.get("original_report", "")
    if "original_report" not in member:
        return ""
    if isinstance(original, str) and not has_no_value(original):
        return original
    detail = f"{_brief(original)}; the findings of the uid are used"
    log.repaired("original_report_not_text", id, detail)
    return ""


def _brief(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


def _reference(annotation: object, id: str, log: Log) -> dict[str, str] | None:
    """Text by region, or None where the annotation cannot be used."""
    if not isinstance(annotation, dict):
        log.excluded("annotation_missing", id, f"report is {type(annotation).__name__}")
        return None
    if missing := [region for region in REGIONS if region not in annotation]:
        detail = f"without {', '.join(missing)}; its keys: {sorted(annotation)!r:.80}"
        log.excluded("annotation_incomplete", id, detail)
        return None
    given = {region: annotation[region] for region in REGIONS}
    empty = [region for region, text in given.items() if text != "" and has_no_value(text)]
    if any(not isinstance(given[region], str) or given[region].strip() for region in empty):
        detail = f"{', '.join(empty)}: null, NaN or the like, read as empty"
        log.repaired("annotation_null", id, detail)
    given |= dict.fromkeys(empty, "")
    for region, text in given.items():
        if not isinstance(text, str):
            log.excluded("annotation_not_text", id, f"{region} is {type(text).__name__}")
            return None
    if unknown := sorted(annotation.keys() - set(REGIONS)):
        log.repaired("annotation_unknown_key", id, f"{unknown!r:.80} ignored")
    return {region: clean(text, id, log) for region, text in given.items()}


def one_per_uid(entries: list[Entry], log: Log) -> Iterator[Entry]:
    """At most one entry for each uid. A uid is one report, so in two splits it would leak, whatever
    the ids of its entries.
    """
    by_uid: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_uid[entry.uid].append(entry)
    for group in by_uid.values():
        splits = {entry.split for entry in group}
        split = next(name for name in ("test", "val", "train") if name in splits)
        kept = [entry for entry in group if entry.split == split]
        for entry in group:
            if entry.split != split:
                detail = f"in {entry.split}; its uid is in {split} too, where it stays"
                log.excluded("split_leak", entry.id, detail)
        if any(entry != kept[0] for entry in kept):
            detail = f"{len(kept)} entries of uid {kept[0].uid} in {split} differ"
            for id in sorted({entry.id for entry in kept}):
                log.excluded("study_conflict", id, detail)
            continue
        if len(kept) > 1:
            log.repaired("study_duplicate", kept[0].id, f"{len(kept)} times in {split}")
        yield kept[0]
