"""What an annotator is: a class that turns a stream of cases into annotation records.

Cases contain no reference. docs/extending.md has a complete annotator outside the package.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, Field

from xraygen.annotators.llm.params import LlmParams
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Case, NonEmpty, Record

if TYPE_CHECKING:
    from xraygen.engines.cluster.shared import Shared


def _in_the_project(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(
            f"{path!r} is not in the project's folder; copy it there and give that path"
        )
    return path


ProjectPath = Annotated[NonEmpty, AfterValidator(_in_the_project)]
ModelFolder = Annotated[str, Field(pattern=r"^models(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")]


class Settings(Record):
    """An entry under `approaches:`. `annotator`: a built-in name, or `package.module:Class`.
    `reads`: the file or folder that it reads, a dependency of its stage in dvc.yaml.
    """

    annotator: NonEmpty
    reads: ProjectPath

    def check_regions(self, regions: Regions) -> None:
        """Called when params.yaml is loaded. ValueError, which names the key: the settings name a
        region that is not declared.
        """

    def check_approaches(self, approaches: Mapping[str, Settings]) -> None:
        """Called after that, with all entries. ValueError, which names the key: the settings name
        an approach that cannot be used.
        """

    def parts(self, approaches: Mapping[str, Settings]) -> list[Settings]:
        """The settings of the other approaches that this one is made of."""
        return []

    def reads_too(self) -> list[str]:
        """Files in the project's folder that it reads apart from `reads`."""
        return []

    def made_of(self, approaches: Mapping[str, Settings]) -> str:
        """A hash of these, "" where there are none. DVC compares an approach's own entry alone."""
        parts = [part.model_dump(mode="json") for part in self.parts(approaches)]
        content = json.dumps(parts, sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:12] if parts else ""


class Project(NamedTuple):
    """What an annotator may use in addition to its settings. `root`: the project's folder, which
    `reads` is relative to. `images`: the folder that image paths are relative to. `llm`: that
    section of params.yaml. `where`: how errors name the approach. `approach`: builds another
    approach of params.yaml, by name; None unless `load` builds the annotator. `shared`: what asks
    servers for all workers of a cluster; None = this process does.
    """

    root: Path
    images: Path
    regions: Regions
    llm: LlmParams
    where: str = "the approach"
    approach: Callable[[str], Annotator] | None = None
    shared: Shared | None = None


class Annotator(ABC):
    """`Settings`: the class of its settings, which defines its keys in params.yaml."""

    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: Record, project: Project) -> None:
        self.settings = settings
        self.project = project

    @classmethod
    def build(cls, settings: Any, project: Project) -> Annotator:
        """The annotator for these settings, which may be of another class."""
        return cls(settings, project)

    @abstractmethod
    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """One record for each case, in order."""

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        """Whether a record without an annotation counts towards llm.max_failed: the share of the
        cases above which the run stops.
        """
        return False

    def unlimited(self) -> Annotator:
        """This annotator without what it checks of all cases together, such as the limits of
        llm.max_failed that it keeps itself: for the picture audit, and for a part of the cases on a
        cluster.
        """
        return self

    def loss(self, record: AnnotationRecord) -> str | None:
        """Of the last record, which has an annotation: why a part of this approach had no answer to
        the case. None: it had one, or that does not count towards llm.max_failed.
        """
        return None

    def plan(self, cases: Iterable[Case]) -> object:
        """What annotating these cases would ask a server, and at what cost, as one line of text."""
        return "asks no server; nothing to pay"

    def usage(self) -> dict[str, float]:
        """What this run has asked a server and what that cost, for metrics/usage."""
        return {}

    @property
    def shows_pictures(self) -> bool:
        """Whether it uses the cases' images."""
        return False

    @property
    def asks_server(self) -> bool:
        """Whether annotating may send requests, which may have to be paid for."""
        return False
