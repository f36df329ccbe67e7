"""The model that is fine-tuned: which of its weights are trained, with LoRA or as they are."""

import re
import warnings

import torch

from xraygen.core.errors import UserError
from xraygen.engines import model
from xraygen.training.params import FinetuneParams


def load(params: FinetuneParams, device: torch.device):
    """(model, processor). Frozen weights are in the precision of the arithmetic, trained ones in
    float32.

    UserError: the base cannot be loaded, or a part in `targets` has no layer for LoRA.
    """
    frozen_in_half = params.method != "full" and device.type != "cpu"
    network, processor = model.load(
        params.base,
        params.revision,
        dtype=getattr(torch, params.precision) if frozen_in_half else torch.float32,
        device=str(device),
        four_bit=params.method == "qlora",
        max_pixels=params.max_pixels,
    )
    if params.method == "full":
        for name, weight in network.named_parameters():
            weight.requires_grad = model.part_of(name) in params.targets
    else:
        network = _with_lora(network, params)
    return network, processor


def _with_lora(network, params: FinetuneParams):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=params.lora_r,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        target_modules=_expression(_lora_layers(network, params)),
        task_type="CAUSAL_LM",
        revision=commit(network) or params.revision,
    )
    # peft asks transformers for something by its former name.
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        network = get_peft_model(network, config)
    config.base_model_name_or_path = params.base
    return network


def _lora_layers(network: torch.nn.Module, params: FinetuneParams) -> list[str]:
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear)
        and model.part_of(name) in params.targets
        and "lm_head" not in name
    ]
    if missing := sorted(set(params.targets) - {model.part_of(name) for name in layers}):
        raise UserError(
            f"params.yaml: finetune.targets: {params.base} has no layer for LoRA in "
            f"{', '.join(missing)}; leave that out"
        )
    return layers


def _expression(layers: list[str]) -> str:
    """One regular expression for all layers. peft would write a list of names in an order that
    changes from run to run.
    """
    any_number = {re.sub(r"\.\d+(?=\\\.)", r".\\d+", re.escape(name)) for name in layers}
    return "|".join(sorted(any_number))


def commit(network) -> str | None:
    """The commit on the hub that a revision such as main meant when the model was loaded."""
    return getattr(network.config, "_commit_hash", None)


def with_positions(network, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with `position_ids` (3, rows, tokens) if it has views and the model is a Qwen-VL.

    The model would compute the same ones row by row, and on a GPU the host would wait for each.
    """
    if "image_grid_thw" not in batch or network.config.model_type not in model.QWEN:
        return batch
    inner = next(module for module in network.modules() if hasattr(module, "get_rope_index"))
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    positions, _ = inner.get_rope_index(**{name: batch[name] for name in names})
    return batch | {"position_ids": positions}
