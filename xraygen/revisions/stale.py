"""Whether the results of a side are those of its code, data and params."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from xraygen.revisions.side import Side, WorkingTree
from xraygen.revisions.snapshot import Snapshot


class Stale(NamedTuple):
    """The stages that ran with other code, data or params: `again`, those that a comparison rests
    on, and `later`, the others. `outs`: those with outs that differ from dvc.lock. `unknown`: why
    DVC cannot tell.
    """

    again: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    unknown: str = ""


def stale(snapshot: Snapshot) -> Stale:
    """Of the working tree DVC tells it; of a revision, whose files DVC does not hash, only params
    are compared. Nothing where dvc.lock or params.yaml cannot be read, which is said elsewhere.
    """
    side = snapshot.side
    if not side.lock or not snapshot.params:
        return Stale()
    found = _status(side) if isinstance(side, WorkingTree) else None
    if found is None:
        stages = side.lock["stages"]
        return _sorted(side, [str(name) for name in stages if _params_changed(snapshot, name)])
    if isinstance(found, str):
        return Stale(unknown=found)
    status, partial = found
    again = [name for name, parts in status.items() if _runs_again(parts, partial)]
    outs = tuple(name for name, parts in status.items() if _outs_differ(parts))
    return _sorted(side, again)._replace(outs=outs)


def _sorted(side: Side, again: Sequence[str]) -> Stale:
    """Stages that run again, by whether scores and their comparison come from them."""
    needed = _needed(side)
    # What a .dvc file imports comes from no stage and may be anybody's input.
    needs = [name in needed or _compares(name) or name.endswith(".dvc") for name in again]
    return Stale(
        again=tuple(name for name, need in zip(again, needs, strict=True) if need),
        later=tuple(name for name, need in zip(again, needs, strict=True) if not need),
    )


def _compares(stage: str) -> bool:
    return stage.partition("@")[0] in ("evaluate", "compare")


def _needed(side: Side) -> set[str]:
    """The stages in dvc.lock that the comparing ones depend on."""
    stages = {str(name): content for name, content in side.lock["stages"].items()}
    outs = [(path, name) for name, content in stages.items() for path in _paths(content, "outs")]
    needed: set[str] = set()
    waiting = [name for name in stages if _compares(name)]
    while waiting:
        deps = _paths(stages[waiting.pop()], "deps")
        found = {name for path, name in outs if any(_overlap(path, dep) for dep in deps)} - needed
        needed |= found
        waiting += found
    return needed


def _paths(stage: object, kind: str) -> list[PurePosixPath]:
    entries = stage.get(kind) if isinstance(stage, dict) else None
    if not isinstance(entries, list):
        return []
    found = (entry.get("path") for entry in entries if isinstance(entry, dict))
    return [PurePosixPath(path) for path in found if isinstance(path, str)]


def _overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _status(side: Side) -> tuple[dict, set[Path]] | str | None:
    """What `dvc status` finds, and the folders of which a part was not pulled; or why it finds
    nothing; None where DVC is not installed.
    """
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ImportError:
        return None
    try:
        with Repo(str(side.root)) as repo:
            absent = [
                Path(out.fs_path)
                for out in repo.index.outs
                if out.use_cache and out.hash_info and not out.exists
            ]
            return repo.status(), {parent for path in absent for parent in path.parents}
    except DvcException as error:
        return " ".join(str(error).split())


def _runs_again(parts: list, partial: set[Path]) -> bool:
    """Whether a command, or a dependency that is there as a whole, differs from dvc.lock. What is
    not there was not pulled, and a folder without a part of it looks modified to DVC.
    """
    if "changed command" in parts:
        return True
    return any(
        isinstance(kind, dict)
        or kind == "new"
        or (kind == "modified" and Path(os.path.abspath(path)) not in partial)
        for part in parts
        if isinstance(part, dict)
        for path, kind in part.get("changed deps", {}).items()
    )


def _outs_differ(parts: list) -> bool:
    return any(
        "modified" in part.get("changed outs", {}).values()
        for part in parts
        if isinstance(part, dict)
    )


def _params_changed(snapshot: Snapshot, stage: str) -> bool:
    content = snapshot.side.lock["stages"][stage]
    params = content.get("params") if isinstance(content, dict) else None
    recorded = params.get("params.yaml") if isinstance(params, dict) else None
    if not isinstance(recorded, dict) or not snapshot.params:
        return False
    return any(_differs(snapshot.params, str(key), value) for key, value in recorded.items())


def _differs(params: dict, key: str, recorded: object) -> bool:
    """Whether a key has another value now. dvc.lock keeps the stages of approaches that are gone,
    so a key that is not there says nothing.
    """
    found: object = params
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return found != recorded
