"""Answers of a model in this process as annotations, also of a model that knows other regions than
the declared ones.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence

from xraygen.annotators.answer_confidence import Chances, from_samples, from_tokens
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Case
from xraygen.language.text import medoid
from xraygen.prompting.json_answer import parse
from xraygen.prompting.region_names import RegionNames


class Reader:
    """`spoken`: the names that the model uses, which are the declared regions' or those that it was
    `taught`. What it says under a name of no declared region is left out, and the regions that it
    does not name are silent. `where`: how messages name the approach.
    """

    def __init__(self, regions: Regions, taught: Sequence[str] | None, where: str) -> None:
        self.names = self.spoken = RegionNames(regions)
        if taught is None or set(taught) <= set(regions):
            return
        self.spoken = RegionNames(
            Regions.model_validate({name: {"about": name} for name in taught})
        )
        if unfiled := [name for name in taught if self.names.region_of(name) is None]:
            print(
                f"{where}: the model was taught the regions {', '.join(taught)}; what it says of "
                f"{', '.join(unfiled)} is left out (`also` under regions adds names)",
                file=sys.stderr,
            )

    def read(self, answer: str, ended: bool) -> tuple[dict[str, str], bool]:
        """(annotation, whether it was repaired). ValueError: why there is none."""
        said, repaired = parse(answer, self.spoken, ended)
        return (said if self.spoken is self.names else self.names.filed(said)), repaired

    def record(
        self,
        case: Case,
        answers: Sequence[str],
        usage: dict[str, float],
        stopped: Sequence[str],
        chances: Chances = (),
    ) -> AnnotationRecord:
        """Of several answers, by region the one that is most like all of them. `stopped`: why each
        was stopped before its end, or "". `chances`: of a single greedy answer.
        """
        read, reasons = [], []
        for answer, why in zip(answers, stopped, strict=True):
            try:
                read.append(self.read(answer, ended=not why))
            except ValueError as reason:
                reasons.append(why or str(reason))
        raw = json.dumps(answers, ensure_ascii=False) if len(answers) > 1 else answers[0]
        if not read:
            error = reasons[0]
            return AnnotationRecord(id=case.id, annotation=None, error=error, raw=raw, usage=usage)
        said = {
            region: medoid(Counter(annotation[region] for annotation, _ in read))
            for region in self.names.regions
        }
        if chances:
            evidence = from_tokens(answers[0], chances, self.names)
        else:
            evidence = from_samples(said, [annotation for annotation, _ in read], len(answers))
        usage = usage | {"repaired": any(repaired for _, repaired in read)}
        if reasons:
            usage["unread"] = len(reasons)
        return AnnotationRecord(
            id=case.id, annotation=said, evidence=evidence, raw=raw, usage=usage
        )
