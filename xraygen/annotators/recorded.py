"""The annotator `recorded`: annotations made elsewhere, looked up in a file by study id."""

import copy
import json
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Case, NonEmpty, id_form
from xraygen.core.tables import has_no_value, read_rows, text_of_id
from xraygen.engines.server_errors import finish
from xraygen.prompting.json_answer import parse
from xraygen.prompting.region_names import RegionNames


class RecordedSettings(Settings):
    """`reads`: the .csv, .tsv or .jsonl file with what a model answered elsewhere, in the project's
    folder. `id`: the column with study ids. Then either `answer`: the column with the model's own
    words, which contain JSON; or `columns`: for each region that was asked about, the column with
    its text.
    """

    id: NonEmpty = "id"
    answer: NonEmpty | None = None
    columns: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)] | None = None

    @field_validator("reads")
    @classmethod
    def _is_a_table(cls, reads: str) -> str:
        if PurePosixPath(reads).suffix.lower() not in (".csv", ".tsv", ".jsonl"):
            raise ValueError(f"{reads!r} is not a .csv, .tsv or .jsonl file")
        return reads

    def text_columns(self) -> list[str]:
        return list(self.columns.values()) if self.columns else [self.answer or ""]

    def check_regions(self, regions: Regions) -> None:
        regions.check(self.columns or {}, "columns")

    @model_validator(mode="after")
    def _one_way(self) -> "RecordedSettings":
        if (self.answer is None) == (self.columns is None):
            raise ValueError(
                "give either answer or columns: the column with JSON, or a column for each region"
            )
        return self


class Recorded(Annotator):
    """Cases to records, in their order. A case fails if the file has no row for it, or if its
    answer was stopped before its end, as an optional column `finish_reason` says.

    UserError: the file cannot be read, a row has no id or no text, or two rows of one id have
    different answers.
    """

    Settings: ClassVar = RecordedSettings
    may_fit_none = False

    def __init__(self, settings: RecordedSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.file = settings.reads
        self.names = RegionNames(project.regions)
        self.by_columns = settings.columns is not None
        if not self.by_columns and find_spec("json_repair") is None:
            raise UserError(
                "answers as JSON need the package json-repair; "
                "install it with `pip install -c constraints.txt -e '.[vlm]'`"
            )
        self.answers: dict[str, tuple[str, str]] = {}  # with why it was stopped, or ""
        path = project.root / self.file
        columns = settings.text_columns()
        for number, row in read_rows(path, (settings.id, *columns), optional=("finish_reason",)):
            where = f"{self.file}:{number}"
            id = text_of_id(row[settings.id])
            if not isinstance(id, str) or has_no_value(id):
                raise UserError(f"{where}: {settings.id}: not a study id")
            found = (_answer(row, settings, where), _why_stopped(row))
            if self.answers.setdefault(id, found) != found:
                raise UserError(
                    f"{where}: another answer for {id} than further up; remove one of them"
                )

    def unlimited(self) -> "Recorded":
        same = copy.copy(self)
        same.may_fit_none = True
        return same

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """UserError: the file has a row for none of the cases, and its ids are of another kind than
        theirs, unless this is `unlimited`. A file that has no row for some cases is not wrong: many
        cover one split only.
        """
        first = None
        found = False
        kinds = {id_form(id) for id in self.answers}
        for case in cases:
            first = first or case.id
            found = found or id_form(case.id) in kinds
            yield self._record(case)
        if first and not found and not self.may_fit_none:
            there = "the file has none"
            if self.answers:
                there = f"those of the file like {next(iter(self.answers))}"
            raise UserError(
                f"{self.file}: study ids do not fit: those of the studies look like {first}, "
                f"{there}"
            )

    def _record(self, case: Case) -> AnnotationRecord:
        if case.id not in self.answers:
            return AnnotationRecord(id=case.id, annotation=None, error=f"no row in {self.file}")
        answer, stopped = self.answers[case.id]
        if stopped and self.by_columns:  # it cannot be known which of the texts are finished
            return AnnotationRecord(id=case.id, annotation=None, error=stopped, raw=answer)
        try:
            annotation, repaired = parse(answer, self.names, ended=not stopped)
        except ValueError as reason:
            error = stopped or str(reason)
            return AnnotationRecord(id=case.id, annotation=None, error=error, raw=answer)
        return AnnotationRecord(
            id=case.id, annotation=annotation, raw=answer, usage={"repaired": repaired}
        )


def _answer(row: dict, settings: RecordedSettings, where: str) -> str:
    """The model's answer, as JSON if the row has a column for each region."""
    texts = {column: _cell(row[column]) for column in settings.text_columns()}
    for column, text in texts.items():
        if not isinstance(text, str):
            raise UserError(f"{where}: {column}: not a text")
    if settings.answer:
        return str(texts[settings.answer])
    regions = {region: texts[column] for region, column in (settings.columns or {}).items()}
    return json.dumps(regions, ensure_ascii=False)


def _why_stopped(row: dict) -> str:
    reason = row.get("finish_reason")
    return f"the answer had not ended (finish_reason {reason})" if finish(reason) else ""


def _cell(value: object) -> object:
    """The value of a cell; an empty text for null and NaN."""
    return "" if value is None or value != value else value
