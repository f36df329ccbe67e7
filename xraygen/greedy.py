"""Greedy decoding of which rows leave the batch as they end. transformers' own goes on computing each row until the last has ended, and
copies the whole cache for each token."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens that a cache grows by
_BY_ROW = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")  # (..., rows, tokens); pictures are read by then
_SHARE = 8  # a batch shrinks when one in so many rows has ended, as shrinking copies the cache


def decode(
    model, tokens: torch.Tensor, inputs: dict, process: Callable, stop: Callable, settings
) -> Iterator[tuple[int, torch.Tensor]]:
    """(row, its prompt and answer) as rows end. `tokens`: (rows, columns), padded on the left or amid; `inputs`: what the model is given
    beside them, a cache among it; `process` and `stop` as transformers' logits processors and stopping criteria, `stop` with the `rows`
    that it is asked about; `settings`: a GenerationConfig."""
    going, ended = torch.arange(len(tokens), device=tokens.device), tokens.new_zeros(len(tokens), dtype=bool)
    cache = inputs["past_key_values"]
    cache.layers = [_Roomy(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    with torch.inference_mode():
        output = model._prefill(tokens, settings, inputs)
    while True:
        with torch.inference_mode():
            inputs = model._update_model_kwargs_for_generation(output, inputs)
            chosen = process(tokens, output.logits[:, -1].float()).argmax(-1)
            tokens = torch.cat([tokens, chosen[:, None]], dim=-1)
            done = stop(tokens, None, rows=going) & ~ended
            ended = ended | done
        for place in done.nonzero().flatten().tolist():  # outside inference mode, which would hold for whoever asked, too
            yield int(going[place]), tokens[place]
        if ended.all():
            return
        with torch.inference_mode():
            if int(ended.sum()) * _SHARE >= len(ended):
                kept = (~ended).nonzero().flatten()
                cache.batch_select_indices(kept)
                inputs |= {name: inputs[name][..., kept, :] for name in _BY_ROW if inputs.get(name) is not None}
                going, tokens, ended = going[kept], tokens[kept], ended[kept]
            output = model(**model.prepare_inputs_for_generation(tokens, next_sequence_length=1, **inputs), return_dict=True)


def greedy(
    model, input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus=False, streamer=None, **inputs
) -> torch.Tensor:
    """What `generate(custom_generate=greedy)` runs: (rows, tokens) -> (rows, tokens and what was made), padded on the right."""
    answered = dict(decode(model, input_ids, inputs, logits_processor, stopping_criteria, generation_config))
    rows = [answered[row] for row in range(len(input_ids))]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=generation_config.pad_token_id)


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
