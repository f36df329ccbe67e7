"""The annotator `vlm`: a vision-language model, base or fine-tuned, which is shown the views and
the report, and answers in JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from xraygen.annotators import answer_confidence
from xraygen.annotators.answer_confidence import Tokens
from xraygen.annotators.as_trained import as_trained
from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.reader import Reader
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.files import identity, sha256
from xraygen.core.pictures import UnreadablePicture
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines import generation
from xraygen.engines.answers import Answers
from xraygen.prompting import (
    conversation,
    encoding,
    json_answer,
    pieces,
    region_names,
    silence,
    training_record,
)
from xraygen.prompting.json_answer import is_whole
from xraygen.prompting.region_names import RegionNames

if TYPE_CHECKING:
    import torch

# At most this many cases, of about this many bytes, are encoded at a time: a window.
_CASES = 512
_BYTES = 2 * 10**9
_CIRCLING = 64  # an answer is ended if its last tokens, this many, repeat something three times
_SHARED = (
    64  # tokens that all prompts of a batch begin with, from which on it pays to read them once
)


class Vlm(Annotator):
    """Cases to records, in their order. Answers are stored as they come; what was asked before is
    not computed again.

    UserError: packages are missing, the model cannot be loaded, or the approach contradicts what a
    fine-tuned model was trained with.
    """

    Settings: ClassVar = VlmSettings
    settings: VlmSettings

    @generation.uncollected()
    def __init__(self, settings: VlmSettings, project: Project) -> None:
        name = settings.hub or str(project.root / settings.reads)
        if settings.prompt:
            prompt = project.regions.filled(settings.prompt)
            settings = settings.model_copy(update={"prompt": prompt})
        settings = as_trained(settings, name, project.where)
        self.shown = training_record.Shown.model_validate(
            {key: getattr(settings, key) for key in training_record.Shown.model_fields}
        )
        taught = training_record.taught_regions(Path(name))
        self.reader = Reader(project.regions, taught, project.where)
        super().__init__(settings, project)
        try:
            import json_repair  # noqa: F401  # json_answer needs it, which says so less clearly

            version("peft")  # only adapters import it, as that takes as long as all else
            from transformers import GenerationConfig

            from xraygen.engines import decoding
            from xraygen.engines.model import load, workings
        except ImportError as error:
            raise UserError(
                f"the annotator vlm needs more packages ({error}); "
                "install them with `pip install -c constraints.txt -e '.[vlm]'`"
            ) from None

        self.model, self.processor = load(
            name, settings.revision, four_bit=settings.four_bit, max_pixels=settings.max_pixels
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
        self.max_batch_tokens = settings.max_batch_tokens
        # These say where an answer ends, and what is stored with it.
        modules = (json_answer, pieces, region_names, silence, decoding, answer_confidence)
        code = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
        self.kept = Answers(
            {
                "model": identity(name),
                "base": identity(self.model.name_or_path),
                "commit": getattr(self.model.config, "_commit_hash", None),
                "device": [self.model.device.type, str(self.model.dtype), settings.four_bit],
                "max_new_tokens": settings.max_new_tokens,
                "samples": settings.samples,
                "regions": {name: r.also for name, r in self.reader.spoken.regions.root.items()},
                "workings": workings() | {"annotator": sha256(code)},
            }
        )

    @property
    def shows_pictures(self) -> bool:
        return "image" in self.shown.inputs

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        """Unreadable pictures count. Unreadable answers do not: of a base model all may be."""
        return "unreadable_pictures" in record.usage

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        """A case with a picture that is missing or cannot be read fails. UserError: one case alone
        does not fit into memory.
        """
        for window in self._windows(cases):
            answers = self._answers([row for _, row in window if isinstance(row, dict)])
            for case, row in window:
                if isinstance(row, dict):
                    yield self.reader.record(case, *next(answers))
                else:
                    yield _failed(case, row)

    def _windows(self, cases: Iterable[Case]) -> Iterator[list[tuple[Case, dict | str]]]:
        """Parts of the stream: each case with its row, or with the reason why it has none."""
        window: list[tuple[Case, dict | str]] = []
        size = 0
        for case in cases:
            row = self._row_or_reason(case)
            if isinstance(row, dict):
                size += sum(tensor.nbytes for tensor in row.values())
            window.append((case, row))
            if len(window) == _CASES or size >= _BYTES:
                yield window
                window = []
                size = 0
        if window:
            yield window

    def _row_or_reason(self, case: Case) -> dict[str, torch.Tensor] | str:
        if reason := conversation.skip_reason(case, self.shown.inputs):
            return reason
        try:
            return self.row(case)
        except UnreadablePicture as error:
            return conversation.PictureProblem(error)

    def row(self, case: Case) -> dict[str, torch.Tensor]:
        """What the model is shown of a case."""
        (row,) = encoding.encode(
            self.processor,
            [case],
            self.project.images,
            self.shown.inputs,
            self.shown.prompt,
            self.shown.max_views,
        )
        return row

    def _answers(self, rows: Sequence[dict[str, torch.Tensor]]) -> Iterator[_Answered]:
        """The answers to each row, in order. Batches are of similar length, the longest first;
        `max_batch_tokens` bounds rows times the longest prompt with its answer, times
        samples. It is halved when memory runs out.

        A batch is stored and found as a whole: in another batch, rounding may change an answer.
        """
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        answers: dict[int, _Answered] = {}
        keys = [_key(row) for row in rows]
        waiting = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        while waiting:
            length = len(rows[waiting[-1]]["input_ids"]) + self.settings.max_new_tokens
            length *= max(1, self.settings.samples)
            chosen = waiting[-max(1, self.max_batch_tokens // length) :]
            key = "\n".join(keys[i] for i in chosen)
            try:
                kept = self.kept.find([key]).get(key)
                made = json.loads(kept) if kept else self._generate([rows[i] for i in chosen])
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(chosen) == 1:
                    where = self.model.device
                    remedy = "lower max_pixels, max_views, samples or max_new_tokens"
                    raise generation.OutOfMemory(
                        f"{where}: out of memory with a single case; {remedy}"
                    ) from None
                self.max_batch_tokens = len(chosen) * length // 2
                print(
                    f"out of memory; max_batch_tokens is {self.max_batch_tokens:,} from here on",
                    file=sys.stderr,
                )
                clear_device_cache(garbage_collection=True)
                continue
            answers.update(zip(chosen, made, strict=True))
            self.kept.keep(key, {}, json.dumps(made))
            del waiting[-len(chosen) :]
        return iter([answers[i] for i in range(len(rows))])

    def _generate(self, rows: list[dict[str, torch.Tensor]]) -> list[_Answered]:
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
        ends = _Ends(
            self.processor.tokenizer, self.ends, self.settings.max_new_tokens, self.reader.spoken
        )
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
            made.append(_Answered(*decoded, chances))
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
            if last in self.ends or is_whole(text, self.reader.spoken):
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


class _Answered(NamedTuple):
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


def _failed(case: Case, error: str) -> AnnotationRecord:
    return AnnotationRecord(
        id=case.id, annotation=None, error=error, usage=conversation.counted(error)
    )


def _key(row: dict[str, torch.Tensor]) -> str:
    """A hash of everything that the model is shown."""
    digest = hashlib.sha256()
    for name in sorted(row):
        digest.update(f"{name} {tuple(row[name].shape)} ".encode())
        digest.update(row[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
