"""What gpu.py measures of training: fine-tuning Qwen2-VL-2B by the project's trainer and by a plain
loop, and pretraining steps of the small model.
"""

import contextlib
import functools
import gc
import re
import shlex
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gpu_counts
import gpu_models
import yaml

from xraygen import params
from xraygen.training.params import FinetuneParams


class Setting(NamedTuple):
    """`warm`: steps before the clock starts; `steps`: that are timed, at most."""

    params: FinetuneParams
    warm: int
    steps: int


class Bench:
    """A loaded model with its studies, on which settings are measured one after the other."""

    def __init__(self, measure, settings: FinetuneParams, views: int | None):
        import torch
        from transformers.utils import logging

        from xraygen.training import network, run
        from xraygen.training.dataset import Rows

        logging.set_verbosity_error()
        self.measure = measure
        self.folder = measure.folder
        studies = gpu_models.studies(measure.folder, views)
        self.studies = studies[: len(studies) if views == 1 else len(studies) // 2]
        args = run._arguments(settings, self.folder / "run")
        self.device = args.device
        start = time.perf_counter()
        self.network, self.processor = network.load(settings, args.device)
        loaded = time.perf_counter()
        self.rows = Rows(self.processor, self.studies, settings, self.folder, "encode")
        encoded = time.perf_counter()
        measure.line("load", load_seconds=loaded - start, encode_seconds=encoded - loaded)
        self.none = Rows(self.processor, [], settings, self.folder, "encode dev")
        self.unseen = [dict(row) for row in self.rows]  # the views are still pixels here
        self.text = gpu_models.scale(measure.smoke).text
        self.vision = gpu_models.scale(measure.smoke).vision
        self.precision = getattr(torch, settings.precision)
        merged = self.vision.merged
        self.image_tokens = statistics.mean(
            int(row["image_grid_thw"].prod(1).sum()) // merged for row in self.unseen
        )

    def row(self, index: int) -> gpu_counts.Row:
        prompt, answer = self.rows.lengths[index]
        grids = self.unseen[index]["image_grid_thw"].prod(1).tolist()
        return gpu_counts.Row(prompt + answer, answer, tuple(grids))

    # The project's trainer

    def ours(self, setting: Setting, views: dict, plain: dict | None = None) -> dict:
        """Fields of a line: the steps after the first ones, by the project's trainer.

        `views`: the fields of `see_views`, if the vision tower has seen the views already and is
        not part of a step; samples per second then contain a third of the time that took, as in a
        training of three passes. `plain`: the fields of the plain loop, to compare with.
        """
        settings = setting.params
        clock = _Clock(setting.warm, self.measure)
        batches = self.train(setting, clock.callback())
        per_step = settings.gradient_accumulation_steps
        counted = batches[setting.warm * per_step : clock.done * per_step]
        timed = [index for batch in counted for index in batch]
        rank = settings.lora_r
        into_views = "projector" in settings.targets
        flops = 0
        for index in timed:
            row = self.row(index)
            flops += gpu_counts.training_flops(self.text, row, rank, into_views)
            if not views:
                flops += gpu_counts.vision_flops(self.vision, row, rank * into_views)
        line = self._rates(timed, clock.seconds, flops) | {
            "steps": clock.done - setting.warm,
            "first_step_seconds": clock.first,
            "max_batch_tokens": settings.max_batch_tokens,
            "gradient_accumulation_steps": per_step,
            "gradient_checkpointing": settings.gradient_checkpointing,
            "optimizer": settings.optimizer,
            "lora_r": rank,
            "targets": list(settings.targets),
        }
        seconds = clock.seconds
        if views:
            seconds += len(timed) / views["samples_per_second"] / 3
        line["samples_per_second_with_views"] = len(timed) / seconds
        if plain:
            line["times_plain"] = len(timed) / seconds / plain["samples_per_second"]
        return line

    def train(self, setting: Setting, callback) -> list[list[int]]:
        """Train `warm` and `steps` steps by the project's trainer; returns the batches."""
        from xraygen.training.batches import plan

        total = setting.warm + setting.steps
        count = len(self.rows)
        # Several passes at a time, so that few batches are cut short by the end of a pass.
        lengths = list(self.rows.lengths) * -(-128 // count)
        asked = setting.params.model_copy(update={"max_steps": total})
        planned, _ = plan(lengths, asked, asked.gradient_accumulation_steps)
        batches = [[index % count for index in batch] for batch in planned]
        empty_cache()
        with self._trainer(setting.params, batches, total) as trainer:
            trainer.add_callback(callback)
            trainer.train()
        return batches

    def _rates(self, timed: list[int], seconds: float, flops: int) -> dict:
        tokens = sum(sum(self.rows.lengths[i]) for i in timed)
        return {
            "image_tokens": self.image_tokens,
            "tokens_per_sample": tokens / len(timed),
            "samples": len(timed),
            "seconds": seconds,
            "samples_per_second": len(timed) / seconds,
            "tokens_per_second": tokens / seconds,
            "tflop_per_sample": flops / len(timed) / 1e12,
            **self.measure.speed(flops, seconds),
            **self.measure.memory(),
        }

    @contextlib.contextmanager
    def _trainer(self, settings: FinetuneParams, batches: list, total: int) -> Iterator:
        from transformers.trainer_utils import SaveStrategy

        from xraygen.prompting import encoding
        from xraygen.training import run
        from xraygen.training.swaps import Swapped
        from xraygen.training.trainer import CompletionTrainer

        args = run._arguments(settings, self.folder / "run")
        args.max_steps = total
        args.logging_steps = 16  # as often as in a training on IU X-Ray: a hundred times
        args.save_strategy = SaveStrategy.NO
        blank = dict.fromkeys(self.studies[0].reference, "")
        tokenizer = self.processor.tokenizer
        shown = Swapped(self.rows, tokenizer, settings.prompt, blank, 0.0, 0)
        pad = functools.partial(encoding.collate, pad=tokenizer.pad_token_id)
        trainer = CompletionTrainer(
            settings,
            self.network,
            args,
            shown,
            batches,
            self.none,
            (),
            pad,
            self.folder / "curves",
        )
        try:
            yield trainer
        finally:
            trainer.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)
            if settings.gradient_checkpointing:
                self.network.activation_checkpointing_disable()
            self.network._forward_hooks.clear()
            self.network.zero_grad(set_to_none=True)

    def see_views(self) -> dict:
        """Fields of a line: the vision tower sees the views once, as before the first step."""
        from xraygen.training.dataset import precompute_views

        empty_cache()
        with self._autocast():
            start = self.measure.now()
            precompute_views(self.network, self.rows)
            seconds = self.measure.now() - start
        rows = [self.row(index) for index in range(len(self.rows))]
        flops = sum(gpu_counts.vision_flops(self.vision, row) for row in rows)
        views = sum(len(row.views) for row in rows)
        return {
            "views": views,
            "views_per_second": views / seconds,
            "seconds": seconds,
            "samples_per_second": len(rows) / seconds,
            **self.measure.speed(flops, seconds),
            **self.measure.memory(),
        }

    def _autocast(self):
        import torch

        return torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        )

    # The plain loop

    def plain(self, setting: Setting, attention=contextlib.nullcontext) -> dict:
        """Fields of a line: what one writes by hand around transformers. Batches in the given
        order, padded to their longest study; the stock model and its own loss; torch's AdamW; the
        vision tower in each step. `attention`: `stock_attention`, or the project's choice.
        """
        import plain_loop
        import torch

        from xraygen.prompting import encoding
        from xraygen.training.batches import batched

        settings = setting.params
        total = setting.warm + setting.steps
        count = len(self.unseen)
        cut = batched(range(count), self.rows.lengths, settings.max_batch_tokens)
        cut = (cut * -(-total // len(cut)))[:total]
        pad = self.processor.tokenizer.pad_token_id
        batches = [encoding.collate([self.unseen[i] for i in batch], pad) for batch in cut]
        empty_cache()
        with attention():
            seconds, done = plain_loop.train(
                self.network,
                batches,
                setting.warm,
                self._autocast,
                settings.learning_rate,
                torch.optim.AdamW,
                self.measure.ended,
            )
        timed = [i for batch in cut[setting.warm : done] for i in batch]
        flops = sum(
            gpu_counts.training_flops(self.text, self.row(i), settings.lora_r)
            + gpu_counts.vision_flops(self.vision, self.row(i))
            for i in timed
        )
        self.network.zero_grad(set_to_none=True)
        return self._rates(timed, seconds, flops) | {
            "max_batch_tokens": settings.max_batch_tokens,
            "steps": done - setting.warm,
        }

    def check(self, operations: bool) -> dict:
        """Fields of a line: the mean loss of a completion token of two studies, ours and that of
        transformers; and the operations of forward and backward of a study by the formulas over
        what torch's FlopCounterMode counts. `operations`: whether to count them, which it cannot in
        the kernels of bitsandbytes.
        """
        import plain_loop
        import torch

        from xraygen.prompting import encoding
        from xraygen.training.loss import completion_loss

        pad = self.processor.tokenizer.pad_token_id
        batch, single = (
            plain_loop.on(self.device, encoding.collate(self.unseen[:count], pad))
            for count in (2, 1)
        )
        tokens = int((batch["labels"] != -100).sum())
        with self._autocast(), torch.no_grad():
            ours = float(completion_loss(self.network, batch)) / tokens
            stock = float(self.network(**batch).loss)
        losses = {"loss": ours, "stock_loss": stock}
        if not operations:
            return losses

        def step(batch: dict) -> None:
            with self._autocast():
                completion_loss(self.network, batch).backward()

        row = self.row(0)
        rank = next(iter(self.network.peft_config.values())).r
        flops = gpu_counts.training_flops(self.text, row, rank)
        flops += gpu_counts.vision_flops(self.vision, row)
        counted = plain_loop.flops_of(self.network, step, [single])
        return losses | {"flops_over_counter": flops / counted}


class _Clock:
    """Times the steps after the first `warm` ones; the device is waited for twice, not at each
    step. `done`: steps altogether; fewer than planned where time is up.
    """

    def __init__(self, warm: int, measure):
        self.warm, self.measure = warm, measure
        self.seconds = self.first = 0.0
        self.done = 0

    def callback(self):
        from transformers import TrainerCallback

        clock = self

        class Callback(TrainerCallback):
            def on_train_begin(self, *_, **__):
                clock.begin = clock.measure.now()

            def on_step_end(self, args, state, control, **_):
                clock.done = state.global_step
                if clock.done == 1:
                    clock.first = clock.measure.now() - clock.begin
                if clock.done == clock.warm:
                    clock.begin = clock.measure.now()
                over = clock.measure.ended() and clock.done > clock.warm
                if over or clock.done == state.max_steps:
                    clock.seconds = clock.measure.now() - clock.begin
                    control.should_training_stop = True

        return Callback()


@contextlib.contextmanager
def stock_attention() -> Iterator[None]:
    """With cuDNN's attention, as torch comes; the project turns it off."""
    import torch

    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def tokens_of(measure) -> tuple[int, int]:
    """Of a small and of a large batch, padding included."""
    return (512, 768) if measure.smoke else (4096, 16_384)


def settings_of(measure, method: str, views: int, **changed) -> FinetuneParams:
    """The defaults of params.yaml, with views of 256 image tokens, and the rate so low that random
    weights do not run away.
    """
    from xraygen.engines.precision import resolve

    base = params.load().finetune
    fixed = {
        "base": str(measure.folder / "2b"),
        "method": method,
        "targets": ("language",),
        "prompt": gpu_models.PROMPT,
        "max_views": views,
        "max_pixels": gpu_models.scale(measure.smoke).view,
        "learning_rate": 1e-5,
        "max_batch_tokens": tokens_of(measure)[0],
        "max_tokens": tokens_of(measure)[0],
        "precision": resolve("auto").name,
    }
    return FinetuneParams.model_validate(base.model_dump() | fixed | changed)


def lora(measure, views: int, method: str = "lora") -> None:
    """LoRA or QLoRA with this many views of 256 image tokens: the plain loop, and ours at 4,096 and
    16,384 tokens a batch, with gradient checkpointing, and with the largest batch that fits.
    """
    settings = settings_of(measure, method, views)
    bench = Bench(measure, settings, views)
    small, large = tokens_of(measure)

    def setting(tokens: int, checkpointing: bool = False) -> Setting:
        changed = {"max_batch_tokens": tokens, "gradient_checkpointing": checkpointing}
        warm, steps = (1, 1) if measure.smoke else (3, max(4, 65_536 // tokens))
        return Setting(settings.model_copy(update=changed), warm, steps)

    def ours(tokens: int, checkpointing: bool = False) -> dict:
        return bench.ours(setting(tokens, checkpointing), seen, plain)

    seen: dict = {}
    shorter = setting(small)._replace(steps=1 if measure.smoke else 6)
    plain = measure.part(f"plain loop, {small} tokens", bench.plain, shorter, stock_attention)
    measure.part(f"{small} tokens, views in each step", ours, small)
    seen = measure.part("views", bench.see_views)
    first = measure.part(f"{small} tokens", ours, small)
    second = measure.part(f"{large} tokens", ours, large)
    if (method, views) == ("lora", 1):
        fewer = shorter._replace(steps=1 if measure.smoke else 3)
        measure.part(f"plain loop, our attention kernel, {small} tokens", bench.plain, fewer)
    measure.part(f"{large} tokens, checkpointing", ours, large, True)
    tokens = 0
    if first and second:
        tokens = 2 * large if measure.smoke else largest(measure.memory_gib, first, second)
    while tokens > large and not measure.part(f"{tokens} tokens, the most", ours, tokens):
        tokens = 0 if measure.ended() else tokens * 7 // 8 // 1024 * 1024
    measure.part("check", bench.check, method == "lora")


def largest(memory_gib: float, first: dict, second: dict) -> int:
    """Tokens of the largest batch that fits into the memory, by the peaks of two smaller ones: a
    multiple of 1,024. It leaves 6 % for what the allocator cannot use.
    """
    tokens = second["max_batch_tokens"] - first["max_batch_tokens"]
    each = (second["peak_memory_gib"] - first["peak_memory_gib"]) / tokens
    if each <= 0:
        return 0
    more = (0.94 * memory_gib - second["peak_memory_gib"]) / each
    return int(second["max_batch_tokens"] + more) // 1024 * 1024


def documented(measure, name: str) -> None:
    """A set of parameters of docs/vlm.md, with as many views as studies of IU X-Ray have. Their
    pictures do not fit into `dataset._IN_MEMORY`, so each step contains the vision tower.
    """
    text = Path("docs/vlm.md").read_text(encoding="utf-8")
    command = re.search(rf"<!-- {name} -->\n```\n(.*?)```", text, re.DOTALL)[1]
    changed = {}
    for word in shlex.split(command):
        key, _, value = word.partition("=")
        if key.startswith("finetune."):
            changed[key.removeprefix("finetune.")] = yaml.safe_load(value)
    del changed["base"], changed["learning_rate"]
    if measure.smoke:
        changed |= {
            "max_pixels": gpu_models.scale(True).view,
            "max_tokens": 512,
            "max_batch_tokens": 512,
        }
    method, views = changed.pop("method", "lora"), changed.pop("max_views")
    settings = settings_of(measure, method, views, **changed)
    bench = Bench(measure, settings, None)
    steps = 1 if measure.smoke else 5
    measure.part(name, bench.ours, Setting(settings, 1, steps), {})


def compiled(measure) -> None:
    """--try compile: the decoder layers compiled one by one, for any shape, on LoRA."""
    settings = settings_of(measure, "lora", 1)
    bench = Bench(measure, settings, 1)
    seen = measure.part("views", bench.see_views)
    for layer in bench.network.base_model.model.model.language_model.layers:
        layer.compile(dynamic=True, backend="eager" if measure.smoke else "inductor")
    warm, steps = (1, 1) if measure.smoke else (6, 12)
    for tokens in tokens_of(measure)[: 1 if measure.smoke else 2]:
        changed = settings.model_copy(update={"max_batch_tokens": tokens})
        setting = Setting(changed, warm, steps)
        measure.part(f"{tokens} tokens", bench.ours, setting, seen)


def pretraining(measure) -> None:
    """Steps of the first phase of recipes.tiny_qwen2_vl.pretrain, with pictures of noise."""
    import numpy as np
    import torch

    from recipes.tiny_qwen2_vl import build, pictures, pretrain
    from xraygen.engines.model import load_processor

    tokenizer = load_processor(str(gpu_models.TINY)).tokenizer
    torch.manual_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (2, build.SIDE, build.SIDE), dtype=np.uint8)
    pictures.views = lambda k: noise
    device = "cuda" if measure.cuda else "cpu"
    model = build.model_of(tokenizer).train().to(device)
    optimizer = pretrain.optimizer_of(model)
    talk = pretrain.Conversations(tokenizer)
    warm, steps = (1, 1) if measure.smoke else (10, 100)

    def run(first: int, last: int) -> int:
        for step in range(first, last):
            if measure.ended():
                return step
            pretrain.step_of(model, talk, step)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return last

    run(0, warm)
    start = measure.now()
    done = run(warm, warm + steps) - warm
    seconds = measure.now() - start
    backward, pretrain._backward = pretrain._backward, lambda *_: 0.0
    start = time.perf_counter()
    for step in range(warm, warm + done):
        pretrain.step_of(model, talk, step)
    data_seconds = time.perf_counter() - start
    pretrain._backward = backward
    measure.line(
        "first phase",
        steps=done,
        seconds=seconds,
        steps_per_second=done / seconds,
        share_of_data=data_seconds / seconds,
        **measure.memory(),
    )
