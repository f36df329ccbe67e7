"""Greedy decoding that leaves out rows as they end. transformers' own goes on computing each row until the last of the batch has ended,
and copies the whole cache for each token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    import torch

_ROOM = 64  # tokens that a cache grows by
_BY_ROW = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")  # (..., rows, tokens); pictures are read by then
_SHARE = 8  # a batch shrinks when one in so many rows has ended, as shrinking copies the cache


def greedy(
    model, input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus=False, streamer=None, **inputs
) -> torch.Tensor:
    """What `generate(custom_generate=greedy)` runs: (rows, tokens) -> (rows, tokens and what was made), padded on the right."""
    rows, begin = input_ids.shape
    made = input_ids.new_full((rows, stopping_criteria.max_length), generation_config.pad_token_id)
    made[:, :begin] = input_ids
    going, ended = made.new_tensor(range(rows)), made.new_zeros(rows, dtype=bool)
    if isinstance(cache := inputs.get("past_key_values"), DynamicCache):
        cache.layers = [_Roomy(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    output = model._prefill(input_ids, generation_config, inputs)
    while True:
        inputs = model._update_model_kwargs_for_generation(output, inputs)
        chosen = logits_processor(input_ids, output.logits[:, -1].float()).argmax(-1)
        made[going[~ended], input_ids.shape[1]] = chosen[~ended]
        input_ids = made[going, : input_ids.shape[1] + 1]
        ended = ended | stopping_criteria(input_ids, None)
        left = int((~ended).sum())
        if not left:
            return made[:, : input_ids.shape[1]]
        if (len(ended) - left) * _SHARE >= len(ended):
            kept = (~ended).nonzero().flatten()
            going, input_ids, inputs = going[kept], input_ids[kept], _rows(inputs, kept)
            if getattr(model.base_model, "rope_deltas", None) is not None:  # Qwen-VL keeps a number for each row
                model.base_model.rope_deltas = model.base_model.rope_deltas[kept]
            ended = ended[kept]
        output = model(**model.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **inputs), return_dict=True)


def _rows(inputs: dict, kept: torch.Tensor) -> dict:
    inputs["past_key_values"].batch_select_indices(kept)
    by_row = {name: value[..., kept, :] for name, value in inputs.items() if name in _BY_ROW and value is not None}
    return inputs | by_row


class _Roomy(DynamicLayer):
    """A layer's cache with room for the next tokens; what was read before comes along."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        if layer.get_seq_length():
            self.update(layer.keys, layer.values)

    def update(self, keys, values, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        at, end = self.get_seq_length(), self.get_seq_length() + keys.shape[-2]
        if not at or self.keys.data_ptr() != self.room[0].data_ptr() or end > self.room.shape[-2]:
            room = keys.new_empty((2, *keys.shape[:2], end + _ROOM, keys.shape[-1]))
            if at:
                room[0, :, :, :at], room[1, :, :, :at] = self.keys, self.values
            self.room = room
        self.room[0, :, :, at:end], self.room[1, :, :, at:end] = keys, values
        self.keys, self.values = self.room[0, :, :, :end], self.room[1, :, :, :end]
        return self.keys, self.values
