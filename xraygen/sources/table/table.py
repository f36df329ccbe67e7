"""Studies from a table of the user's: CSV, JSON Lines or Parquet, one study or one image a row.

docs/own-data.md describes columns, splits and what is done about damage. Every row that is read
ends up in a study or in an incident of `incidents.KINDS`.
"""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, NamedTuple, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from xraygen.core.characters import printable
from xraygen.core.errors import UserError
from xraygen.core.origin import Origin
from xraygen.core.regions import Regions
from xraygen.core.study import NonEmpty, Record, Share, Study
from xraygen.core.tables import has_no_value, read_rows, text_of_id, unique_keys
from xraygen.sources import Collection, Source
from xraygen.sources.groups import draw_share
from xraygen.sources.incident_log import Log
from xraygen.sources.table.cells import read_split, read_views
from xraygen.sources.table.images import View, images_of
from xraygen.sources.table.incidents import KINDS

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


class TableSettings(Record):
    """`file`: the table's name in data/raw/table. `license`: as its makers state it, None = not
    stated; `redistributable`: whether it lets the studies and what is made of them be passed on.
    The others are names of columns.

    `images`: one path or several, below the file's folder. `projection`: of the image, or of each.
    `split`: train, dev or test; without it test is drawn by patient, or by id where there is no
    `patient`: about `test_share` of the studies that have a reference, by `seed`. `reference`: the
    column of each region, or one column with JSON objects of text by region.
    """

    file: NonEmpty
    id: NonEmpty = "id"
    report: NonEmpty = "report"
    images: NonEmpty | None = None
    projection: NonEmpty | None = None
    patient: NonEmpty | None = None
    split: NonEmpty | None = None
    reference: NonEmpty | Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]
    test_share: Share = 0.2
    seed: NonNegativeInt = 0
    license: NonEmpty | None = None
    redistributable: bool = False

    @field_validator("file")
    @classmethod
    def _in_the_folder(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or "\\" in file:
            raise ValueError(f"{file!r} is not a path below data/raw/table; copy the file there")
        if path.suffix.lower() not in FORMATS:
            raise ValueError(f"{file!r} is none of {', '.join(FORMATS)}")
        return file

    @model_validator(mode="after")
    def _a_licence_allows_it(self) -> Self:
        if self.redistributable and self.license is None:
            raise ValueError("redistributable: name the licence that allows it under `license`")
        return self

    def columns(self) -> tuple[str, ...]:
        """All columns that are read, the id first."""
        optional = (self.images, self.projection, self.patient, self.split)
        reference = self.reference
        references = (reference,) if isinstance(reference, str) else tuple(reference.values())
        named = (self.id, self.report, *(column for column in optional if column), *references)
        return tuple(dict.fromkeys(named))


class UnfitSetting(UserError):
    """The column that `setting` names cannot be used as that."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(problem)
        self.setting = setting


class Row(NamedTuple):
    """What is read of a row. `split`: as given, in our words."""

    number: int
    report: str
    reference: dict[str, str] | None
    split: str | None
    patient: str | None
    views: tuple[View, ...]

    def facts(self) -> tuple:
        """What all rows of a study have to agree on."""
        return self.report, self.reference, self.split, self.patient


class Table(Source):
    Settings: ClassVar = TableSettings
    settings: TableSettings

    def __init__(self, settings: TableSettings, regions: Regions) -> None:
        super().__init__(settings, regions)
        self.origin = Origin(
            title="a table of reports that the user provided",
            license=settings.license,
            redistributable=settings.redistributable,
        )
        if isinstance(settings.reference, Mapping):
            _check_regions(settings.reference, regions)

    def read(self, raw: Path, images: Path, root: Path) -> Collection:
        raw = Path(os.path.abspath(raw))
        path = raw / self.settings.file
        if not path.is_file():
            raise UserError(f"{path}: is missing; `xraygen init FILE` copies your file there")
        log = Log(KINDS)
        rows = self._rows(path, log)
        drafts = self._studies(rows, path, log)
        if self.settings.split:
            _refuse_shared_patients(drafts, rows, path)
        else:
            drafts = self._drawn(drafts, path)
        for split in ("train", "test"):
            if not any(study.split == split for study in drafts):
                column = self.settings.split
                remedy = f"give '{column}' some, or draw with split: null" if column else "add some"
                raise UnfitSetting(
                    "split",
                    f"{path}: no {split} study with a reference is left: "
                    f"{log.counts() or 'none is given'}; {remedy}, or check data.settings.table in "
                    "params.yaml",
                )
        views = {study.id: _views(rows[study.id]) for study in drafts}
        owners = {study.id: study.patient or study.id for study in drafts}
        found = images_of(views, owners, path.parent, Path(os.path.abspath(root)), log)
        if any(views.values()) and not any(found.values()):
            raise UnfitSetting(
                "images",
                f"{path}: none of the images that it names can be used: {log.counts('image_')}; "
                "put them there, or set images: null in data.settings.table",
            )
        studies = [study.model_copy(update={"images": found[study.id]}) for study in drafts]
        return Collection(sorted(studies, key=lambda study: study.id), log.sorted())

    def _rows(self, path: Path, log: Log) -> dict[str, list[Row]]:
        """By study id the rows that can be used. UserError: a column is not there."""
        columns = self.settings.columns()
        read_as_empty = None if path.suffix.lower() in (".csv", ".tsv") else ""
        rows: dict[str, list[Row]] = defaultdict(list)
        seen: set[str] = set()
        for number, cells in read_rows(path, columns, damaged=log.file):
            seen |= cells.keys()
            if all(has_no_value(cell) for cell in cells.values()):
                continue  # a spreadsheet leaves rows of separators alone
            # An empty cell of a CSV file is null; in the other formats "" and null differ.
            cells = {key: read_as_empty if cell == "" else cell for key, cell in cells.items()}
            where = f"{path.name}:{number}"
            id = text_of_id(_cleaned(cells.get(self.settings.id)))
            if not isinstance(id, str) or has_no_value(id):
                log.excluded("id_missing", where, f"{where}: {type(id).__name__}")
                continue
            row = self._row(number, cells, id, where, log)
            if row is not None:
                rows[id].append(row)
        if seen and (missing := [column for column in columns if column not in seen]):
            raise UserError(f"{path}: no '{missing[0]}'; there are: {', '.join(sorted(seen))}")
        return rows

    def _row(self, number: int, cells: dict, id: str, where: str, log: Log) -> Row | None:
        """None: the row is excluded. A column that is not set is None, which no cell is under."""
        cleaned = {key: _cleaned(cell) for key, cell in cells.items()}
        if cleaned != cells:
            log.repaired("text_characters", id, where)
        cells = cleaned
        report = cells.get(self.settings.report)
        if not isinstance(report, str) or has_no_value(report):
            log.excluded("report_missing", id, f"{where}: {type(report).__name__}")
            return None
        try:
            reference = self._reference(cells, id, where, log)
        except (ValueError, RecursionError) as error:
            log.excluded("reference_malformed", id, f"{where}: {error}")
            return None
        split = read_split(cells.get(self.settings.split))
        if self.settings.split and split is None and reference is not None:
            log.excluded("split_unknown", id, where)
            return None
        patient = text_of_id(cells.get(self.settings.patient))
        patient = None if has_no_value(patient) else str(patient)
        if self.settings.patient and patient is None and reference is not None:
            log.excluded("patient_missing", id, where)
            return None
        projection = cells.get(self.settings.projection)
        views, understood = read_views(cells.get(self.settings.images), projection)
        if not understood:
            log.repaired("projection_value", id, where)
        return Row(number, report.strip(), reference, split, patient, views)

    def _reference(self, cells: dict, id: str, where: str, log: Log) -> dict[str, str] | None:
        """The reference, or None where the row has none. ValueError: it cannot be read."""
        column = self.settings.reference
        if not isinstance(column, str):
            given = {region: cells.get(name) for region, name in column.items()}
            if all(_is_null(text) for text in given.values()):
                return None
        else:
            content = cells.get(column)
            if has_no_value(content):
                return None
            if isinstance(content, str):
                content = json.loads(content, object_pairs_hook=unique_keys)
            if content is None:  # the JSON text null
                return None
            if not isinstance(content, dict):
                raise ValueError(f"the reference is {type(content).__name__}, not an object")
            given = {key: text for key, text in content.items() if key in self.regions.names}
            if not given and not all(map(_is_absent, content.values())):
                raise ValueError("the reference has none of the regions of params.yaml")
            if len(given) < len(content):
                log.repaired("reference_unknown_key", id, where)
            if _cleaned(given) != given:  # JSON spells characters that a file cannot hold
                log.repaired("text_characters", id, where)
            if content and all(map(_is_absent, given.values())):
                return None  # a struct of Parquet has every key in every row
        texts = {region: _said(text, region) for region, text in given.items()}
        return self.regions.annotation(texts)

    def _studies(self, rows: Mapping[str, list[Row]], path: Path, log: Log) -> list[Study]:
        """One study for each id whose rows agree. Those with a reference and no split are train for
        now; those without a reference are val.
        """
        studies = []
        for id, members in rows.items():
            first = members[0]
            if any(row.facts() != first.facts() for row in members):
                lines = ", ".join(str(row.number) for row in members[:5])
                log.excluded("id_conflict", id, f"{len(members)} rows differ, from lines {lines}")
                continue
            shown: set[View] = set()
            for row in members:
                if row is not first and shown.issuperset(row.views):
                    log.repaired("row_duplicate", id, f"{path.name}:{row.number}")
                shown.update(row.views)
            split = first.split or "train"
            if first.reference is None:
                if first.split not in (None, "val"):
                    log.repaired("reference_missing", id, f"given as {first.split}")
                split = "val"
            elif split == "val":
                split = "dev"
            studies.append(
                Study(
                    id=id,
                    uid=id,
                    split=split,
                    report=first.report,
                    reference=first.reference,
                    patient=first.patient,
                )
            )
        return studies

    def _drawn(self, studies: list[Study], path: Path) -> list[Study]:
        curated = [study for study in studies if study.reference is not None]
        if len({study.patient or study.id for study in curated}) < 2:
            by = "patients" if self.settings.patient else "studies"
            raise UserError(f"{path}: fewer than two {by} have a reference; it takes two splits")
        test = draw_share(curated, self.settings.test_share, self.settings.seed, "test", least=1)
        return [
            study.model_copy(update={"split": "test"}) if study.id in test else study
            for study in studies
        ]


def _check_regions(columns: Mapping[str, str], regions: Regions) -> None:
    where = "params.yaml: data.settings.table.reference"
    for region in columns:
        if region not in regions.names:
            raise UserError(f"{where}: no region {region!r}; declare it under regions")
    for region in regions.scored:
        if region not in columns:
            raise UserError(f"{where}: no column for the region {region!r}, which is scored")


def _is_null(cell: object) -> bool:
    """Whether a cell holds nothing, not even an empty text, which says that the curator was
    silent.
    """
    return cell != "" and has_no_value(cell)


def _is_absent(text: object) -> bool:
    """Whether a value of JSON is null or NaN; a text, such as "none", is what a curator wrote."""
    return text is None or text != text


def _said(text: object, region: str) -> str:
    if has_no_value(text):
        return ""
    if not isinstance(text, str):
        raise ValueError(f"the text of {region} is {type(text).__name__}")
    return printable(text)


def _cleaned(cell: object) -> object:
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, dict):
        return {key: _cleaned(value) for key, value in cell.items()}
    return [_cleaned(value) for value in cell] if isinstance(cell, list) else cell


def _views(rows: list[Row]) -> tuple[View, ...]:
    return tuple(dict.fromkeys(view for row in rows for view in row.views))


def _refuse_shared_patients(
    studies: list[Study], rows: Mapping[str, list[Row]], path: Path
) -> None:
    """UserError: a patient is in two of train, dev and test. Val is compared with nothing."""
    splits: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        if study.patient and study.split != "val":
            splits[study.patient].add(study.split)
    shared = {patient for patient, found in splits.items() if len(found) > 1}
    if shared:
        line = min(rows[study.id][0].number for study in studies if study.patient in shared)
        raise UnfitSetting(
            "split",
            f"{path}: {len(shared):,} patients are in more than one split, for example that of "
            f"line {line}; set split: null in data.settings.table to draw splits by patient",
        )
