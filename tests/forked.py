"""Starts a module as `python -m` does, in a process forked from one that has imported the slow
libraries: in .1 s, not 7.

process = forked.start("stages.evaluate", "router", cwd=folder)     # a multiprocessing.Process, to
be killed like any other

It leads its own session. Hash seed and environment are those of the first call; variables that are
given are added to the latter.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["green_score", "peft", "xraygen.training.finetune", "xraygen.training.trainer"]
)


def start(
    module: str, *arguments: str, cwd: Path, variables: Mapping[str, str] | None = None
) -> multiprocessing.Process:
    process = CONTEXT.Process(
        target=_run, args=(module, arguments, str(cwd), dict(variables or {}))
    )
    process.start()
    return process


def _run(module: str, arguments: tuple[str, ...], cwd: str, variables: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = [module, *arguments]
    sys.path.insert(0, cwd)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
