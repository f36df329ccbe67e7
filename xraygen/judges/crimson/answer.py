"""A model's answer to the judge `crimson`, checked, and the scores that follow from it.

The model lists and matches; the formula is applied here. It is that of CRIMSON (arXiv 2603.06183):
a matched finding of weight w counts w * w / (w + e), where e is .5 for each significant error in
its attributes, and `clinical_score` combines what is matched, present and false.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from xraygen.core.json_lines import first_problem
from xraygen.core.study import Category, Clinical, ErrorCounts, Listed
from xraygen.judges import Opinion
from xraygen.judges.proxy.clinical import assess, clinical_score
from xraygen.judges.proxy.vocabulary import UNREAD

ERROR_WEIGHTS = {"significant": 0.5, "negligible": 0.0}
# GREEN's categories. Errors of other kinds count in the score, and are named in the explanation.
CATEGORIES: dict[str, Category] = {
    "side": "c",
    "location": "c",
    "severity": "d",
    "measurement": "d",
}


class _Part(BaseModel):
    """Of an answer. Keys that were not asked for do no harm, but the schema forbids them."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_extra={"additionalProperties": False}
    )


class Found(_Part):
    id: str
    name: str
    significance: Literal[
        "urgent", "actionable_not_urgent", "not_actionable_not_urgent", "benign_expected"
    ]


class Wrong(_Part):
    kind: Literal[
        "side",
        "location",
        "severity",
        "descriptor",
        "measurement",
        "certainty",
        "unspecific",
        "overinterpretation",
        "temporal",
    ]
    extent: Literal["significant", "negligible"]


class Match(_Part):
    reference: str
    candidate: str
    errors: tuple[Wrong, ...]


class Answer(_Part):
    """Each finding is either in a match, or missing or false."""

    reference_findings: tuple[Found, ...]
    candidate_findings: tuple[Found, ...]
    matches: tuple[Match, ...]
    missing: tuple[str, ...]
    false: tuple[str, ...]

    @model_validator(mode="after")
    def _accounts_for_each_finding(self) -> "Answer":
        _check(self.reference_findings, [match.reference for match in self.matches], self.missing)
        _check(self.candidate_findings, [match.candidate for match in self.matches], self.false)
        return self


def _check(findings: Sequence[Found], matched: Iterable[str], unmatched: Sequence[str]) -> None:
    ids = [finding.id for finding in findings]
    if len(set(ids)) < len(ids) or len(set(unmatched)) < len(unmatched):
        raise ValueError("an id occurs twice")
    if set(matched) & set(unmatched):
        raise ValueError("a finding is matched, and missing or false as well")
    if set(matched) | set(unmatched) != set(ids):
        raise ValueError(
            "the ids in matches, missing and false are not those of the findings, each once"
        )


SCHEMA = Answer.model_json_schema()


def parse(text: str) -> Answer:
    """The answer in a model's text, which may have prose, a code fence or its thoughts around the
    JSON, or damaged JSON. ValueError, which does not repeat the text: there is none, or it
    contradicts itself.
    """
    text = text.rpartition("</think>")[2]
    text = text[text.find("{") : text.rfind("}") + 1]
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("not the JSON that was asked for") from None
    except ValueError:
        content = _repaired(text)
    if not isinstance(content, dict):
        raise ValueError("not the JSON that was asked for")
    try:
        return Answer.model_validate(content)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def _repaired(text: str) -> object:
    import json_repair

    try:
        return json_repair.loads(text, skip_json_loads=True)
    except RecursionError:
        return None


class _Compared(NamedTuple):
    """`wrong`: errors by id of the reference's finding, which has an entry for each matched one."""

    present: Sequence[Found]
    matched: Sequence[Found]
    missed: Sequence[Found]
    invented: Sequence[Found]
    wrong: Mapping[str, Sequence[Wrong]]


def opinion_of(answer: Answer, completion: str) -> Opinion:
    """Score, counts and findings. The score is the clinical score, or 0 where that is negative.

    The counts are of what matters: findings that are not benign, and significant errors.
    """
    compared = _compared(answer)
    correct = sum(_credit(_weight(found), compared.wrong[found.id]) for found in compared.matched)
    present = sum(map(_weight, compared.present))
    score = clinical_score(present, correct, sum(map(_weight, compared.invented)))
    listed = _listed(compared)
    counts = {letter: len(names) for letter, names in listed.significant.items()}
    return Opinion(
        max(0.0, score),
        matched_findings=len(compared.matched),
        errors=ErrorCounts(**counts),
        explanation=_explanation(compared),
        listed=listed,
        completion=completion,
        clinical=Clinical(
            score=score,
            present=present,
            matched=_names(compared.matched),
            missed=_names(compared.missed),
            invented=_names(compared.invented),
        ),
    )


def _compared(answer: Answer) -> _Compared:
    """A finding that several others match counts once, with the errors of all."""
    wrong: dict[str, list[Wrong]] = defaultdict(list)
    for match in answer.matches:
        wrong[match.reference] += match.errors
    present = answer.reference_findings
    return _Compared(
        present,
        [found for found in present if found.id in wrong],
        [found for found in present if found.id in answer.missing],
        [found for found in answer.candidate_findings if found.id in answer.false],
        wrong,
    )


def _weight(found: Found) -> float:
    return WEIGHTS[found.significance]


def _credit(weight: float, wrong: Iterable[Wrong]) -> float:
    if not weight:
        return 0.0
    return weight * weight / (weight + sum(ERROR_WEIGHTS[error.extent] for error in wrong))


def _names(found: Iterable[Found]) -> tuple[str, ...]:
    return tuple(map(_name, found))


def _name(found: Found) -> str:
    """The name by which the reader of the proxy knows it, so that findings can be counted together;
    else the model's own.
    """
    name = found.name.encode("utf-8", "replace").decode()  # half a character cannot be written
    return _known_name(" ".join(name.lower().split()))


@lru_cache(maxsize=4096)
def _known_name(name: str) -> str:
    known = assess("", name).invented
    return known[0] if len(known) == 1 and known[0] != UNREAD else name


def _listed(compared: _Compared) -> Listed:
    significant: dict[Category, list[str]] = defaultdict(list)
    insignificant: dict[Category, list[str]] = defaultdict(list)

    def note(letter: Category, found: Found, matters: bool = True) -> None:
        matters = matters and _weight(found) > 0
        (significant if matters else insignificant)[letter].append(_name(found))

    for found in compared.invented:
        note("a", found)
    for found in compared.missed:
        note("b", found)
    for found in compared.matched:
        for error in compared.wrong[found.id]:
            if letter := CATEGORIES.get(error.kind):
                note(letter, found, error.extent == "significant")
    return Listed(
        matched=_names(compared.matched),
        significant={letter: tuple(significant[letter]) for letter in sorted(significant)},
        insignificant={letter: tuple(insignificant[letter]) for letter in sorted(insignificant)},
    )


def _explanation(compared: _Compared) -> str:
    """One line: the findings that matched, with what is wrong about them, are missing, are
    false.
    """
    matched = []
    for found in compared.matched:
        kinds = [f"{error.extent} error in {error.kind}" for error in compared.wrong[found.id]]
        matched.append(_name(found) + (f" ({', '.join(kinds)})" if kinds else ""))
    parts = {
        "matched": matched,
        "missing": _names(compared.missed),
        "false": _names(compared.invented),
    }
    return "; ".join(f"{part}: {', '.join(names or ['none'])}" for part, names in parts.items())
