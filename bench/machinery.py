"""What the custom decoding, CPU layers, LoRA product and loss gain over batched stock use of the libraries, on what `make repro` runs.

    python bench/machinery.py annotate [--approaches vlm-base brief ...] [--rounds 3] [--cases 400]
    python bench/machinery.py finetune [--rounds 3] [--steps 90]

Run in the project's folder after `dvc repro`. Each side runs in its own process; sides take turns in each round. Prints one
JSON line: of each side the medians of CPU seconds and of wall seconds, without loading, and for annotating the macro token F1.

Sides of annotating: `ours`; `stock` = batched `generate` with the same stop rule as a StoppingCriteria, the same rows in a batch,
stock layers; `stock+layers`, `ours-layers`: one of the two alone; `stock-shared`: the beginning that all prompts share is not read once.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from xraygen.study import REGIONS, Study, read_jsonl

from xraygen import answers, params

ANNOTATE = (
    "ours",
    "stock",
    "stock+layers",
    "ours-layers",
    "ours-drafts",
    "stock-shared",
    "stock/4",
)
FINETUNE = (
    "ours",
    "stock",
    "ours-layers",
    "ours-lora",
    "ours-loss",
    "ours-attention",
    "stock+lora",
    "stock+layers",
)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def stock_decoding() -> None:
    """Vlm generates by transformers' own loop."""
    import torch
    from transformers import StoppingCriteriaList
    from xraygen.vlm import encoding
    from xraygen.vlm.model import QWEN

    from xraygen.annotators import vlm

    def generate(self, rows):
        tokenizer, model = self.processor.tokenizer, self.model
        shared = (
            encoding.shared_tokens(rows)
            if SHARE and len(rows) > 1 and model.config.model_type in QWEN
            else 0
        )
        shared = shared if shared >= vlm._SHARED else 0
        batch = encoding.collate(rows, tokenizer.pad_token_id, shared)
        batch = {
            name: x.to(model.device, model.dtype if x.is_floating_point() else None)
            for name, x in batch.items()
        }
        begin = batch["input_ids"].shape[1]
        with torch.inference_mode():
            if shared:
                batch["past_key_values"] = self._read_once(
                    batch["input_ids"][:1, :shared], len(rows)
                )
            ends = vlm._Ends(tokenizer, self.ends, self.approach.max_new_tokens)
            done = [False] * len(rows)

            def stop(tokens, scores, **kwargs):
                for row, said in enumerate(tokens[:, begin:].tolist()):
                    done[row] = done[row] or ends(said)
                return torch.tensor(done, device=tokens.device)

            out = model.generate(**batch, stopping_criteria=StoppingCriteriaList([stop]))[
                :, begin:
            ].tolist()
        return [self._said(row, [answer]) for row, answer in zip(rows, out, strict=True)]

    vlm.Vlm._generate = generate


SHARE = True


def stock_layers() -> None:
    from xraygen.vlm import cpu

    cpu.quicken = lambda model: model


