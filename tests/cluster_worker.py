"""What an actor of a run does, without Ray Data. Workers import this module, which is therefore
small.
"""

import os
from collections.abc import Sequence

from xraygen.annotators.base import Annotator
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Evidence
from xraygen.engines.answers import Answers
from xraygen.engines.cluster.job import Job
from xraygen.engines.cluster.shards import Row
from xraygen.engines.cluster.shared import Shared


class Worker:
    def start(self, job: Job, shared: Shared) -> int:
        self.work = job.start(shared)
        return os.getpid()

    def records(self, rows: Sequence[Row]) -> list | str:
        """Or why there are none."""
        try:
            return list(self.work(rows))
        except UserError as error:
            return f"{type(error).__name__}: {error}"

    def keep(self, shared: Shared, prompt: str, answer: str) -> tuple[dict[str, str], str]:
        """(the stored answers, this process's folder)"""
        shared.store_answers()
        kept = Answers({"model": "m"})
        kept.keep(prompt, {}, answer)
        return kept.find(["none", prompt]), os.getcwd()


class Unsure(Annotator):
    """Of every third case."""

    def __call__(self, cases):
        for case in cases:
            confidence = Evidence(confidence=float(int(case.id[1:]) % 3 > 0))
            texts = {"lung": "first"}
            yield AnnotationRecord(id=case.id, annotation=texts, evidence={"lung": confidence})
