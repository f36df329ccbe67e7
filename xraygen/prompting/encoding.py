"""Cases as rows of tensors, and rows as batches: the same preprocessing for training and inference.

A row holds one case: `input_ids` and other tensors per token, such as `mm_token_type_ids`, of shape
(tokens,); what the model family's processor makes of the views, for Qwen-VL `pixel_values`
(patches, values of a patch) and `image_grid_thw` (views, 3); in training also `completion` (tokens
of the answer,).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture
from xraygen.core.study import Annotation, Case, Study
from xraygen.prompting import conversation

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as Picture


UNREADABLE = "a picture cannot be read"
_STRIP = "a picture is so narrow a strip that it takes more than max_pixels; remove it"


def encode(
    processor,
    cases: Iterable[Case],
    root: Path,
    inputs: conversation.Inputs,
    prompt: str,
    max_views: int,
) -> list[dict[str, torch.Tensor]]:
    """A row for each case, up to where the answer begins.

    UnreadablePicture: a picture is missing, cannot be read, or is too narrow a strip.
    """
    return [_row(processor, case, root, inputs, prompt, max_views) for case in cases]


def _row(
    processor, case: Case, root: Path, inputs, prompt: str, max_views: int
) -> dict[str, torch.Tensor]:
    case = readable(case, processor.tokenizer)
    return row_of(processor, case.id, conversation.messages(case, prompt, inputs, max_views, root))


def readable(case: Case, tokenizer) -> Case:
    """The case as a model may be shown it: without control tokens in its report."""
    return case.model_copy(update={"report": without_control_tokens(case.report, tokenizer)})


def row_of(processor, id: str, turns: list[dict]) -> dict[str, torch.Tensor]:
    """The row of a conversation that ends with the user's turn. `id`: of the study, for errors.

    UnreadablePicture: the processor cannot use a picture. UserError: the number of image tokens is
    not that of the pictures' grids, because the prompt contains some.
    """
    try:
        row = processor.apply_chat_template(
            [turns],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    except ValueError as error:
        token = getattr(processor, "image_token", None)
        if token and token in str(error):
            raise UserError(f"study {id}: {error}; take {token} out of the prompt") from None
        if not any(part["type"] == "image" for turn in turns for part in turn["content"]):
            raise UserError(f"study {id}: {error}") from None
        raise UnreadablePicture(f"study {id}: {error}; remove the picture") from None
    per_token = (1, row["input_ids"].shape[1])
    row = {
        name: value[0] if value.shape[:2] == per_token else value
        for name, value in row.items()
        if name != "attention_mask"
    }
    if "image_grid_thw" in row:
        _check_pictures(processor, row, id)
    return row


def _check_pictures(processor, row: dict[str, torch.Tensor], id: str) -> None:
    settings = processor.image_processor
    patches = row["image_grid_thw"].prod(1)
    if int(patches.max()) * settings.patch_size**2 > settings.size["longest_edge"]:
        raise UnreadablePicture(f"study {id}: {_STRIP}")
    tokens = int(patches.sum()) // settings.merge_size**2
    found = int((row["input_ids"] == processor.image_token_id).sum())
    if found != tokens:
        raise UserError(
            f"study {id}: {found} image tokens for pictures that take {tokens}; "
            "take the image token out of the prompt"
        )


def resized(processor, picture: Picture) -> Picture:
    """An RGB picture in the size in which this processor shows it to the model: a server with the
    same processor leaves it as it is. Of families whose pictures are not of any size, the same.

    UnreadablePicture: it is too narrow a strip.
    """
    import numpy as np
    from PIL.Image import fromarray

    from xraygen.engines.processor import Qwen2VLProcessor

    settings = processor.image_processor
    if not isinstance(processor, Qwen2VLProcessor):
        return picture
    try:
        values = settings.resize(
            np.asarray(picture).transpose(2, 0, 1),
            settings.size,
            settings.resample,
            factor=settings.patch_size * settings.merge_size,
        )
    except ValueError as error:
        raise UnreadablePicture(f"{error}; remove the picture") from None
    if values[0].size > settings.size["longest_edge"]:
        raise UnreadablePicture(_STRIP)
    return fromarray(values.transpose(1, 2, 0))


def without_control_tokens(text: str, tokenizer) -> str:
    """The text with a space inside each control token of the model: a report that spells one must
    not be taken for the frame of the conversation.
    """
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and token.content in text:
            text = re.sub(re.escape(token.content), f"{token.content[0]} {token.content[1:]}", text)
    return text


def answer(tokenizer, reference: Annotation) -> torch.Tensor:
    """Token ids of the completion, and of what the chat template ends a turn with: (tokens,)."""
    import torch

    text = conversation.completion(reference)
    turns = [
        {"role": role, "content": [{"type": "text", "text": content}]}
        for role, content in (("user", "?"), ("assistant", text))
    ]
    end = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(text)[2].strip()
    return torch.tensor(
        tokenizer(text + (end or tokenizer.eos_token), add_special_tokens=False).input_ids
    )


def examples(
    processor,
    studies: Sequence[Study],
    root: Path,
    inputs: conversation.Inputs,
    prompt: str,
    max_views: int,
    limit: int,
) -> tuple[list[dict[str, torch.Tensor]], dict[str, int]]:
    """(rows with `completion`, number of excluded studies by reason). Studies of more than `limit`
    tokens are excluded, not truncated; those with a picture that cannot be read count as
    `UNREADABLE`.
    """
    rows: list[dict[str, torch.Tensor]] = []
    excluded: dict[str, int] = {}
    for study in studies:
        row = _example(processor, study, root, inputs, prompt, max_views, limit)
        if isinstance(row, str):
            excluded[row] = excluded.get(row, 0) + 1
        else:
            rows.append(row)
    return rows, excluded


def _example(
    processor, study: Study, root: Path, inputs, prompt: str, max_views: int, limit: int
) -> dict[str, torch.Tensor] | str:
    """A row with `completion`, or the reason why the study is excluded."""
    if study.reference is None:
        return "no reference"
    case = study.case()
    if reason := conversation.skip_reason(case, inputs):
        return reason
    try:
        row = _row(processor, case, root, inputs, prompt, max_views)
    except UnreadablePicture:
        return UNREADABLE
    row["completion"] = answer(processor.tokenizer, study.reference)
    if len(row["input_ids"]) + len(row["completion"]) > limit:
        return f"more than {limit:,} tokens"
    return row


def shared_tokens(rows: Sequence[dict[str, torch.Tensor]]) -> int:
    """The number of tokens, before any picture, that all prompts begin with. The last token of a
    prompt is never among them.
    """
    import torch

    shortest = min((row["input_ids"] for row in rows), key=len)
    length = len(shortest) - 1
    same = torch.ones(length, dtype=torch.bool)
    for row in rows:
        same &= row["input_ids"][:length] == shortest[:-1]
        same &= row["mm_token_type_ids"][:length] == 0
    return int(same.long().cumprod(0).sum())


def collate(
    rows: Iterable[dict[str, torch.Tensor]], pad: int, shared: int = 0
) -> dict[str, torch.Tensor]:
    """A batch, of tensors (rows, prompt + completion). Prompts are padded on the left and
    completions, if any, on the right, so that all completions begin in the same column. The first
    `shared` tokens, which are the same in all rows, come before the padding.

    `labels`: the completions' tokens, -100 elsewhere. The views of all rows are concatenated.
    """
    import torch

    rows = list(rows)
    prompt = max(len(row["input_ids"]) for row in rows)
    longest = max(len(row.get("completion", ())) for row in rows)
    shape = len(rows), prompt + longest
    per_token = [
        name
        for name, value in rows[0].items()
        if name != "completion" and value.shape == rows[0]["input_ids"].shape
    ]
    batch = {
        name: torch.full(shape, pad if name == "input_ids" else 0, dtype=rows[0][name].dtype)
        for name in per_token
    }
    batch["attention_mask"] = torch.zeros(shape, dtype=torch.long)
    if longest:
        batch["labels"] = torch.full(shape, -100)
    for i, row in enumerate(rows):
        completion = row.get("completion", ())
        start = prompt - len(row["input_ids"])
        end = prompt + len(completion)
        for name in per_token:
            batch[name][i, :shared] = row[name][:shared]
            batch[name][i, start + shared : prompt] = row[name][shared:]
        batch["attention_mask"][i, :shared] = 1
        batch["attention_mask"][i, start + shared : end] = 1
        if longest:
            batch["input_ids"][i, prompt:end] = completion
            batch["labels"][i, prompt:end] = completion
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if name not in per_token and name != "completion":
            batch[name] = _concatenated([row[name] for row in rows if name in row])
    return batch


def _concatenated(views: list[torch.Tensor]) -> torch.Tensor:
    """Along the first dimension. If a model family splits pictures into parts (1, parts, ...), as
    Idefics 3 does, rows with fewer parts are padded with zeros, as its processor does within a
    batch; its model ignores these.
    """
    import torch

    if views[0].ndim > 3:
        most = max(parts.shape[1] for parts in views)
        views = [
            torch.nn.functional.pad(parts, (0, 0) * (parts.ndim - 2) + (0, most - parts.shape[1]))
            for parts in views
        ]
    return torch.cat(views)
