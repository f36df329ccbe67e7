"""An annotator that says the same about every case: the floor of the comparison."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from xraygen.annotators.base import Annotator, ModelFolder, Project, Settings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, write_json
from xraygen.core.regions import Regions
from xraygen.core.study import Annotation, AnnotationRecord, Case

_FILE = "constant.json"


class ConstantSettings(Settings):
    """For each region the single text that scores best on train."""

    reads: ModelFolder


class Constant(Annotator):
    """Gives every case the same annotation. UserError: there is none in the folder `reads`."""

    Settings: ClassVar = ConstantSettings

    def __init__(self, settings: ConstantSettings, project: Project) -> None:
        super().__init__(settings, project)
        self.annotation = load(project.root / settings.reads, project.regions)

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            yield AnnotationRecord(id=case.id, annotation=self.annotation)


def save(annotation: Annotation, folder: Path) -> None:
    write_json(folder / _FILE, annotation)


def load(folder: Path, regions: Regions) -> Annotation:
    """UserError: there is no such file, or not one that `save` wrote for these regions."""
    path = folder / _FILE
    texts = read_json(path)
    if tuple(texts) != regions.names or not all(isinstance(text, str) for text in texts.values()):
        raise UserError(
            f"{path}: not an annotation of the declared regions; run `dvc repro fit_constant`"
        )
    return texts
