"""An annotator that says the same of every case: the score that needs no report."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
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
        write_json(folder / _FILE, self.annotation)

    @classmethod
    def load(cls, folder: Path, regions: Regions) -> "Constant":
        """UserError: no such file, or not what `save` wrote for these regions."""
        path = folder / _FILE
        texts = read_json(path)
        if tuple(texts) != regions.names or not all(isinstance(t, str) for t in texts.values()):
            raise UserError(
                f"{path}: not an annotation of the declared regions; run `dvc repro fit_constant`"
            )
        return cls(texts)
