"""What the process of an approach does: cases, one JSON line each, to lines of the response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pydantic_core import to_json

from xraygen.annotators.base import Project, Settings
from xraygen.annotators.load import load
from xraygen.core.errors import UserError
from xraygen.core.files import identity, sha256
from xraygen.core.study import AnnotationRecord, Case
from xraygen.service.problems import Problem, without_addresses
from xraygen.service.worker import Build

_DIGITS = len("sha256:") + 12


class Approach:
    """`threshold`: the confidence below which a scored region is to be reviewed; None = unknown.
    UserError: the approach cannot be loaded, or takes a day to answer.
    """

    def __init__(
        self,
        approaches: Mapping[str, Settings],
        name: str,
        project: Project,
        threshold: float | None,
    ) -> None:
        self.name, self.threshold, self.project = name, threshold, project
        self.reads = approaches[name].reads
        self.scored = frozenset(project.regions.scored)
        self.annotate = load(approaches, name, project).unlimited()
        if self.annotate.asks_server and project.llm.mode == "batch":
            raise UserError(
                f"params.yaml: llm.mode: batch takes up to a day, so that {name} cannot be served; "
                "set it to direct"
            )
        self.model = model_hash(approaches[name], approaches, project.root)

    def __call__(self, lines: list[bytes]) -> list[bytes]:
        cases = [Case.model_validate_json(line) for line in lines]
        records = self.annotate(cases)
        return [self._line(*one) for one in zip(cases, records, strict=True)]

    def failed(self, line: bytes, bug: bool) -> bytes:
        problem = Problem("not-annotated", "The approach gives no annotation of this case.")
        if bug:
            problem = Problem("internal", "It is in the log of the service.")
        return self._failed(json.loads(line)["id"], problem)

    def _line(self, case: Case, record: AnnotationRecord) -> bytes:
        if record.annotation is None:
            return self._failed(case.id, Problem("not-annotated", self._reason(case, record)))
        regions = {}
        for region, text in record.annotation.items():
            evidence = record.evidence[region]
            confidence = evidence.confidence
            regions[region] = {
                "support": evidence.support,
                "spans": evidence.spans,
                "confidence": confidence,
                "text": text,
                "review": self._review(region, confidence),
            }
        shared = {"id": case.id, "approach": self.name, "model": self.model}
        return to_json(shared | {"regions": regions})

    def _failed(self, id: str, problem: Problem) -> bytes:
        shared = {"id": id, "approach": self.name, "model": self.model}
        # Unlike to_json, json has an escape for halves of surrogate pairs.
        content = shared | {"error": problem.content()}
        return json.dumps(content, separators=(",", ":")).encode()

    def _review(self, region: str, confidence: float | None) -> bool | None:
        if self.threshold is None or confidence is None or region not in self.scored:
            return None
        return confidence < self.threshold

    def _reason(self, case: Case, record: AnnotationRecord) -> str:
        """Why there is no annotation, without paths, addresses of servers and the case's id."""
        reason = (record.error or "").removeprefix(f"study {case.id}: ")
        for number, image in enumerate(case.images, 1):
            reason = reason.replace(str(self.project.images / image.path), f"image {number}")
        for path in (str(self.project.root), self.reads):
            reason = reason.replace(path, "the project")
        reason = without_addresses(reason) or "the approach gives no reason"
        return f"{reason[0].upper()}{reason[1:].removesuffix('.')}."


def model_hash(settings: Settings, approaches: Mapping[str, Settings], root: Path) -> str:
    """Identifies the model, or each of those that an approach is made of."""
    parts = settings.parts(approaches)
    if parts:
        return "+".join(model_hash(part, approaches, root) for part in parts)
    hub = getattr(settings, "hub", None)
    path = root / settings.reads
    found = hub or (f"sha256:{sha256([path])}" if path.is_file() else identity(str(path)))
    return found[:_DIGITS] if found.startswith("sha256:") else found


def build(
    approaches: Mapping[str, Settings], name: str, project: Project, threshold: float | None
) -> Build:
    """What `model.Model` runs in the process of an approach."""
    return partial(Approach, dict(approaches), name, project, threshold)
