"""Writes requirements/*.txt: what the images install, at the versions of constraints.txt, with the
hashes of every file that the index has of each.

    make lock

torch for CPUs is listed alone, because it comes from PyTorch's own index. Where uv cannot reach
that, it takes what is in pip's find-links.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "requirements"
EXTRAS = ("pipeline", "vlm", "llm", "green", "dicom", "parquet", "serve")
# As `make green` has it: its own requirements are of another time.
GREEN = "green-score==0.0.12"
HEADER = "# Written by: make lock\n"

_PINNED = ("-c", "constraints.txt")
_PROJECT = ("pyproject.toml", *(word for extra in EXTRAS for word in ("--extra", extra)))
_ALONE = ("--no-deps", "-")


def main() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    green = _compile(*_ALONE, python="3.13", given=GREEN)
    torch, cpu = _split(_compile(*_PINNED, *_cpu_torch(), *_PROJECT))
    locks = {
        "build": _compile(*_ALONE, given="\n".join(build["requires"])),
        "router": _compile(*_PINNED, f"{FOLDER}/router.in"),
        "torch-cpu": torch,
        "cpu": cpu + green,
        "cuda": _compile(*_PINNED, *_PROJECT, "--extra", "qlora") + green,
    }
    for name, lock in locks.items():
        (ROOT / FOLDER / f"{name}.txt").write_text(HEADER + lock, encoding="utf-8")


def _cpu_torch() -> tuple[str, ...]:
    """The options with which uv finds torch for CPUs."""
    backend = ("--torch-backend", "cpu")
    try:
        _compile(*_PINNED, *backend, *_ALONE, given="torch")
    except subprocess.CalledProcessError:
        pip = (sys.executable, "-m", "pip", "config", "get", "global.find-links")
        found = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
        return tuple(word for place in found.split() for word in ("--find-links", place))
    return backend


def _split(lock: str) -> tuple[str, str]:
    """torch and everything else. A package's lines are its version and, indented, its hashes."""
    found = re.search(r"^torch==.*\n(?: .*\n)+", lock, re.MULTILINE)
    assert found, "torch has no hash"
    return found.group(), lock.replace(found.group(), "")


def _compile(*options: str, given: str = "", python: str = "3.11") -> str:
    """What `uv pip compile` prints. CalledProcessError: it failed, and has said why."""
    command = ("uv", "pip", "compile", "-q", "--generate-hashes", "--no-header", "--no-annotate")
    platform = ("--python-version", python, "--python-platform", "x86_64-manylinux_2_28")
    environment = {key: value for key, value in os.environ.items() if key != "UV_TORCH_BACKEND"}
    environment |= {"UV_HTTP_RETRIES": "1", "UV_HTTP_CONNECT_TIMEOUT": "4"}
    return subprocess.run(
        (*command, *platform, *options),
        check=True,
        cwd=ROOT,
        env=environment,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


if __name__ == "__main__":
    main()
