"""Fine-tuning: `xraygen.training.finetune` against a hand-written loop, on the same studies and
with the same number of tokens in a batch. Prints one JSON line.

    python bench/finetune.py [--examples 128] [--method lora|qlora] [--batch-tokens 4096]
        [--rounds 3]

Run in the project's folder. Ours trains for two passes. The plain loop (see plain_loop.py) trains
the same matrices for one pass, because all its passes cost the same, with one optimizer step a
batch and with transformers' own loss, which computes logits at every position. Both are timed from
the end of their first step, without loading, encoding and evaluating dev; the time to precompute
the views is added to ours. Because the speed of a shared machine varies, they take turns in each
round: printed are the round with the median ratio, and the ratios of all in `all_rounds`. The model
is models/tiny-qwen2-vl; gpu.py measures Qwen2-VL-2B.

`loss`, `plain_loss`: mean loss of a completion token over all studies before the first step; plain
is transformers' own, one study at a time, in float32.
"""

import argparse
import contextlib
import functools
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import plain_loop

from xraygen import params
from xraygen.core.errors import UserError, one_line
from xraygen.core.study import Study
from xraygen.training.finetune import finetune
from xraygen.training.params import FinetuneParams


def ours(settings: FinetuneParams, studies: Sequence[Study], root: Path) -> dict:
    import torch
    from transformers import TrainerCallback

    from xraygen.training import run, trainer

    class Clock(TrainerCallback):
        """When each step was over."""

        def __init__(self, trained: trainer.CompletionTrainer):
            self.trained, self.ends, self.looked = trained, [], 0.0

        def on_train_begin(self, *_, **__):
            self.loss = self.trained._dev_loss()  # of all studies: they are given as dev, too

        def on_step_end(self, *_, **__):
            self.ends.append(plain_loop.now())

        def on_evaluate(self, args, state, *_, **__):
            """Called when dev was looked at: between two passes that is no training."""
            if state.global_step < state.max_steps:
                self.looked += plain_loop.now() - self.ends[-1]

    clocks = []

    class Timed(trainer.CompletionTrainer):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            clocks.append(Clock(self))
            self.add_callback(clocks[0])

    seen, precompute_views = [], run.precompute_views

    def timed_views(*arguments):
        start = plain_loop.now()
        precompute_views(*arguments)
        seen.append(plain_loop.now() - start)

    run.CompletionTrainer = Timed
    run.precompute_views = timed_views
    with tempfile.TemporaryDirectory() as made, contextlib.chdir(made):  # where the checkpoints go
        metrics = finetune(
            settings, studies, studies, root, Path(made) / "out", Path(made) / "curves"
        )
    (clock,) = clocks
    precision = metrics["speed"]["precision"]
    if len(clock.ends) < 2:
        raise UserError("all studies fit into one step; give more --examples")
    timed = [index for batch in clock.trained.batches[1:] for index in batch]
    return plain_loop.measures(getattr(torch, precision)) | {
        "precision": precision,
        "examples": len(timed),
        "tokens": sum(sum(clock.trained.rows.rows.lengths[index]) for index in timed),
        "seconds": clock.ends[-1] - clock.ends[0] + sum(seen) - clock.looked,
        "loss": clock.loss,
        "trained": metrics["trained_parameters"],
        "steps": metrics["steps"],
    }


