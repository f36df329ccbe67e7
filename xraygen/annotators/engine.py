"""Where the stages annotate: in their own process, or on a Ray cluster, with the same records.

On Ray the cases are written to a file below .cache, which `on_cluster` annotates like one of the
user's, and the parts of the results are read back. The files are named by a hash of the cases and
of all that shapes a result, so that a stage that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.annotators.cascade import PER_1000
from xraygen.annotators.load import load
from xraygen.annotators.on_cluster import Annotating
from xraygen.core import files
from xraygen.core.cases import MAX_TEXT, case_of
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import AnnotationRecord, Case, Record
from xraygen.engines.cluster.run import Cluster, run
from xraygen.engines.cluster.shared import Shared

FOLDER = Path(".cache/annotate")  # of the project's folder; DVC and git leave it alone
_CASES = "cases"  # in the usage that is added up


class AnnotateParams(Record):
    """`engine`: local = in the process of the stage; ray = on the cluster that RAY_ADDRESS names,
    by default one of this machine alone. `gpus`: on Ray, of each actor; may be a fraction. No
    result depends on them, so that params.yaml may lack them.
    """

    engine: Literal["local", "ray"] = "local"
    gpus: NonNegativeFloat = 0


def annotator(
    params: AnnotateParams, approaches: Mapping[str, Settings], name: str, project: Project
) -> Annotator:
    """The annotator of an approach, see `load`."""
    if params.engine == "local":
        return load(approaches, name, project)
    return OnRay(approaches, name, project, params.gpus, {_CASES: 0})


class _Job(Annotating):
    """It keeps what `usage` says in a file, on the driver, for a stage that is killed while it
    reads the results, and starts again.
    """

    used: Path

    def usage(self, shared: Shared | None) -> dict[str, float]:
        usage = super().usage(shared)
        with files.replacing(self.used) as file:
            json.dump(usage, file)
        return usage


class OnRay(Annotator):
    """`used`: what all calls have used so far, also those of `unlimited`. UserError: a case is not
    the same after it was written and read.
    """

    def __init__(
        self,
        approaches: Mapping[str, Settings],
        name: str,
        project: Project,
        gpus: float,
        used: dict[str, float],
    ) -> None:
        self.here = load(approaches, name, project)
        super().__init__(self.here.settings, project)
        self.approaches = approaches
        self.name = name
        self.gpus = gpus
        self._used = used

    @property
    def shows_pictures(self) -> bool:
        return self.here.shows_pictures

    @property
    def asks_server(self) -> bool:
        return self.here.asks_server

    def plan(self, cases: Iterable[Case]) -> object:
        return self.here.plan(cases)

    def unlimited(self) -> OnRay:
        llm = self.project.llm.model_copy(update={"max_failed": 1.0})
        project = self.project._replace(llm=llm)
        return OnRay(self.approaches, self.name, project, self.gpus, self._used)

    def usage(self) -> dict[str, float]:
        """That of all calls."""
        used = {name: count for name, count in self._used.items() if name != _CASES}
        if "cost_usd" in used:
            per_case = used["cost_usd"] / max(1, self._used[_CASES])
            used[PER_1000] = round(1000 * per_case, 4)
        return used

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        job = _Job(self.approaches, self.name, self.project)
        folder = self._folder(cases, job.identity())
        source, out = folder / "cases.jsonl", folder / "parts"
        job.used = folder / "used.json"
        if source.stat().st_size:
            cluster = Cluster(os.environ.get("RAY_ADDRESS", ""), gpus=self.gpus)
            counts = run(job, str(source), str(out), cluster)
            self._used[_CASES] += counts.records
            for what, amount in json.loads(job.used.read_text()).items():
                self._used[what] = self._used.get(what, 0) + amount
            for part in sorted(out.glob("part-*.jsonl")):
                yield from read_jsonl(part, AnnotationRecord)
        shutil.rmtree(folder)

    def _folder(self, cases: Iterable[Case], identity: dict) -> Path:
        """With the cases in cases.jsonl."""
        folder = self.project.root / FOLDER / self.name
        new = folder / f"{os.getpid()}.jsonl"
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
        with files.replacing(new) as file:
            for case in cases:
                line = case.model_dump_json()
                if not self._is_kept(case, line):
                    raise UserError(
                        f"params.yaml: annotate.engine: ray: study {case.id}: its id or report is "
                        "too long, or would be read from a file as something else; use local"
                    )
                digest.update(line.encode())
                file.write(line + "\n")
        found = folder / digest.hexdigest()[:16]
        found.mkdir(exist_ok=True)
        if (found / "cases.jsonl").exists():  # left as it is, so that it is known to be the same
            new.unlink()
        else:
            new.rename(found / "cases.jsonl")
        return found

    def _is_kept(self, case: Case, line: str) -> bool:
        """Whether the case is what an actor reads of this line."""
        try:
            read = case_of(json.loads(line), case.id, self.shows_pictures)
        except UserError:
            return False
        return read == case and len(case.report) <= MAX_TEXT
