"""The section `finetune` of params.yaml: what is trained, on what, and how."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from xraygen.core.study import NonEmpty, Record
from xraygen.engines.precision import Requested
from xraygen.prompting.conversation import PROMPT, Inputs

Part = Literal["language", "vision", "projector"]
Processes = PositiveInt | Literal["auto"]


class FinetuneParams(Record):
    """Names follow transformers' TrainingArguments and trl's ModelConfig.

    The model
      base, revision: a folder of the project, or a name on the Hugging Face hub at this revision;
        a commit hash pins it.
      method: lora = low-rank matrices added to frozen weights; qlora = the same with the frozen
        weights in 4 bits (NF4), a third of the memory but slower; full = the weights themselves,
        in float32.
      targets: the parts that are trained. language is enough for a model that already sees;
        projector and vision teach it to.
      lora_r, lora_alpha, lora_dropout: as in peft; ignored by full.

    The data
      inputs: what the model is shown of a case. prompt: the instruction.
      max_views: of a study, frontal first. max_pixels: of a view; larger ones are scaled down
        (an image token of Qwen2-VL is 784 pixels).
      max_tokens: longer studies are skipped and counted. They are never cut, which would cut
        images or answers.
      recombined: number of extra studies for each real one, assembled from the sentences of
        several reports and the curators' usual wording of them; they have no images.
      word_swap_rate: share of the times a study is shown with some of its words replaced, in
        prompt and answer alike, so that a model with few studies learns to read them instead of
        memorizing them.

    The training
      learning_rate: the peak, reached after the share `warmup_ratio` of the steps; from there it
        follows `lr_scheduler_type`.
      epochs: passes over the studies; max_steps overrides it.
      max_batch_tokens: of one batch in one process, padding included; bounds the memory.
      gradient_accumulation_steps: batches per optimizer step and process.
      gradient_checkpointing: recompute activations instead of storing them; less memory, about
        a third slower.
      processes: auto = one for each GPU of this machine, or one on a CPU. They share each step, so
        another number of them trains on other batches. Under torchrun, as for several nodes,
        torchrun decides how many there are.
      fsdp: shard weights, gradients and optimizer state over the GPUs of several processes, for
        models that do not fit on one.
      precision: auto = bfloat16 where the device computes in it natively (CUDA compute capability
        8.0 or higher; a CPU with avx512_bf16 or AMX), which is several times faster there, and
        float32 elsewhere. float16 is for GPUs without bfloat16.
      optimizer: the 8-bit ones (bitsandbytes) store their state in a quarter of the memory, paged
        ones also spill to the host. muon learns more per step and takes twice AdamW's rate; it has
        been tried with full only.
      early_stopping_patience: stop after this many passes without a lower loss on dev; null =
        never. The best pass is kept either way.
    """

    base: NonEmpty
    revision: str | None = None
    method: Literal["lora", "qlora", "full"]
    targets: Annotated[tuple[Part, ...], Field(min_length=1)]
    lora_r: PositiveInt
    lora_alpha: PositiveFloat
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    inputs: Inputs
    prompt: NonEmpty = PROMPT
    max_views: PositiveInt
    max_pixels: Annotated[int, Field(ge=28 * 28)]
    max_tokens: PositiveInt
    recombined: NonNegativeFloat = 0.0
    word_swap_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    learning_rate: PositiveFloat
    lr_scheduler_type: Literal["cosine", "linear", "constant_with_warmup"]
    warmup_ratio: Annotated[NonNegativeFloat, Field(lt=1)]
    epochs: PositiveInt
    max_steps: PositiveInt | None = None
    max_batch_tokens: PositiveInt
    gradient_accumulation_steps: PositiveInt
    gradient_checkpointing: bool
    processes: Processes = "auto"
    fsdp: bool = False
    precision: Requested
    optimizer: Literal["adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "muon"]
    early_stopping_patience: PositiveInt | None
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _reports_train_language_only(self) -> "FinetuneParams":
        if self.inputs == "report" and self.targets != ("language",):
            raise ValueError(
                "targets: with inputs: report there are no pictures to learn from; use [language]"
            )
        return self

    @model_validator(mode="after")
    def _muon_needs_whole_matrices(self) -> "FinetuneParams":
        if self.fsdp and self.optimizer == "muon":
            raise ValueError(
                "optimizer: muon needs whole matrices; with fsdp: true use adamw_torch_fused"
            )
        return self

    @model_validator(mode="after")
    def _a_batch_holds_the_longest_row(self) -> "FinetuneParams":
        if self.max_tokens > self.max_batch_tokens:
            raise ValueError(
                f"max_tokens is {self.max_tokens:,}, more than fit into a batch "
                f"(max_batch_tokens: {self.max_batch_tokens:,})"
            )
        return self
