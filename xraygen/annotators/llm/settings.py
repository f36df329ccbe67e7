"""The settings of an approach of the annotator `llm`."""

from typing import Literal

from xraygen.annotators.base import ModelFolder, Settings
from xraygen.core.regions import Regions
from xraygen.prompting.prompts import PromptSettings


class LlmSettings(PromptSettings, Settings):
    """A prompt, put to the model of the section `llm`. `reads`: the folder of the checkpoint that
    llm.provider local runs. `inputs`: whether the views go along.
    """

    reads: ModelFolder
    inputs: Literal["image+report", "report"] = "report"

    def check_regions(self, regions: Regions) -> None:
        for number, example in enumerate(self.examples):
            regions.check(example.annotation, f"examples.{number}.annotation")
