"""An annotator that says the same of every case: the score that needs no report."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from xraygen.annotators.base import Annotator, ModelFolder, Project, Settings
from xraygen.core.errors import UserError
from xraygen.core.study import Annotation, AnnotationRecord, Case, read_json, write_json

_FILE = "constant.json"


class ConstantSettings(Settings):
    """For each region the single text that scores best on train."""

    reads: ModelFolder


class Constant(Annotator):
    """Says `annotation` of every case, whatever its report. UserError: `reads` holds none."""

    Settings: ClassVar = ConstantSettings

    def __init__(self, settings: ConstantSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.annotation = load(project.root / settings.reads)

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            yield AnnotationRecord(id=case.id, annotation=self.annotation)


def save(annotation: Annotation, folder: Path) -> None:
    write_json(folder / _FILE, annotation.model_dump())


def load(folder: Path) -> Annotation:
    """UserError: no such file, or not what `save` wrote."""
    try:
        return Annotation.model_validate(read_json(folder / _FILE))
    except ValidationError:
        raise UserError(
            f"{folder / _FILE}: not an annotation; run `dvc repro fit_constant`"
        ) from None
