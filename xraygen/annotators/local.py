"""The annotator `llm` in this process: the prompts of an approach, put to a checkpoint of
transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from xraygen.annotators.as_trained import as_prompted
from xraygen.annotators.base import Project, Tolerance
from xraygen.annotators.vlm import Vlm
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.study import Case
from xraygen.prompting import conversation, encoding
from xraygen.prompting.prompts import Prompts

if TYPE_CHECKING:
    import torch

    from xraygen.annotators.llm.settings import LlmSettings


class Local(Vlm):
    """As Vlm, which batches and keeps the answers. UserError: a fine-tuned model would be shown
    other than in training.
    """

    may_fail: ClassVar[Tolerance] = "none"

    def __init__(self, settings: LlmSettings, project: Project) -> None:
        llm, regions = project.llm, project.regions
        filled = {"system": regions.filled(settings.system), "user": regions.filled(settings.user)}
        settings = settings.model_copy(update=filled)
        shown = as_prompted(settings, llm, str(project.root / settings.reads), project.where)
        asked = VlmSettings(
            annotator="vlm",
            reads=settings.reads,
            max_batch_tokens=llm.max_batch_tokens,
            max_new_tokens=llm.max_tokens,
            **shown.model_dump(),
        )
        super().__init__(asked, project)
        self.prompts = Prompts(settings, project.root, regions)

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
        pictures = conversation.pictures(
            case, self.shown.inputs, self.shown.max_views, self.project.images
        )
        turns[-1]["content"] = [*pictures, *turns[-1]["content"]]
        return encoding.row_of(self.processor, case.id, turns)
