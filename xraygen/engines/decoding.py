"""Answers to batches of prompts by transformers' `generate`: greedy, or drawn at fixed numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

# (row, its answer so far): whether the answer ends there; asked after each token.
Stop = Callable[[int, list[int]], bool]


def decode(
    model, batch: dict, stop: Stop, config: GenerationConfig, samples: int = 0
) -> Iterator[tuple[int, list[int]]]:
    """(row, its answer), shorter answers first.

    `batch`: what `generate` takes: `input_ids` (prompts, columns) padded on the left, with
    `attention_mask` and what else the model reads. With `samples`, each prompt gets that many rows,
    one after another, with sampled answers instead of the greedy one; a cache in the batch has as
    many rows. An answer has at most `config.max_new_tokens` tokens.

    The same batch gets the same answers on the same machine. Another batch or another CPU may give
    another answer: they change the last bits of a row's logits, which matters where two tokens are
    almost equally likely or a number falls on the border of two tokens' shares.
    """
    prompts, begin = batch["input_ids"].shape
    config = copy.deepcopy(config)
    config.update(do_sample=False)
    processors = []
    if samples:
        # The processor leaves one token, which `generate` then draws.
        numbers = strata(samples, config.max_new_tokens + 1).repeat(prompts, 1)
        processors = [_Stratified(numbers.to(batch["input_ids"].device), begin)]
        config.update(do_sample=True, top_k=0, num_return_sequences=samples)
    ended = _Ended(stop, begin)
    with torch.inference_mode():
        tokens = model.generate(
            **batch,
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=[ended],
        )[:, begin:].tolist()
    lengths = {row: ended.lengths.get(row, len(tokens[row])) for row in range(len(tokens))}
    for row in sorted(lengths, key=lengths.__getitem__):
        yield row, tokens[row][: lengths[row]]


class _Ended(StoppingCriteria):
    """`lengths`: of the answers that have ended, by row."""

    def __init__(self, stop: Stop, begin: int) -> None:
        self.stop, self.begin = stop, begin
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: torch.Tensor, scores, **_) -> torch.Tensor:
        for row, answer in enumerate(input_ids[:, self.begin :].tolist()):
            if row not in self.lengths and self.stop(row, answer):
                self.lengths[row] = len(answer)
        done = [row in self.lengths for row in range(len(input_ids))]
        return torch.tensor(done, device=input_ids.device)


def strata(samples: int, places: int) -> torch.Tensor:
    """(samples, places): numbers in [0, 1) at which each sample draws each of its tokens.

    At a place, the numbers of `n` samples are one in each n-th of [0, 1) (McKay et al., "Latin
    hypercube sampling", 1979): they cover the distribution better than as many drawn one by one.
    They are fixed, and the same for all prompts; more places leave the first ones as they are.
    """
    order, within = torch.rand(
        places, 2, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).unbind(1)
    return ((order.argsort(1) + within) / max(samples, 1)).T


def drawn_at(logits: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """(..., vocabulary), (...) -> (...): the tokens in whose shares of the distribution the numbers
    `at` fall.
    """
    shares = logits.float().softmax(-1)
    shares = shares.cpu() if shares.device.type == "mps" else shares  # mps has no float64
    upto = shares.cumsum(-1, dtype=torch.float64)
    at = (at.to(upto.device)[..., None] * upto[..., -1:]).contiguous()
    chosen = torch.searchsorted(upto, at, right=True)[..., 0]
    return chosen.clamp(max=logits.shape[-1] - 1).to(logits.device)  # NaN: past the last


class _Stratified(LogitsProcessor):
    """Leaves one token possible: the one drawn at the row's number for this place."""

    def __init__(self, numbers: torch.Tensor, begin: int) -> None:
        self.numbers, self.begin = numbers, begin  # (rows, places)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = drawn_at(scores, self.numbers[:, input_ids.shape[1] - self.begin])
        only = torch.full_like(scores, -torch.inf)
        return only.scatter(1, chosen[:, None], 0.0)
