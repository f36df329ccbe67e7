"""Batched greedy or sampled decoding with prompt-lookup drafts; finished rows leave the batch.

What a row may say next is looked up: what followed its last two tokens before, in its prompt, its
answer or another row's answer. The model reads these drafts with the last token in one go, and as
many as are what it says itself are said (Saxena, "Prompt lookup decoding", 2023; Leviathan et al.,
"Fast inference from transformers via speculative decoding", 2023). Annotations quote reports and
each other: a step gives two tokens to four. transformers' own loops give one, go on computing each
row until the last has ended, and copy the whole cache for each token; its lookup is for one row
alone.

Sampled answers are drawn by inverting the distribution of the next token at one number in [0, 1)
for each sample and place. At a place, the numbers of `n` samples are one in each n-th of [0, 1)
(McKay et al., "Latin hypercube sampling", 1979), the same for all prompts: they cover the
distribution better than as many drawn one by one.

What is guaranteed: a sample's numbers depend on its index and the place alone, and the same batch
gets the same answers on the same machine. Not guaranteed: the same answer in another batch or on
another CPU. These move the last bits of a row's logits, and where a number falls on the border of
two tokens' shares, or two tokens are equally likely, another token is chosen, and another answer
follows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import torch
from transformers.cache_utils import DynamicLayer

Stop = Callable[
    [int, list[int]], bool
]  # (row, its answer so far): whether it ends there; asked after each token
_DRAFT = 7  # tokens of a draft, at most
_ROOM = 64  # tokens that a cache grows by, and columns that drafts in vain may take of it
_BY_ROW = (
    "attention_mask",
    "position_ids",
    "token_type_ids",
    "mm_token_type_ids",
)  # (..., rows, tokens); pictures are read by then
_SHARE = 8  # a batch shrinks when one row in 8 has ended, as shrinking copies the cache


def decode(
    model, tokens: torch.Tensor, inputs: dict, stop: Stop, settings, samples: int = 0
) -> Iterator[tuple[int, list[int]]]:
    """(row, its answer) as rows end. `tokens`: (rows, columns), padded on the left or in the
    middle; `inputs`: the model's other inputs, with a cache; `settings`: a GenerationConfig. With
    `samples`, each prompt gets that many rows, one after another, with sampled answers instead of
    the greedy one.
    """
    cache, budget, last = (
        inputs["past_key_values"],
        _budget(model, inputs["past_key_values"]),
        _last_position(model),
    )
    cache.layers = [
        _Roomy(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    with torch.inference_mode():
        output = model._prefill(tokens, settings, inputs)
        logits, numbers = output.logits[:, -1:], []
        if samples:
            numbers = strata(samples, settings.max_new_tokens + 1 + _DRAFT).tolist() * len(tokens)
            tokens, logits = (
                tokens.repeat_interleave(samples, 0),
                logits.repeat_interleave(samples, 0),
            )
            inputs |= {
                name: inputs[name].repeat_interleave(samples, -2)
                for name in _BY_ROW
                if inputs.get(name) is not None
            }
            cache.batch_repeat_interleave(samples)
        chosen = _choose(logits, [row[:1] for row in numbers])
    said = _Said(tokens.tolist(), samples or 1, bool(budget))
    going, ended, drafts, told = list(range(len(tokens))), set(), [[]] * len(tokens), False
    if (
        budget and inputs.get("attention_mask") is None
    ):  # transformers leaves it out where nothing is padded
        inputs["attention_mask"] = tokens.new_ones(len(tokens), cache.get_seq_length())
    while True:
        agreed = [
            _agreed(answer, draft) for answer, draft in zip(chosen.tolist(), drafts, strict=True)
        ]
        for row, answer in zip(going, agreed, strict=True):
            for token in answer if row not in ended else ():
                said.add(row, token)
                if stop(row, said.answers[row]):
                    ended.add(row)
                    yield (
                        row,
                        said.answers[row],
                    )  # outside inference mode, which would hold for whoever asked, too
                    break
        if len(ended) == len(tokens):
            return
        with torch.inference_mode():
            if any(drafts):
                _leave_out(
                    cache,
                    inputs,
                    torch.tensor([len(answer) for answer in agreed], device=tokens.device),
                    max(map(len, drafts)),
                )
            if sum(row in ended for row in going) * _SHARE >= len(going):
                kept = torch.tensor(
                    [place for place, row in enumerate(going) if row not in ended],
                    device=tokens.device,
                )
                cache.batch_select_indices(kept)
                inputs |= {
                    name: inputs[name][..., kept, :]
                    for name in _BY_ROW
                    if inputs.get(name) is not None
                }
                going = [row for row in going if row not in ended]
            longest = tokens.shape[1] + max(len(said.answers[row]) for row in going)
            most = max(0, min(_DRAFT, budget // len(going) - 1, last - longest)) if told else 0
            drafts = [said.draft(row, most) if row not in ended else [] for row in going]
            width = 1 + max(map(len, drafts))
            read = [
                [said.answers[row][-1], *draft, *[0] * (width - 1 - len(draft))]
                for row, draft in zip(going, drafts, strict=True)
            ]
            inputs = model._update_model_kwargs_for_generation(output, inputs, num_new_tokens=width)
            inputs |= {"logits_to_keep": width} if "logits_to_keep" in inputs else {}
            given = model.prepare_inputs_for_generation(
                torch.tensor(read, device=tokens.device), next_sequence_length=width, **inputs
            )
            told = (
                given.get("position_ids") is not None
            )  # else the model would count what was drafted in vain
            output = model(**given, return_dict=True)
            chosen = _choose(
                output.logits,
                [numbers[row][len(said.answers[row]) :][:width] for row in going if samples],
            )


def strata(samples: int, places: int) -> torch.Tensor:
    """(samples, places): where in [0, 1) each answer stands at each of its tokens. More places
    leave the first ones as they are.
    """
    order, within = torch.rand(
        places, 2, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).unbind(1)
    return ((order.argsort(1) + within) / samples).T


def _choose(logits: torch.Tensor, at: list[list[float]]) -> torch.Tensor:
    """(rows, columns, vocabulary) -> (rows, columns): the tokens in whose shares of the
    distribution `at` (rows, columns) falls; the likeliest ones where it is empty.
    """
    if not at:
        return logits.argmax(-1)
    shares = logits.float().softmax(-1)
    upto = (shares.cpu() if shares.device.type == "mps" else shares).cumsum(
        -1, dtype=torch.float64
    )  # mps has no float64
    at = torch.tensor(at, dtype=torch.float64, device=upto.device)[..., None] * upto[..., -1:]
    return torch.searchsorted(upto, at, right=True)[..., 0].clamp(
        max=logits.shape[-1] - 1
    )  # NaN: past the last


def _budget(model, cache) -> int:
    """How many tokens of all rows a step may read; 0: no drafts.

    What is drafted in vain stays in the cache for a while, masked: a layer that keeps the last
    tokens alone would count it. Where heads share keys, transformers copies the whole cache for a
    step of several tokens, which takes longer than drafts save.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    if heads != (getattr(config, "num_key_value_heads", None) or heads) or any(
        type(layer) is not DynamicLayer for layer in cache.layers
    ):
        return 0
    if model.device.type != "cpu":
        # not measured: about where a GPU's products begin to take longer than reading the weights
        # does
        return 256
    return (
        128 if sum(weight.numel() for weight in model.parameters()) < 10**8 else 16
    )  # small weights stay in a CPU's cache


