"""The main task on the real collection: seconds to prepare and to fit, and the agreement of the
router's wording with the curators'.

    python bench/iu_xray.py ../shared/iu-xray [--answers ../shared/recorded/gpt-4o-mini_test.csv]
        [--finetune [NAME=VALUE ...] [--processes 2]]

Works in a temporary folder with the settings of params.yaml and prints one JSON line. `token_f1` is
on dev, test and test_novel. With --answers (columns id, report and any number of response_... with
a JSON object), it is also on the studies of that file, for the router and for each recorded
response. With --finetune, it is also of the small model that ships, fine-tuned with the settings of
docs/vlm.md for this collection and two cores, or with other values in JSON, with greedy answers and
with samples; the time of that is printed too. --processes: the number of training processes, with a
core each.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.router import router
from xraygen.annotators.vlm import Vlm
from xraygen.core.json_lines import read_json, write_json, write_jsonl
from xraygen.core.origin import FILE
from xraygen.core.study import Annotation, Study
from xraygen.language.text import token_f1
from xraygen.sources import prepare
from xraygen.sources.iu_xray.fetch import fetch_iu_xray
from xraygen.sources.iu_xray.read import IuXray
from xraygen.training.params import FinetuneParams

PARAMS = Path(__file__).parents[1] / "params.yaml"


def by_region(studies: list[Study], annotations: list[Annotation]) -> dict[str, float]:
    scored = params.load(PARAMS).regions.scored
    return means(
        {region: token_f1(study.reference[region], said[region]) for region in scored}
        for study, said in zip(studies, annotations, strict=True)
    )


def means(rows: Iterable[dict[str, float | None]]) -> dict[str, float]:
    """The mean of each region over the rows that have one, and the mean of these."""
    found = pd.DataFrame(rows).astype(float).mean().round(4).to_dict()
    return found | {"macro": round(sum(found.values()) / len(found), 4)}


SETTINGS = {  # docs/vlm.md, "IU X-Ray on two cores"
    "method": "full",
    "inputs": "report",
    "optimizer": "muon",
    "learning_rate": 0.0015,
    "epochs": 2,
    "recombined": 14,
    "word_swap_rate": 0.5,
    "prompt": "Quote the report by region, in JSON.",
}
STEP_TOKENS = 4096  # max_batch_tokens of all processes
SAMPLES = 16  # of the approach


def finetuned(
    settings: params.Params, splits: dict[str, list[Study]], changes: list[str], processes: int
) -> dict:
    changed = {
        name: json.loads(value) for name, _, value in (text.partition("=") for text in changes)
    }
    share = {"processes": processes, "max_batch_tokens": STEP_TOKENS // processes}
    values = SETTINGS | share | changed
    tuning = FinetuneParams.model_validate(settings.finetune.model_dump() | values)
    project = Path(__file__).parents[1].resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        root = Path(folder)
        shutil.copytree(project / tuning.base, root / tuning.base)
        for split in ("train", "dev"):
            write_jsonl(f"data/prepared/{split}.jsonl", splits[split])
        facts = prepare.origin(IuXray(None, settings.regions), settings.data)
        write_json(FILE, facts.model_dump())
        written = settings.model_copy(update={"finetune": tuning}).model_dump_json()
        Path("params.yaml").write_text(written, encoding="utf-8")  # JSON is YAML, too
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "stages.finetune"],
            env=os.environ | {"PYTHONPATH": str(project)},
            stdout=sys.stderr,
            check=True,
        )
        result = {
            "settings": values,
            "processes": processes,
            "finetune_seconds": round(time.perf_counter() - start, 1),
        }
        for name, samples in (("greedy", 0), (f"{SAMPLES} samples", SAMPLES)):
            approach = settings.approaches["vlm-finetuned"].model_copy(update={"samples": samples})
            annotate = Vlm(approach, Project(root, root, settings.regions, settings.llm))
            start = time.perf_counter()
            records = [
                list(annotate(study.case() for study in splits[split])) for split in ("dev", "test")
            ]
            result[name] = {"annotate_seconds": round(time.perf_counter() - start, 1)}
            for split, made in zip(("dev", "test"), records, strict=True):
                blank = settings.regions.annotation({})
                said = [record.annotation or blank for record in made]
                failed = sum(record.annotation is None for record in made)
                result[name][split] = by_region(splits[split], said) | {"failed": failed}
        return result | {
            name: read_json(Path(f"metrics/{name}.json")) for name in ("finetune", "finetune_speed")
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--finetune", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    settings = params.load(PARAMS)
    settings = settings.model_copy(
        update={"data": settings.data.model_copy(update={"source": "iu-xray"})}
    )

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fetch_iu_xray(root / "raw", arguments.source)
        start = time.perf_counter()
        source = IuXray(None, settings.regions)
        studies, incidents = source.read(root / "raw", root / "images", root)
        splits = prepare.split(studies, settings.data.seed, settings.data.dev_share)
        data = prepare.describe("iu-xray", splits, incidents)
        curated = [study for members in splits.values() for study in members]
        repeated = prepare.agreement(splits["test"], curated, None, settings.regions.scored)
        agreement = means(one.curators for one in repeated if one.curators)
        prepared = time.perf_counter() - start

    start = time.perf_counter()
    model = router.fit(splits["train"], settings.fit_router, settings.regions)
    fitted = time.perf_counter() - start

    sets = {
        "dev": splits["dev"],
        "test": splits["test"],
        "test_novel": [study for study in splits["test"] if study.novel],
    }
    wordings = ("learned", "verbatim")
    result = {
        "studies": {name: len(members) for name, members in splits.items()},
        "prepare_seconds": round(prepared, 2),
        "fit_seconds": round(fitted, 2),
        "agreement_of_curators": agreement,
        "excluded": data["excluded"],
        "repaired": data["repaired"],
        "token_f1": {
            wording: {
                name: by_region(group, [model.annotate(study.report, wording) for study in group])
                for name, group in sets.items()
            }
            for wording in wordings
        },
    }
    if arguments.finetune is not None:
        result["finetuned"] = finetuned(settings, splits, arguments.finetune, arguments.processes)
    if arguments.answers:
        with arguments.answers.open(encoding="utf-8", newline="") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
        shared = [study for study in splits["test"] if study.id in rows]
        result["recorded"] = {
            "studies": len(shared),
            "router": by_region(shared, [model.annotate(s.report) for s in shared]),
        }
        for column in (name for name in next(iter(rows.values())) if name.startswith("response")):
            answers = [
                settings.regions.annotation(json.loads(rows[study.id][column])) for study in shared
            ]
            result["recorded"][column] = by_region(shared, answers)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