def plain(settings: FinetuneParams, studies: Sequence[Study], root: Path, count: bool) -> dict:
    import torch
    from peft import LoraConfig, get_peft_model

    from xraygen.engines.model import load, placement
    from xraygen.engines.precision import resolve

    device, weights = placement()
    precision = getattr(torch, resolve("auto").name)
    with plain_loop.doing("plain: load the model"):
        network, processor = load(
            settings.base, None, weights, device, settings.method == "qlora", settings.max_pixels
        )
    every = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    torch.backends.cuda.enable_cudnn_sdp(True)  # as torch has it, and `load` does not
    network = get_peft_model(
        network, LoraConfig(r=settings.lora_r, lora_alpha=settings.lora_alpha, target_modules=every)
    ).train()
    with plain_loop.doing("plain: encode"):
        given = processor, studies, settings, root
        batches = plain_loop.batches(*given, settings.max_batch_tokens)
    if len(batches) < 2:
        raise UserError("all studies fit into one batch; give more --examples")
    autocast = functools.partial(torch.autocast, device, precision, enabled=precision != weights)
    with plain_loop.doing("plain: train"):
        seconds, _ = plain_loop.train(
            network, batches, 1, autocast, settings.learning_rate, plain_loop.adam()
        )
    done = plain_loop.measures(precision) | {
        "examples": sum(len(batch["input_ids"]) for batch in batches[1:]),
        "tokens": sum(int(batch["attention_mask"].sum()) for batch in batches[1:]),
        "seconds": seconds,
        "trained": sum(w.numel() for w in network.parameters() if w.requires_grad),
    }
    if not count:
        return done
    from xraygen.training.loss import completion_loss

    def step(batch: dict) -> None:
        completion_loss(network, plain_loop.on(network.device, batch)).backward()

    return done | {"flops": plain_loop.flops_of(network, step, plain_loop.batches(*given))}


def plain_loss(settings: FinetuneParams, studies: Sequence[Study], root: Path) -> float:
    import torch

    from xraygen.engines.model import load

    network, processor = load(
        settings.base, None, torch.float32, None, settings.method == "qlora", settings.max_pixels
    )
    total = tokens = 0
    with torch.no_grad():
        for batch in plain_loop.batches(processor, studies, settings, root):
            said = int((batch["labels"] != -100).sum())
            total, tokens = (
                total + float(network(**plain_loop.on(network.device, batch)).loss) * said,
                tokens + said,
            )
    return total / tokens


def adapted(arguments: argparse.Namespace) -> FinetuneParams:
    """The settings of params.yaml, with the rate so low that both sides go the same way."""
    changed = {
        "base": str(plain_loop.TINY.resolve()),
        "method": arguments.method,
        "targets": ("language",),
        "max_views": 1,
        "epochs": 2,
        "max_steps": None,
        "early_stopping_patience": None,
        "learning_rate": 1e-5,
        "gradient_accumulation_steps": 1,
        "lora_dropout": 0.0,
        "word_swap_rate": 0.0,
        "recombined": 0.0,
        "max_batch_tokens": arguments.batch_tokens,
        "max_tokens": min(2048, arguments.batch_tokens),
    }
    return FinetuneParams.model_validate(params.load().finetune.model_dump() | changed)


def times_faster(first: dict, second: dict) -> float:
    return round(first["examples"] / first["seconds"] * second["seconds"] / second["examples"], 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--method", choices=["lora", "qlora"], default="lora")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        studies = plain_loop.studies(arguments.examples, folder)
        settings = adapted(arguments)
        given = settings, studies, folder
        rounds = [
            (plain_loop.in_child(ours, *given), plain_loop.in_child(plain, *given, number == 0))
            for number in range(max(1, arguments.rounds))
        ]
        loss = plain_loop.in_child(plain_loss, *given)
    flops = rounds[0][1]["flops"]
    ratios = [times_faster(*both) for both in rounds]
    first, second = rounds[ratios.index(statistics.median_low(ratios))]
    assert first["trained"] == second["trained"], (first["trained"], second["trained"])
    result = {
        "method": arguments.method,
        "device": first["device"],
        "precision": first["precision"],
        "studies": len(studies),
        "tokens_per_study": round(second["tokens"] / second["examples"]),
        "trained_parameters": first["trained"],
        "max_batch_tokens": settings.max_batch_tokens,
        "steps": first["steps"],
        **plain_loop.report(first, flops, "samples"),
        **plain_loop.report(second, flops, "samples", "plain_"),
        "loss": round(first["loss"], 5),
        "plain_loss": round(loss, 5),
        "loss_difference": round(abs(first["loss"] / loss - 1), 6),
        "times_faster": times_faster(first, second),
        "all_rounds": ratios,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    with one_line():
        main()
