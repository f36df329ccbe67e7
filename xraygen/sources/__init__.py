"""Where studies come from. A source returns what it read, and what it had to repair or exclude."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.origin import Origin
from xraygen.core.plugins import resolve
from xraygen.core.regions import Regions
from xraygen.core.study import Annotation, Record, Study

BUILT_IN = {
    "phantom": "xraygen.sources.phantom:Phantoms",
    "iu-xray": "xraygen.sources.iu_xray.read:IuXray",
    "table": "xraygen.sources.table.table:Table",
}


class Incident(Record):
    """One thing wrong in raw data: `repaired` and used all the same, or `excluded`. `kind` is a
    stable snake_case name to count by, `id` the study, image or row it concerns, `detail` what was
    wrong and what was done.
    """

    action: Literal["repaired", "excluded"]
    kind: str
    id: str
    detail: str


class Collection(NamedTuple):
    studies: list[Study]
    incidents: list[Incident]


class Settings(Record):
    """The settings of a source under `data.settings`: none, where it does not say otherwise."""


class Source(ABC):
    """Reads studies. `regions`: those that params.yaml declares, which its references fill.
    UserError: it has none for them.
    """

    Settings: ClassVar[type[Record]] = Settings
    # The sets of regions in which it has references, where it cannot fill any that are declared.
    region_sets: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # What its studies are, and on which terms. Undeclared, they count as not redistributable.
    origin: Origin = Origin()

    def __init__(self, settings: Record, regions: Regions) -> None:
        self.settings = settings
        self.regions = regions
        if self.region_sets and not any(set(names) == set(regions) for names in self.region_sets):
            known = "; or ".join(", ".join(names) for names in self.region_sets)
            raise UserError(
                f"params.yaml: regions: {', '.join(regions)}: the source has references for other "
                f"regions; declare {known} (docs/regions.md has them ready to copy)"
            )

    @abstractmethod
    def read(self, raw: Path, images: Path, root: Path) -> Collection:
        """All studies, sorted by id. `raw`: the folder data/raw/<source>; `images`: the folder for
        pictures that the source makes itself; `root`: the project's folder, which image paths are
        relative to. UserError: the raw data cannot be used at all.
        """

    def redraw(self, study: Study, times: int) -> list[Annotation] | None:
        """References that further curators would write for the study, where they can be asked:
        those of generated studies. None for real ones.
        """
        return None


def kind(name: str, where: str) -> type[Source]:
    """The class of a source: a built-in name, or `package.module:Class`."""
    return resolve(name, BUILT_IN, Source, where)
