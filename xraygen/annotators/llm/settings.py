"""The settings of an approach of the annotator `llm`."""

from typing import Literal

from xraygen.annotators.base import ModelFolder, Settings
from xraygen.core.regions import Regions
from xraygen.prompting.prompts import TRAIN, PromptSettings


class LlmSettings(PromptSettings, Settings):
    """A prompt, put to the model of the section `llm`. `reads`: the folder of the checkpoint that
    llm.provider local runs. `inputs`: whether the views go along; report unless stated.

    If the folder is of a fine-tuned model, a server has to serve that model. It is asked as it was
    trained: `user` and `inputs` are best left out, and llm.max_views and max_pixels do not count
    then. An approach that states anything else than its training.json is refused (`as_prompted`).
    """

    reads: ModelFolder
    inputs: Literal["image+report", "report"] | None = None

    def reads_too(self) -> list[str]:
        return [TRAIN] if self.nearest else []

    def check_regions(self, regions: Regions) -> None:
        for number, example in enumerate(self.examples):
            regions.check(example.annotation, f"examples.{number}.annotation")
