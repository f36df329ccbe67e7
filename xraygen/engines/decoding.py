"""Batched generation that drops finished rows: transformers' `generate`, called again for the rest.

What it gains over one call of `generate` on the same batches, in CPU time of one thread on the dev
studies of `make repro` (float32, medians of two rounds in turn): 1.9 times on the prompt `rules`,
where a few answers go round in circles until they are stopped, 1.5 on `brief`, 1.15 on `nearest`;
GREEN with a small random model gained 2.0 (`python bench/green.py`). On a GPU it is not measured.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import pad
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

# (row, its answer so far): whether the answer ends there; asked after each token.
Stop = Callable[[int, list[int]], bool]
_ENDED = 0.25  # share of the rows that have ended at which the others go on without them
_BY_TOKEN = {"attention_mask": 1, "token_type_ids": 0, "mm_token_type_ids": 0}  # of text tokens


def decode(
    model,
    batch: dict,
    stop: Stop,
    config: GenerationConfig,
    samples: int = 0,
    log_probs: dict[int, list[float]] | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """(row, its answer) as rows end, shorter answers first.

    `batch`: what `generate` takes: `input_ids` (prompts, columns) padded on the left, with
    `attention_mask` and what else the model reads. With `samples`, each prompt gets that many rows,
    one after another, with sampled answers instead of the greedy one; a cache in the batch has as
    many rows. An answer has at most `config.max_new_tokens` tokens. `log_probs`: gets the natural
    logarithm of the probability of each token of a greedy answer, by row, before that is yielded.

    The same batch gets the same answers on the same machine. Another batch or another CPU may give
    another answer: they change the last bits of a row's logits, which matters where two tokens are
    almost equally likely or a number falls on the border of two tokens' shares.
    """
    prompts, begin = batch["input_ids"].shape
    most = config.max_new_tokens
    rows = list(range(prompts * (samples or 1)))
    numbers = strata(samples, most + 1).repeat(prompts, 1).to(batch["input_ids"].device)
    said = 0
    while rows:
        ended = _Ended(stop, rows, begin)
        own = copy.deepcopy(config)
        own.update(max_new_tokens=most - said, return_dict_in_generate=True, do_sample=False)
        processors: list[LogitsProcessor] = []
        greedy = _Greedy()
        if log_probs is not None and not samples:
            processors = [greedy]
        if samples:
            # The processor leaves one token, which `generate` then draws.
            processors = [_Stratified(numbers[rows], begin)]
            own.update(do_sample=True, top_k=0, num_return_sequences=1 if said else samples)
        with torch.inference_mode():
            output = model.generate(
                **batch,
                generation_config=own,
                logits_processor=processors,
                stopping_criteria=[ended],
            )
        tokens = output.sequences[:, begin:].tolist()
        for place, noted in enumerate(greedy.log_probs(len(tokens[0]) - said)):
            log_probs.setdefault(rows[place], []).extend(noted)  # type: ignore[union-attr]
        said = len(tokens[0])
        if said == most:
            ended.lengths = {place: most for place in range(len(rows))} | ended.lengths
        for place in sorted(ended.lengths, key=ended.lengths.__getitem__):
            if log_probs:
                del log_probs[rows[place]][ended.lengths[place] :]
            yield rows[place], tokens[place][: ended.lengths[place]]
        going = [place for place in range(len(rows)) if place not in ended.lengths]
        rows = [rows[place] for place in going]
        if rows:
            with torch.inference_mode():
                batch = _without_ended(model, batch, output, going)


class _Ended(StoppingCriteria):
    """Ends the round for all rows when enough of them have ended. `lengths`: of the answers that
    have, by the row's place in the batch.
    """

    def __init__(self, stop: Stop, rows: list[int], begin: int) -> None:
        self.stop, self.rows, self.begin = stop, rows, begin
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: torch.Tensor, scores, **_) -> torch.Tensor:
        # On a GPU `generate` looks at the result one token later, and takes that token back.
        if not self._enough():
            for place, answer in enumerate(input_ids[:, self.begin :].tolist()):
                if place not in self.lengths and self.stop(self.rows[place], answer):
                    self.lengths[place] = len(answer)
        enough = self._enough()
        done = [enough or place in self.lengths for place in range(len(self.rows))]
        return torch.tensor(done, device=input_ids.device)

    def _enough(self) -> bool:
        return len(self.lengths) >= _ENDED * len(self.rows)


def _without_ended(model, batch: dict, output, going: list[int]) -> dict:
    """The batch with what was said, for the rows at the places `going`; pictures are in the cache
    by then.
    """
    kept = torch.tensor(going, device=output.sequences.device)
    each = len(output.sequences) // len(batch["input_ids"])
    new = output.sequences.shape[1] - batch["input_ids"].shape[1]
    output.past_key_values.batch_select_indices(kept)
    deltas = getattr(model.base_model, "rope_deltas", None)  # Qwen-VL: by how much pictures move
    if deltas is not None:  # the positions after them, for each prompt
        rows = deltas.repeat_interleave(len(output.sequences) // len(deltas), 0)
        model.base_model.rope_deltas = rows[kept]
    extended = {
        name: pad(batch[name].repeat_interleave(each, 0)[kept], (0, new), value=value)
        for name, value in _BY_TOKEN.items()
        if name in batch
    }
    extended["input_ids"] = output.sequences[kept]
    return extended | {"past_key_values": output.past_key_values}


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


class _Greedy(LogitsProcessor):
    """Notes the log-probability of the most likely token, which greedy decoding takes: a number for
    each row and step, where `output_scores` would keep the whole vocabulary.
    """

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []  # (rows,) each

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.max(-1).values - scores.logsumexp(-1))
        return scores

    def log_probs(self, steps: int) -> list[list[float]]:
        """Of each row, for the first `steps` of this round; none if nothing was noted."""
        return torch.stack(self.steps[:steps], 1).tolist() if self.steps else []
