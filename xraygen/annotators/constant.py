"""An annotator that says the same of every case: the score that needs no report."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.study import Annotation, AnnotationRecord, Case, read_json, write_json

_FILE = "constant.json"


class Constant:
    """Says `annotation` of every case, whatever its report."""

    def __init__(self, annotation: Annotation):
        self.annotation = annotation

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            yield AnnotationRecord(id=case.id, annotation=self.annotation)

    def save(self, folder: Path) -> None:
        write_json(folder / _FILE, self.annotation.model_dump())

    @classmethod
    def load(cls, folder: Path) -> "Constant":
        """UserError: no such file, or not what `save` wrote."""
        try:
            return cls(Annotation.model_validate(read_json(folder / _FILE)))
        except ValidationError:
            raise UserError(
                f"{folder / _FILE}: not an annotation; run `dvc repro fit_constant`"
            ) from None
