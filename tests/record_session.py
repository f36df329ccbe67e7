"""The session that docs/experiments.md shows, recorded by running its commands in a small project.

    python tests/record_session.py      rewrites it in docs/experiments.md, in a minute

The project is a clone of the working tree with the two routers alone and few, small studies.
`tests/test_graph.py` runs the same commands in such a project, and holds what they print against
docs/experiments.md.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- session -->\n", "<!-- /session -->"
KEPT = ("router", "router-verbatim")
COMMANDS = (
    'dvc exp run -S fit_router.silence_price=0.5 -n talkative | grep -i "stage \'"',
    "dvc metrics diff HEAD",
    "dvc plots diff HEAD",
    "dvc exp show --drop '.*' --keep 'Experiment|.*router.json:test.macro.score|"
    "fit_router.silence_price'",
)


def leave_two_routers(folder: Path) -> None:
    """Take every other approach out of the project in `folder`; run the rest and commit it."""
    from test_graph import dvc, run

    params = yaml.safe_load((folder / "params.yaml").read_text())
    take_out(folder, params["approaches"].keys() - set(KEPT))
    dvc(folder, "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "two routers")


def take_out(folder: Path, names: Collection[str]) -> None:
    """Take approaches out of the project in `folder`, with what they left. DVC would carry their
    entries in dvc.lock along, and read them at each stage.
    """
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for name in names:
        del params["approaches"][name]
        for kept in ("data/annotations", "data/judgements"):
            shutil.rmtree(folder / kept / name, ignore_errors=True)
        for kept in ("metrics/scores", "metrics/usage"):
            (folder / kept / f"{name}.json").unlink(missing_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    if (folder / "dvc.lock").exists():
        lock = yaml.safe_load((folder / "dvc.lock").read_text())
        for stage in list(lock["stages"]):
            if stage.partition("@")[2] in names:
                del lock["stages"][stage]
        (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def record(folder: Path) -> str:
    """The commands and what each prints to standard output, as in docs/experiments.md, where the
    project is in /home/you/xraygen.
    """
    import subprocess

    import forked
    from test_graph import ENVIRONMENT

    # `dvc metrics diff` lists files in the order of a set of their names, which the seed decides.
    environment = ENVIRONMENT | {"PYTHONHASHSEED": "0", "PATH": forked.path()}
    shown = []
    for command in COMMANDS:
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        printed = done.stdout.replace(str(folder), "/home/you/xraygen").splitlines()
        shown.append("\n".join([f"$ {command}", *map(str.rstrip, printed)]).rstrip())
    return "```\n" + "\n\n".join(shown) + "\n```\n"


def session(page: str) -> str:
    """What stands between the marks."""
    return page.split(BEGIN, 1)[1].split(END, 1)[0]


def timeless(shown: str) -> str:
    """Without what is another one on every run: the first digits of an experiment's commit."""
    return re.sub(r"\b[0-9a-f]{7}\b", "0000000", shown)


def main() -> None:
    sys.path.append(str(ROOT))  # recipes, which the tests' fixtures import
    from test_graph import small_project

    with tempfile.TemporaryDirectory() as folder:
        project = small_project(ROOT, Path(folder))
        leave_two_routers(project)
        recorded = record(project)
    page = (ROOT / "docs/experiments.md").read_text()
    (ROOT / "docs/experiments.md").write_text(page.replace(session(page), recorded))
    print(recorded, file=sys.stderr)


if __name__ == "__main__":
    main()
