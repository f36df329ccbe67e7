"""Greedy decoding of several tokens at a time, of which rows leave the batch as they end.

What a row may say next is looked up: what followed its last two tokens before, in its prompt, its answer or another row's answer. The
model reads these drafts with the last token in one go, and as many as are what it says itself are said (Saxena, "Prompt lookup decoding",
2023; Leviathan et al., "Fast inference from transformers via speculative decoding", 2023). Annotations quote reports and each other, so
that a step gives about three tokens. transformers' own loops give one, go on computing each row until the last has ended, and copy the
whole cache for each token; its lookup is for one row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from transformers.cache_utils import DynamicLayer

Stop = Callable[[int, list[int]], bool]  # (row, its answer so far): whether it ends there; asked after each token
_DRAFT = 7  # tokens of a draft, at most
_READ = {"cpu": 128}  # tokens of all rows that a step reads; with more it takes longer than drafts save
_ROOM = 64  # tokens that a cache grows by
_BY_ROW = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")  # (..., rows, tokens); pictures are read by then
_SHARE = 8  # a batch shrinks when one in so many rows has ended, as shrinking copies the cache


def decode(model, tokens: torch.Tensor, inputs: dict, stop: Stop, settings) -> Iterator[tuple[int, list[int]]]:
    """(row, its answer) as rows end. `tokens`: (rows, columns), padded on the left or amid; `inputs`: what the model is given beside
    them, a cache among it; `settings`: a GenerationConfig."""
    cache = inputs["past_key_values"]
    # What was drafted in vain stays in the cache, masked: a layer that keeps the last tokens alone would count it.
    lookup = all(type(layer) is DynamicLayer for layer in cache.layers)
    cache.layers = [_Roomy(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    said, budget = _Said(tokens.tolist()), _READ.get(tokens.device.type, 512)
    going, ended, drafts = list(range(len(tokens))), set(), [[]] * len(tokens)
    with torch.inference_mode():
        output = model._prefill(tokens, settings, inputs)
        chosen = output.logits[:, -1:].argmax(-1)
    if lookup and inputs.get("attention_mask") is None:  # transformers leaves it out where nothing is padded
        inputs["attention_mask"] = torch.ones_like(tokens)
    while True:
        agreed = [_agreed(answer, draft) for answer, draft in zip(chosen.tolist(), drafts, strict=True)]
        for row, answer in zip(going, agreed, strict=True):
            for token in answer if row not in ended else ():
                said.add(row, token)
                if stop(row, said.answers[row]):
                    ended.add(row)
                    yield row, said.answers[row]  # outside inference mode, which would hold for whoever asked, too
                    break
        if len(ended) == len(tokens):
            return
        with torch.inference_mode():
            if lookup:
                _mask(inputs, torch.tensor([len(answer) for answer in agreed], device=tokens.device), max(map(len, drafts)))
            if sum(row in ended for row in going) * _SHARE >= len(going):
                kept = torch.tensor([place for place, row in enumerate(going) if row not in ended], device=tokens.device)
                cache.batch_select_indices(kept)
                inputs |= {name: inputs[name][..., kept, :] for name in _BY_ROW if inputs.get(name) is not None}
                going = [row for row in going if row not in ended]
            most = min(_DRAFT, max(0, budget // len(going) - 1)) if lookup else 0
            drafts = [said.draft(row, most) if row not in ended else [] for row in going]
            width = 1 + max(map(len, drafts))
            read = [[said.answers[row][-1], *draft, *[0] * (width - 1 - len(draft))] for row, draft in zip(going, drafts, strict=True)]
            inputs = model._update_model_kwargs_for_generation(output, inputs, num_new_tokens=width)
            inputs |= {"logits_to_keep": width} if "logits_to_keep" in inputs else {}
            given = model.prepare_inputs_for_generation(torch.tensor(read, device=tokens.device), next_sequence_length=width, **inputs)
            output = model(**given, return_dict=True)
            chosen = output.logits.argmax(-1)


def _agreed(answer: list[int], draft: list[int]) -> list[int]:
    """The model's answer to the last token, and to each token of the draft up to the first that it would not have said."""
    right = next((place for place, token in enumerate(draft) if token != answer[place]), len(draft))
    return answer[: right + 1]


def _mask(inputs: dict, right: torch.Tensor, drafted: int) -> None:
    """Leaves what was drafted in vain out of the mask, and goes on counting positions at the last token that was right. `right`: (rows),
    how many of the last 1 + `drafted` columns are."""
    if not drafted:
        return
    columns = torch.arange(1 + drafted, device=right.device)
    inputs["attention_mask"][:, -len(columns) :] = columns < right[:, None]
    if (places := inputs.get("position_ids")) is not None:  # (..., rows, columns)
        last = (places.shape[-1] - len(columns) + right - 1)[:, None].expand(*places.shape[:-1], 1)
        inputs["position_ids"] = places.gather(-1, last)


def greedy(model, input_ids, logits_processor, stopping_criteria, generation_config, stop: Stop, synced_gpus=False, **inputs) -> list:
    """What `generate(custom_generate=greedy, stop=...)` runs: the answers of the rows, as lists of tokens. Of `generation_config` nothing
    else than greedy decoding is heeded."""
    answered = dict(decode(model, input_ids, inputs, stop, generation_config))
    return [answered[row] for row in range(len(input_ids))]


class _Said:
    """What was said in each row, and what has followed which tokens."""

    def __init__(self, prompts: list[list[int]]) -> None:
        self.answers: list[list[int]] = [[] for _ in prompts]
        self.texts = prompts
        # {(row, two tokens), two tokens of any answer, or one: (text, where what followed stands in it)}
        self.after = {
            (row, *text[at - 2 : at]): (text, at) for row, text in enumerate(prompts) for at in range(2, len(text))
        }  # fmt: skip

    def add(self, row: int, token: int) -> None:
        text = self.texts[row]
        for seen in ((row, *text[-2:]), tuple(text[-2:]), text[-1]):
            self.after[seen] = text, len(text)
        text.append(token)
        self.answers[row].append(token)

    def draft(self, row: int, most: int) -> list[int]:
        text = self.texts[row]
        for seen in ((row, *text[-2:]), tuple(text[-2:]), text[-1]):
            if seen in self.after:
                text, at = self.after[seen]
                return text[at : at + most]
        return []


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
