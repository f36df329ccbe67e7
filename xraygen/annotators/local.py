"""The annotator `llm` in this process: the prompts of an approach, put to a checkpoint of
transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.annotators.settings import VlmApproach, as_prompted
from xraygen.annotators.vlm import Vlm
from xraygen.core.regions import Regions
from xraygen.core.study import Case
from xraygen.prompting import conversation, encoding
from xraygen.prompting.prompts import Prompts

if TYPE_CHECKING:
    import torch

    from xraygen.annotators.settings import LlmApproach, LlmParams


class Local(Vlm):
    """As Vlm, which batches and keeps the answers. UserError: a fine-tuned model would be shown
    other than in training.
    """

    def __init__(
        self, approach: LlmApproach, llm: LlmParams, root: Path, images: Path, regions: Regions
    ):
        folder = str(root / approach.model)
        shown = as_prompted(approach, llm, folder).model_dump()
        settings = VlmApproach(
            annotator="vlm",
            model=approach.model,
            batch_tokens=llm.batch_tokens,
            max_new_tokens=llm.max_tokens,
            **shown,
        )
        super().__init__(settings, folder, images, regions)
        self.prompts = Prompts(approach, root, regions)

    def row(self, case: Case) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        turns = [
            {
                "role": turn["role"],
                "content": [
                    {
                        "type": "text",
                        "text": encoding.without_control_tokens(turn["content"], tokenizer),
                    }
                ],
            }
            for turn in self.prompts.turns(case)
        ]
        turns[-1]["content"] = (
            conversation.pictures(case, self.approach.inputs, self.approach.max_views, self.images)
            + turns[-1]["content"]
        )
        return encoding.row_of(self.processor, case.id, turns)
