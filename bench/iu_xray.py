"""The main job on the real collection: seconds to prepare and to fit, and how near the router's words come to the curators'.

    python bench/iu_xray.py ../shared/iu-xray [--answers ../shared/recorded/gpt-4o-mini_test.csv] [--finetune [NAME=VALUE ...]]

Works in a temporary folder with the settings of params.yaml and prints one JSON line. `token_f1` is on dev, test and test_novel;
with --answers (columns id, report and any number of response_... with a JSON object), also on the studies of that file, for the
router and for each recorded response; with --finetune, also for the small model that ships, fine-tuned with the settings of docs/vlm.md
for this collection and two cores, other values in JSON, with greedy answers and with samples, and how long that took.
"""

import argparse
import contextlib
import csv
import json
import tempfile
import time
from pathlib import Path

from xraygen import params, prepare
from xraygen.annotators import router
from xraygen.annotators.vlm import Vlm
from xraygen.fetch import fetch_iu_xray
from xraygen.study import SCORED_REGIONS, Annotation, Study
from xraygen.text import token_f1
from xraygen.vlm.finetune import FinetuneParams, finetune


def by_region(studies: list[Study], annotations: list[Annotation]) -> dict[str, float]:
    means = {}
    for region in SCORED_REGIONS:
        scores = [token_f1(study.reference[region], said[region]) for study, said in zip(studies, annotations, strict=True)]
        scored = [score for score in scores if score is not None]
        means[region] = round(sum(scored) / len(scored), 4)
    return means | {"macro": round(sum(means.values()) / len(means), 4)}


SETTINGS = {  # docs/vlm.md, "IU X-Ray on two cores"
    "method": "full",
    "inputs": "report",
    "optimiser": "muon",
    "rate": 0.0015,
    "epochs": 2,
    "batch_tokens": 4096,
    "recombined": 12,
    "swaps": 0.5,
    "prompt": "Quote the report by region, in JSON.",
}
SAMPLES = 16  # of the approach


def finetuned(settings: params.Params, splits: dict[str, list[Study]], changes: list[str]) -> dict:
    values = {name: json.loads(value) for name, _, value in (text.partition("=") for text in changes)}
    tuning = FinetuneParams.model_validate(settings.finetune.model_dump() | SETTINGS | values)
    base = Path(__file__).parents[1] / tuning.base
    shown = {"inputs": tuning.inputs, "prompt": tuning.prompt}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        root = Path(folder)
        start = time.perf_counter()
        told = finetune(tuning.model_copy(update={"base": str(base)}), splits["train"], splits["dev"], root, root / "out", root / "curves")
        tuned = time.perf_counter() - start
        result = {"settings": SETTINGS | values, "finetune_seconds": round(tuned, 1)}
        for name, samples in (("greedy", 0), (f"{SAMPLES} samples", SAMPLES)):
            approach = settings.approach("vlm-finetuned").model_copy(update=shown | {"samples": samples})
            annotate = Vlm(approach, str(root / "out"), root)
            start = time.perf_counter()
            records = [list(annotate(study.case() for study in splits[split])) for split in ("dev", "test")]
            result[name] = {"annotate_seconds": round(time.perf_counter() - start, 1)}
            for split, made in zip(("dev", "test"), records, strict=True):
                said = [record.annotation or Annotation() for record in made]
                failed = sum(record.annotation is None for record in made)
                result[name][split] = by_region(splits[split], said) | {"failed": failed}
    return result | {"finetune": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--finetune", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    settings = params.load(Path(__file__).parents[1] / "params.yaml")
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"source": "iu-xray"})})

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fetch_iu_xray(root / "raw", arguments.source)
        start = time.perf_counter()
        studies, incidents = prepare.collect(settings, root / "raw", root / "images", root)
        splits = prepare.split(studies, settings.data.seed, settings.data.dev_share)
        data = prepare.describe("iu-xray", splits, splits["train"] + splits["dev"], incidents)
        prepared = time.perf_counter() - start

    start = time.perf_counter()
    model = router.fit(splits["train"], settings.fit_router)
    fitted = time.perf_counter() - start

    sets = {"dev": splits["dev"], "test": splits["test"], "test_novel": [study for study in splits["test"] if study.novel]}
    wordings = ("learned", "verbatim")
    result = {
        "studies": {name: len(members) for name, members in splits.items()},
        "prepare_seconds": round(prepared, 2),
        "fit_seconds": round(fitted, 2),
        "ceiling": data["ceiling"],
        "set_aside": data["set_aside"],
        "repaired": data["repaired"],
        "token_f1": {
            wording: {
                name: by_region(group, [model.annotate(study.report, wording) for study in group]) for name, group in sets.items()
            }
            for wording in wordings
        },
    }
    if arguments.finetune is not None:
        result["finetuned"] = finetuned(settings, splits, arguments.finetune)
    if arguments.answers:
        with arguments.answers.open(encoding="utf-8", newline="") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
        shared = [study for study in splits["test"] if study.id in rows]
        result["recorded"] = {"studies": len(shared), "router": by_region(shared, [model.annotate(s.report) for s in shared])}
        for column in (name for name in next(iter(rows.values())) if name.startswith("response")):
            answers = [Annotation(**json.loads(rows[study.id][column])) for study in shared]
            result["recorded"][column] = by_region(shared, answers)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
