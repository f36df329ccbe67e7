"""Two sides of a project and what differs between them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.study import Measure
from xraygen.revisions import settings
from xraygen.revisions.approaches import Change, changes
from xraygen.revisions.rules import Rules, decides, rules_of
from xraygen.revisions.side import Revision, WorkingTree
from xraygen.revisions.snapshot import Snapshot
from xraygen.revisions.stale import Stale, stale


@dataclass(frozen=True)
class Difference:
    """`measure`: what decides about better and worse. `stale`: for each side, what of it is out of
    date.
    """

    old: Snapshot
    new: Snapshot
    rules: Rules
    changes: tuple[Change, ...]
    measure: Measure
    stale: tuple[tuple[Snapshot, Stale], ...]

    def with_outcome(self, *outcomes: str) -> list[Change]:
        return [change for change in self.changes if change.outcome(self.measure) in outcomes]

    @cached_property
    def settings(self) -> list[list[str]]:
        """`settings.changed`; nothing where params.yaml cannot be read on one side."""
        if not self.old.params or not self.new.params:
            return []
        return settings.changed(self.old.params, self.new.params)


def difference(root: Path, old: str, new: str | None) -> Difference:
    """The project in `root` at the revision `old` against that at `new`, or in the working tree.

    UserError: no git repository, an unknown revision, or no project in the working tree.
    """
    before = Snapshot(Revision(root, old))
    after = Snapshot(WorkingTree(root) if new is None else Revision(root, new))
    if new is None and after.side.read("params.yaml") is None:
        raise UserError("params.yaml: not found; run this in the project's folder")
    rules = rules_of(before, after)
    found = tuple(changes(before, after, rules.compare))
    outdated = tuple((side, stale(side)) for side in (before, after))
    return Difference(before, after, rules, found, decides(rules, found), outdated)
