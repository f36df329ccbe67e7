"""A vision-language model on one device: what it answers to batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from xraygen.annotators.answer_confidence import Tokens
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.engines import generation
from xraygen.prompting import encoding
from xraygen.prompting.json_answer import is_whole
from xraygen.prompting.region_names import RegionNames

if TYPE_CHECKING:
    import torch

Rows = list[dict[str, "torch.Tensor"]]

_CIRCLING = 64  # an answer is ended if its last tokens, this many, repeat something three times
# Tokens that all prompts of a batch begin with, from which on it pays to read them once.
_SHARED = 64


class VlmModel:
    """`spoken`: the regions by the names that the model answers with. `name`: of a folder or on the
    hub. UserError: it cannot be loaded.
    """

    @generation.uncollected()
    def __init__(self, settings: VlmSettings, spoken: RegionNames, name: str, device: str) -> None:
        from transformers import GenerationConfig

        from xraygen.engines.model import load

        self.settings = settings
        self.spoken = spoken
        self.model, self.processor = load(
            name,
            settings.revision,
            device=device,
            four_bit=settings.four_bit,
            max_pixels=settings.max_pixels,
        )
        self.model.eval()
        tokenizer = self.processor.tokenizer
        self._tokens = Tokens(tokenizer)
        ends = self.model.generation_config.eos_token_id or tokenizer.eos_token_id
        # None of the model's other settings are used: a repetition penalty, for one, changes greedy
        # answers too.
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=settings.max_new_tokens,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )
        self.ends = {ends} if isinstance(ends, int) else set(ends)

    def answer(self, job: tuple[int, Rows]) -> Iterator[tuple[int, list[Answered] | None]]:
        """The number of a batch, and its answers; None if they do not fit into memory.

        OutOfMemory: a single one does not.
        """
        number, rows = job
        yield number, self._fitting(rows)

    def _fitting(self, rows: Rows) -> list[Answered] | None:
        """The answers of a batch; None if memory does not suffice."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        try:
            return self._generate(rows)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        if len(rows) == 1:
            remedy = "lower max_pixels, max_views, samples or max_new_tokens"
            raise generation.OutOfMemory(
                f"{self.model.device}: out of memory with a single case; {remedy}"
            )
        clear_device_cache(garbage_collection=True)
        return None

    def _generate(self, rows: Rows) -> list[Answered]:
        from xraygen.engines.decoding import decode
        from xraygen.engines.model import QWEN

        model = self.model
        each = self.settings.samples or 1
        shared = 0
        if len(rows) > 1 and model.config.model_type in QWEN:
            shared = encoding.shared_tokens(rows)
        if shared < _SHARED:
            shared = 0
        batch = encoding.collate(rows, self.processor.tokenizer.pad_token_id, shared)
        batch = {
            name: x.to(model.device, model.dtype if x.is_floating_point() else None)
            for name, x in batch.items()
        }
        if shared:
            prefix = batch["input_ids"][:1, :shared]
            batch["past_key_values"] = self._read_once(prefix, len(rows) * each)
        ends = _Ends(self.processor.tokenizer, self.ends, self.settings.max_new_tokens, self.spoken)
        log_probs: dict[int, list[float]] = {}
        answers = decode(
            model,
            batch,
            lambda row, said: ends(said),
            model.generation_config,
            self.settings.samples,
            log_probs,
        )
        out = [answer for _, answer in sorted(answers)]
        made = []
        for at, row in enumerate(rows):
            said = out[at * each : (at + 1) * each]
            decoded = self._decode(row, said)
            chances = self._tokens.chances(said[0], log_probs.get(at, []), decoded.texts[0])
            made.append(Answered(*decoded, chances))
        return made

    def _decode(self, row: dict[str, torch.Tensor], answers: list[list[int]]) -> _Decoded:
        tokenizer = self.processor.tokenizer
        limit = self.settings.max_new_tokens
        texts = []
        stopped = []
        for tokens in answers:
            last = None
            while tokens and (tokens[-1] == tokenizer.pad_token_id or tokens[-1] in self.ends):
                last = tokens.pop()
            text = tokenizer.decode(tokens, skip_special_tokens=True)
            texts.append(text)
            if last in self.ends or is_whole(text, self.spoken):
                stopped.append("")
            elif _circles(tokens):
                stopped.append("the answer only repeated itself")
            else:
                stopped.append(f"the answer had not ended after {limit:,} tokens")
        usage: dict[str, float] = {
            "tokens_in": len(row["input_ids"]),
            "tokens_out": sum(map(len, answers)),
        }
        return _Decoded(texts, usage, stopped)

    def _read_once(self, tokens: torch.Tensor, rows: int):
        """The cache of the tokens that all prompts begin with, for this many rows."""
        import torch
        from transformers import DynamicCache

        # What the last batch left would move this one's positions.
        self.model.base_model.rope_deltas = None
        cache = DynamicCache(config=self.model.config.get_text_config())
        with torch.inference_mode():
            self.model(input_ids=tokens, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(rows)
        return cache


class _Decoded(NamedTuple):
    """The answers about one case. `stopped`: why each was stopped before its end, or ""."""

    texts: list[str]
    usage: dict[str, float]
    stopped: list[str]


class Answered(NamedTuple):
    """`chances`: of the tokens of a greedy answer."""

    texts: list[str]
    usage: dict[str, float]
    stopped: list[str]
    chances: list[tuple[int, float]]


class _Ends:
    """Ends an answer at the model's own end, after a complete annotation, and when the answer only
    repeats itself, which greedy decoding would do up to the limit.
    """

    def __init__(self, tokenizer, ends: set[int], most: int, names: RegionNames) -> None:
        self.tokenizer = tokenizer
        self.ends = ends
        self.most = most
        self.names = names
        self.closing = {id for token, id in tokenizer.get_vocab().items() if "}" in token}

    def __call__(self, said: list[int]) -> bool:
        if said[-1] in self.ends or len(said) >= self.most:
            return True
        if said[-1] in self.closing:
            text = self.tokenizer.decode(said, skip_special_tokens=True)
            if is_whole(text, self.names):
                return True
        return _circles(said)


def _circles(said: list[int]) -> bool:
    last = said[-_CIRCLING:]
    return len(last) == _CIRCLING and any(
        last[period:] == last[:-period] for period in range(1, _CIRCLING // 3 + 1)
    )
