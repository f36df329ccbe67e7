"""Generation as annotators and GREEN do it, against `generate` of transformers on the same batches.

    python bench/generate.py [--approaches vlm-base brief examples rules nearest] [--rounds 3]
    python bench/generate.py --size 2b [--examples 128] [--batch 32]

Run in the project's folder, without --size 2b after `dvc repro`. Prints one JSON line. Both sides
have the same rows in a batch, the same stop rule and the same model; stock computes every row until
the last of its batch has ended. tiny annotates the studies of dev and test by approaches of
params.yaml. 2b has the size of Qwen2-VL-2B, random weights and cases as long as those of IU X-Ray,
each answer as long as the case's reference, and is meant for a GPU. Each side runs in its own
process, and they take turns in each round: of each the median seconds, without loading, and of CPU
time. `same_answers`: share of cases that both sides answer alike.
"""

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
from xraygen.prompting import encoding

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


def generated(side: str, changed: dict, studies: list[Study], folder: Path, size: int) -> dict:
    """Batches of `size` by the large model, each answer as long as the reference."""
    import torch
    from transformers import GenerationConfig

    from xraygen.engines import decoding
    from xraygen.engines.model import load

    with plain_loop.doing(f"{side}: load the model"):
        model, processor = load(changed["base"], max_pixels=changed["max_pixels"])
    torch.backends.cuda.enable_cudnn_sdp(side == "stock")  # torch's default
    pad = processor.tokenizer.pad_token_id
    shown = folder, "image+report", changed["prompt"], changed["max_views"]
    rows = encoding.encode(processor, [study.case() for study in studies], *shown)
    ends = [len(encoding.answer(processor.tokenizer, study.reference)) for study in studies]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    model.generation_config.eos_token_id = None  # random weights may say it at any time
    decode = stock if side == "stock" else decoding.decode
    said: dict[int, list[int]] = {}

    def generate(chosen: list[int], most: int) -> None:
        batch = encoding.collate([rows[i] for i in chosen], pad)
        batch = {
            name: x.to(model.device, model.dtype if x.is_floating_point() else None)
            for name, x in batch.items()
        }
        config = GenerationConfig(max_new_tokens=most, pad_token_id=pad)
        of = decode(model, batch, lambda row, tokens: len(tokens) == ends[chosen[row]], config)
        said.update((chosen[row], tokens) for row, tokens in of)

    with plain_loop.doing(f"{side}: warm up"):
        generate(order[:2], 4)
    start, cpu = plain_loop.now(), time.process_time()
    with plain_loop.doing(f"{side}: generate"):
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            generate(chosen, max(ends[i] for i in chosen))
    return plain_loop.measures(model.dtype) | {
        "cases": len(rows),
        "seconds": plain_loop.now() - start,
        "cpu_seconds": time.process_time() - cpu,
        "tokens": sum(map(len, said.values())),
        "answers": [said[i] for i in range(len(rows))],
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
    parser = plain_loop.parser(__doc__)
    parser.add_argument("--approaches", nargs="*", default=APPROACHES)
    parser.add_argument("--batch", type=int, default=32, help="2b: cases at a time")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.size == "tiny":
        of = {name: compared(arguments.rounds, annotated, name) for name in arguments.approaches}
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            studies, changed = plain_loop.prepare(arguments, folder)
            of = compared(arguments.rounds, generated, changed, studies, folder, arguments.batch)
    print(json.dumps({"size": arguments.size, "threads": os.cpu_count()} | of))


if __name__ == "__main__":
    with one_line():
        main()
