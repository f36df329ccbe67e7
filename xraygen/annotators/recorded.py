"""The annotator `recorded`: annotations that were made elsewhere, looked up in a file by study
id.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Case, NonEmpty
from xraygen.core.tables import has_no_value, read_rows, text_of_id
from xraygen.engines.server_errors import finish
from xraygen.prompting.json_answer import parse
from xraygen.prompting.region_names import RegionNames


class RecordedSettings(Settings):
    """`reads`: the .csv or .jsonl file with what a model answered elsewhere, in the project's
    folder. `id`: the
    column with study ids. Then either `answer`: the column with the model's own words, which hold
    JSON, or `columns`: for each region that was asked about the column with its text."""

    id: NonEmpty = "id"
    answer: NonEmpty | None = None
    columns: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)] | None = None

    @field_validator("reads")
    @classmethod
    def _is_a_table(cls, reads: str) -> str:
        if PurePosixPath(reads).suffix.lower() not in (".csv", ".tsv", ".jsonl"):
            raise ValueError(f"{reads!r} is no .csv, .tsv or .jsonl file")
        return reads

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
    """Cases to records, in their order; a case that the file has no row for fails, and one whose
    answer was stopped before its end (column `finish_reason`, where the file has one).

    UserError: the file cannot be read, a row has no id or no text, or two rows of one id have
    different answers.
    """

    Settings: ClassVar = RecordedSettings

    def __init__(self, settings: RecordedSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.file = settings.reads
        self.names = RegionNames(project.regions)
        self.by_columns = settings.columns is not None
        self.answers: dict[str, tuple[str, str]] = {}  # with why it was stopped, or ""
        columns = list(settings.columns.values()) if settings.columns else [settings.answer]
        if settings.answer:
            try:
                import json_repair
            except ImportError as error:
                why = f"answers as JSON need one more package ({error}); install it with `pip install -e '.[vlm]'`"
                raise UserError(why) from None
        for number, row in read_rows(
            project.root / self.file, needed=(settings.id, *columns), optional=("finish_reason",)
        ):
            where = f"{self.file}:{number}"
            id = text_of_id(row[settings.id])
            if not isinstance(id, str) or has_no_value(id):
                raise UserError(f"{where}: {settings.id}: not a study id")
            texts: dict[str | None, str] = {}
            for column in columns:
                text = _cell(row[column])
                if not isinstance(text, str):
                    raise UserError(f"{where}: {column}: not a text")
                texts[column] = text
            if settings.columns:
                answer = json.dumps(
                    {region: texts[column] for region, column in settings.columns.items()},
                    ensure_ascii=False,
                )
            else:
                answer = texts[settings.answer]
            stopped = ""
            if finish(row.get("finish_reason")):
                stopped = f"the answer had not ended (finish_reason {row['finish_reason']})"
            if self.answers.setdefault(id, (answer, stopped)) != (answer, stopped):
                raise UserError(
                    f"{where}: another answer for {id} than further up; leave one of them"
                )

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """UserError: the file has a row for none of the cases, and its ids are of another kind than
        theirs. To have no row is no mistake by itself: a file often covers one split only.
        """
        first, found, kinds = None, False, {_kind(id) for id in self.answers}
        for case in cases:
            first, found = first or case.id, found or _kind(case.id) in kinds
            yield self._record(case)
        if first and not found:
            there = (
                f"those of the file like {next(iter(self.answers))}"
                if self.answers
                else "the file has none"
            )
            raise UserError(
                f"{self.file}: study ids do not fit: those of the studies look like {first}, {there}"
            )

    def _record(self, case: Case) -> AnnotationRecord:
        if case.id not in self.answers:
            return AnnotationRecord(id=case.id, annotation=None, error=f"no row in {self.file}")
        answer, stopped = self.answers[case.id]
        if stopped and self.by_columns:  # nothing tells any more which texts the answer had come to
            return AnnotationRecord(id=case.id, annotation=None, error=stopped, raw=answer)
        try:
            annotation, repaired = parse(answer, self.names, ended=not stopped)
        except ValueError as reason:
            error = stopped or str(reason)
            return AnnotationRecord(id=case.id, annotation=None, error=error, raw=answer)
        return AnnotationRecord(
            id=case.id, annotation=annotation, raw=answer, usage={"repaired": repaired}
        )


def _cell(value: object) -> object:
    """Empty where it is null or NaN."""
    return "" if value is None or value != value else value


def _kind(id: str) -> str:
    """What ids of one collection have in common: all but their numbers."""
    return re.sub("[0-9]+", "0", id)
