"""By which rules two sides are compared: those of the old side, so that a change cannot loosen the
rules that it is judged by.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

from pydantic import ValidationError

from xraygen.core.study import Measure
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import MEASURES
from xraygen.revisions.approaches import Change
from xraygen.revisions.escaping import listed
from xraygen.revisions.snapshot import Snapshot

GATES = get_args(get_args(CompareParams.model_fields["gate"].annotation)[0])
# For a revision without a section `compare` that can be read.
_DEFAULT = CompareParams(resamples=5000, alpha=0.05, power=0.8, seed=0)


class Rules(NamedTuple):
    """`measure`: what decides, `evaluate.measure`. `gate`: `compare.gate` of the old side as it is
    written there; `proposed`: that of the new side.
    """

    measure: Measure
    compare: CompareParams
    gate: object
    proposed: object


def rules_of(old: Snapshot, new: Snapshot) -> Rules:
    """The old side's. Where it has none that can be read, the new side's, and then the defaults;
    the gate is only ever the old side's.
    """
    sections = [_section(snapshot, "compare") for snapshot in (old, new)]
    measures = [_section(snapshot, "evaluate").get("measure") for snapshot in (old, new)]
    return Rules(
        measure=next((measure for measure in measures if measure in MEASURES), "score"),
        compare=next(filter(None, map(_compare, sections)), _DEFAULT),
        gate=sections[0].get("gate"),
        proposed=sections[1].get("gate"),
    )


def _section(snapshot: Snapshot, name: str) -> dict:
    section = snapshot.params.get(name)
    return section if isinstance(section, dict) else {}


def _compare(section: dict) -> CompareParams | None:
    """A section with the keys that today's code has."""
    known = CompareParams.model_fields.keys() - {"gate"}
    try:
        return CompareParams.model_validate({key: section[key] for key in known & section.keys()})
    except ValidationError:
        return None


def decides(rules: Rules, changes: Sequence[Change]) -> Measure:
    """The measure that decides; `score` where no tested approach has the one in params.yaml."""
    tested = [change for change in changes if change.tested]
    told = any(rules.measure in change.tested for change in tested)
    return rules.measure if told or not tested else "score"


class Gate(NamedTuple):
    """Whether the gate `failed`, and a sentence that says why, or why not."""

    failed: bool
    text: str


def gate(
    rules: Rules, old: Snapshot, changes: Sequence[Change], quote: Callable[[str], str]
) -> Gate:
    """`quote`: makes a text from data fit for the sentence. Where significance cannot be
    determined the gate does not fail, and says so.
    """
    place = f"compare.gate at {quote(old.side.label)}"
    if rules.gate not in GATES:
        return Gate(False, f"{place} is {quote(_plain(rules.gate))}: there is no gate.")
    outcomes = {change.name: change.outcome(decides(rules, changes)) for change in changes}
    released = str(old.release.get("approach", ""))
    watched = list(outcomes) if rules.gate == "any" else [released]
    if released in outcomes and outcomes[released] == "gone":
        why = f"{quote(released)}, which is released there, is gone"
        return Gate(True, f"The gate fails: {why} ({place} is {rules.gate}).")
    worse = [name for name in watched if outcomes.get(name) == "worse"]
    if worse:
        named = listed([quote(name) for name in worse])
        why = f"{named} got significantly worse"
        return Gate(True, f"The gate fails: {why} ({place} is {rules.gate}).")
    if rules.gate == "released" and released not in outcomes:
        return Gate(False, f"{place} is released, but nothing is released there.")
    unknown = [name for name in watched if outcomes.get(name) == "unknown"]
    if unknown:
        named = listed([quote(name) for name in unknown])
        why = f"for {named} significance cannot be determined"
        return Gate(False, f"{place} is {rules.gate}, but {why}: the gate does not fail.")
    return Gate(False, f"The gate passes ({place} is {rules.gate}).")


def _plain(value: object) -> str:
    return "null" if value is None else str(value)
