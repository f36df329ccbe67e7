"""`xraygen annotate --ray` against one process: rate, memory, cost curve, cases that cannot be
annotated, and processes that are killed.

    python -m bench.scale [--only router,curve,poison,killed] [--cases N] [--minutes 20]

Run in the project's folder after `dvc repro`; takes ray[data]. Prints a JSON line for each
measurement when it is there; `python -m bench.scale_table LINES` makes a table of them. Files are
written to a temporary folder (--folder): 3 GB of cases and 20 GB of annotations for ten million.

router  1,000,000 cases: one process, then Ray on this machine. `seconds` include start-up and end;
        `ratio` is of them. `identical`: the parts in order have the bytes of the one file.
curve   10^3 to 10^7 cases: one process, Ray on this machine, and two local nodes with half of the
        cores each. A run that takes longer than --minutes is stopped, and `cases` are those done.
poison  100 lines among 100,000 that cannot be read, and as many that only look so; then 100 cases
        for which an approach raises, and --killers that end its process.
killed  200,000 cases: one of two nodes is killed half-way; then the driver is, and the command run
        again. `repeated`: shards begun more than once.

Cases are put together from generated reports: scale_cases.py. `driver_mib`: peak resident memory of
the command's own process; `all_mib`: of all processes, where shared pages count once.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import scale_cases
from bench.measured_run import ROOT, Run, adopt_orphans, annotate, end_descendants
from bench.running_service import cpu_name
from xraygen.core.errors import one_line

CORES = len(os.sched_getaffinity(0))
_STORE = 200 * 2**20  # bytes of the object store of a local node
_PLUGIN = '''
"""Annotates each region with nothing, and fails where the report says so."""

import os

from xraygen.annotators.base import Annotator
from xraygen.core.study import AnnotationRecord


class Failing(Annotator):
    def __call__(self, cases):
        for case in cases:
            if case.report.startswith("RAISES"):
                raise ValueError("as it should")
            if case.report.startswith("ENDS"):
                os._exit(139)
            yield AnnotationRecord(id=case.id, annotation={})
'''


def say(what: str, **found: object) -> None:
    print(json.dumps({"what": what, **found}), flush=True)


def parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.jsonl"))


def digest(files: Sequence[Path]) -> str:
    """Of the contents, one after the other."""
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
    return found.hexdigest()


def lines_in(out: Path) -> int:
    """Records in a folder, those under temporary names included."""
    count = 0
    for path in out.iterdir():
        # One under a temporary name may have been renamed or removed by now.
        with contextlib.suppress(FileNotFoundError):
            if "jsonl" not in path.name:
                continue
            with path.open("rb") as file:
                while block := file.read(2**20):
                    count += block.count(b"\n")
    return count


@contextlib.contextmanager
def two_nodes(cores: int = max(1, CORES // 2)) -> Iterator[tuple[str, object]]:
    """(address, cluster) of two nodes on this machine; the second one is `worker_nodes`."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": cores, "object_store_memory": _STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        cluster.add_node(**{k: v for k, v in settings.items() if k != "include_dashboard"})
        yield cluster.address, cluster
    finally:
        cluster.shutdown()


def router(folder: Path, cases: int, limit: float) -> None:
    source = folder / "cases.jsonl"
    scale_cases.write(source, cases)
    one = annotate(source, folder / "one", limit)
    say("router", how="one process", cases=cases, **one.described(cases), **one.by_tenths(cases))
    ray = annotate(source, folder / "ray", limit, ())
    say("router", how="ray", cases=cases, **ray.described(cases), **ray.by_tenths(cases))
    if one.ended != 0 or ray.ended != 0:
        return
    identical = digest([folder / "one/annotations.jsonl"]) == digest(parts(folder / "ray"))
    ratio = round(one.seconds / ray.seconds, 2)
    steady = [run.described(cases).get("steady_per_second") for run in (one, ray)]
    steady_ratio = round(steady[1] / steady[0], 2) if all(steady) else None
    say(
        "router ratio",
        cases=cases,
        ratio=ratio,
        steady_ratio=steady_ratio,
        identical=identical,
        driver_mib=ray.described(cases)["driver_mib"],
    )


