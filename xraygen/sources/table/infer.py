"""Which column of a table is what, guessed from names and contents."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.tables import are_names, has_no_value, looks_like_a_picture, text_of_id
from xraygen.language.text import tokens
from xraygen.sources.table.cells import read_list, read_split, understands_projection

_ID_NAMES = """
    id study_id studyid study uid report_id reportid exam_id examid exam
    accession accession_number accessionnumber case_id caseid case series_id
""".split()
_PATIENT = r"(?:patients?|pacientes?|pazienti?|subjects?|sujets?|sujetos?|persons?|mrn|pid|pat)"
_PATIENT_NAMES = re.compile(rf"(?:.*[_ -])?{_PATIENT}(?:[_ -]?.*)?")
_PROJECTION_NAMES = re.compile(r"(?:.*[_ -])?(?:projection|view|view_?position)s?")
_REPORT_NAMES = (
    "report report_text radiology_report full_report reporttext findings text narrative".split()
)
# Parts of a report that a table may also have in columns of their own.
_SECTION_NAMES = re.compile(
    r"(?:.*[_ -])?(?:report|text|findings?|impressions?|conclusions?|indications?|history|"
    r"technique|comparisons?|examinations?|exam|problems?|mesh|diagnos[ei]s|comments?)"
)
_REFERENCE_NAMES = frozenset(
    "ref reference references annotation annotations annotated curated curator gold label labels "
    "region regions target manual".split()
)
_ALMOST_ALL = 0.9
_OVERLAP = 0.5  # of a reference's words that are in the report
_MOST_REGIONS = 40


class Columns(NamedTuple):
    """The column for each purpose. `reference`: one with JSON, or {region: column}. `also`: other
    columns that might be the report.
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


