"""What a service has loaded, and what GET /v1/approaches says of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from xraygen.annotators.base import Settings
from xraygen.core import origin
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json
from xraygen.prompting import training_record
from xraygen.service import logs
from xraygen.service.access import Access
from xraygen.service.annotating import model_hash
from xraygen.service.bodies import Bodies
from xraygen.service.intake_process import Intake
from xraygen.service.model import Model
from xraygen.service.options import Options
from xraygen.service.problems import Problem
from xraygen.service.schemas import (
    ApproachInfo,
    ApproachList,
    Commit,
    DataInfo,
    Limits,
    Review,
    Score,
    TestScores,
)

COMPARISON = "reports/comparison.json"
RELEASE = "metrics/release.json"


class Loaded:
    """`approaches`: the models by name, the default one first. `judge`: None = there is no judge.
    `about`: for GET /v1/approaches. `draining`: SIGTERM has come; `stopping` says so to streams,
    once the event loop knows.
    """

    def __init__(
        self,
        approaches: Mapping[str, Model],
        judge: Model | None,
        intake: Intake,
        access: Access,
        options: Options,
        about: ApproachList,
    ) -> None:
        self.approaches, self.judge, self.intake = approaches, judge, intake
        self.access, self.options, self.about = access, options, about
        self.default = next(iter(approaches))
        self.bodies = Bodies(options)
        self.draining = False
        self.stopping = asyncio.Event()
        self._hashes = {one.name: one.model for one in about.approaches}

    def models(self) -> list[Model]:
        return [*self.approaches.values(), *([self.judge] if self.judge else [])]

    def approach(self, name: str | None) -> Model:
        """The default one for None. Problem: it is not loaded."""
        model = self.approaches.get(self.default if name is None else name)
        if model is None:
            detail = "approach: GET /v1/approaches lists those loaded."
            raise Problem("invalid-request", detail)
        return model

    def hash_of(self, model: Model) -> str:
        return self._hashes[model.name]

    @property
    def ready(self) -> bool:
        loaded = all(model.ready for model in self.models())
        return loaded and self.intake.ready() and not self.draining

    def listing(self) -> bytes:
        """The body of GET /v1/approaches."""
        now = [
            one.model_copy(update={"ready": self.approaches[one.name].ready})
            for one in self.about.approaches
        ]
        return self.about.model_copy(update={"approaches": tuple(now)}).model_dump_json().encode()


def released(root: Path) -> str | None:
    """The name of the released approach, None where nothing has been released."""
    if not (root / RELEASE).exists():
        return None
    return read_json(root / RELEASE)["approach"]


class Results:
    """What the pipeline left in the project's folder. Files that are missing, as in a container
    with nothing but models, are named on stderr, and what they would say is None.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.comparison = self._read(COMPARISON) or {}
        self.released = released(root)

    def threshold(self, name: str) -> float | None:
        """The confidence below which a region is to be reviewed."""
        review = self._review(name)
        return review.threshold if review else None

    def about(
        self,
        names: tuple[str, ...],
        approaches: Mapping[str, Settings],
        judge: str | None,
        options: Options,
    ) -> ApproachList:
        return ApproachList(
            approaches=tuple(self._approach(name, approaches) for name in names),
            judge=judge,
            commit=_commit(self.root),
            data=self._data(),
            limits=Limits(**{key: getattr(options, key) for key in Limits.model_fields}),
        )

    def _approach(self, name: str, approaches: Mapping[str, Settings]) -> ApproachInfo:
        settings = approaches[name]
        return ApproachInfo(
            name=name,
            annotator=settings.annotator,
            inputs=_inputs(settings, self.root, approaches),
            model=model_hash(settings, approaches, self.root),
            released=name == self.released,
            ready=False,
            test=self._scores(name),
            review=self._review(name),
        )

    def _scores(self, name: str) -> TestScores | None:
        judged = self.comparison.get("approaches", {}).get(name, {})
        if not judged.get("test"):
            return None
        scores = {
            part: Score(**{key: row[key] for key in Score.model_fields})
            for part, row in judged["test"].items()
            if isinstance(row, dict) and "score" in row
        }
        return TestScores(judge=judged["judge"], macro=scores.pop("macro"), regions=scores)

    def _review(self, name: str) -> Review | None:
        confidence = self.comparison.get("confidence", {}).get(name) or {}
        found = confidence.get("review") or {}
        if found.get("threshold") is None:  # no threshold keeps the promised risk
            return None
        return Review(**{key: found[key] for key in Review.model_fields})

    def _data(self) -> DataInfo | None:
        prepared = self._read(origin.FILE)
        if prepared is None:
            return None
        source = origin.Prepared.model_validate(prepared)
        return DataInfo(
            title=source.title,
            license=source.license,
            source=source.source,
            seeds=source.seeds,
            md5=self._prepared(),
        )

    def _prepared(self) -> dict[str, str] | None:
        """The hashes of the prepared files in dvc.lock, by path."""
        try:
            text = (self.root / "dvc.lock").read_text(encoding="utf-8")
        except OSError:
            _missing("dvc.lock")
            return None
        lock = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        outs = lock.get("stages", {}).get("prepare", {}).get("outs", [])
        return {out["path"]: out["md5"] for out in outs}

    def _read(self, name: str) -> dict | None:
        if not (self.root / name).exists():
            _missing(name)
            return None
        return read_json(self.root / name)


def _missing(name: str) -> None:
    said = f"{name} is missing: GET /v1/approaches does not show what it would say."
    logs.event("file-missing", message=said)


def _inputs(settings: Settings, root: Path, approaches: Mapping[str, Settings]) -> str:
    """What an approach reads of a case: `report`, `image+report` or `image`."""
    parts = [_inputs(part, root, approaches) for part in settings.parts(approaches)]
    stated = getattr(settings, "inputs", None)
    if parts:
        return parts[0] if len(set(parts)) == 1 else "image+report"
    if stated is None:
        trained = training_record.read(root / settings.reads)
        stated = trained.inputs if trained else "report"
    return stated


def _commit(root: Path) -> Commit | None:
    """Of the project's git repository; in an image, which has none, of the one that it was built
    from.
    """
    try:
        found = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        built_from = os.environ.get("XRAYGEN_COMMIT")
        return Commit(hash=built_from, dirty=None) if built_from else None
    return Commit(hash=found, dirty=bool(changed))


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, check=True, encoding="utf-8"
    )
    return done.stdout.strip()


def check(names: tuple[str, ...], approaches: Mapping[str, Settings]) -> None:
    """UserError: an approach does not exist or cannot be served."""
    for name in names:
        if name not in approaches:
            known = ", ".join(sorted(approaches))
            raise UserError(f"params.yaml: no approach '{name}'; there are: {known}")
        if approaches[name].annotator == "recorded":
            raise UserError(
                f"params.yaml: approaches.{name}: looks up recorded answers by study id, so that "
                "it cannot annotate new cases; serve another approach"
            )
