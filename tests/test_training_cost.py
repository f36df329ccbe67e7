"""What a training step does not do, because a GPU would pay for it and no weight depends on it."""

from pathlib import Path

import torch

from xraygen import params
from xraygen.sources import phantom
from xraygen.training import trainer
from xraygen.training.finetune import finetune
from xraygen.training.loss import completion_columns, completion_loss
from xraygen.training.params import FinetuneParams

ROOT = Path(__file__).resolve().parents[1]


def test_a_step_has_no_casts_no_wide_labels_and_no_gradient_in_a_frozen_tower(
    tmp_path, monkeypatch
):
    """With gradient checkpointing, for which transformers has the views' patches require one."""
    monkeypatch.chdir(tmp_path)
    drawn = phantom.PhantomSettings(train=3, test=1, val=0, size=112)
    made = phantom.read(
        drawn, tmp_path / "images", tmp_path, params.load(ROOT / "params.yaml").regions
    )
    changed = {
        "base": str(ROOT / "models" / "tiny-qwen2-vl"),
        "max_batch_tokens": 1024,
        "epochs": 1,
        "gradient_checkpointing": True,
        "precision": "float32",
    }
    settings = params.load(ROOT / "params.yaml").finetune.model_dump() | changed
    steps = []

    def looked_at(network, batch):
        inner = network.base_model.model.model
        patches = []
        hook = inner.visual.patch_embed.register_forward_hook(
            lambda module, given, output: patches.append(output.requires_grad)
        )
        loss = completion_loss(network, batch)
        hook.remove()
        layer = inner.language_model.layers[0].self_attn.q_proj
        width = batch["labels"].shape[1], batch["input_ids"].shape[1]
        steps.append((patches, layer.cast_input_dtype_enabled, width))
        return loss

    monkeypatch.setattr(trainer, "completion_loss", looked_at)
    finetune(
        FinetuneParams.model_validate(settings),
        made.studies[:3],
        [],
        tmp_path,
        tmp_path / "out",
        tmp_path / "curves",
    )
    assert steps
    for patches, casts, (labels, tokens) in steps:
        assert patches == [False] and not casts
        assert labels < tokens / 2


def test_the_columns_of_the_completions_and_the_one_before():
    labels = torch.tensor([[-100, -100, -100, 5, -100], [-100, -100, -100, 6, 7]])
    narrow = completion_columns(labels)
    assert narrow.tolist() == [[-100, 5, -100], [-100, 6, 7]]
    assert completion_columns(narrow).tolist() == narrow.tolist()