def curve(folder: Path, largest: int, limit: float) -> None:
    sizes = [10**power for power in range(3, 8) if 10**power <= largest]
    stopped: set[str] = set()
    for cases in sizes:
        source = folder / f"cases-{cases}.jsonl"
        size = scale_cases.write(source, cases)
        for how in ("one process", "ray", "two nodes"):
            if how in stopped:
                continue
            out = folder / "out"
            with contextlib.ExitStack() as stack:
                address = stack.enter_context(two_nodes())[0] if how == "two nodes" else None
                ray = None if how == "one process" else [address] if address else []
                run = annotate(source, out, limit, ray)
            done = cases if run.ended == 0 else lines_in(out)
            if run.ended != 0:  # a larger one would not get further
                stopped.add(how)
            say(
                "curve",
                how=how,
                cases=done,
                of=cases,
                input_mib=round(size / 2**20),
                **run.described(done),
                **(run.by_tenths(done) if cases >= 10**5 else {}),
            )
            shutil.rmtree(out)
            end_descendants()  # what Ray leaves would count as memory of the next one
        source.unlink()


def failures(files: Sequence[Path]) -> tuple[int, dict[str, str]]:
    """(records, {id of a failed one: why})"""
    count, failed = 0, {}
    for path in files:
        with path.open(encoding="utf-8") as file:
            for line in file:
                count += 1
                if '"annotation":null' in line:
                    record = json.loads(line)
                    failed[record["id"]] = record["error"]
    return count, failed