class Profile:
    """The cells of a table by column, empty ones left out."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self.rows = rows
        self.cells: dict[str, list] = {}
        for row in rows:
            for name, cell in row.items():
                kept = self.cells.setdefault(name, [])
                if not has_no_value(cell) and cell != []:
                    kept.append(cell)

    def share(self, name: str, fits: Callable[[object], bool]) -> float:
        """Of the column's cells that are not empty."""
        cells = self.cells[name]
        return sum(map(fits, cells)) / len(cells) if cells else 0.0

    def coverage(self, name: str) -> float:
        return len(self.cells[name]) / max(1, len(self.rows))

    def distinct(self, name: str) -> int:
        return len({str(text_of_id(cell)) for cell in self.cells[name]})

    def words(self, name: str) -> float:
        """The mean number of words; 0 for a column that is not of text."""
        texts = [cell for cell in self.cells[name] if isinstance(cell, str)]
        if not texts or len(texts) < _ALMOST_ALL * len(self.cells[name]):
            return 0.0
        return sum(len(text.split()) for text in texts) / len(texts)


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
    taken: dict[str, str | None] = dict(given)

    def free() -> list[str]:
        used = {*taken.values(), *reference}
        return [name for name in profile.cells if name and name not in used]

    for purpose, guess in (("images", _images), ("split", _split), ("projection", _projection)):
        taken.setdefault(purpose, guess(profile, free()))
    json_column = _json_column(profile, reference) if reference else _json_column(profile, free())
    reports = _reports(profile, [name for name in free() if name != json_column])
    taken.setdefault("report", reports[0] if reports else None)
    report = _needed(taken["report"], "the text of a report", "--report")
    taken.setdefault("id", _id(profile, free(), report))
    id = _needed(taken["id"], "an id of its own for each study", "--id")
    taken.setdefault("patient", _patient(profile, free()))

    columns: str | dict[str, str]
    if json_column and (not reference or len(reference) == 1):
        columns = json_column
        regions = _json_regions(profile, json_column)
        used = {*taken.values(), json_column}
    else:
        columns = _by_region(reference or _references(profile, free(), report))
        regions = tuple(columns)
        used = {*taken.values(), *columns.values()}
    return Columns(
        id=id,
        report=report,
        images=taken["images"],
        projection=taken["projection"] if taken["images"] else None,
        patient=taken["patient"],
        split=taken["split"],
        reference=columns,
        regions=regions,
        ignored=tuple(name for name in profile.cells if name not in used),
        also=tuple(name for name in reports if name not in used),
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


def _key(name: str) -> str:
    return name.strip().casefold()


def _images(profile: Profile, names: Sequence[str]) -> str | None:
    def pictures(cell: object) -> bool:
        members = read_list(cell)
        paths = [one.get("path") if isinstance(one, dict) else one for one in members]
        return bool(paths) and all(map(looks_like_a_picture, paths))

    return next((name for name in names if profile.share(name, pictures) >= _ALMOST_ALL), None)


def _split(profile: Profile, names: Sequence[str]) -> str | None:
    for name in names:
        words = {read_split(cell) for cell in profile.cells[name] if isinstance(cell, str)}
        understood = profile.share(name, lambda cell: read_split(cell) is not None)
        if understood >= _ALMOST_ALL and {"train", "test"} <= words:
            return name
    return None


def _projection(profile: Profile, names: Sequence[str]) -> str | None:
    def understood(cell: object) -> bool:
        return all(map(understands_projection, read_list(cell)))

    for name in names:
        named = _PROJECTION_NAMES.fullmatch(_key(name))
        if named and profile.share(name, understood) >= _OVERLAP:
            return name
    return None


def _reports(profile: Profile, names: Sequence[str]) -> list[str]:
    """The columns that might be the report, the best one first: by name, then the longest."""
    texts = [
        name for name in names if profile.words(name) >= 3 and profile.coverage(name) >= _OVERLAP
    ]

    def rank(name: str) -> tuple[int, float]:
        key = _key(name)
        known = _REPORT_NAMES.index(key) if key in _REPORT_NAMES else len(_REPORT_NAMES)
        return known, -profile.words(name)

    ranked = sorted(texts, key=rank)
    sections = [name for name in ranked if _SECTION_NAMES.fullmatch(_key(name))]
    return ranked[:1] + [name for name in sections if name not in ranked[:1]]


def _id(profile: Profile, names: Sequence[str], report: str) -> str | None:
    """The column whose name says so most clearly, of those whose cells are short, and different or
    the same for rows with the same report.
    """
    best = []
    for place, name in enumerate(names):
        short = profile.share(name, lambda cell: len(str(cell).split()) == 1 and _is_short(cell))
        if short < _ALMOST_ALL or profile.coverage(name) < _ALMOST_ALL:
            continue
        unique = profile.distinct(name) >= _ALMOST_ALL * len(profile.cells[name])
        known = _key(name) in _ID_NAMES
        if unique or (known and _one_report_each(profile, name, report)):
            rank = _ID_NAMES.index(_key(name)) if known else len(_ID_NAMES)
            of_patient = bool(_PATIENT_NAMES.fullmatch(_key(name)))
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
    return single >= _ALMOST_ALL * len(reports)


def _patient(profile: Profile, names: Sequence[str]) -> str | None:
    named = [
        name
        for name in names
        if _PATIENT_NAMES.fullmatch(_key(name))
        and profile.share(name, lambda cell: _is_short(cell) and len(str(cell).split()) == 1)
        >= _ALMOST_ALL
        and profile.distinct(name) > 2  # sex, in or out
    ]
    # A patient's age or birth date is told apart by how many different ones there are.
    return max(named, key=profile.distinct, default=None)


def _json_column(profile: Profile, names: Sequence[str]) -> str | None:
    return next((name for name in names if profile.share(name, _is_object) >= _OVERLAP), None)


def _is_object(cell: object) -> bool:
    return any(isinstance(text, str) for text in _object(cell).values())


def _object(cell: object) -> dict:
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return {}
    return cell if isinstance(cell, dict) else {}


def _json_regions(profile: Profile, name: str) -> tuple[str, ...]:
    keys = dict.fromkeys(key for cell in profile.cells[name] for key in _object(cell))
    if len(keys) > _MOST_REGIONS:
        raise UserError(
            f"the objects in {name!r} have {len(keys):,} different keys, more than a report has "
            "regions; name other columns with --reference"
        )
    return tuple(keys)


def _references(profile: Profile, names: Sequence[str], report: str) -> list[str]:
    """Text columns that are named as references, or else those that repeat what the report says."""
    texts = [name for name in names if profile.words(name) >= 1.5]
    named = [name for name in texts if _REFERENCE_NAMES.intersection(_parts(name))]
    if len(named) > 1:
        return named
    repeated = [
        name
        for name in texts
        if not _SECTION_NAMES.fullmatch(_key(name)) and _overlap(profile, name, report) >= _OVERLAP
    ]
    if not repeated:
        raise UserError(
            "no column seems to hold references, that is text by region, and without them there is "
            "nothing to compare with; name each with --reference"
        )
    return repeated


def _overlap(profile: Profile, name: str, report: str) -> float:
    """The mean share of a cell's words that are in the report."""
    shares = []
    for row in profile.rows:
        cell, text = row.get(name), row.get(report)
        if isinstance(cell, str) and isinstance(text, str) and (said := set(tokens(cell))):
            shares.append(len(said.intersection(tokens(text))) / len(said))
    return sum(shares) / len(shares) if shares else 0.0


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", _key(name)) if part]


def _by_region(columns: Iterable[str]) -> dict[str, str]:
    """{region: column}: the columns' names without the words that only say what they are."""
    columns = list(columns)
    short = {}
    for column in columns:
        words = [part for part in re.split(r"[\W_]+", column.strip()) if part]
        kept = [word for word in words if word.casefold() not in _REFERENCE_NAMES]
        short[column] = "_".join(kept or words)
    if len({name.casefold() for name in short.values()}) < len(columns):
        return {column: column for column in columns}
    return {name: column for column, name in short.items()}
