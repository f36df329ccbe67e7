"""The annotator `cascade`: one approach answers every case, and another is asked about those in
which the first is unsure of a region.

Only the regions below the threshold are replaced. Cases go through in windows, so that the second
approach is handed a stream, which it batches as it likes, and memory stays bounded.
"""

import contextlib
import copy
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice, tee
from typing import Annotated, ClassVar, Literal, NamedTuple, cast

from pydantic import Field

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, NonEmpty

_WINDOW = 4096  # cases that the first approach answers before the second is asked
_FEW = 20  # annotations after which it is clear that an approach gives no confidence
PER_1000 = "cost_usd_per_1000_reports"


class CascadeSettings(Settings):
    """`first`, `then`: names of other approaches. A region is left to `then` where the confidence
    of `first` is less than `below`. `reads`: the folder with the models of both.
    """

    reads: Literal["models"]
    first: NonEmpty
    then: NonEmpty
    below: Annotated[float, Field(ge=0, le=1)]

    def check_approaches(self, approaches: Mapping[str, Settings]) -> None:
        for key, name in (("first", self.first), ("then", self.then)):
            if name not in approaches:
                raise ValueError(f"{key}: no approach {name!r}; there are {', '.join(approaches)}")
            if isinstance(approaches[name], CascadeSettings):
                raise ValueError(
                    f"{key}: {name} is a cascade itself; name an approach of another kind"
                )
        if self.first == self.then:
            raise ValueError(f"then: {self.then} is `first` too; name another approach")

    def parts(self, approaches: Mapping[str, Settings]) -> list[Settings]:
        return [approaches[self.first], approaches[self.then]]


def refuse_losses(
    settings: CascadeSettings, where: str, lost: Counter[str], passed_on: int, share: float
) -> None:
    """UserError: of the cases passed on a larger share has no answer. `lost`: how many, by reason.
    `where`: the approach, for the error.
    """
    count = lost.total()
    if count >= _FEW and count > share * passed_on:
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in lost.most_common(3))
        raise UserError(
            f"{where}.then: {settings.then} has no answer to {count:,} of the {passed_on:,} cases "
            f"passed on, more than llm.max_failed allows: {reasons}"
        )


class _Answered(NamedTuple):
    """A case, the first approach's record, and the regions that are left to the second."""

    case: Case
    record: AnnotationRecord
    unsure: tuple[str, ...]


def _kept(record: AnnotationRecord) -> AnnotationRecord:
    return record.model_copy(update={"usage": record.usage | {"passed_on": 0}})


