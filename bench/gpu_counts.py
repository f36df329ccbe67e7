"""What a GPU could do, and what a measurement asked of it: peak rates by card, floating-point
operations and bytes of Qwen2-VL and Llama.

Counted is what the model needs, without padding, without what gradient checkpointing computes
again, and with attention over all pairs of positions, as in PaLM (Chowdhery et al., 2022, appendix
B). A multiplication with an addition is two operations. Norms, activations, softmax and rotary
embeddings are left out.
"""

from typing import NamedTuple


class Card(NamedTuple):
    """`tflops`: dense, in bfloat16 (float16 where the card has no bfloat16). `gb_per_second`: of
    its memory. Both from NVIDIA's data sheets.
    """

    tflops: float
    gb_per_second: float


# The first whose words all occur in the name that the driver gives.
_CARDS = {
    "H100 NVL": Card(835, 3938),
    "H100 PCIe": Card(756, 2039),
    "H100": Card(989, 3352),
    "H200 NVL": Card(835, 4800),
    "H200": Card(989, 4800),
    "GH200": Card(989, 4000),
    "B200": Card(2250, 8000),
    "A100 40GB": Card(312, 1555),
    "A100 PCIE 80GB": Card(312, 1935),
    "A100 PCIe 80GB": Card(312, 1935),
    "A100": Card(312, 2039),
    "A30": Card(165, 933),
    "A10G": Card(70, 600),
    "A10": Card(125, 600),
    "A40": Card(150, 696),
    "L40S": Card(362, 864),
    "L40": Card(181, 864),
    "L4": Card(121, 300),
    "RTX 6000 Ada": Card(364, 960),
    "RTX A6000": Card(155, 768),
    "RTX 4090": Card(165, 1008),
    "RTX 3090": Card(71, 936),
    "RTX 5090": Card(209, 1792),
    "T4": Card(65, 320),
    "V100": Card(125, 900),
}


def card(name: str) -> Card | None:
    """The data sheet of a card by the driver's name for it; None: it is not listed."""
    words = name.replace("-", " ").split()
    for known, rates in _CARDS.items():
        if all(word in words for word in known.split()):
            return rates
    return None


class Text(NamedTuple):
    """Dimensions of a decoder of the Llama kind, which Qwen2 is, too."""

    width: int
    inner: int  # of the MLP
    layers: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices: q, k, v, o, gate, up, down."""
        queries = self.heads * self.head
        keys = self.key_heads * self.head
        return [
            (self.width, queries),
            (self.width, keys),
            (self.width, keys),
            (queries, self.width),
            (self.width, self.inner),
            (self.width, self.inner),
            (self.inner, self.width),
        ]

    @property
    def weights(self) -> int:
        """Of a layer."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    def lora(self, rank: int) -> int:
        """Weights that LoRA adds to a layer."""
        return sum(rank * (inputs + outputs) for inputs, outputs in self.matrices)


class Vision(NamedTuple):
    """Dimensions of the vision tower of Qwen2-VL. `patch`: values of a patch."""

    width: int
    layers: int
    inner: int  # of the MLP
    patch: int
    merged: int  # patches that become one image token
    text_width: int

    @property
    def weights(self) -> int:
        """Of a layer."""
        return 4 * self.width**2 + 2 * self.width * self.inner

    @property
    def projector(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of its two matrices."""
        wide = self.merged * self.width
        return [(wide, wide), (wide, self.text_width)]


class Row(NamedTuple):
    """Lengths of a study: `tokens` of prompt and answer together, `answer` tokens, `views` patches
    of each view.
    """

    tokens: int
    answer: int
    views: tuple[int, ...]


def training_flops(text: Text, row: Row, rank: int, into_views: bool = False) -> int:
    """Of forward and backward of LoRA on all matrices of the language model, without the vision
    tower.

    A frozen weight costs 2 operations a token forward and 2 backward, for the gradient of its
    input: 4 rather than the 6 of a trained one (Kaplan et al., 2020, section 2.1); a weight of LoRA
    costs 6. Attention has no weights: 2 products forward, 4 backward. Logits are computed for
    the answer only. The inputs of the first layer need a gradient only if something that makes the
    image tokens is trained (`into_views`).
    """
    each = 4 * text.weights + 6 * text.lora(rank)
    flops = row.tokens * text.layers * each
    flops += 3 * attention_flops(text, row.tokens, row.tokens)
    flops += row.answer * 4 * text.width * text.vocabulary
    if not into_views:
        first = text.matrices[:3]  # q, k, v of the first layer: no gradient of their input
        unused = sum(inputs * outputs + rank * inputs for inputs, outputs in first)
        flops -= row.tokens * 2 * unused
    return flops


def attention_flops(text: Text, queries: int, keys: int) -> int:
    """Of one forward through all layers."""
    return 4 * text.layers * text.heads * text.head * queries * keys


def vision_flops(vision: Vision, row: Row, rank: int = 0) -> int:
    """Of the vision tower's forward; with `rank`, of LoRA on the projector as well, forward and
    backward.
    """
    patches = sum(row.views)
    flops = 2 * patches * (vision.patch * vision.width + vision.layers * vision.weights)
    flops += 4 * vision.layers * vision.width * sum(patches**2 for patches in row.views)
    tokens = patches // vision.merged
    first, second = vision.projector
    flops += 2 * tokens * (first[0] * first[1] + second[0] * second[1])
    if rank:
        lora = sum(rank * sum(sizes) for sizes in vision.projector)
        flops += tokens * (2 * second[0] * second[1] + 6 * lora - 2 * rank * first[0])
    return flops


def step_bytes(text: Text, bytes_of_a_weight: int = 2) -> int:
    """Read from memory for a step of generation, whatever the number of rows: the layers' matrices
    and the output embedding, once.
    """
    return bytes_of_a_weight * (text.layers * text.weights + text.width * text.vocabulary)


def cache_bytes(text: Text, bytes_of_a_value: int = 2) -> int:
    """Keys and values of one token, which each later step of its row reads once."""
    return bytes_of_a_value * 2 * text.layers * text.key_heads * text.head


def generation_bytes(text: Text, prompts: list[int], answers: list[int]) -> int:
    """Read at least by the steps of one batch, after its prompts have been read: weights once for
    each step of the longest answer, and of each row the keys and values of what comes before.
    """
    read = (max(answers) - 1) * step_bytes(text)
    for prompt, answer in zip(prompts, answers, strict=True):
        steps = answer - 1  # the first token comes from reading the prompt
        read += cache_bytes(text) * (steps * prompt + steps * (steps + 1) // 2)
    return read
