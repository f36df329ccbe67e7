"""What finetune.py, generate.py and gpu.py share: studies, a plain training loop, measurement.

The plain side is what one writes by hand around transformers: batches in the given order, padded to
their longest study, the stock model and its own loss, at the precision that `auto` chooses.

Each side runs in its own process, so that the memory of one does not hide that of the other.
Progress is printed on stderr with its seconds, so that an interrupted run shows where it was.
Operations are counted once for both, by torch's FlopCounterMode over single examples with eager
attention: useful tokens alone, no padding, and logits for no more columns than needed. The peak is
that of a large matrix product on the same device, at the precision in which the side computes.
"""

import contextlib
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from xraygen import params
from xraygen.core.study import Study
from xraygen.prompting import encoding
from xraygen.sources import phantom
from xraygen.training.batches import batched

TINY = Path("models/tiny-qwen2-vl")


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    start = time.perf_counter()
    print(f"{what} ...", file=sys.stderr, flush=True)
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def in_child(function: Callable, *arguments):
    """What `function` returns in a fresh process."""
    with (
        doing(function.__name__),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(function, *arguments).result()


def studies(count: int, folder: Path) -> list[Study]:
    """Drawn and worded by the generator, with their pictures in `folder`."""
    size = params.load().data.settings["phantom"].size
    drawn = phantom.PhantomSettings(train=count, test=1, val=0, size=size)
    with doing("draw the studies"):
        return phantom.read(drawn, folder / "images", folder, params.load().regions).studies[:count]


def now() -> float:
    """Seconds, once the device has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measures(precision) -> dict:
    """The device, this process's peak memory so far (allocated on the GPU, else resident), and its
    peak in a precision.
    """
    import torch

    cuda = torch.cuda.is_available()
    unit = 1 if sys.platform == "darwin" else 1024
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    )
    width, seconds = 8192 if cuda else 2048, []
    a, b = torch.randn(2, width, width, device="cuda" if cuda else "cpu", dtype=precision)
    for _ in range(10):
        start = now()
        a @ b
        seconds.append(now() - start)
    device = torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)"
    return {"device": device, "gib": round(peak / 2**30, 2), "peak": 2 * width**3 / min(seconds)}


def report(side: dict, flops: float, what: str, prefix: str = "") -> dict:
    """The numbers of one side. `flops`: of one example; `what`: examples are called."""
    done = flops * side["examples"] / side["seconds"]
    return {
        f"{prefix}{what}_per_second": round(side["examples"] / side["seconds"], 2),
        f"{prefix}tokens_per_second": round(side["tokens"] / side["seconds"], 1),
        f"{prefix}tflops": round(done / 1e12, 4),
        f"{prefix}share_of_peak": round(done / side["peak"], 4),
        f"{prefix}peak_tflops": round(side["peak"] / 1e12, 3),
        f"{prefix}peak_memory_gib": side["gib"],
    }


def flops_of(network, run: Callable, examples: Sequence) -> float:
    """Mean over at most 4 examples, spread over all of them, of the operations of `run`."""
    from torch.utils.flop_counter import FlopCounterMode

    network.set_attn_implementation("eager")  # products that the counter knows on every device
    chosen = examples[:: -(-len(examples) // 4)]
    with (
        doing(f"count the operations of {len(chosen)} examples"),
        FlopCounterMode(display=False) as counter,
    ):
        for example in chosen:
            run(example)
    return counter.get_total_flops() / len(chosen)


def batches(
    processor, studies: Sequence[Study], settings, root: Path, budget: int = 1
) -> list[dict]:
    """Batches of at most `budget` tokens in the order given, in the host's memory; 1 = each study
    by itself.
    """
    asked = settings.inputs, settings.prompt, settings.max_views
    rows, _ = encoding.examples(processor, studies, root, *asked, settings.max_tokens)
    lengths = [(len(row["input_ids"]), len(row["completion"])) for row in rows]
    pad = processor.tokenizer.pad_token_id
    cut = batched(range(len(rows)), lengths, budget)
    return [encoding.collate([rows[index] for index in batch], pad) for batch in cut]


def on(device, batch: dict) -> dict:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def train(
    network,
    batches: Sequence[dict],
    warm: int,
    autocast: Callable,
    learning_rate: float,
    optimizer_class: Callable,
    ended: Callable[[], bool] = lambda: False,
) -> tuple[float, int]:
    """Train what is trained of a network, one optimizer step a batch, with the model's own loss;
    returns (seconds of the batches after the first `warm`, number of all). It stops early when
    `ended`.
    """
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = optimizer_class(trained, lr=learning_rate)
    network.train()
    start = now()
    for number, batch in enumerate(batches, 1):
        with autocast():
            loss = network(**on(network.device, batch)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if number == warm:
            start = now()
        elif number > warm and ended():
            break
    return now() - start, number


def adam() -> type:
    """The optimizer of bench/finetune.py: with 8-bit states on a GPU, if bitsandbytes is there."""
    import torch

    try:
        if torch.cuda.is_available():
            from bitsandbytes.optim import Adam8bit

            return Adam8bit
    except ImportError:
        pass
    return torch.optim.AdamW
