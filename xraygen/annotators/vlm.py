"""The annotator `vlm`: a vision-language model, base or fine-tuned, which is shown the views and
the report, and answers in JSON.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xraygen.annotators import answer_confidence, vlm_model
from xraygen.annotators.as_trained import as_trained
from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.reader import Reader
from xraygen.annotators.vlm_model import Answered, VlmModel
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.files import identity, sha256
from xraygen.core.pictures import UnreadablePicture
from xraygen.core.study import AnnotationRecord, Case
from xraygen.engines import generation
from xraygen.engines.answers import Answers
from xraygen.engines.copies import Copies, InProcess, Work
from xraygen.prompting import (
    conversation,
    encoding,
    json_answer,
    pieces,
    region_names,
    silence,
    training_record,
)
from xraygen.prompting.region_names import RegionNames

if TYPE_CHECKING:
    import torch

# At most this many cases, of about this many bytes, are encoded at a time: a window.
_CASES = 512
_BYTES = 2 * 10**9


class Vlm(VlmModel, Annotator):
    """Cases to records, in their order. Answers are stored as they come; what was asked before is
    not computed again.

    UserError: packages are missing, the model cannot be loaded, or the approach contradicts what a
    fine-tuned model was trained with.

    `devices`: of torch, by default all GPUs. With one, this is also the model on it. With several,
    each has a process with a copy of the model, and this process has none; batches are the same.
    """

    Settings: ClassVar = VlmSettings
    settings: VlmSettings

    @generation.uncollected()
    def __init__(
        self, settings: VlmSettings, project: Project, devices: Sequence[str] = ()
    ) -> None:
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
        Annotator.__init__(self, settings, project)
        try:
            import json_repair  # noqa: F401  # json_answer needs it, which says so less clearly

            version("peft")  # only adapters import it, as that takes as long as all else
            from xraygen.engines.model import devices as all_devices
            from xraygen.engines.model import load_processor, source
        except ImportError as error:
            raise UserError(
                f"the annotator vlm needs more packages ({error}); "
                "install them with `pip install -c constraints.txt -e '.[vlm]'`"
            ) from None

        self.devices = list(devices or all_devices())
        self.max_batch_tokens = settings.max_batch_tokens
        self._copies: Copies | None = None
        if len(self.devices) == 1:
            VlmModel.__init__(self, settings, self.reader.spoken, name, self.devices[0])
        else:
            base, revision, _ = source(name, settings.revision)
            self.processor = load_processor(base, revision, settings.max_pixels)
            copy = functools.partial(_copy, settings, self.reader.spoken, name)
            self._copies = Copies(copy, self.devices, name)
        self.kept = self._store(name)

    def _store(self, name: str) -> Answers:
        from xraygen.engines import decoding
        from xraygen.engines.model import placement, source, workings

        settings = self.settings
        base, _, commit = source(name, settings.revision)
        model = identity(name)
        device = self.devices[0].partition(":")[0]
        _, dtype = placement()
        # These say where an answer ends, and what is stored with it.
        prompts = (json_answer, pieces, region_names, silence)
        modules = (*prompts, decoding, answer_confidence, vlm_model)
        code = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
        return Answers(
            {
                "model": model,
                "base": model if base == name else identity(base),
                "commit": commit,
                "device": [device, str(dtype), settings.four_bit],
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
        """A case with a picture that is missing or cannot be read fails. OutOfMemory: one case
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

    def _answers(self, rows: Sequence[dict[str, torch.Tensor]]) -> Iterator[Answered]:
        """The answers to each row, in order. Batches are of similar length, the longest first;
        `max_batch_tokens` bounds rows times the longest prompt with its answer, times
        samples. It is halved when memory runs out.

        A batch is stored and found as a whole: in another batch, rounding may change an answer.
        """
        try:
            return iter(self._asked(rows))
        except BaseException:
            if self._copies:  # else what they have under way would answer the next rows
                self._copies.end()
            raise

    def _asked(self, rows: Sequence[dict[str, torch.Tensor]]) -> list[Answered]:
        answers: dict[int, Answered] = {}
        keys = [_key(row) for row in rows]
        waiting = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        batches = self._copies or InProcess(self.answer)
        asked: dict[int, list[int]] = {}  # the rows of each batch that is under way
        while waiting or asked:
            while waiting and len(asked) < len(self.devices):
                chosen = waiting[-max(1, self.max_batch_tokens // self._width(rows, waiting)) :]
                del waiting[-len(chosen) :]
                key = "\n".join(keys[i] for i in chosen)
                if kept := self.kept.find([key]).get(key):
                    answers.update(zip(chosen, json.loads(kept), strict=True))
                else:
                    asked[chosen[0]] = chosen
                    batches.put((chosen[0], [rows[i] for i in chosen]))
            if not asked:
                break
            first, made = batches.get()
            chosen = asked.pop(first)
            if made is None:
                self._halve(len(chosen) * self._width(rows, chosen))
                waiting = sorted([*waiting, *chosen], key=lambda i: len(rows[i]["input_ids"]))
                continue
            answers.update(zip(chosen, made, strict=True))
            self.kept.keep("\n".join(keys[i] for i in chosen), {}, json.dumps(made))
        return [answers[i] for i in range(len(rows))]

    def _width(self, rows: Sequence[dict[str, torch.Tensor]], chosen: Sequence[int]) -> int:
        """Tokens that the longest row, which is the last, has at most, with its answer, times
        samples.
        """
        length = len(rows[chosen[-1]]["input_ids"]) + self.settings.max_new_tokens
        return length * max(1, self.settings.samples)

    def _halve(self, tokens: int) -> None:
        """Called when a batch of this many tokens did not fit."""
        self.max_batch_tokens = min(self.max_batch_tokens, tokens // 2)
        print(
            f"out of memory; max_batch_tokens is {self.max_batch_tokens:,} from here on",
            file=sys.stderr,
        )


def _copy(settings: VlmSettings, spoken: RegionNames, name: str, device: str) -> Work:
    return VlmModel(settings, spoken, name, device).answer


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