def poison(folder: Path, cases: int, limit: float, killers: int) -> None:
    source = folder / "poisoned.jsonl"
    poisons = max(1, cases // 1000)
    failing = scale_cases.write_poisoned(source, cases, poisons)
    run = annotate(source, folder / "poisoned", limit, ())
    count, failed = failures(parts(folder / "poisoned"))
    not_failed = Counter(one.kind for one in failing if not one.is_named(failed))
    say(
        "poison",
        how="lines that cannot be read",
        cases=cases,
        records=count,
        expected_failures=len(failing),
        failed=len(failed),
        exactly_these=not not_failed and len(failed) == len(failing) and count == cases,
        not_failed=not_failed,
        harmless=poisons,
        reasons=Counter(_reason(error) for error in failed.values()).most_common(15),
        **run.described(cases),
    )
    project = _project_with_plugin(folder / "project")
    for how, count, word in (("raises", poisons, "RAISES"), ("ends its process", killers, "ENDS")):
        drawn = random.Random(2).sample(range(cases), count)
        source, out = folder / f"{word}.jsonl", folder / word
        scale_cases.write_marked(source, cases, dict.fromkeys(drawn, word))
        run = annotate(source, out, limit, (), approach="failing", project=project)
        records, failed = failures(parts(out))
        say(
            "poison",
            how=f"an approach that {how}",
            cases=cases,
            records=records,
            expected_failures=len(drawn),
            failed=len(failed),
            exactly_these=failed.keys() == set(map(scale_cases.name, drawn)) and records == cases,
            reasons=Counter(_reason(error) for error in failed.values()).most_common(5),
            **run.described(cases),
        )


def _reason(error: str | None) -> str:
    """Without the numbers in it."""
    return "".join("0" if letter.isdigit() else letter for letter in error or "")[:80]


def _project_with_plugin(project: Path) -> Path:
    """A project with an approach that fails where the report says so."""
    import yaml

    (project / "plugins").mkdir(parents=True)
    (project / "failing_approach.py").write_text(_PLUGIN)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings = {"annotator": "failing_approach:Failing", "reads": "plugins"}
    content["approaches"] = {"failing": settings}
    (project / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return project


class Watch:
    """Which shards are begun, by the names of files that appear in the folder of results."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.begun: Counter[str] = Counter()
        self.present: set[str] = set()

    def look(self) -> None:
        names = {name for name in os.listdir(self.out) if name.startswith(".part-")}
        self.begun.update(name.split(".")[1] for name in names - self.present)
        self.present = names

    def finished(self) -> dict[str, tuple[int, int]]:
        """{part: its inode and time}"""
        stats = {path.name: path.stat() for path in parts(self.out)}
        return {name: (one.st_ino, one.st_mtime_ns) for name, one in stats.items()}

    def described(self) -> dict:
        again = {name: times for name, times in self.begun.items() if times > 1}
        return {"shards": len(self.finished()), "repeated": len(again)}


def killed(folder: Path, cases: int, limit: float) -> None:
    source = folder / "cases.jsonl"
    size = scale_cases.write(source, cases)
    one = annotate(source, folder / "one", limit)
    if one.ended != 0:
        raise RuntimeError(f"one process: {one.ended}: {one.errors}")
    wanted = digest([folder / "one/annotations.jsonl"])
    half = max(1, size // 2**20 // 2)  # of the shards, which are 1 MiB
    _kill_node(source, folder / "node", cases, limit, half, wanted)
    _kill_driver(source, folder / "driver", cases, limit, half, wanted)


def _kill_node(source: Path, out: Path, cases: int, limit: float, half: int, wanted: str) -> None:
    out.mkdir()
    watch = Watch(out)
    with two_nodes() as (address, cluster):
        at = None

        def meanwhile(process: object) -> None:
            nonlocal at
            watch.look()
            if at is None and len(parts(out)) >= half:
                at = watch.finished()
                cluster.remove_node(list(cluster.worker_nodes)[0], allow_graceful=False)

        run = annotate(source, out, limit, [address], meanwhile=meanwhile)
    _say_killed("a node", run, watch, at, cases, wanted)


def _kill_driver(source: Path, out: Path, cases: int, limit: float, half: int, wanted: str) -> None:
    out.mkdir()
    watch = Watch(out)
    at = None

    def meanwhile(process) -> None:
        nonlocal at
        watch.look()
        if at is None and len(parts(out)) >= half:
            process.kill()

    first = annotate(source, out, limit, (), meanwhile=meanwhile)
    at = watch.finished()
    say("killed", how="the driver, first run", cases=cases, finished=len(at), seconds=first.seconds)
    again = annotate(source, out, limit, (), meanwhile=lambda process: watch.look())
    _say_killed("the driver, run again", again, watch, at, cases, wanted)


def _say_killed(how: str, run: Run, watch: Watch, at: dict | None, cases: int, wanted: str) -> None:
    """`at`: the parts that were there when something was killed."""
    finished = watch.finished()
    say(
        "killed",
        how=how,
        cases=cases,
        **watch.described(),
        finished_when_killed=len(at or {}),
        written_again=sum(finished.get(name) != one for name, one in (at or {}).items()),
        left_over=sorted(name for name in os.listdir(watch.out) if name.startswith("."))[:5],
        identical=digest(parts(watch.out)) == wanted,
        **run.described(cases),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="router,poison,killed,curve")
    parser.add_argument("--cases", type=int, help="of each measurement; of curve, the most")
    parser.add_argument("--minutes", type=float, default=20, help="of one run, at most")
    parser.add_argument("--killers", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="for temporary files")
    arguments = parser.parse_args()
    limit = arguments.minutes * 60
    # (what, cases by default, further arguments)
    measurements = {
        "router": (router, 1_000_000, ()),
        "poison": (poison, 100_000, (arguments.killers,)),
        "killed": (killed, 200_000, ()),
        "curve": (curve, 10_000_000, ()),
    }
    adopt_orphans()
    say("machine", cpu=cpu_name(), date=time.strftime("%Y-%m-%d"), python=sys.version.split()[0])
    for only in arguments.only.split(","):
        measure, cases, more = measurements[only]
        try:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                measure(Path(folder), arguments.cases or cases, limit, *more)
        except Exception as error:  # the others are measured all the same
            say(only, error=f"{type(error).__name__}: {error}"[:500])
        finally:
            end_descendants()


if __name__ == "__main__":
    with one_line():
        main()
