"""Words that change from one pass to the next: in prompt and answer alike, and nothing else."""

import json
from pathlib import Path

import pytest
from conftest import REGIONS, annotation

from xraygen.core.study import Study
from xraygen.sources.phantom import phantom

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("dvclive")

from xraygen.engines.model import load_processor
from xraygen.prompting.conversation import PROMPT
from xraygen.training.dataset import Rows
from xraygen.training.params import FinetuneParams
from xraygen.training.swaps import Swapped

PARAMS = FinetuneParams(
    base="x",
    method="full",
    targets=["language"],
    lora_r=1,
    lora_alpha=1,
    lora_dropout=0,
    inputs="report",
    max_views=1,
    max_pixels=56 * 56,
    max_tokens=600,
    learning_rate=1,
    lr_scheduler_type="cosine",
    warmup_ratio=0,
    epochs=1,
    max_batch_tokens=1200,
    gradient_accumulation_steps=1,
    gradient_checkpointing=False,
    precision="float32",
    optimizer="adamw_torch_fused",
    early_stopping_patience=None,
    seed=0,
)


@pytest.fixture(scope="module")
def tokenizer(root):
    return load_processor(str(root / "models/tiny-qwen2-vl")).tokenizer


@pytest.fixture(scope="module")
def rows(root) -> Rows:
    ones = [phantom(0, k) for k in range(40)]
    studies = [
        Study(
            id=one.id,
            uid=one.uid,
            split="train",
            report=one.report,
            images=[],
            reference=one.reference,
        )
        for one in ones
    ]
    return Rows(
        load_processor(str(root / "models/tiny-qwen2-vl")), studies, PARAMS, Path(), "encode"
    )


def test_what_is_copied_stays_copied_and_nothing_else_changes(rows, tokenizer):
    shown, changed = Swapped(rows, tokenizer, PROMPT, annotation(), 1.0, seed=0), 0
    for index in range(len(rows)):
        before, after, others = rows[index], shown[index, 7], {}
        for name in ("input_ids", "completion"):
            for old, new in zip(before[name].tolist(), after[name].tolist(), strict=True):
                assert others.setdefault(old, new) == new, "one word became two"
        common = set(before["input_ids"].tolist()) & set(before["completion"].tolist())
        assert {old for old, new in others.items() if old != new} <= common
        changed += sum(old != new for old, new in others.items())
        assert list(
            json.loads(tokenizer.decode(after["completion"], skip_special_tokens=True))
        ) == list(REGIONS)
        text = tokenizer.decode(after["input_ids"])
        assert f"user\n{PROMPT}\nReport: " in text and text.endswith(
            "<|im_end|>\n<|im_start|>assistant\n"
        )
    assert changed > 5 * len(rows)


def test_every_showing_is_another_one_and_the_same_on_every_run(rows, tokenizer):
    first, second = (Swapped(rows, tokenizer, PROMPT, annotation(), 0.5, seed=0) for _ in range(2))
    keys = [(index, number) for index in range(len(rows)) for number in range(5)]
    texts = {key: tokenizer.decode(first[key]["input_ids"]) for key in keys}
    assert texts == {key: tokenizer.decode(second[key]["input_ids"]) for key in reversed(keys)}
    plain = [tokenizer.decode(rows[index]["input_ids"]) for index in range(len(rows))]
    untouched = sum(texts[key] == plain[key[0]] for key in keys)
    assert 0.35 < untouched / len(keys) < 0.65
    assert len(set(texts.values())) > len(keys) - untouched


def test_without_swaps_rows_are_what_they_were(rows, tokenizer):
    shown = Swapped(rows, tokenizer, PROMPT, annotation(), 0.0, seed=0)
    assert len(shown) == len(rows) and all(
        shown[index, 3] is rows[index] for index in range(len(rows))
    )
