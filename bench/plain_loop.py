"""What finetune.py and generate.py share: studies, Qwen2-VL-2B with random weights, and
measurement.

The plain side is what one writes by hand around transformers: batches in the given order, padded to
their longest study, the stock model and its own loss, at the precision that `auto` chooses.

Each side runs in its own process, so that the memory of one does not hide that of the other.
Progress is printed on stderr with its seconds, so that an interrupted run shows where it was.
Operations are counted once for both, by torch's FlopCounterMode over single examples with eager
attention: useful tokens alone, no padding, and logits for no more columns than needed. The peak is
that of a large matrix product on the same device, at the precision in which the side computes.
"""

import argparse
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
SIDE = 504  # of a view of the large model in pixels: 324 image tokens
PROMPT = (
    "Annotate the study by region, in JSON with the keys bone, heart, lung, mediastinal and others."
)
_VIEWS = [1] * 12 + [2] * 82 + [3] * 5 + [4]  # of a hundred studies of IU X-Ray


def parser(doc: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--size", choices=["tiny", "2b"], default="tiny")
    made.add_argument("--examples", type=int, default=128)
    made.add_argument("--max-views", type=int, help="of a study; tiny 1, 2b 4")
    made.add_argument(
        "--layers",
        type=int,
        help="2b: number of layers of text and of vision, to try it without a GPU",
    )
    return made


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


def prepare(arguments: argparse.Namespace, folder: Path) -> tuple[list[Study], dict]:
    """(studies with their pictures in `folder`, settings that differ from params.yaml, with the
    model's folder as `base`).
    """
    large = arguments.size == "2b"
    drawn = phantom.PhantomSettings(
        train=arguments.examples,
        test=1,
        val=0,
        size=SIDE if large else params.load().data.settings["phantom"].size,
    )
    with doing("draw the studies"):
        read = phantom.read(drawn, folder / "images", folder, params.load().regions)
        studies = read.studies[: arguments.examples]
    settings = {"base": str(TINY.resolve()), "max_views": arguments.max_views or 1}
    if not large:
        return studies, settings
    in_child(save_large, folder / "2b", arguments.layers)
    settings = {
        "base": str(folder / "2b"),
        "max_views": arguments.max_views or 4,
        "max_pixels": SIDE**2,
        "prompt": PROMPT,
    }
    return [_like_iu_xray(study, k) for k, study in enumerate(studies)], settings


def _like_iu_xray(study: Study, k: int) -> Study:
    """With as many views, and as long an answer, as the studies of IU X-Ray have with Qwen's
    tokenizer.
    """
    others = f"{study.reference['others']} No previous study.".strip()
    reference = study.reference | {"others": others}
    return study.model_copy(
        update={"images": (study.images * 2)[: _VIEWS[37 * k % 100]], "reference": reference}
    )


def save_large(folder: Path, layers: int | None) -> None:
    """Qwen2-VL-2B as published, with random weights, and the small model's tokenizer."""
    import torch
    from transformers import AutoConfig, Qwen2VLConfig, Qwen2VLForConditionalGeneration

    from xraygen.engines.model import load_processor, placement

    small = AutoConfig.from_pretrained(TINY)
    names = "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"
    ids = {
        name: getattr(small.text_config, name)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    config = Qwen2VLConfig(
        text_config=dict(
            vocab_size=151_936,
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=layers or 28,
            num_attention_heads=12,
            num_key_value_heads=2,
            max_position_embeddings=32_768,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
            **ids,
            rope_parameters={
                "rope_type": "default",
                "mrope_section": [16, 24, 24],
                "rope_theta": 1e6,
            },
        ),
        vision_config={
            "depth": layers or 32,
            "embed_dim": 1280,
            "hidden_size": 1536,
            "num_heads": 16,
            "mlp_ratio": 4,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=True,
        **{name: getattr(small, name) for name in names},
    )
    torch.manual_seed(0)
    with torch.device(placement()[0]):
        model = Qwen2VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        ids["eos_token_id"],
        ids["pad_token_id"],
    )
    model.save_pretrained(folder)
    load_processor(str(TINY), max_pixels=SIDE**2).save_pretrained(folder)


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
    ended: Callable[[], bool] = lambda: False,
) -> tuple[float, int]:
    """Train what is trained of a network, one optimizer step a batch, with the model's own loss;
    returns (seconds of the batches after the first `warm`, number of all). It stops early when
    `ended`.
    """
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = _adam()(trained, lr=learning_rate)
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


def _adam():
    import torch

    try:
        if torch.cuda.is_available():
            from bitsandbytes.optim import Adam8bit

            return Adam8bit
    except ImportError:
        pass
    return torch.optim.AdamW
