"""Greedy generation by a causal language model of transformers: on the GPU, on all of them if there
are several, or on the CPU.
"""

import contextlib
import functools
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.engines.copies import Copies, Work

Tokens = list[int]


class OutOfMemory(UserError):
    """A single case or prompt does not fit into the memory that is left."""


class Task(NamedTuple):
    """`model`: a folder, or a name on the Hugging Face hub at `revision`. An answer ends at the
    token `end`, or when it has `limit` tokens together with its prompt. `batch`: prompts at a time,
    at first.
    """

    model: str
    revision: str | None
    end: int
    limit: int
    batch: int


class Placement(NamedTuple):
    devices: list[str]
    dtype: str
    reason: str


def without_cudnn_attention() -> None:
    """Let torch choose another attention kernel on a GPU. cuDNN's, which it prefers on a Hopper,
    builds a plan for every new shape, and here nearly every batch and every step of decoding has
    one (docs/vlm.md has the measurement).
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def placement(task: Task) -> Placement:
    """Where the model runs, in which precision, and why."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    half = "half precision, as GREEN's authors run it"
    if count := torch.cuda.device_count():
        return Placement([f"cuda:{index}" for index in range(count)], "float16", half)
    if torch.backends.mps.is_available():
        return Placement(["mps"], "float16", half)
    with loading(task.model), torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(task.model, revision=task.revision)
        )
    weights = sum(parameter.numel() for parameter in empty.parameters())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 5 * weights < memory:
        return Placement(["cpu"], "float32", "no GPU; on a CPU full precision is the faster one")
    return Placement(
        ["cpu"],
        "float16",
        f"no GPU; in full precision it would not fit into {memory / 2**30:.0f} GiB",
    )


def generate(
    task: Task, place: Placement, prompts: Sequence[Tokens]
) -> Iterator[tuple[int, Tokens]]:
    """(index of the prompt, its answer without the end token) as answers end, in no fixed order.

    Several devices: a process with a copy of the model on each. UserError: the model cannot be
    loaded, or one prompt does not fit.
    """
    if len(place.devices) == 1:
        yield from CausalModel(task, place.devices[0], place.dtype).generate(prompts)
        return
    copies = Copies(functools.partial(_copy, task, place.dtype), place.devices, task.model)
    try:
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        for at in range(0, len(order), task.batch):
            copies.put([(index, prompts[index]) for index in order[at : at + task.batch]])
        for _ in prompts:
            yield copies.get()
    finally:
        copies.end()


def _copy(task: Task, dtype: str, device: str) -> Work:
    model = CausalModel(task, device, dtype)

    def work(part: list[tuple[int, Tokens]]) -> Iterator[tuple[int, Tokens]]:
        for row, answer in model.generate([prompt for _, prompt in part]):
            yield part[row][0], answer

    return work


class CausalModel:
    """One copy of a model on one device."""

    def __init__(self, task: Task, device: str, dtype: str):
        import torch
        from transformers import AutoModelForCausalLM

        without_cudnn_attention()
        with loading(task.model):
            model = AutoModelForCausalLM.from_pretrained(
                task.model,
                revision=task.revision,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
            )
            self.model, self.device = model.eval().to(device), device
        self.end, self.limit, self.batch = task.end, task.limit, task.batch

    def generate(self, prompts: Sequence[Tokens]) -> Iterator[tuple[int, Tokens]]:
        """As `generate` above. Batches are of like length, the longest first; out of memory, they
        are half as large from there on.
        """
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        waiting = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        while waiting:
            chosen = waiting[-self.batch :]
            ended = set()
            try:
                for row, answer in self._batch([prompts[index] for index in chosen]):
                    ended.add(chosen[row])
                    yield chosen[row], answer
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(chosen) == 1:
                    raise OutOfMemory(
                        f"{self.device}: out of memory with a single prompt; take a smaller model"
                    ) from None
                self.batch = len(chosen) // 2
                print(
                    f"{self.device}: out of memory; batches of {self.batch} from here on",
                    file=sys.stderr,
                )
            if len(ended) < len(chosen):
                clear_device_cache(garbage_collection=True)
            waiting = [index for index in waiting if index not in ended]

    def _batch(self, prompts: list[Tokens]) -> Iterator[tuple[int, Tokens]]:
        """(row, answer) as answers end."""
        import torch
        from transformers import GenerationConfig

        from xraygen.engines.decoding import decode

        longest = max(map(len, prompts))
        rows = [[self.end] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        batch = {
            "input_ids": torch.tensor(rows, device=self.device),
            "attention_mask": torch.tensor(mask, device=self.device),
        }
        most = self.limit - min(map(len, prompts))
        config = GenerationConfig(
            max_new_tokens=most, eos_token_id=self.end, pad_token_id=max(self.end, 0)
        )

        def stop(row: int, said: Tokens) -> bool:
            return said[-1] == self.end or len(prompts[row]) + len(said) >= self.limit

        for row, said in decode(self.model, batch, stop, config):
            yield row, said[:-1] if said[-1] == self.end else said


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, while libraries and a model are loaded: it looks through all
    that is there again and again, a fifth of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """What goes wrong while a model or a tokenizer is found and read, in one line; progress on a
    terminal only.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    if (name[:1] in "/.~" or name.startswith("models/")) and not os.path.isdir(name):
        raise UserError(f"model {name}: cannot be loaded: there is no such folder")
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"model {name}: cannot be loaded: {reason}") from None
