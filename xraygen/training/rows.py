"""Studies as rows to train on, kept in memory as far as they fit."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from xraygen.core.errors import UserError
from xraygen.core.progress import progress
from xraygen.core.study import Study
from xraygen.prompting import encoding
from xraygen.training.finetune import FinetuneParams

_KEEP = (
    2 * 2**30
)  # bytes of encoded studies kept in memory; the others are read and encoded again in each pass
# share of the studies with a picture that cannot be read above which training does not begin
_UNREADABLE = 0.05
_FEW = 20  # of these, which are not counted as a share yet
_AT_ONCE = 64  # rows whose views are seen together


class Rows:
    """Studies encoded for training, as a data set; those without a reference, with nothing to see
    or too long are excluded.

    A picture that cannot be read excludes its study. UserError: of the studies, too many have one.
    """

    def __init__(
        self, processor, studies: Sequence[Study], params: FinetuneParams, root: Path, what: str
    ):
        shown = processor, root, params.inputs, params.prompt, params.max_views, params.max_tokens
        self._shown, self._rows, self.lengths, self.aside = shown, [], [], Counter()
        self._example = ""  # of a study with a picture that cannot be read
        self.said: set[int] = set()  # tokens of the answers
        kept = 0
        for study in progress(studies, what, "studies"):
            for row in self._encode(study):
                self.said.update(row["completion"].tolist())
                kept += sum(tensor.nbytes for tensor in row.values())
                self._rows.append(row if kept < _KEEP else study)
                self.lengths.append((len(row["input_ids"]), len(row["completion"])))
        self._check_pictures(len(studies), what)

    def _check_pictures(self, studies: int, what: str) -> None:
        unreadable = self.aside[encoding.UNREADABLE]
        if not unreadable:
            return
        of = f"{unreadable:,} of {studies:,} studies have a picture that cannot be read"
        said = f"{what}: {of}; for example {self._example}"
        if unreadable == studies or (unreadable >= _FEW and unreadable > _UNREADABLE * studies):
            remedy = "repair or remove the pictures and run `dvc repro`, or set inputs: report"
            raise UserError(f"{said}; {remedy}")
        print(f"{said}; these studies are excluded", file=sys.stderr)

    def _encode(self, study: Study) -> list[dict[str, torch.Tensor]]:
        processor, *shown = self._shown
        rows, aside = encoding.examples(processor, [study], *shown)
        self.aside.update(aside)
        if encoding.UNREADABLE in aside:
            paths = ", ".join(image.path for image in study.images)
            self._example = self._example or f"{study.id} ({paths})"
        return rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self._rows[index]
        if not isinstance(row, Study):
            return row
        encoded = self._encode(row)
        if not encoded:
            problem = "a picture could be read when training began and cannot be read now"
            raise UserError(f"study {row.id}: {problem}; put it back")
        return encoded[0]

    @property
    def kept(self) -> bool:
        """Whether all of them are in memory."""
        return not any(isinstance(row, Study) for row in self._rows)

    @property
    def workers(self) -> int:
        return 0 if self.kept else 4

    @torch.no_grad()
    def see(self, forward, tower) -> None:
        shown = [row for row in self._rows if "pixel_values" in row]
        for at in progress(range(0, len(shown), _AT_ONCE), "see the views", "batches"):
            chosen = shown[at : at + _AT_ONCE]
            pixels, grids = (
                torch.cat([row[name] for row in chosen]).to(tower.device)
                for name in ("pixel_values", "image_grid_thw")
            )
            seen = forward(pixels.to(tower.dtype), grids).pooler_output.cpu()
            counts = [
                int(row["image_grid_thw"].prod(1).sum()) // tower.spatial_merge_size**2
                for row in chosen
            ]
            for row, views in zip(chosen, seen.split(counts), strict=True):
                row["pixel_values"] = views.clone()

    def facts(self) -> dict:
        prompt, completion = (
            (sum(column) for column in zip(*self.lengths, strict=True)) if self.lengths else (0, 0)
        )
        return {
            "examples": len(self),
            "excluded": dict(self.aside),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
        }


def keep_views(network, *sets: Rows) -> None:
    """Where the vision tower of a Qwen2-VL does not train, it sees the views once instead of in
    every pass: `pixel_values` of the rows become what the projector makes of them, (image tokens,
    width of the language model), and the tower lets these through.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling
    from transformers.models.qwen2_vl.modeling_qwen2_vl import (
        Qwen2VisionTransformerPretrainedModel as Tower,
    )

    towers = [module for module in network.modules() if isinstance(module, Tower)]
    if (
        not towers
        or any(weight.requires_grad for weight in towers[0].parameters())
        or not all(rows.kept for rows in sets)
    ):
        return
    tower, see, width = towers[0], towers[0].forward, towers[0].config.hidden_size

    def forward(patches: torch.Tensor, grid_thw: torch.Tensor, **kwargs):
        return (
            BaseModelOutputWithPooling(pooler_output=patches)
            if patches.shape[-1] == width
            else see(patches, grid_thw, **kwargs)
        )

    for rows in sets:
        rows.see(see, tower)
    tower.forward = forward
