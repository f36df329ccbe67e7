"""One training, from the last checkpoint in its folder, if there is one, to the result in
folder/done.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import TrainerState, TrainingArguments, set_seed
from transformers.utils import is_bitsandbytes_available, logging

from xraygen.core.errors import UserError
from xraygen.core.study import Study
from xraygen.prompting import encoding
from xraygen.training import network as networks
from xraygen.training.batches import plan
from xraygen.training.checkpoints import last_checkpoint, write_result
from xraygen.training.dataset import Rows, precompute_views
from xraygen.training.history import best, patience_is_over
from xraygen.training.params import FinetuneParams
from xraygen.training.swaps import Swapped
from xraygen.training.trainer import CompletionTrainer


def on_cpu() -> bool:
    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


def train(
    params: FinetuneParams,
    train: Sequence[Study],
    dev: Sequence[Study],
    root: Path,
    folder: Path,
    curves: Path,
    made_from: dict,
) -> None:
    """Train, or go on training, until folder/done is written. Every process calls this."""
    logging.set_verbosity_error()
    args = _arguments(params, folder)
    with _out_of_memory_in_one_line():
        set_seed(params.seed)  # for the initial weights of the adapter
        network, processor = networks.load(params, args.device)
        rows = Rows(processor, train, params, root, "encode train")
        dev_rows = Rows(processor, dev, params, root, "encode dev")
        if not len(rows):
            skipped = dict(rows.excluded) or "none"
            raise UserError(f"finetune: no study is left to train on; skipped: {skipped}")
        curated = next(study.reference for study in train if study.reference is not None)
        blank = dict.fromkeys(curated, "")
        shown = Swapped(
            rows, processor.tokenizer, params.prompt, blank, params.word_swap_rate, params.seed
        )
        trainer = _trainer(params, args, network, processor, shown, dev_rows, curves)
        history = _resume(trainer, folder)
        if not patience_is_over(history, params.early_stopping_patience):
            trainer.train(resume_from_checkpoint=trainer.checkpoint)
            history = trainer.history
    if args.process_index == 0:
        metrics = _metrics(trainer, network, history, rows, dev_rows)
        if params.method == "full":
            processor.save_pretrained(folder / "best")
        revision = networks.commit(network) or params.revision
        write_result(folder, folder / "best", made_from | {"revision": revision}, metrics, history)


@contextlib.contextmanager
def _out_of_memory_in_one_line() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        remedy = (
            "lower max_batch_tokens and raise gradient_accumulation_steps, "
            "set gradient_checkpointing, lower max_pixels, or use qlora"
        )
        raise UserError(f"finetune: out of memory; {remedy}") from None


def _arguments(params: FinetuneParams, folder: Path) -> TrainingArguments:
    cpu = on_cpu()
    if "8bit" in params.optimizer and not is_bitsandbytes_available():
        raise UserError(
            f"params.yaml: finetune.optimizer: {params.optimizer} needs bitsandbytes: "
            "pip install -c constraints.txt -e '.[qlora]'"
        )
    if params.fsdp and (cpu or PartialState().num_processes < 2):
        raise UserError(
            "params.yaml: finetune.fsdp needs several GPUs, each with a process: "
            "set finetune.processes to auto"
        )
    args = TrainingArguments(
        output_dir=str(folder),
        # Batches are made by `batches.plan`; this only keeps Trainer from joining them.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.lr_scheduler_type,
        warmup_steps=params.warmup_ratio,  # below 1 a ratio
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused" if params.optimizer == "muon" else params.optimizer,
        bf16=params.precision == "bfloat16",
        fp16=params.precision == "float16",
        activation_checkpointing=params.gradient_checkpointing,
        activation_checkpointing_kwargs=(
            {"use_reentrant": False} if params.gradient_checkpointing else None
        ),
        # Studies without images leave the weights that see them without a gradient.
        ddp_find_unused_parameters=(
            params.inputs == "image+report" and params.targets != ("language",)
        ),
        use_cpu=cpu,
        fsdp=params.fsdp,
        save_strategy="steps",
        save_total_limit=2,  # the newest may be incomplete
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=not sys.stderr.isatty(),
        seed=params.seed,
        remove_unused_columns=False,
    )
    # One process would otherwise divide its batches among all GPUs, with nn.DataParallel.
    args._n_gpu = min(1, args.n_gpu)
    return args


def _trainer(
    params: FinetuneParams,
    args: TrainingArguments,
    network: torch.nn.Module,
    processor,
    shown: Swapped,
    dev_rows: Rows,
    curves: Path,
) -> CompletionTrainer:
    per_step = args.world_size * params.gradient_accumulation_steps
    batches, pass_ends = plan(shown.rows.lengths, params, per_step)
    args.max_steps = len(batches) // per_step
    args.logging_steps = max(1, args.max_steps // 100)
    # At steps where the loss is logged: a checkpoint lacks the losses summed up for the next log.
    args.save_steps = 5 * args.logging_steps
    trainer = CompletionTrainer(
        params,
        network,
        args,
        shown,
        batches,
        dev_rows,
        pass_ends,
        functools.partial(encoding.collate, pad=processor.tokenizer.pad_token_id),
        curves,
    )
    # Every process computes all views, which pays only if there are more passes than processes.
    if len(pass_ends) > args.world_size:
        with trainer.accelerator.autocast():  # in the precision of the training
            precompute_views(network, shown.rows, dev_rows)
    return trainer


def _resume(trainer: CompletionTrainer, folder: Path) -> list[dict]:
    """Hand the trainer its last checkpoint; returns the history up to there."""
    if trainer.args.process_index == 0:
        last_checkpoint(folder)  # removes what is incomplete, before the other processes look
    trainer.accelerator.wait_for_everyone()
    last = last_checkpoint(folder)
    if last is None:
        return []
    history = TrainerState.load_from_json(str(last / "trainer_state.json")).log_history
    trainer.resume_from(last, history)
    return history


def _metrics(
    trainer: CompletionTrainer,
    network: torch.nn.Module,
    history: list[dict],
    rows: Rows,
    dev_rows: Rows,
) -> dict[str, object]:
    kept = best(history) or history[-1]
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    return {
        "train_loss": round(losses[kept["step"]], 4),
        "dev_loss": round(kept["dev_loss"], 4) if "dev_loss" in kept else None,
        "best_step": kept["step"],
        "steps": history[-1]["step"],
        "planned_steps": trainer.args.max_steps,
        "trained_parameters": sum(weight.numel() for weight in trained),
        "train": rows.facts(),
        "dev": dev_rows.facts(),
        "speed": trainer.speed,
    }
