"""Whether the results of a side are those of its code, data and params."""

import os
from pathlib import Path
from typing import NamedTuple

from xraygen.revisions.side import Side, WorkingTree
from xraygen.revisions.snapshot import Snapshot


class Stale(NamedTuple):
    """`again`: the stages that ran with other code, data or params. `outs`: those with outs that
    differ from dvc.lock. `unknown`: why DVC cannot tell.
    """

    again: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    unknown: str = ""


def stale(snapshot: Snapshot) -> Stale:
    """Of the working tree DVC tells it; of a revision, whose files DVC does not hash, only params
    are compared.
    """
    side = snapshot.side
    if not side.lock:
        return Stale()
    found = _status(side) if isinstance(side, WorkingTree) else None
    if found is None:
        stages = (name for name in side.lock["stages"] if _params_changed(snapshot, name))
        return Stale(again=tuple(map(str, stages)))
    if isinstance(found, str):
        return Stale(unknown=found)
    status, partial = found
    return Stale(
        again=tuple(name for name, parts in status.items() if _runs_again(parts, partial)),
        outs=tuple(name for name, parts in status.items() if _outs_differ(parts)),
    )


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
