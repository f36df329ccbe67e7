"""Training by transformers' Trainer: its loop, precision, optimiser, schedule, processes and
checkpoints.

Ours: batches of like length, the loss over the completion alone, when dev is looked at, and which
checkpoint counts. Measured on the same rows, trl's SFTTrainer takes 2.0 to 2.2 times as long on a
CPU.
"""

import contextlib
import functools
import re
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import dvclive
import torch
from accelerate import PartialState
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils import is_bitsandbytes_available, logging

from xraygen.core.errors import UserError
from xraygen.core.study import Study
from xraygen.engines import model
from xraygen.prompting import encoding
from xraygen.training.finetune import (
    FinetuneParams,
    batched,
    best,
    checkpoint,
    patience_is_over,
    plan,
    seal,
    write_done,
)
from xraygen.training.loss import completion_loss
from xraygen.training.muon import MuonWithAdamW
from xraygen.training.rows import Rows, keep_views
from xraygen.training.swaps import Swapped

_CURVES = {"loss": "train/loss", "learning_rate": "train/learning_rate", "dev_loss": "dev/loss"}


def on_cpu() -> bool:
    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


@contextlib.contextmanager
def memory_named() -> Iterator[None]:
    """Out of memory, in one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        remedy = "lower batch_tokens and raise accumulation, set checkpointing, lower max_pixels, or use qlora"
        raise UserError(f"finetune: out of memory; {remedy}") from None


def train(
    params: FinetuneParams,
    train: Sequence[Study],
    dev: Sequence[Study],
    root: Path,
    folder: Path,
    curves: Path,
    made_from: dict,
) -> None:
    """From the last checkpoint in `folder`, if there is one, to folder/done. Every process calls
    it.
    """
    logging.set_verbosity_error()
    args = _arguments(params, folder)
    set_seed(params.seed)  # of the adapter's first weights
    network, processor = _network(params, args)
    rows = Rows(processor, train, params, root, "encode train")
    dev_rows = Rows(processor, dev, params, root, "encode dev")
    if not len(rows):
        raise UserError(
            f"finetune: no study is left to train on; skipped: {dict(rows.aside) or 'none'}"
        )
    batches, ends = plan(rows.lengths, params, args.world_size * params.accumulation)
    args.max_steps = len(batches) // (args.world_size * params.accumulation)
    args.logging_steps = max(1, args.max_steps // 100)
    args.save_steps = (
        5 * args.logging_steps
    )  # where a loss is logged, too: what is averaged for the next one is in no checkpoint
    collate = functools.partial(encoding.collate, pad=processor.tokenizer.pad_token_id)
    curated = next(study.reference for study in train if study.reference is not None)
    blank = dict.fromkeys(curated, "")
    shown = Swapped(rows, processor.tokenizer, params.prompt, blank, params.swaps, params.seed)
    trainer = CompletionTrainer(
        params, network, args, shown, batches, dev_rows, ends, collate, curves
    )
    if len(ends) > args.world_size:  # else it would not pay: every process sees all views
        with trainer.accelerator.autocast():  # as training would see them
            keep_views(network, rows, dev_rows)
    if args.process_index == 0:
        checkpoint(folder)
    trainer.accelerator.wait_for_everyone()
    last = checkpoint(folder)
    history = (
        TrainerState.load_from_json(str(last / "trainer_state.json")).log_history if last else []
    )
    trainer.reached = history[-1]["step"] if history else 0
    if trainer.live:
        _log(trainer.live, history)
    if not patience_is_over(history, params.patience):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        history = trainer.history
    if args.process_index == 0:
        kept = best(history) or history[-1]
        losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
        metrics = {
            "train_loss": round(losses[kept["step"]], 4),
            "dev_loss": round(kept["dev_loss"], 4) if "dev_loss" in kept else None,
            "best_step": kept["step"],
            "steps": history[-1]["step"],
            "planned_steps": args.max_steps,
            "trained_parameters": sum(
                weight.numel() for weight in network.parameters() if weight.requires_grad
            ),
            "train": rows.facts(),
            "dev": dev_rows.facts(),
            "speed": trainer.speed,
        }
        if params.method == "full":
            processor.save_pretrained(folder / "best")
        write_done(
            folder,
            folder / "best",
            made_from | {"revision": _commit(network) or params.revision},
            metrics,
            history,
        )


def _arguments(params: FinetuneParams, folder: Path) -> TrainingArguments:
    cpu = on_cpu()
    if "8bit" in params.optimiser and not is_bitsandbytes_available():
        raise UserError(
            f"params.yaml: finetune.optimiser: {params.optimiser} needs bitsandbytes: pip install -c constraints.txt -e '.[qlora]'"
        )
    if params.sharded and (cpu or PartialState().num_processes < 2):
        raise UserError(
            "params.yaml: finetune.sharded needs several GPUs: torchrun --nproc_per_node=2 -m stages.finetune"
        )
    return TrainingArguments(
        output_dir=str(folder),
        # batches are counted in tokens; this only keeps Trainer from joining them
        per_device_train_batch_size=1,
        gradient_accumulation_steps=params.accumulation,
        learning_rate=params.rate,
        lr_scheduler_type=params.schedule,
        warmup_steps=params.warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused" if params.optimiser == "muon" else params.optimiser,
        bf16=params.precision == "bfloat16",
        fp16=params.precision == "float16",
        activation_checkpointing=params.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if params.checkpointing else None,
        # Studies without pictures leave the weights that see them without a gradient.
        ddp_find_unused_parameters=params.inputs == "image+report"
        and params.targets != ("language",),
        use_cpu=cpu,
        fsdp=params.sharded,
        save_strategy="steps",
        save_total_limit=2,  # one may be half-written
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=not sys.stderr.isatty(),
        seed=params.seed,
        remove_unused_columns=False,
    )


def _network(params: FinetuneParams, args: TrainingArguments):
    """(the model with what trains, its processor). Frozen weights are in the arithmetic's
    precision, trained ones in float32.
    """
    half = params.method != "full" and args.device.type != "cpu"
    network, processor = model.load(
        params.base,
        params.revision,
        getattr(torch, params.precision) if half else torch.float32,
        str(args.device),
        params.method == "qlora",
        params.max_pixels,
    )
    if args.device.type == "cpu":
        from xraygen.engines.cpu import quicken

        quicken(network)
    if params.method == "full":
        for name, weight in network.named_parameters():
            weight.requires_grad = _part(name) in params.targets
        return network, processor
    from peft import LoraConfig, get_peft_model

    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear)
        and _part(name) in params.targets
        and "lm_head" not in name
    ]
    if missing := sorted(set(params.targets) - {_part(name) for name in layers}):
        raise UserError(
            f"params.yaml: finetune.targets: {params.base} has no layer for LoRA in {', '.join(missing)}; leave that out"
        )
    # One expression, because peft writes a list of names in an order that changes from run to run.
    expression = "|".join(
        sorted({re.sub(r"\.\d+(?=\\\.)", r".\\d+", re.escape(name)) for name in layers})
    )
    config = LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=expression,
        task_type="CAUSAL_LM",
        revision=_commit(network) or params.revision,
    )
    with warnings.catch_warnings(
        action="ignore", category=FutureWarning
    ):  # peft asks transformers by an older name
        network = get_peft_model(network, config)
    if args.device.type == "cpu":
        from xraygen.engines.cpu import join_lora

        join_lora(network)
    config.base_model_name_or_path = params.base
    return network, processor


def _part(name: str) -> str:
    """Which part of a vision-language model a layer belongs to, by the names that transformers'
    models use.
    """
    if re.search(r"merger|projector|connector", name):
        return "projector"
    return "vision" if re.search(r"visual|vision", name) else "language"


def _commit(network) -> str | None:
    """The hub's commit that a revision such as main meant."""
    return getattr(network.config, "_commit_hash", None)


