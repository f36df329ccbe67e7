"""Fine-tuning: what it is set to, what a step takes, and that a run which is killed goes on where
it was.

finetune   settings and curated studies -> a folder with the adapter (or the whole model), and metrics
trainer    the training itself, by transformers' Trainer
"""

import contextlib
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from xraygen import __version__
from xraygen.core.errors import UserError
from xraygen.core.files import identity, replacing_folder, sha256
from xraygen.core.study import NonEmpty, Record, Study, read_json, write_json
from xraygen.engines import generation
from xraygen.engines.answers import cache_folder
from xraygen.engines.model import commit_of, workings
from xraygen.engines.precision import Asked, resolve
from xraygen.prompting.conversation import PROMPT, Inputs
from xraygen.training.recombine import recombined

Part = Literal["language", "vision", "projector"]
Lengths = tuple[int, int]  # tokens of prompt and completion
# rows that are sorted by length together: enough for batches of like length, few enough to keep
# them mixed
_POOL = 128


class FinetuneParams(Record):
    """What is trained: `base`: a folder of the project, or a name on the Hugging Face hub at
    `revision` (a commit's hash pins it). `method`: lora = low-rank matrices added to frozen
    weights; qlora = the same with the frozen weights in 4 bits (NF4), a third of the memory,
    slower; full = the weights themselves, in float32. `targets`: which parts of the model train.
    language alone suffices where it sees pictures already; projector and vision teach it to. `r`,
    `alpha`, `dropout`: rank of the matrices, their scale times r, share of their inputs that is
    dropped; not for full.

    On what: `inputs`: what of a case the model is shown. `prompt`: the instruction. `max_views`: of
    a study, frontal first. `max_pixels`: of a view, larger ones are scaled down; 784 to an image
    token of Qwen2-VL. `max_tokens`: longer studies are skipped and counted, never cut: that would
    cut pictures or answers.

    `recombined`: how many more studies for each one, made of the sentences of several reports and
    what the curators mostly made of these; without images. `swaps`: share of the times that a study
    is shown with words replaced by others, in prompt and answer alike: where there are few studies,
    a model then learns to read them instead of knowing their sentences by heart.

    How: `rate`: the highest learning rate, reached after the share `warmup` of the steps; then it
    follows `schedule`. `epochs`: passes over the studies; `steps`: the number of steps instead.
    `batch_tokens`: of a batch in one process, padding included; it bounds memory. `accumulation`:
    batches to a step and process. `checkpointing`: compute activations again instead of keeping
    them: less memory, a third slower. `precision`: of the arithmetic. auto = bfloat16 where the
    device has it natively (CUDA compute capability 8.0 or higher; a CPU with avx512_bf16 or AMX),
    several times faster there, otherwise float32. float16 is for GPUs without bfloat16.
    `optimiser`: the 8-bit ones (bitsandbytes) keep their state in a quarter of the memory, paged
    ones also spill to the host; muon learns more from a step, and takes twice AdamW's rate; tried
    with full. `sharded`: weights, gradients and optimiser state are divided among the GPUs of
    several processes (FSDP), for models that one does not hold. `patience`: training stops after
    this many passes without a better loss on dev; null = never. The best pass is kept either way.
    """

    base: NonEmpty
    revision: str | None = None
    method: Literal["lora", "qlora", "full"]
    targets: Annotated[tuple[Part, ...], Field(min_length=1)]
    r: PositiveInt
    alpha: PositiveFloat
    dropout: Annotated[float, Field(ge=0, lt=1)]
    inputs: Inputs
    prompt: NonEmpty = PROMPT
    max_views: PositiveInt
    max_pixels: Annotated[int, Field(ge=28 * 28)]
    max_tokens: PositiveInt
    recombined: NonNegativeFloat = 0.0
    swaps: Annotated[float, Field(ge=0, le=1)] = 0.0
    rate: PositiveFloat
    schedule: Literal["cosine", "linear", "constant_with_warmup"]
    warmup: Annotated[NonNegativeFloat, Field(lt=1)]
    epochs: PositiveInt
    steps: PositiveInt | None = None
    batch_tokens: PositiveInt
    accumulation: PositiveInt
    checkpointing: bool
    sharded: bool = False
    precision: Asked
    optimiser: Literal["adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "muon"]
    patience: PositiveInt | None
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _what_trains_is_used(self) -> "FinetuneParams":
        if self.inputs == "report" and self.targets != ("language",):
            raise ValueError(
                "targets: with inputs: report there are no pictures to learn to see; take [language]"
            )
        return self

    @model_validator(mode="after")
    def _muon_sees_whole_matrices(self) -> "FinetuneParams":
        if self.sharded and self.optimiser == "muon":
            raise ValueError(
                "optimiser: muon needs whole matrices; with sharded: true take adamw_torch_fused"
            )
        return self

    @model_validator(mode="after")
    def _a_batch_holds_a_row(self) -> "FinetuneParams":
        if self.max_tokens > self.batch_tokens:
            raise ValueError(
                f"max_tokens is {self.max_tokens:,}, more than a batch may have (batch_tokens: {self.batch_tokens:,})"
            )
        return self


def finetune(
    params: FinetuneParams,
    train: Sequence[Study],
    dev: Sequence[Study],
    root: Path,
    out: Path,
    curves: Path,
) -> dict | None:
    """Train on `train`, keep the best by the loss on `dev`, write `out` and dvclive's curves;
    returns the metrics.

    `root`: what the studies' images are relative to. `out`: adapter_config.json and
    adapter_model.safetensors, or with method full the whole model; training.json says what it was
    trained from, and in which precision. The same on every run on one machine, also after being
    killed: the state is kept in .cache/finetune, under a hash of everything that shapes the result.
    Under torchrun every process calls this; the first one writes, the others return None.
    UserError: the base cannot be loaded, too many pictures cannot be read, nothing is left to train
    on, or the loss is NaN or infinite.
    """
    try:
        with generation.uncollected():
            from accelerate import PartialState

            from xraygen.training import trainer
    except ImportError as error:
        raise UserError(
            f"fine-tuning needs more packages ({error}): pip install -c constraints.txt -e '.[vlm]'"
        ) from None
    processes = PartialState(cpu=trainer.on_cpu())
    precision = resolve(params.precision)
    params = params.model_copy(
        update={"precision": precision.name}
    )  # from here on, as in training.json
    if processes.is_main_process:
        print(precision.said, file=sys.stderr)
    train = [*train, *recombined(train, round(params.recombined * len(train)), params.seed)]
    made_from = _made_from(params, train, dev, root)
    folder = cache_folder() / "finetune" / _key(made_from, processes.num_processes)
    with _alone(folder) if processes.is_main_process else contextlib.nullcontext():
        processes.wait_for_everyone()
        done = folder / "done"
        if not done.exists():
            with trainer.memory_named():
                trainer.train(params, train, dev, root, folder, curves, made_from)
        processes.wait_for_everyone()
        if not processes.is_main_process:
            return None
        for leftover in folder.glob("checkpoint-*"):
            shutil.rmtree(leftover)
        trainer.draw(read_json(done / "history.json")["history"], curves)
        with replacing_folder(out) as beside:
            shutil.copytree(done / "model", beside)
        return read_json(done / "metrics.json")


def _made_from(
    params: FinetuneParams, train: Sequence[Study], dev: Sequence[Study], root: Path
) -> dict:
    """Content of training.json."""
    shown = (*train, *dev) if "image" in params.inputs else ()
    images = (
        path for study in shown for image in study.images if (path := root / image.path).is_file()
    )
    return {
        "base": params.base,
        "revision": commit_of(params.base, params.revision) or params.revision,
        "base_content": identity(params.base),
        "data": {
            "train": len(train),
            "dev": len(dev),
            "sha256": hashlib.sha256(
                "\n".join(study.model_dump_json() for study in (*train, *dev)).encode()
            ).hexdigest(),
            "images_sha256": sha256(images),
        },
        "params": params.model_dump(mode="json"),
        "xraygen": __version__,
    }


def _key(made_from: dict, processes: int) -> str:
    """Of that, and of what else shapes the result: the code, the libraries, and how many processes
    share a step.
    """
    return hashlib.sha256(
        json.dumps([made_from, workings(), processes], sort_keys=True).encode()
    ).hexdigest()[:16]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: `dvc repro` that is killed leaves its stage running, and the next one
    starts another.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(f"{folder}: no checkpoint can be kept: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "finetune: another process is training the same; waiting for its result",
                file=sys.stderr,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def plan(
    lengths: Sequence[Lengths], params: FinetuneParams, share: int
) -> tuple[list[list[int]], list[int]]:
    """(batches of the whole run, as indices; the steps after which dev is looked at: where a pass
    over the studies is over).

    A step takes `share` batches in turn = processes x accumulation, so that two processes see what
    one sees with twice the accumulation. Every pass is in a new order.
    """
    order, batches, ends = random.Random(params.seed), [], []
    while len(batches) // share < params.steps if params.steps else len(ends) < params.epochs:
        batches += _one_pass(lengths, params.batch_tokens, order)
        ends.append(len(batches) // share)
    steps = params.steps or len(batches) // share
    if not steps:
        raise UserError(
            f"params.yaml: finetune: {len(batches)} batches are less than one step takes ({share}); lower accumulation"
        )
    return batches[: steps * share], sorted({min(end, steps) for end in ends if end} | {steps})


def _one_pass(lengths: Sequence[Lengths], budget: int, order: random.Random) -> list[list[int]]:
    batches, shuffled = [], order.sample(range(len(lengths)), len(lengths))
    for at in range(0, len(shuffled), _POOL):
        batches += batched(
            sorted(shuffled[at : at + _POOL], key=lambda i: sum(lengths[i])), lengths, budget
        )
    order.shuffle(batches)
    return batches


def batched(chosen: Sequence[int], lengths: Sequence[Lengths], budget: int) -> list[list[int]]:
    """Cut in turn into batches of at most `budget` tokens; prompts and completions are padded each
    to their longest.
    """
    batches, widest = [[]], [0, 0]
    for i in chosen:
        wider = [max(pair) for pair in zip(widest, lengths[i], strict=True)]
        if batches[-1] and (len(batches[-1]) + 1) * sum(wider) > budget:
            batches.append([])
            wider = list(lengths[i])
        batches[-1].append(i)
        widest = wider
    return batches


def best(history: Sequence[dict]) -> dict | None:
    """The entry with the lowest loss on dev, the earliest of equals."""
    return min(
        (entry for entry in history if "dev_loss" in entry),
        key=lambda entry: entry["dev_loss"],
        default=None,
    )


def patience_is_over(history: Sequence[dict], patience: int | None) -> bool:
    looked = [entry for entry in history if "dev_loss" in entry]
    return (
        patience is not None
        and bool(looked)
        and len(looked) - 1 - looked.index(best(looked)) >= patience
    )


def write_done(
    folder: Path, model: Path, made_from: dict, metrics: dict, history: list[dict]
) -> None:
    """folder/done: the result, whole or not there."""
    beside = folder / "done.part"
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(model, beside / "model")
    write_json(beside / "model" / "training.json", made_from)
    write_json(beside / "metrics.json", metrics)
    write_json(beside / "history.json", {"history": history})
    beside.rename(folder / "done")


def checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; the others are removed: each was killed while it was
    written, or damaged since.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.partition("-")[2]))
    whole = next((path for path in found if _is_whole(path)), None)
    for path in found:
        if path != whole:
            shutil.rmtree(path)
    return whole


def seal(checkpoint: Path) -> None:
    """Say that all is written, and what."""
    files = sorted(
        path for path in checkpoint.rglob("*") if path.is_file() and path.name != "files.json"
    )
    write_json(
        checkpoint / "files.json",
        {str(path.relative_to(checkpoint)): sha256([path]) for path in files},
    )


def _is_whole(checkpoint: Path) -> bool:
    try:
        return all(
            sha256([checkpoint / name]) == digest
            for name, digest in read_json(checkpoint / "files.json").items()
        )
    except (UserError, OSError):
        return False
