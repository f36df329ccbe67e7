"""transformers' Trainer, which provides the loop, precision, optimizer, schedule, processes and
checkpoints. Ours: batches of similar length, a loss over completions only, when dev is evaluated,
and which checkpoint counts.

On the same rows trl's SFTTrainer took 2.0 to 2.2 times as long on a CPU. That was against CPU
layers of the project's own, since removed; against stock ones it has not been measured.
"""

import contextlib
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainingArguments,
)

from xraygen.core.errors import UserError
from xraygen.training import curves
from xraygen.training.batches import batched, by_length
from xraygen.training.checkpoints import seal
from xraygen.training.dataset import Row, Rows
from xraygen.training.history import best, patience_is_over
from xraygen.training.loss import completion_columns, completion_loss
from xraygen.training.muon import MuonWithAdamW
from xraygen.training.network import with_positions
from xraygen.training.params import FinetuneParams
from xraygen.training.swaps import Swapped


class CompletionTrainer(Trainer):
    """The loss is the mean over the completion tokens of a step, in all its processes and batches.
    The best pass on dev is kept in <output_dir>/best.

    `batches`: the rows of each batch of the whole training, for all processes in turn.
    `pass_ends`: the steps after which dev is evaluated and a checkpoint is written.
    """

    args: TrainingArguments
    control: TrainerControl
    optimizer: torch.optim.Optimizer | None

    def __init__(
        self,
        params: FinetuneParams,
        network: torch.nn.Module,
        args: TrainingArguments,
        rows: Swapped,
        batches: Sequence[Sequence[int]],
        dev_rows: Rows,
        pass_ends: Sequence[int],
        collate: Callable,
        curves_folder: Path,
    ):
        super().__init__(
            network,
            args,
            data_collator=collate,
            train_dataset=rows,
            callbacks=[_EvaluateAt(pass_ends), _FrozenStaysFrozen()],
        )
        network.register_forward_hook(_reach_a_trained_weight)
        self.remove_callback(PrinterCallback)
        # Trainer must not divide by the accumulation steps again: `compute_loss` divides by the
        # tokens of the whole step.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True
        self.params = params
        self.rows = rows
        self.dev_rows = dev_rows
        self.batches = batches
        self.folder = Path(str(args.output_dir))
        self.checkpoint: str | None = None  # that training goes on from
        self.first_step = 0
        self.speed: dict[str, object] = {}
        self.curves = curves.Curves(curves_folder) if args.process_index == 0 else None

    @property
    def history(self) -> list[dict]:
        """What was logged, without Trainer's own summary, which has timings."""
        names = ("step", "loss", "learning_rate", "dev_loss")
        kept = [
            {name: entry[name] for name in names if name in entry}
            for entry in self.state.log_history
        ]
        return [entry for entry in kept if len(entry) > 1]

    def resume_from(self, checkpoint: Path, history: Sequence[dict]) -> None:
        self.checkpoint = str(checkpoint)
        self.first_step = history[-1]["step"] if history else 0
        if self.curves:
            self.curves.log(history)

    # Batches

    def get_train_dataloader(self) -> DataLoader:
        # A row is asked for together with the number of its batch, on which word swaps depend.
        keys = [[(row, number) for row in batch] for number, batch in enumerate(self.batches)]
        return self._loader(self.rows, self._own(keys), self.rows.num_workers)

    def _own(self, batches: Sequence) -> Sequence:
        """The batches of this process."""
        return batches[self.args.process_index :: self.args.world_size]

    def _loader(self, rows: Dataset, batches: Sequence, num_workers: int) -> DataLoader:
        return DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self._collate,
            num_workers=num_workers,
            # The default generator would draw from the one that dropout draws from.
            generator=torch.Generator(),
        )

    def _collate(self, rows: list[Row]) -> Row:
        batch = with_positions(self.model, self.data_collator(rows))
        return batch | {"labels": completion_columns(batch["labels"])}

    # Steps

    def create_optimizer(self, model=None):
        if self.optimizer is None and self.params.optimizer == "muon":
            self.optimizer = MuonWithAdamW(self.model, self.args.learning_rate)
        return super().create_optimizer(model)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return completion_loss(model, inputs) / num_items_in_batch * self.accelerator.num_processes

    def train(self, *args, **kwargs):
        start = time.monotonic()
        with _without_casts(self.model, self.params):
            output = super().train(*args, **kwargs)
        self.speed = self._speed(time.monotonic() - start)
        if self.curves:
            self.curves.end()
        return output

    def _speed(self, seconds: float) -> dict[str, object]:
        per_step = self.args.world_size * self.params.gradient_accumulation_steps
        trained = self.batches[self.first_step * per_step : self.state.global_step * per_step]
        studies = [row for batch in trained for row in batch]
        tokens = sum(sum(self.rows.rows.lengths[row]) for row in studies)
        return {
            "steps": self.state.global_step - self.first_step,
            "seconds": round(seconds, 1),
            "studies_per_second": round(len(studies) / seconds, 2),
            "tokens_per_second": round(tokens / seconds),
            "peak_memory_gib": round(_peak_memory() / 2**30, 2),
            "device": _device(self.args),
            "precision": self.params.precision,
        }

    def log(self, logs: dict, start_time: float | None = None) -> None:
        super().log(logs, start_time)
        logged = [value for name, value in logs.items() if name in curves.NAMES]
        if not all(map(math.isfinite, logged)):
            raise UserError(
                f"finetune: at step {self.state.global_step} the loss is NaN or infinite; "
                "lower learning_rate, or set precision: float32"
            )
        if self.curves and logged:
            self.curves.log(self.history[-1:])

    # Evaluation

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """Log the mean loss of a completion token of dev, keep the pass if it is the best so far,
        and stop the training when patience is over.
        """
        if len(self.dev_rows):
            self.log({"dev_loss": self._dev_loss()})
        if best(self.history) in (None, self.history[-1]):
            self._keep_as_best()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, {})
        patience = self.params.early_stopping_patience
        self.control.should_training_stop |= patience_is_over(self.history, patience)
        return {}

    def _dev_loss(self) -> float:
        lengths = self.dev_rows.lengths
        rows = by_length(range(len(lengths)), lengths)
        batches = batched(rows, lengths, self.params.max_batch_tokens)
        own = self._own(batches)
        counted = len(own)
        # Sharded models run in step, so a process that has one batch fewer runs one more, which
        # does not count.
        own = [*own, *batches[: math.ceil(len(batches) / self.args.world_size) - counted]]
        total = torch.zeros((), dtype=torch.float64, device=self.args.device)
        self.model_wrapped.eval()
        with torch.no_grad():
            loader = self._loader(self.dev_rows, own, self.dev_rows.num_workers)
            for number, batch in enumerate(loader):
                loss = completion_loss(self.model_wrapped, self._prepare_inputs(batch))
                if number < counted:
                    total += loss
        tokens = sum(completion for _, completion in lengths)
        return float(self.accelerator.reduce(total)) / tokens

    def _keep_as_best(self) -> None:
        part = self.folder / "best.part"
        kept = self.folder / "best"
        self.save_model(str(part))
        if self.args.should_save:
            shutil.rmtree(kept, ignore_errors=True)
            part.rename(kept)

    # Checkpoints

    def _save_checkpoint(self, model, trial) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(self.folder / f"checkpoint-{self.state.global_step}")

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save weights and configuration only. Trainer reads the rest of a checkpoint (optimizer,
        schedule, random states) by torch.load(weights_only=True), which runs no code.
        """
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        network = self.accelerator.unwrap_model(self.model)
        if self.params.method == "full":
            # Trainer looks up a checkpoint's weights by their names in memory, and says nothing if
            # it finds none of them.
            to_resume = folder.name.startswith("checkpoint-")
            network.save_pretrained(
                folder, state_dict=state_dict, save_original_format=not to_resume
            )
        else:
            _save_adapter(network, folder, state_dict)


def _save_adapter(network, folder: Path, state_dict: dict | None) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    weights = get_peft_model_state_dict(network, state_dict, save_embedding_layers=False)
    weights = {name: weight.contiguous() for name, weight in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    network.peft_config["default"].save_pretrained(folder)


def _reach_a_trained_weight(network, _, output) -> None:
    """Connect the logits of a batch without images to the trained weights if these only see images:
    there would be no gradient otherwise. A forward hook, because DDP looks there.
    """
    if torch.is_grad_enabled() and not output.logits.requires_grad:
        weight = next(weight for weight in network.parameters() if weight.requires_grad)
        output.logits = output.logits + 0 * weight.sum()


class _EvaluateAt(TrainerCallback):
    """After these steps the loss is logged, dev is evaluated, and a checkpoint is written."""

    def __init__(self, steps: Sequence[int]):
        self.steps = set(steps)

    def on_step_end(self, args, state, control, **_):
        if state.global_step in self.steps:
            control.should_log = True
            control.should_evaluate = True
            control.should_save = True


class _FrozenStaysFrozen(TrainerCallback):
    """With gradient checkpointing, transformers has the embeddings and the patches of the views
    require a gradient, which only reentrant checkpointing needs. It would go back through the whole
    vision tower, also where that is frozen.
    """

    def on_train_begin(self, args, state, control, *, model, **_):
        model.disable_input_require_grads()


def _without_casts(
    network: torch.nn.Module, params: FinetuneParams
) -> contextlib.AbstractContextManager:
    """peft casts the input of each LoRA layer to float32, the precision of its weights, and
    autocast takes that back: an eighth of all kernels of a step, and copies for the backward.
    """
    if params.method == "full":
        return contextlib.nullcontext()
    from peft.helpers import disable_input_dtype_casting

    return disable_input_dtype_casting(network)


def _peak_memory() -> int:
    """In bytes: of the GPU, or else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device(args: TrainingArguments) -> str:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f"{args.device.type} ({torch.get_num_threads()} threads)"
    return name if args.world_size == 1 else f"{args.world_size} processes on {name}"
