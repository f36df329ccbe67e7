"""bench/gpu.py on a CPU, in miniature: every line, and the formulas behind them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def counts():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import gpu_counts
    finally:
        sys.path.pop(0)
    return gpu_counts


def gpu(*arguments: str) -> list[dict]:
    command = [sys.executable, "bench/gpu.py", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr
    return lines


@pytest.mark.slow
def test_every_measurement_runs_in_miniature():
    lines = gpu("--smoke")
    assert not [line for line in lines if "problem" in line or "skipped" in line]
    assert lines[0]["measurement"] == "machine" and lines[0]["torch"] and lines[0]["date"]
    of: dict[str, dict[str, dict]] = {}
    for line in lines:
        of.setdefault(line["measurement"], {})[line["setting"]] = line
    assert {*of} == {
        *("machine", "models", "lora-256", "generation", "profile", "green"),
        *("docs-16-gb", "docs-80-gb", "pretraining", "confidence"),
    }

    lora = of["lora-256"]
    assert lora["check"]["loss"] == pytest.approx(lora["check"]["stock_loss"], rel=1e-3)
    assert lora["check"]["flops_over_counter"] == pytest.approx(1, abs=0.02)
    trained = [line for line in lora.values() if "samples_per_second" in line]
    assert len(trained) == 8
    assert "plain loop, our attention kernel, 512 tokens" in lora
    assert all(line["image_tokens"] == 16 for line in trained if "image_tokens" in line)
    for line in [*trained, *of["docs-16-gb"].values(), *of["docs-80-gb"].values()]:
        if "tokens_per_sample" in line:
            tokens = line["samples"] * line["tokens_per_sample"]
            assert tokens / line["seconds"] == pytest.approx(line["tokens_per_second"], rel=0.01)
            flops = line["samples"] * line["tflop_per_sample"]
            assert flops / line["seconds"] == pytest.approx(line["tflops"], rel=0.01)
    in_each, seen = lora["512 tokens, views in each step"], lora["512 tokens"]
    assert in_each["tflop_per_sample"] > seen["tflop_per_sample"]
    assert lora["768 tokens, checkpointing"]["gradient_checkpointing"]
    documented = of["docs-16-gb"]["gpu-16-gb"]
    assert documented["optimizer"] == "paged_adamw_8bit"
    assert documented["gradient_accumulation_steps"] == 4
    assert of["docs-80-gb"]["gpu-80-gb"]["targets"] == ["language", "projector"]

    one, four = (of["generation"][f"batch {batch}"] for batch in (1, 4))
    assert (one["batch"], four["batch"]) == (1, 4)
    ratio = four["tokens_per_second"] / one["tokens_per_second"]
    assert four["times_batch_1"] == pytest.approx(ratio, rel=0.01)
    stock = of["generation"]["stock generate, batch 4, our attention kernel"]
    assert stock["answer_tokens"] == four["answer_tokens"] > 40
    assert {*of["green"]} == {"load", "batch 2", "batch 4", "stock generate, batch 4"}
    assert of["pretraining"]["first phase"]["steps_per_second"] > 0
    assert {*of["confidence"]} == {"load", "with", "without", "cost"}
    assert of["profile"]["LoRA, 512 tokens"]["operations"] > 100


def test_a_measurement_that_does_not_fit_or_hangs_ends_alone(tmp_path):
    """Of a tenth of a second each: too short to import torch."""
    lines = gpu("--minutes", "0.0134", "--only", "green", "pretraining")
    machine, *others = lines
    assert machine["measurement"] == "machine" and "stopped at its limit" in machine["problem"]
    assert [line["measurement"] for line in others] == ["models", "green", "pretraining"]
    assert all("problem" in line or "skipped" in line for line in others)


def test_the_measurements_that_matter_are_begun_whatever_those_before_them_do():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import gpu
    finally:
        sys.path.pop(0)
    measurements = [*gpu.MEASUREMENTS]
    until = measurements[: measurements.index("profile") + 1]
    assert {*until} > {"lora-256", "generation", "qlora-256", "green", "lora-1024"}
    assert sum(gpu.MEASUREMENTS[name].seconds for name in until) <= 8 * 60


def test_operations_of_a_model_by_hand(counts):
    """One layer, width 2, one head of 2, MLP 3, vocabulary 5: q, k, v and o are 2 x 2, gate and up
    2 x 3, down 3 x 2.
    """
    text = counts.Text(2, 3, 1, 1, 1, 2, 5)
    assert text.weights == 4 * 4 + 3 * 6
    assert text.lora(1) == 4 * 4 + 3 * 5
    row = counts.Row(tokens=10, answer=4, views=())
    layers = 10 * (4 * 34 + 6 * 31)
    attention = 3 * 4 * 2 * 10 * 10
    logits = 4 * 4 * 2 * 5
    into_views = counts.training_flops(text, row, 1, into_views=True)
    assert into_views == layers + attention + logits
    # Without a gradient of the first layer's inputs: through q, k and v, and their LoRA matrices.
    assert counts.training_flops(text, row, 1) == into_views - 10 * 2 * 3 * (4 + 2)


def test_bytes_that_generation_reads_by_hand(counts):
    text = counts.Text(2, 3, 1, 1, 1, 2, 5)
    assert counts.step_bytes(text) == 2 * (34 + 10)
    assert counts.cache_bytes(text) == 2 * 2 * 2
    # Two steps after the first token: 3 + 1 and 3 + 2 tokens are read in the first row, none in the
    # second, whose only token comes from reading the prompt.
    read = counts.generation_bytes(text, [3, 7], [3, 1])
    assert read == 2 * counts.step_bytes(text) + counts.cache_bytes(text) * (4 + 5)


def test_published_dimensions(counts):
    """Qwen2-VL-2B has 1.54 billion weights in its language model and 0.67 in the vision tower (Wang
    et al., 2024, table 1: 1.5B and 675M), Llama-2-7B 6.74.
    """
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import gpu_models
    finally:
        sys.path.pop(0)
    full = gpu_models.scale(smoke=False)
    qwen, llama, vision = full.text, full.llama, full.vision
    language = qwen.layers * qwen.weights + qwen.width * qwen.vocabulary
    assert language == pytest.approx(1.54e9, rel=0.01)
    tower = vision.layers * vision.weights + sum(a * b for a, b in vision.projector)
    assert tower == pytest.approx(665e6, rel=0.02)
    assert llama.layers * llama.weights + 2 * llama.width * llama.vocabulary == pytest.approx(
        6.74e9, rel=0.01
    )


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("NVIDIA H100 80GB HBM3", (989, 3352)),
        ("NVIDIA H100 PCIe", (756, 2039)),
        ("NVIDIA H200", (989, 4800)),
        ("NVIDIA A100-SXM4-40GB", (312, 1555)),
        ("NVIDIA L4", (121, 300)),
        ("NVIDIA L40S", (362, 864)),
        ("Tesla T4", (65, 320)),
        ("NVIDIA GeForce RTX 4090", (165, 1008)),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_cards_by_the_names_that_the_driver_gives(counts, name, rates):
    assert counts.card(name) == rates