class Cascade(Annotator):
    """Cases to records, in their order. A case that the first approach fails is passed on as a
    whole. Where the second fails, the first's answer stays, and `fell_back` is counted in the
    record's usage; without a first answer the record fails as the second's.

    UserError: the first approach gives no confidence; or of the cases passed on a larger share than
    llm.max_failed has no answer of the second.
    """

    Settings: ClassVar = CascadeSettings
    settings: CascadeSettings

    def __init__(self, settings: CascadeSettings, project: Project) -> None:
        super().__init__(settings, project)
        if project.approach is None:
            raise UserError(f"{project.where}: a cascade is made of the approaches in params.yaml")
        self.first = project.approach(settings.first)
        self.then = project.approach(settings.then)
        self._cases = 0
        self._passed_on = 0
        self._lost: Counter[str] = Counter()  # why the second had no answer
        self._loss: str | None = None  # the same of the last case, if it counts

    @property
    def shows_pictures(self) -> bool:
        return self.first.shows_pictures or self.then.shows_pictures

    @property
    def asks_server(self) -> bool:
        return self.first.asks_server or self.then.asks_server

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        return self.then.counts_as_failed(record)

    def unlimited(self) -> "Cascade":
        """With the same models, none of which is loaded twice."""
        same = copy.copy(self)
        same.first = self.first.unlimited()
        same.then = self.then.unlimited()
        llm = self.project.llm.model_copy(update={"max_failed": 1.0})
        same.project = self.project._replace(llm=llm)
        same._lost = Counter()
        return same

    def loss(self, record: AnnotationRecord) -> str | None:
        return self._loss if record.usage.get("fell_back") else None

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        answered = self._answered(cases)
        while window := list(islice(answered, _WINDOW)):
            self._cases += len(window)
            if any(one.unsure for one in window):
                yield from self._with_second(window)
            else:
                yield from (_kept(one.record) for one in window)

    def _with_second(self, window: list[_Answered]) -> Iterator[AnnotationRecord]:
        passed_on = (one.case for one in window if one.unsure)
        # Closed also when this ends early, so that requests under way are not lost.
        with contextlib.closing(cast(Generator, self.then(passed_on))) as answers:
            for one in window:
                yield self._merged(one, next(answers)) if one.unsure else _kept(one.record)
            next(answers, None)  # there is none left; lets it finish

    def _answered(self, cases: Iterable[Case]) -> Iterator[_Answered]:
        cases, same_cases = tee(cases)
        annotated = 0
        confident = False
        for record, case in zip(self.first(cases), same_cases, strict=True):
            known = {
                region: evidence.confidence
                for region, evidence in record.evidence.items()
                if evidence.confidence is not None
            }
            annotated += record.annotation is not None
            confident = confident or bool(known)
            if annotated == _FEW and not confident:
                break
            unsure = tuple(self.project.regions)
            if record.annotation is not None and known:
                unsure = tuple(region for region in known if known[region] < self.settings.below)
            yield _Answered(case, record, unsure)
        if annotated and not confident:
            raise UserError(
                f"{self.project.where}.first: {self.settings.first} gives no confidence, without "
                "which nothing can be passed on; name an approach that does"
            )

    def _merged(self, one: _Answered, answer: AnnotationRecord) -> AnnotationRecord:
        self._passed_on += 1
        first = one.record
        usage = Counter(first.usage)
        usage.update(answer.usage)
        usage["passed_on"] = 1
        if answer.annotation is None and first.annotation is not None:
            self._note_loss(answer)
            usage["fell_back"] = 1
            return first.model_copy(update={"usage": dict(usage)})
        if answer.annotation is None or first.annotation is None:
            return answer.model_copy(update={"usage": dict(usage)})
        replaced = {region: answer.annotation.get(region, "") for region in one.unsure}
        kept = {
            region: evidence
            for region, evidence in first.evidence.items()
            if region not in one.unsure
        }
        fresh = {
            region: evidence for region, evidence in answer.evidence.items() if region in one.unsure
        }
        return first.model_copy(
            update={
                "annotation": first.annotation | replaced,
                "evidence": kept | fresh,
                "raw": answer.raw,
                "usage": dict(usage),
            }
        )

    def _note_loss(self, answer: AnnotationRecord) -> None:
        self._loss = None
        if not self.then.counts_as_failed(answer):
            return
        self._loss = str(answer.error)
        share = self.project.llm.max_failed
        if share < 1:
            self._lost[self._loss] += 1
            refuse_losses(self.settings, self.project.where, self._lost, self._passed_on, share)

    def usage(self) -> dict[str, float]:
        """That of both approaches; the cost for 1,000 reports is over all cases."""
        first = self.first.usage()
        then = self.then.usage()
        total = first | {name: first.get(name, 0) + count for name, count in then.items()}
        if "seconds" in total:  # both count from the start
            total["seconds"] = max(first.get("seconds", 0), then.get("seconds", 0))
        if "cost_usd" in total:
            total["cost_usd"] = round(total["cost_usd"], 6)
            total[PER_1000] = round(1000 * total["cost_usd"] / max(1, self._cases), 4)
        return total

    def plan(self, cases: Iterable[Case]) -> object:
        """The first approach is run, to know what is passed on, unless it asks a server itself."""
        first, then = self.settings.first, self.settings.then
        if self.first.asks_server:
            cases = list(cases)
            return f"{first}: {self.first.plan(cases)}; {then}, at most: {self.then.plan(cases)}"
        counted = Counter(cases=0, passed_on=0)

        def passed_on() -> Iterator[Case]:
            for one in self._answered(cases):
                counted["cases"] += 1
                counted["passed_on"] += bool(one.unsure)
                if one.unsure:
                    yield one.case

        waiting = passed_on()
        asked = self.then.plan(waiting)
        deque(waiting, maxlen=0)  # the plan of an approach that asks no server counts no cases
        return (
            f"{counted['passed_on']:,} of {counted['cases']:,} cases are passed on by {first}; "
            f"{then}: {asked}"
        )
