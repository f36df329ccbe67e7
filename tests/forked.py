"""Processes forked from one that has imported the slow libraries (preloaded.py): in .1 s, not up
to 7.

    process = forked.start("stages.evaluate", "router", cwd=folder)

is a multiprocessing.Process, to be killed like any other; it leads its own session.

    subprocess.run(["dvc", "repro"], cwd=folder, env=os.environ | {"PATH": forked.path()})

forks `dvc`, and each `python -m` of its stages. They have the environment that they are given, but
for the hash seed, which a process cannot change: all forked ones have the same, and a `dvc` that is
given one is not forked. Where the folder they run in has its own xraygen, they import that.
"""

import atexit
import functools
import json
import multiprocessing
import os
import runpy
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["preloaded"])
# The `python` and `dvc` of path() pass on arguments, folder, environment and open files.
_CLIENT = """\
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(call).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(call)
    status = int(server.makefile().read())
sys.exit(status if status >= 0 else 128 - status)
"""


def start(
    module: str,
    *arguments: str,
    cwd: Path,
    variables: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> multiprocessing.Process:
    """`variables`: of the environment, in addition. `output`: a file for what the module prints to
    either stream; None = the streams of the tests.
    """
    command = ["python", "-m", module, *arguments]
    environment = os.environ | dict(variables or {})
    if output is None:
        return _started(command, str(cwd), environment, [0, 1, 2])
    with output.open("wb") as file:
        return _started(command, str(cwd), environment, [0, file.fileno(), file.fileno()])


@functools.cache
def path() -> str:
    """The variable PATH, with a `python` and a `dvc` in front that are forked."""
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    listening.listen()
    threading.Thread(target=_serve, args=(listening,), daemon=True).start()
    (folder / "client.py").write_text(_CLIENT.format(address=str(folder / "socket")))
    real = Path(sys.executable).parent
    client = f'exec "{sys.executable}" -IS "{folder}/client.py"'
    seeded = f'test -z "$PYTHONHASHSEED" || exec "{real}/dvc" "$@"\n'
    for name, first in {"python": "", "dvc": seeded}.items():
        (folder / name).write_text(f'#!/bin/sh\n{first}{client} {name} "$@"\n')
        (folder / name).chmod(0o755)
    return os.pathsep.join([str(folder), str(real), os.environ["PATH"]])


def _serve(listening: socket.socket) -> None:
    while True:
        client, _ = listening.accept()
        threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    with client:
        length, files, _, _ = socket.recv_fds(client, 8, 3)
        with client.makefile("rb") as stream:
            call = json.loads(stream.read(int.from_bytes(length, "big")))
        process = _started(*call, files)
        for file in files:
            os.close(file)
        process.join()
        client.sendall(str(process.exitcode).encode())


def _started(
    command: list[str], cwd: str, environment: Mapping[str, str], files: Sequence[int]
) -> multiprocessing.Process:
    """`files`: what is to be its standard input, output and error."""
    if not forkserver._forkserver._forkserver_pid:
        with pytest.MonkeyPatch.context() as patch:  # so that it finds preloaded.py
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
            forkserver.ensure_running()
    given = (command, cwd, dict(environment), [_Open(file) for file in files])
    process = CONTEXT.Process(target=_run, args=given)
    process.start()
    return process


class _Open:
    """An open file on its way into a process, where it is the number of its duplicate."""

    def __init__(self, file: int) -> None:
        self.file = file

    def __reduce__(self):
        return _detached, (DupFd(self.file),)


def _detached(duplicate) -> int:
    return duplicate.detach()


def _run(command: list[str], cwd: str, environment: dict[str, str], files: list[int]) -> None:
    os.setsid()
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if Path("xraygen").is_dir():
        for name in [name for name in sys.modules if name.partition(".")[0] == "xraygen"]:
            del sys.modules[name]
    if command[0] == "dvc":
        from dvc.cli import main

        sys.argv = command
        sys.exit(main(command[1:]))
    _, option, module, *arguments = command
    assert option == "-m", command
    sys.argv = [module, *arguments]
    sys.path.insert(0, cwd)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