def annotate(side: str, name: str, count: int) -> dict:
    global SHARE
    root, settings = Path.cwd(), params.load()
    from xraygen.annotate import load
    from xraygen.text import token_f1

    if side.startswith("stock"):
        stock_decoding()
    if side in ("stock", "stock/4", "ours-layers", "stock-shared"):
        stock_layers()
    SHARE = side != "stock-shared"
    studies = [
        study
        for split in ("dev", "test")
        for study in read_jsonl(root / f"data/prepared/{split}.jsonl", Study)
    ][:count]
    with tempfile.TemporaryDirectory() as folder:
        answers.cache_folder = lambda: Path(folder)
        annotator = load(settings, name, root)
        if side == "stock/4":
            annotator.annotate.batch_tokens //= 4
        if side == "ours-drafts":
            from xraygen import decoding

            decoding._budget = lambda model, cache: 0
        warm = [
            study.case().model_copy(update={"report": f"{study.report} Again."})
            for study in studies[:2]
        ]
        list(annotator(warm))
        cpu, wall = cpu_seconds(), time.perf_counter()
        records = list(annotator(study.case() for study in studies))
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    f1 = {}
    for part, group in (("dev", slice(0, 100)), ("test", slice(100, None))):
        by_region = []
        for region in REGIONS[:4]:
            pairs = zip(studies[group], records[group], strict=True)
            said = (
                token_f1(s.reference[region], r.annotation[region] if r.annotation else "")
                for s, r in pairs
            )
            by_region.append(statistics.fmean(score for score in said if score is not None))
        f1[f"f1_{part}"] = statistics.fmean(by_region)
    return {
        "cpu": cpu, "wall": wall, "raws": [record.raw for record in records], **f1,
        "failed": sum(record.annotation is None for record in records),
        "tokens": sum(record.usage.get("tokens_out", 0) for record in records),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def finetune(side: str, steps: int) -> dict:
    import torch
    from torch.nn.functional import cross_entropy, pad
    from xraygen.vlm import cpu, trainer
    from xraygen.vlm.finetune import finetune as run

    def plain_loss(network, batch):
        batch = dict(batch)
        labels = batch.pop("labels")
        columns = int((labels != -100).any(0).sum())
        logits = network(**batch, use_cache=False, logits_to_keep=columns + 1).logits
        following = pad(labels[:, -columns:], (0, 1), value=-100)
        return cross_entropy(
            logits.flatten(0, 1).float(), following.flatten(), ignore_index=-100, reduction="sum"
        )

    plain = side.startswith("stock")
    if (plain and side != "stock+layers") or side == "ours-layers":
        cpu.quicken = lambda model: model
    if (plain and side != "stock+lora") or side == "ours-lora":
        cpu.join_lora = lambda network: network
    if plain or side == "ours-loss":
        trainer.completion_loss = plain_loss
    if side == "ours-attention":
        from xraygen.vlm.cpu import _attention_in_float

        def attended(module, q, k, v, mask):
            dropout = module.attention_dropout if module.training else 0.0
            return _attention_in_float(
                module, q, k, v, mask, scaling=module.scaling, dropout=dropout
            )[0]

        cpu._attended = attended
    root, settings = Path.cwd(), params.load().finetune
    settings = settings.model_copy(update={"steps": steps})
    train, dev = (
        list(read_jsonl(root / f"data/prepared/{split}.jsonl", Study)) for split in ("train", "dev")
    )
    settings = settings.model_copy(update={"base": str(root / settings.base)})
    spans = []

    class Timed(trainer.CompletionTrainer):
        def train(self, *args, **kwargs):
            cpu, wall = cpu_seconds(), time.perf_counter()
            super().train(*args, **kwargs)
            spans.append((cpu_seconds() - cpu, time.perf_counter() - wall))

    trainer.CompletionTrainer = Timed
    start_cpu, start = cpu_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        metrics = run(settings, train, dev, root, Path(made) / "out", Path(made) / "curves")
        os.chdir(root)
    return {
        "cpu": spans[0][0], "wall": spans[0][1], "all_cpu": cpu_seconds() - start_cpu, "all_wall": time.perf_counter() - start,
        "dev_loss": metrics["dev_loss"], "train_loss": metrics["train_loss"], "precision": metrics["speed"]["precision"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "isa": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def in_child(function, *arguments) -> dict:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        done = pool.submit(function, *arguments).result()
    shown = {
        name: round(value, 4) for name, value in done.items() if isinstance(value, int | float)
    }
    print(*arguments, json.dumps(shown), file=sys.stderr, flush=True)
    return done


def summary(done: list[dict]) -> dict:
    names = [name for name, value in done[0].items() if isinstance(value, int | float)]
    return {name: round(statistics.median(one[name] for one in done), 4) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["annotate", "finetune"])
    every = ["vlm-base", "vlm-finetuned", "brief", "examples", "rules", "nearest"]
    parser.add_argument("--approaches", nargs="*", default=every)
    parser.add_argument("--sides", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    result = {}
    if arguments.what == "finetune":
        sides = arguments.sides or FINETUNE
        done = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side in sides:
                done[side].append(in_child(finetune, side, arguments.steps))
        result = {side: summary(of) for side, of in done.items()} | {
            "precision": done[sides[0]][0]["precision"]
        }
    else:
        sides = arguments.sides or ANNOTATE
        every = {(name, side): [] for name in arguments.approaches for side in sides}
        for _ in range(arguments.rounds):
            for name, side in every:
                every[name, side].append(in_child(annotate, side, name, arguments.cases))
        for name in arguments.approaches:
            first = every[name, sides[0]][0]["raws"]
            result[name] = {}
            for side in sides:
                done = every[name, side]
                same = sum(a == b for a, b in zip(first, done[0]["raws"], strict=True))
                result[name][side] = summary(done) | {"same": same}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
