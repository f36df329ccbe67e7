"""The annotator `llm` in this process: an approach's prompts, put to a transformers checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xraygen.annotators.as_trained import as_prompted, as_stated
from xraygen.annotators.base import Project
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.vlm import Vlm
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.study import AnnotationRecord, Case
from xraygen.prompting import conversation, encoding
from xraygen.prompting.prompts import Prompts

if TYPE_CHECKING:
    import torch


class Local(Vlm):
    """Batches and stores answers as Vlm does. UserError: a fine-tuned model would be shown
    something else than in training.
    """

    def __init__(
        self, settings: LlmSettings, project: Project, devices: Sequence[str] = ()
    ) -> None:
        llm, regions = project.llm, project.regions
        settings = settings.filled(regions)
        trained = as_prompted(settings, llm, str(project.root / settings.reads), project.where)
        shown = trained or as_stated(settings, llm)
        asked = VlmSettings(
            annotator="vlm",
            reads=settings.reads,
            max_batch_tokens=llm.max_batch_tokens,
            max_new_tokens=llm.max_tokens,
            **shown.model_dump(),
        )
        super().__init__(asked, project, devices)
        self.prompts = None if trained else Prompts(settings, project.root, regions)

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        return True

    def row(self, case: Case) -> dict[str, torch.Tensor]:
        if self.prompts is None:
            return super().row(case)
        turns = []
        for turn in self.prompts.turns(case):
            text = encoding.without_control_tokens(turn["content"], self.processor.tokenizer)
            content: list[dict] = [{"type": "text", "text": text}]
            turns.append({"role": turn["role"], "content": content})
        pictures = conversation.pictures(
            case, self.shown.inputs, self.shown.max_views, self.project.images
        )
        turns[-1]["content"] = [*pictures, *turns[-1]["content"]]
        return encoding.row_of(self.processor, case.id, turns)
