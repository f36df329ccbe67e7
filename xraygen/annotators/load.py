"""The annotator of an approach in params.yaml."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.annotators.failures import Failures
from xraygen.core import plugins
from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.study import AnnotationRecord, Case, Evidence
from xraygen.language.support import Report

BUILT_IN = {
    "constant": "xraygen.annotators.constant:Constant",
    "router": "xraygen.annotators.router.annotator:RouterAnnotator",
    "vlm": "xraygen.annotators.vlm:Vlm",
    "llm": "xraygen.annotators.llm.llm:Llm",
    "recorded": "xraygen.annotators.recorded:Recorded",
    "cascade": "xraygen.annotators.cascade:Cascade",
}
_RELEASED = ("models", "plugins")  # folders that the stage release depends on


def settings_of(content: object, where: str) -> Settings:
    """The settings in an entry under `approaches:`, of the class that its `annotator` names.
    UserError: no such class, or settings that it does not accept.
    """
    if not isinstance(content, dict) or not isinstance(content.get("annotator"), str):
        raise UserError(f"{where}: has no `annotator`; there are {', '.join(BUILT_IN)}")
    kind = plugins.resolve(content["annotator"], BUILT_IN, Annotator, f"{where}.annotator")
    try:
        settings = kind.Settings.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}.{first_problem(error)}") from None
    if content["annotator"] not in BUILT_IN and settings.reads.split("/")[0] not in _RELEASED:
        raise UserError(
            f"{where}.reads: {settings.reads} is not in models/ or plugins/, which the stage "
            "release depends on; move it there"
        )
    return settings


def load(approaches: Mapping[str, Settings], name: str, project: Project) -> Checked:
    """The annotator of an approach, with the models that the pipeline left.

    UserError: no such approach, or its settings contradict those that a fine-tuned model was
    trained with.
    """
    if name not in approaches:
        known = ", ".join(sorted(approaches))
        raise UserError(f"params.yaml: no approach '{name}'; there are: {known}")
    return Checked(_build(approaches, name, project), project.llm.max_failed)


def _build(approaches: Mapping[str, Settings], name: str, project: Project) -> Annotator:
    settings = approaches[name]
    where = f"params.yaml: approaches.{name}"
    kind = plugins.resolve(settings.annotator, BUILT_IN, Annotator, f"{where}.annotator")

    def part(other: str) -> Annotator:
        """Its records are checked, but how many fail is for the approach to judge that it is a part
        of.
        """
        return Checked(_build(approaches, other, project), share=1.0)

    return kind.build(settings, project._replace(where=where, approach=part))


class Checked(Annotator):
    """An annotator with its records checked and completed: annotations have exactly the declared
    regions, evidence says how the report supports each text, and at most `share` of the cases fail
    in a way that counts (`counts_as_failed`).
    """

    def __init__(self, annotate: Annotator, share: float) -> None:
        super().__init__(annotate.settings, annotate.project)
        self.annotate = annotate
        self.share = share

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        return self.annotate.counts_as_failed(record)

    def unlimited(self) -> Checked:
        return Checked(self.annotate.unlimited(), share=1.0)

    def loss(self, record: AnnotationRecord) -> str | None:
        return self.annotate.loss(record)

    def plan(self, cases: Iterable[Case]) -> object:
        return self.annotate.plan(cases)

    def usage(self) -> dict[str, float]:
        return self.annotate.usage()

    @property
    def shows_pictures(self) -> bool:
        return self.annotate.shows_pictures

    @property
    def asks_server(self) -> bool:
        return self.annotate.asks_server

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """UserError: a larger share has failed, upon which no more are asked; an annotation has a
        region that is not declared; or the records are not those of the cases, one each, in order.
        """
        waiting: deque[Case] = deque()

        def noted() -> Iterator[Case]:
            for case in cases:
                waiting.append(case)
                yield case

        done = 0
        failures = Failures(self.share)
        asked = noted()
        for record in self.annotate(asked):
            case = waiting.popleft() if waiting else None
            self._match(record, case)
            done += 1
            if record.annotation is None and self.counts_as_failed(record):
                failures.add(record)
            failures.check(done)
            yield self._complete(record, case)  # type: ignore[arg-type]
        if left := waiting.popleft() if waiting else next(asked, None):
            self._match(None, left)
        failures.check(done, ended=True)

    def _match(self, record: AnnotationRecord | None, case: Case | None) -> None:
        """A class of the user's may yield anything."""
        expected = case.id if case else None
        if not isinstance(record, AnnotationRecord | None):
            raise UserError(
                f"{self.project.where}: yields {type(record).__name__}, not an AnnotationRecord"
            )
        if record is None or record.id != expected:
            found = "no record" if record is None else f"a record of {record.id}"
            raise UserError(
                f"{self.project.where}: {found} where that of {expected or 'no case'} was due; an "
                "annotator yields one record for each case, in order"
            )

    def _complete(self, record: AnnotationRecord, case: Case) -> AnnotationRecord:
        """The record with every declared region, and with evidence for each. The annotator's
        confidences stay; support and spans follow from the texts and the case's report.
        """
        regions = self.project.regions
        if record.annotation is None:
            return record
        try:
            texts = regions.annotation(record.annotation)
            regions.check(record.evidence, "evidence")
        except ValueError as error:
            raise UserError(f"{self.project.where}: study {record.id}: {error}") from None
        report = Report(case.report)
        evidence = {}
        for region, text in texts.items():
            given = record.evidence.get(region)
            found = report.support(text)
            evidence[region] = Evidence(
                support=found.support,
                spans=found.spans,
                confidence=given.confidence if given else None,
            )
        return record.model_copy(update={"annotation": texts, "evidence": evidence})