class CompletionTrainer(Trainer):
    """The loss is over completion tokens, of all processes and batches of a step together; the best
    by dev is in folder/best.
    """

    def __init__(
        self,
        params,
        network,
        args,
        shown: Swapped,
        batches: list,
        dev_rows: Rows,
        ends: list[int],
        collate,
        curves: Path,
    ):
        super().__init__(
            network, args, data_collator=collate, train_dataset=shown, callbacks=[_At(ends)]
        )
        network.register_forward_hook(_reach_a_trained_weight)
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True
        self.params, self.batches, self.dev_rows, self.reached, self.speed = (
            params,
            batches,
            dev_rows,
            0,
            {},
        )
        self.live = _live(curves) if args.process_index == 0 else None

    @property
    def history(self) -> list[dict]:
        """What was logged, without Trainer's closing words, which have timings."""
        names = ("step", "loss", "learning_rate", "dev_loss")
        kept = [
            {name: entry[name] for name in names if name in entry}
            for entry in self.state.log_history
        ]
        return [entry for entry in kept if len(entry) > 1]

    def create_optimizer(self, model=None):
        if self.optimizer is None and self.params.optimiser == "muon":
            self.optimizer = MuonWithAdamW(self.model, self.args.learning_rate)
        return super().create_optimizer(model)

    def get_train_dataloader(self) -> DataLoader:
        numbered = [
            [(index, number) for index in batch] for number, batch in enumerate(self.batches)
        ]
        return self._loader(
            self.train_dataset, numbered[self.args.process_index :: self.args.world_size]
        )

    def _loader(self, rows: Rows | Swapped, batches: list) -> DataLoader:
        # Its own generator: else it draws from the one that dropout draws from.
        return DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=rows.workers,
            generator=torch.Generator(),
        )

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return completion_loss(model, inputs) / num_items_in_batch * self.accelerator.num_processes

    def train(self, *args, **kwargs):
        start = time.monotonic()
        super().train(*args, **kwargs)
        seconds = time.monotonic() - start
        share = self.args.world_size * self.params.accumulation
        seen = [
            index
            for batch in self.batches[self.reached * share : self.state.global_step * share]
            for index in batch
        ]
        tokens = sum(sum(self.train_dataset.rows.lengths[index]) for index in seen)
        if self.live:
            self.live.end()
        self.speed = {
            "steps": self.state.global_step - self.reached,
            "seconds": round(seconds, 1),
            "studies_per_second": round(len(seen) / seconds, 2),
            "tokens_per_second": round(tokens / seconds),
            "peak_memory_gib": round(_peak() / 2**30, 2),
            "device": _device(self.args),
            "precision": self.params.precision,
        }

    def log(self, logs: dict, start_time: float | None = None) -> None:
        super().log(logs, start_time)
        if not all(
            value == value and abs(value) < float("inf")
            for name, value in logs.items()
            if name in _CURVES
        ):
            raise UserError(
                f"finetune: at step {self.state.global_step} the loss is NaN or infinite; lower rate, or precision: float32"
            )
        if self.live and logs.keys() & _CURVES.keys():
            _log(self.live, self.history[-1:])

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """Mean loss of a completion token of dev; the best so far is kept, and training stops when
        patience is over.
        """
        if len(self.dev_rows):
            self.log({"dev_loss": self._dev_loss()})
        if best(self.history) in (None, self.history[-1]):
            self._keep_best()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, {})
        self.control.should_training_stop |= patience_is_over(self.history, self.params.patience)
        return {}

    def _dev_loss(self) -> float:
        lengths = self.dev_rows.lengths
        batches = batched(
            sorted(range(len(lengths)), key=lambda i: sum(lengths[i])),
            lengths,
            self.params.batch_tokens,
        )
        mine = batches[self.args.process_index :: self.args.world_size]
        spare = -(-len(batches) // self.args.world_size) - len(
            mine
        )  # a process with a batch less runs one that counts nothing,
        total = torch.zeros(
            (), dtype=torch.float64, device=self.args.device
        )  # because sharded models run in step
        self.model_wrapped.eval()
        with torch.no_grad():
            for number, batch in enumerate(self._loader(self.dev_rows, mine + batches[:spare])):
                total += completion_loss(self.model_wrapped, self._prepare_inputs(batch)) * (
                    number < len(mine)
                )
        return float(self.accelerator.reduce(total)) / sum(completion for _, completion in lengths)

    def _keep_best(self) -> None:
        beside, target = (Path(self.args.output_dir) / name for name in ("best.part", "best"))
        self.save_model(str(beside))
        if self.args.should_save:
            shutil.rmtree(target, ignore_errors=True)
            beside.rename(target)

    def _save_checkpoint(self, model, trial) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Weights and configuration alone. What else Trainer has in a checkpoint (optimiser,
        schedule, random numbers) it reads again with torch.load(weights_only=True), which runs no
        code.
        """
        if not self.args.should_save:
            return
        network = self.accelerator.unwrap_model(self.model)
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        if self.params.method == "full":
            # Trainer reads a checkpoint by the names that weights have in memory, and says nothing
            # where it finds none of them.
            resumed = Path(output_dir).name.startswith("checkpoint-")
            network.save_pretrained(
                output_dir, state_dict=state_dict, save_original_format=not resumed
            )
            return
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        weights = get_peft_model_state_dict(network, state_dict, save_embedding_layers=False)
        weights = {name: weight.contiguous() for name, weight in weights.items()}
        save_file(weights, f"{output_dir}/adapter_model.safetensors", {"format": "pt"})
        network.peft_config["default"].save_pretrained(output_dir)


def _reach_a_trained_weight(network, _, output) -> None:
    """A batch without pictures has no gradient where only what sees pictures trains. Within
    `forward`, where DDP looks for it.
    """
    if torch.is_grad_enabled() and not output.logits.requires_grad:
        output.logits = (
            output.logits
            + 0 * next(weight for weight in network.parameters() if weight.requires_grad).sum()
        )


class _At(TrainerCallback):
    """After these steps the loss is logged, dev is looked at, and a checkpoint is written."""

    def __init__(self, steps: list[int]):
        self.steps = set(steps)

    def on_step_end(self, args, state, control, **_):
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True


def draw(history: Sequence[dict], curves: Path) -> None:
    """The curves of a whole training."""
    live = _live(curves)
    _log(live, history)
    live.end()


def _live(curves: Path):
    return dvclive.Live(str(curves), save_dvc_exp=False, dvcyaml=False)


def _log(live, history: Sequence[dict]) -> None:
    for entry in history:
        live.step = entry["step"]
        for name, curve in _CURVES.items():
            if name in entry:
                live.log_metric(curve, round(entry[name], 6))
        live.make_summary()


def _peak() -> int:
    """Bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _device(args: TrainingArguments) -> str:
    name = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{args.device.type} ({torch.get_num_threads()} threads)"
    )
    return name if args.world_size == 1 else f"{args.world_size} processes on {name}"