def _last_position(model) -> int:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def _agreed(answer: list[int], draft: list[int]) -> list[int]:
    """The model's answer to the last token, and to each token of the draft up to the first that it
    would not have said.
    """
    right = next((place for place, token in enumerate(draft) if token != answer[place]), len(draft))
    return answer[: right + 1]


def _leave_out(cache, inputs: dict, right: torch.Tensor, drafted: int) -> None:
    """Takes what was drafted in vain out of the mask, and out of the cache when it is much, and
    goes on counting positions at the last token that was right. `right`: (rows), how many of the
    last 1 + `drafted` columns are.
    """
    columns, mask = torch.arange(1 + drafted, device=right.device), inputs["attention_mask"]
    mask[:, -len(columns) :] = columns < right[:, None]
    if (places := inputs.get("position_ids")) is not None:  # (..., rows, columns)
        last = (places.shape[-1] - len(columns) + right - 1)[:, None].expand(*places.shape[:-1], 1)
        inputs["position_ids"] = places.gather(-1, last)
    longest = int(mask.sum(-1).max())
    if mask.shape[1] - longest >= _ROOM:
        kept = mask.argsort(dim=-1, stable=True)[
            :, -longest:
        ]  # what counts, in its order, on the right
        inputs["attention_mask"] = mask.gather(-1, kept)
        for layer in cache.layers:
            for name in ("keys", "values"):
                held = getattr(layer, name)  # (rows, heads, columns, width)
                setattr(
                    layer,
                    name,
                    held.gather(
                        2, kept[:, None, :, None].expand(-1, held.shape[1], -1, held.shape[3])
                    ),
                )


def decoded(
    model,
    input_ids,
    logits_processor,
    stopping_criteria,
    generation_config,
    stop: Stop,
    samples: int = 0,
    synced_gpus=False,
    **inputs,
) -> list[list[int]]:
    """What `generate(custom_generate=decoded, stop=..., samples=...)` runs: the answers, those of
    the first prompt first. How tokens are chosen is not asked of `generation_config`.
    """
    answered = dict(decode(model, input_ids, inputs, stop, generation_config, samples))
    return [answered[row] for row in sorted(answered)]


class _Said:
    """What was said in each row, and what has followed which tokens; a prompt has `samples`
    rows.
    """

    def __init__(self, prompts: list[list[int]], samples: int, drafting: bool) -> None:
        self.answers: list[list[int]] = [[] for _ in prompts]
        self.texts, self.samples = prompts, samples
        # {(prompt, two tokens), two tokens of any answer, or one: (text, where what followed stands
        # in it)}
        self.after = {
            (number, *text[at - 2 : at]): (text, at)
            for number, text in enumerate(prompts[::samples] if drafting else ())
            for at in range(2, len(text))
        }

    def _seen(self, row: int) -> tuple:
        two = tuple(self.texts[row][-2:])
        return (row // self.samples, *two), two, two[-1]

    def add(self, row: int, token: int) -> None:
        for seen in self._seen(row):
            self.after[seen] = self.texts[row], len(self.texts[row])
        self.texts[row].append(token)
        self.answers[row].append(token)

    def draft(self, row: int, most: int) -> list[int]:
        text, at = next(
            (self.after[seen] for seen in self._seen(row) if seen in self.after), ([], 0)
        )
        return text[at : at + most]


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
