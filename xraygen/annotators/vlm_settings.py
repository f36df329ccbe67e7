"""The settings of an approach of the annotator `vlm`."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from xraygen.annotators.base import ModelFolder, Settings
from xraygen.core.study import NonEmpty
from xraygen.prompting.conversation import Inputs


class VlmSettings(Settings):
    """A vision-language model, base or fine-tuned.

    `reads`: the folder of a base or an adapter. `hub`: a model's name on the Hugging Face hub, used
    instead of the folder, at `revision`.
    `inputs`, `prompt`, `max_views`, `max_pixels`: what the model is shown of a case: its views, its
    report or both; at most `max_views` views, frontal first, of at most `max_pixels` pixels each
    (784 to an image token of Qwen2-VL). A fine-tuned model is shown what it was trained on, so
    these are read from its training.json, and an approach that states another value is refused
    (`as_trained`). For a base model they have to be stated; `prompt` has a default.
    `max_batch_tokens`: in memory at a time: rows times the longest prompt with its answer, times
    samples.
    `samples`: draw this many answers and take for each region the text most like all of them; 0 =
    one greedy answer. `four_bit`: weights in NF4, for a small GPU.
    """

    reads: ModelFolder
    hub: NonEmpty | None = None
    revision: NonEmpty | None = None
    inputs: Inputs | None = None
    prompt: NonEmpty | None = None
    max_views: PositiveInt | None = None
    max_pixels: Annotated[int, Field(ge=28 * 28)] | None = None
    max_batch_tokens: PositiveInt
    max_new_tokens: PositiveInt
    samples: NonNegativeInt = 0
    four_bit: bool = False
