"""Which column of a table is what, guessed from names and contents."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from xraygen.core.cases import looks_like_a_picture
from xraygen.core.characters import printable
from xraygen.core.errors import UserError
from xraygen.core.tables import are_names, has_no_value
from xraygen.sources.table.cells import read_list, read_split, understands_projection
from xraygen.sources.table.names import (
    ID_NAMES,
    OF_PATIENT,
    PATIENT_NAMES,
    PROJECTION_NAMES,
    REPORT_NAMES,
    SPLIT_PARTS,
    is_section,
    key,
    parts,
)
from xraygen.sources.table.profile import ALMOST_ALL, Profile
from xraygen.sources.table.references import (
    by_region,
    is_text,
    json_column,
    json_regions,
    references,
)

_HALF = 0.5
_SHOWN = 5  # cells in a note
_SHORT = 20  # characters: longer ones may be about a patient


class Columns(NamedTuple):
    """The column for each purpose. `reference`: one with JSON, or {region: column}. `also`: other
    columns that might be the report. `notes`: what the user may want to correct.
    """

    id: str
    report: str
    images: str | None
    projection: str | None
    patient: str | None
    split: str | None
    reference: str | dict[str, str]
    regions: tuple[str, ...]
    ignored: tuple[str, ...]
    also: tuple[str, ...]
    notes: tuple[str, ...]


def infer(
    rows: Sequence[Mapping[str, object]],
    given: Mapping[str, str],
    reference: Sequence[str] = (),
) -> Columns:
    """`given`: columns that the user has named, by purpose; `reference`: those of the reference.

    UserError: there is no such column, or no column that could be the id, the report or the
    reference.
    """
    profile = Profile(rows)
    _check_names(profile, (*given.values(), *reference))
    for column, count in Counter(reference).items():
        if count > 1:
            raise UserError(f"--reference {column}: is given {count} times; name a column once")
    taken: dict[str, str | None] = dict(given)

    def free() -> list[str]:
        used = {*taken.values(), *reference}
        return [name for name in profile.cells if name and name not in used]

    for purpose, guess in (("images", _images), ("split", _split), ("projection", _projection)):
        taken.setdefault(purpose, guess(profile, free()))
    with_json = json_column(profile, reference or free())
    reports = _reports(profile, [name for name in free() if name != with_json])
    taken.setdefault("report", reports[0] if reports else None)
    report = _needed(taken["report"], "the text of a report", "--report")
    taken.setdefault("id", _id(profile, free(), report))
    id = _needed(taken["id"], "a unique id for each study", "--id")
    taken.setdefault("patient", _patient(profile, free()))

    columns: str | dict[str, str]
    rare: dict[str, int] = {}
    if with_json and (not reference or len(reference) == 1):
        columns = with_json
        regions, rare = json_regions(profile, with_json)
        used = {*taken.values(), with_json}
    else:
        columns = by_region(reference or references(profile, free(), report))
        regions = tuple(columns)
        used = {*taken.values(), *columns.values()}
    ignored = tuple(name for name in profile.cells if name not in used)
    notes = [] if taken["split"] else _ignored_splits(profile, ignored)
    also = tuple(name for name in reports if name not in used)
    texts = [name for name in ignored if is_text(profile, name) and name not in also]
    if texts:
        notes.append(
            f"reference: columns of text that are ignored: {', '.join(texts)}; if one is a "
            "reference, name each column of references with --reference"
        )
    if rare:
        shown = ", ".join(f"{key} in {count:,}" for key, count in list(rare.items())[:_SHOWN])
        more = f" and {len(rare) - _SHOWN:,} more" if len(rare) > _SHOWN else ""
        notes.append(
            f"regions: hardly any reference has these keys, which are not declared: {shown}{more}; "
            "declare under regions in params.yaml what is no misspelling"
        )
    return Columns(
        id=id,
        report=report,
        images=taken["images"],
        projection=taken["projection"] if taken["images"] else None,
        patient=taken["patient"],
        split=taken["split"],
        reference=columns,
        regions=regions,
        ignored=ignored,
        also=also,
        notes=tuple(notes),
    )


def _check_names(profile: Profile, named: Iterable[str]) -> None:
    if not are_names(profile.cells):
        raise UserError("the first line does not look like names of columns; add one that has them")
    for column in named:
        if column not in profile.cells:
            there = ", ".join(profile.cells) or "none"
            raise UserError(f"no column {column!r}; there are: {there}")


def _needed(column: str | None, what: str, option: str) -> str:
    if column is None:
        raise UserError(f"no column seems to hold {what}; name it with {option}")
    return column


def _images(profile: Profile, names: Sequence[str]) -> str | None:
    def pictures(cell: object) -> bool:
        members = read_list(cell)
        paths = [one.get("path") if isinstance(one, dict) else one for one in members]
        return bool(paths) and all(map(looks_like_a_picture, paths))

    return next((name for name in names if profile.share(name, pictures) >= ALMOST_ALL), None)


def _split(profile: Profile, names: Sequence[str]) -> str | None:
    for name in names:
        words = {read_split(cell) for cell in profile.cells[name] if isinstance(cell, str)}
        understood = profile.share(name, lambda cell: read_split(cell) is not None)
        if understood >= ALMOST_ALL and {"train", "test"} <= words:
            return name
    return None


def _ignored_splits(profile: Profile, names: Iterable[str]) -> list[str]:
    """A note for each column that is named as a split but has other words than train and test."""
    notes = []
    for name in names:
        if not SPLIT_PARTS.intersection(parts(name)):
            continue
        words = sorted({" ".join(printable(str(cell)).split()) for cell in profile.cells[name]})
        shown = [word for word in words if len(word) <= _SHORT][:_SHOWN]
        has = f" ({', '.join(shown)})" if shown else ""
        notes.append(
            f"split: '{name}' is ignored, and splits are drawn, because its words{has} are not "
            "train, test and optionally dev; to use it, change them in the file"
        )
    return notes


def _projection(profile: Profile, names: Sequence[str]) -> str | None:
    def understood(cell: object) -> bool:
        return all(map(understands_projection, read_list(cell)))

    for name in names:
        named = PROJECTION_NAMES.fullmatch(key(name))
        if named and profile.share(name, understood) >= _HALF:
            return name
    return None


def _reports(profile: Profile, names: Sequence[str]) -> list[str]:
    """The columns that might be the report, the best one first: by name, then the longest."""
    texts = [name for name in names if profile.words(name) >= 3 and profile.coverage(name) >= _HALF]

    def rank(name: str) -> tuple[int, float]:
        said = key(name)
        known = REPORT_NAMES.index(said) if said in REPORT_NAMES else len(REPORT_NAMES)
        return known, -profile.words(name)

    ranked = sorted(texts, key=rank)
    sections = [name for name in ranked if is_section(name)]
    return ranked[:1] + [name for name in sections if name not in ranked[:1]]


def _id(profile: Profile, names: Sequence[str], report: str) -> str | None:
    """The column whose name says so most clearly, of those whose cells are short, and different or
    the same for rows with the same report.
    """
    best = []
    for place, name in enumerate(names):
        short = profile.share(name, lambda cell: len(str(cell).split()) == 1 and _is_short(cell))
        if short < ALMOST_ALL or profile.coverage(name) < ALMOST_ALL:
            continue
        unique = profile.distinct(name) >= ALMOST_ALL * len(profile.cells[name])
        known = key(name) in ID_NAMES
        if unique or (known and _one_report_each(profile, name, report)):
            rank = ID_NAMES.index(key(name)) if known else len(ID_NAMES)
            of_patient = bool(OF_PATIENT.fullmatch(key(name)))
            best.append((of_patient, rank, place, name))
    return min(best)[-1] if best else None


def _is_short(cell: object) -> bool:
    return isinstance(cell, str | int | float) and len(str(cell)) <= 80


def _one_report_each(profile: Profile, name: str, report: str) -> bool:
    reports: dict[str, set] = defaultdict(set)
    for row in profile.rows:
        if not has_no_value(row.get(name)):
            reports[str(row[name])].add(str(row.get(report)))
    single = sum(len(found) == 1 for found in reports.values())
    return single >= ALMOST_ALL * len(reports)


def _patient(profile: Profile, names: Sequence[str]) -> str | None:
    named = [
        name
        for name in names
        if PATIENT_NAMES.fullmatch(key(name))
        and profile.share(name, lambda cell: _is_short(cell) and len(str(cell).split()) == 1)
        >= ALMOST_ALL
        and profile.distinct(name) > 2  # sex, in or out
    ]
    # The one that tells most patients apart.
    return max(named, key=profile.distinct, default=None)
