"""Studies as rows to train on, in memory as far as they fit."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from xraygen.core.errors import UserError
from xraygen.core.progress import progress
from xraygen.core.study import Study
from xraygen.prompting import encoding
from xraygen.training.batches import Lengths
from xraygen.training.params import FinetuneParams

Row = dict[str, torch.Tensor]

# Bytes of encoded studies in memory. The other studies are read and encoded again in each pass.
_IN_MEMORY = 2 * 2**30

# The share of studies with an unreadable image above which training does not begin, and how many
# it takes for a share to mean anything.
_MAX_UNREADABLE = 0.05
_FEW = 20

_VIEWS_AT_ONCE = 64  # rows whose views pass through the vision tower together


class Rows(torch.utils.data.Dataset):
    """Studies, encoded for training. Those without a reference, with nothing to show or with too
    many tokens are excluded, as are those with an image that cannot be read.

    `lengths`: tokens of prompt and completion of each row. `excluded`: why, and how many.
    `completion_tokens`: all token ids that occur in completions.

    UserError: too many of the studies have a picture that cannot be read.
    """

    def __init__(
        self, processor, studies: Sequence[Study], params: FinetuneParams, root: Path, what: str
    ):
        self._processor = processor
        self._params = params
        self._root = root
        self._rows: list[Row | Study] = []
        self._unreadable_example = ""
        self.lengths: list[Lengths] = []
        self.excluded: Counter[str] = Counter()
        self.completion_tokens: set[int] = set()
        in_memory = 0
        for study in progress(studies, what, "studies"):
            for row in self._encode(study):
                self.completion_tokens.update(row["completion"].tolist())
                self.lengths.append((len(row["input_ids"]), len(row["completion"])))
                in_memory += sum(tensor.nbytes for tensor in row.values())
                self._rows.append(row if in_memory < _IN_MEMORY else study)
        self._check_images(len(studies), what)

    def _check_images(self, studies: int, what: str) -> None:
        unreadable = self.excluded[encoding.UNREADABLE]
        if not unreadable:
            return
        message = (
            f"{what}: {unreadable:,} of {studies:,} studies have a picture that cannot be read; "
            f"for example {self._unreadable_example}"
        )
        too_many = unreadable >= _FEW and unreadable > _MAX_UNREADABLE * studies
        if too_many or unreadable == studies:
            remedy = "repair or remove the pictures and run `dvc repro`, or set inputs: report"
            raise UserError(f"{message}; {remedy}")
        print(f"{message}; these studies are excluded", file=sys.stderr)

    def _encode(self, study: Study) -> list[Row]:
        """One row, or none if the study is excluded."""
        params = self._params
        rows, excluded = encoding.examples(
            self._processor,
            [study],
            self._root,
            params.inputs,
            params.prompt,
            params.max_views,
            params.max_tokens,
        )
        self.excluded.update(excluded)
        if encoding.UNREADABLE in excluded and not self._unreadable_example:
            paths = ", ".join(image.path for image in study.images)
            self._unreadable_example = f"{study.id} ({paths})"
        return rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        row = self._rows[index]
        if not isinstance(row, Study):
            return row
        encoded = self._encode(row)
        if not encoded:
            raise UserError(
                f"study {row.id}: a picture could be read when training began and cannot be read "
                "now; put it back"
            )
        return encoded[0]

    @property
    def in_memory(self) -> bool:
        return not any(isinstance(row, Study) for row in self._rows)

    @property
    def num_workers(self) -> int:
        """Processes that read and encode rows ahead of the training."""
        return 0 if self.in_memory else 4

    @torch.no_grad()
    def replace_views(self, forward, tower) -> None:
        """Put what the vision tower makes of the views in the place of their pixels."""
        with_views = [row for row in self._rows if isinstance(row, dict) and "pixel_values" in row]
        for start in progress(
            range(0, len(with_views), _VIEWS_AT_ONCE), "see the views", "batches"
        ):
            chosen = with_views[start : start + _VIEWS_AT_ONCE]
            pixels = torch.cat([row["pixel_values"] for row in chosen])
            grids = torch.cat([row["image_grid_thw"] for row in chosen])
            output = forward(pixels.to(tower.device).to(tower.dtype), grids.to(tower.device))
            tokens = [
                int(row["image_grid_thw"].prod(1).sum()) // tower.spatial_merge_size**2
                for row in chosen
            ]
            for row, views in zip(chosen, output.pooler_output.cpu().split(tokens), strict=True):
                row["pixel_values"] = views.clone()

    def facts(self) -> dict[str, object]:
        """For the metrics."""
        return {
            "examples": len(self),
            "excluded": dict(self.excluded),
            "prompt_tokens": sum(prompt for prompt, _ in self.lengths),
            "completion_tokens": sum(completion for _, completion in self.lengths),
        }


def precompute_views(network: torch.nn.Module, *sets: Rows) -> None:
    """If the vision tower of a Qwen2-VL is frozen and all rows are in memory, let it see the views
    once instead of in every pass.

    `pixel_values` of the rows become what the projector makes of them, (image tokens, width of the
    language model), and the tower passes these through.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling
    from transformers.models.qwen2_vl.modeling_qwen2_vl import (
        Qwen2VisionTransformerPretrainedModel as Tower,
    )

    tower = next((module for module in network.modules() if isinstance(module, Tower)), None)
    if tower is None or any(weight.requires_grad for weight in tower.parameters()):
        return
    if not all(rows.in_memory for rows in sets):
        return
    see = tower.forward
    width = tower.config.hidden_size

    def forward(patches: torch.Tensor, grid_thw: torch.Tensor, **kwargs):
        if patches.shape[-1] == width:
            return BaseModelOutputWithPooling(pooler_output=patches)
        return see(patches, grid_thw, **kwargs)

    for rows in sets:
        rows.replace_views(see, tower)
    tower.forward = forward
