"""Dynamic batching of the service: studies a second with many clients of one study each, against
one client that sends them one after the other, and the share of answers that are those of
`xraygen annotate`.

    python bench/serve_vlm.py [--approach vlm-finetuned] [--studies 100] [--clients 64]

Run in the project's folder after `dvc repro`. The model runs in its process as in the service, for
new ones for each measurement; HTTP is left out. Prints one JSON line.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.core.json_lines import read_jsonl, write_jsonl
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.service import annotating
from xraygen.service.model import Model
from xraygen.service.options import Options
from xraygen.service.worker import Build


async def answered(build: Build, cases: list[Case], clients: int) -> tuple[list[bytes], float]:
    """(the answer to each case, seconds), after a case that is not counted."""
    model = Model("model", build, Options())
    await model.start()
    await model.ask(
        [cases[0].model_copy(update={"report": "Clear lungs."}).model_dump_json().encode()]
    )
    waiting = deque(enumerate(cases))
    found = [b""] * len(cases)

    async def client() -> None:
        while waiting:
            index, case = waiting.popleft()
            (found[index],) = await model.ask([case.model_dump_json().encode()])

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - start
    await model.close()
    return found, seconds


def annotated(cases: list[Case], approach: str) -> list[AnnotationRecord]:
    """By `xraygen annotate`. Paths of images are relative to the file's folder, the project's."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(f".serve_vlm.{os.getpid()}.jsonl"), Path(folder) / "annotations.jsonl"
        write_jsonl(given, cases)
        command = [sys.executable, "-m", "xraygen", "annotate", str(given)]
        command += ["--approach", approach, "--out", str(out)]
        try:
            subprocess.run(command, check=True)
        finally:
            given.unlink()
        return list(read_jsonl(out, AnnotationRecord))


def equal(found: list[bytes], records: list[AnnotationRecord]) -> float:
    """The share of the studies with the same text in every region, or none in both."""
    same = 0
    for line, record in zip(found, records, strict=True):
        regions = json.loads(line).get("regions")
        texts = regions and {region: finding["text"] for region, finding in regions.items()}
        same += texts == record.annotation
    return round(same / len(records), 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--approach", default="vlm-finetuned")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()
    settings = params.load()
    project = Project(Path.cwd(), Path.cwd(), settings.regions, settings.llm)
    build = annotating.build(settings.approaches, arguments.approach, project, None)
    studies = read_jsonl("data/prepared/test.jsonl", Study)
    cases = [study.case() for study in studies][: arguments.studies]
    records = annotated(cases, arguments.approach)
    alone, seconds_alone = asyncio.run(answered(build, cases, clients=1))
    together, seconds = asyncio.run(answered(build, cases, arguments.clients))
    result = {
        "approach": arguments.approach,
        "studies": len(cases),
        "clients": arguments.clients,
        "studies_per_second_alone": round(len(cases) / seconds_alone, 1),
        "studies_per_second_together": round(len(cases) / seconds, 1),
        "ratio": round(seconds_alone / seconds, 2),
        "equal_alone": equal(alone, records),
        "equal_together": equal(together, records),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
