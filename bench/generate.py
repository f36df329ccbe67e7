"""Generation as annotators and GREEN do it, against `generate` of transformers on the same batches.

    python bench/generate.py [--approaches vlm-base brief examples rules nearest] [--rounds 3]

Run in the project's folder after `dvc repro`. Prints one JSON line. The studies of dev and test are
annotated by approaches of params.yaml; gpu.py measures Qwen2-VL-2B. Both sides have the same rows
in a batch, the same stop rule and the same model; stock computes every row until the last of its
batch has ended. Each side runs in its own process, and they take turns in each round: of each the
median seconds, without loading, and of CPU time. `same_answers`: share of cases that both sides
answer alike.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import plain_loop

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import Study
from xraygen.engines import answers

APPROACHES = ("vlm-base", "vlm-finetuned", "brief", "examples", "rules", "nearest")


def stock(
    model, batch: dict, stop, config, samples: int = 0, log_probs: dict | None = None
) -> Iterator[tuple[int, list[int]]]:
    """As `decoding.decode`, by one call of `generate`."""
    import torch

    begin, lengths = batch["input_ids"].shape[1], {}

    def ended(tokens: torch.Tensor, scores, **_) -> torch.Tensor:
        for row, said in enumerate(tokens[:, begin:].tolist()):
            if row not in lengths and stop(row, said):
                lengths[row] = len(said)
        return torch.tensor([row in lengths for row in range(len(tokens))], device=tokens.device)

    with torch.inference_mode():
        out = model.generate(**batch, generation_config=config, stopping_criteria=[ended])
    for row, said in enumerate(out[:, begin:].tolist()):
        yield row, said[: lengths.get(row)]


def annotated(side: str, name: str) -> dict:
    """All cases of dev and test by one approach of params.yaml."""
    from xraygen.annotators.base import Project
    from xraygen.annotators.load import load
    from xraygen.engines import decoding

    if side == "stock":
        decoding.decode = stock
    settings = params.load()
    project = Project(Path.cwd(), Path.cwd(), settings.regions, settings.llm)
    cases = [
        study.case()
        for split in ("dev", "test")
        for study in read_jsonl(Path(f"data/prepared/{split}.jsonl"), Study)
    ]
    others = [case.model_copy(update={"report": f"{case.report} Again."}) for case in cases[:2]]
    with tempfile.TemporaryDirectory() as folder:
        answers.cache_folder = lambda: Path(folder)  # no answer is there before
        annotate = load(settings.approaches, name, project)
        list(annotate(others))  # what happens once
        start, cpu = plain_loop.now(), time.process_time()
        records = list(annotate(cases))
        seconds, cpu = plain_loop.now() - start, time.process_time() - cpu
    return plain_loop.measures(annotate.annotate.model.dtype) | {
        "cases": len(cases),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "tokens": sum(record.usage.get("tokens_out", 0) for record in records),
        "answers": [record.raw for record in records],
    }


def compared(rounds: int, function, *arguments) -> dict:
    done: dict[str, list[dict]] = {"ours": [], "stock": []}
    for _ in range(rounds):
        for side in done:
            done[side].append(plain_loop.in_child(function, side, *arguments))
    result = {"device": done["ours"][0]["device"], "cases": done["ours"][0]["cases"]}
    median = {}
    for side, of in done.items():
        for name in ("seconds", "cpu_seconds"):
            median[side, name] = statistics.median(one[name] for one in of)
            result[f"{side}_{name}"] = round(median[side, name], 2)
        result[f"{side}_tokens_per_second"] = round(of[0]["tokens"] / median[side, "seconds"], 1)
        result[f"{side}_peak_memory_gib"] = max(one["gib"] for one in of)
    pairs = list(zip(done["ours"][0]["answers"], done["stock"][0]["answers"], strict=True))
    result["same_answers"] = round(sum(ours == other for ours, other in pairs) / len(pairs), 4)
    for name, short in (("seconds", "times_faster"), ("cpu_seconds", "times_less_cpu")):
        result[short] = round(median["stock", name] / median["ours", name], 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--approaches", nargs="*", default=APPROACHES)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    of = {name: compared(arguments.rounds, annotated, name) for name in arguments.approaches}
    print(json.dumps({"threads": os.cpu_count()} | of))


if __name__ == "__main__":
    with one_line():
        main()
