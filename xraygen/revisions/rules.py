"""By which rules two sides are compared: those of the old side, so that nobody loosens the rules by
oversight. They are no defence against malice: the code that compares is that of the new side.
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

GATES: tuple[str, ...] = get_args(get_args(CompareParams.model_fields["gate"].annotation)[0])
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
    """Whether the gate `failed`, and a sentence that says why, or why not. `known`: False where
    `compare.gate` has a value that no rule has; then the gate fails.
    """

    failed: bool
    text: str
    known: bool = True


def gate(
    rules: Rules, old: Snapshot, changes: Sequence[Change], quote: Callable[[str], str]
) -> Gate:
    """`quote`: makes a text from data fit for the sentence. Where it cannot be determined whether
    an approach got worse, the gate does not fail, and says so.
    """
    place = f"compare.gate at {quote(old.side.label)}"
    if rules.gate is None:
        return Gate(False, f"{place} is {quote('null')}: there is no gate.")
    if rules.gate not in GATES:
        known = ", ".join(("null", *GATES))
        text = f"{place} is {quote(str(rules.gate))}, which is no gate; there are: {known}."
        return Gate(True, text, known=False)
    measure = decides(rules, changes)
    outcomes = {change.name: change.outcome(measure) for change in changes}
    released = str(old.release.get("approach", ""))
    if released in outcomes and outcomes[released] == "gone":
        why = f"{quote(released)}, which is released there, is gone"
        return Gate(True, f"The gate fails: {why} ({place} is {rules.gate}).")
    watched = [change for change in changes if rules.gate == "any" or change.name == released]
    worse = [change.name for change in watched if outcomes[change.name] == "worse"]
    if worse:
        named = listed([quote(name) for name in worse])
        why = f"{named} got significantly worse"
        return Gate(True, f"The gate fails: {why} ({place} is {rules.gate}).")
    if rules.gate == "released" and released not in outcomes:
        return Gate(False, f"{place} is released, but nothing is released there.")
    groups: dict[str, list[str]] = {}
    for change in watched:
        if why := _undetermined(change, measure):
            groups.setdefault(why, []).append(quote(change.name))
    if groups:
        why = "; ".join(f"for {listed(names)} {reason}" for reason, names in groups.items())
        return Gate(False, f"{place} is {rules.gate}, but {why}: the gate does not fail.")
    return Gate(False, f"The gate passes ({place} is {rules.gate}).")


def _undetermined(change: Change, measure: Measure) -> str:
    """Why nobody can tell whether an approach got worse; "" where it can be told."""
    if change.outcome(measure) == "unknown":
        return "significance cannot be determined"
    yardstick = change.yardstick
    if yardstick is not None and yardstick.answers and yardstick.of_pairs:
        return "the yardstick changed, so whether the answers got worse cannot be determined"
    if measure in change.tested and change.tested[measure].too_few:
        return "too few studies are on both sides, so significance cannot be determined"
    return ""
