"""What gpu.py measures with: models with the published dimensions and random weights, and studies
as long as those of IU X-Ray. With `smoke`, all in miniature.
"""

from pathlib import Path
from typing import NamedTuple

import gpu_counts

from xraygen import params
from xraygen.core.json_lines import read_jsonl, write_jsonl
from xraygen.core.study import Study
from xraygen.sources import phantom

TINY = Path("models/tiny-qwen2-vl")
PROMPT = (
    "Annotate the study by region, in JSON with the keys bone, heart, lung, mediastinal and others."
)
_VIEWS = [1] * 12 + [2] * 82 + [3] * 5 + [4]  # of a hundred studies of IU X-Ray


class Scale(NamedTuple):
    """`side`: of a drawn view in pixels; more than any setting of `max_pixels` keeps. `view`:
    max_pixels of a view of 256 image tokens.
    """

    text: gpu_counts.Text
    vision: gpu_counts.Vision
    vision_heads: int
    mrope: tuple[int, int, int]
    llama: gpu_counts.Text
    side: int
    view: int
    studies: int


# Qwen/Qwen2-VL-2B-Instruct and StanfordAIMI/GREEN-RadLlama2-7b, by their config.json.
_FULL = Scale(
    text=gpu_counts.Text(1536, 8960, 28, 12, 2, 128, 151_936),
    vision=gpu_counts.Vision(1280, 32, 5120, 1176, 4, 1536),
    vision_heads=16,
    mrope=(16, 24, 24),
    llama=gpu_counts.Text(4096, 11_008, 32, 32, 32, 128, 32_000),
    side=644,
    view=448 * 448,
    studies=128,
)
_SMOKE = Scale(
    text=gpu_counts.Text(128, 256, 2, 2, 1, 64, 3072),
    vision=gpu_counts.Vision(64, 2, 256, 1176, 4, 128),
    vision_heads=2,
    mrope=(8, 12, 12),
    llama=gpu_counts.Text(64, 128, 2, 2, 2, 32, 1000),
    side=140,
    view=112 * 112,
    studies=6,
)


def scale(smoke: bool) -> Scale:
    return _SMOKE if smoke else _FULL


def write(folder: Path, smoke: bool) -> None:
    """The studies, with pictures, and Qwen2-VL to `folder`."""
    sizes = scale(smoke)
    drawn = phantom.PhantomSettings(train=sizes.studies, test=1, val=0, size=sizes.side)
    made = phantom.read(drawn, folder / "images", folder, params.load().regions)
    write_jsonl(folder / "studies.jsonl", map(_as_long, made.studies[: sizes.studies]))
    _write_qwen(folder / "2b", sizes)


def _as_long(study: Study) -> Study:
    """With four views, and an answer as long as Qwen's tokenizer makes those of IU X-Ray."""
    others = f"{study.reference['others']} No previous study.".strip()
    reference = study.reference | {"others": others}
    return study.model_copy(update={"images": study.images * 2, "reference": reference})


def studies(folder: Path, views: int | None) -> list[Study]:
    """With this many views each; None = with as many as the studies of IU X-Ray have."""
    found = list(read_jsonl(folder / "studies.jsonl", Study))
    return [
        study.model_copy(update={"images": study.images[: views or _VIEWS[37 * k % 100]]})
        for k, study in enumerate(found)
    ]


def _write_qwen(folder: Path, sizes: Scale) -> None:
    """Qwen2-VL with random weights, and the small model's tokenizer and processor."""
    import torch
    from transformers import AutoConfig, Qwen2VLConfig, Qwen2VLForConditionalGeneration

    from xraygen.engines.model import load_processor, placement

    small = AutoConfig.from_pretrained(TINY)
    names = "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"
    ids = {
        name: getattr(small.text_config, name)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    text, vision = sizes.text, sizes.vision
    config = Qwen2VLConfig(
        text_config=_text_config(text)
        | ids
        | {
            "max_position_embeddings": 32_768,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": list(sizes.mrope),
                "rope_theta": 1e6,
            },
        },
        vision_config={
            "depth": vision.layers,
            "embed_dim": vision.width,
            "hidden_size": vision.text_width,
            "num_heads": sizes.vision_heads,
            "mlp_ratio": vision.inner // vision.width,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=True,
        **{name: getattr(small, name) for name in names},
    )
    torch.manual_seed(0)
    with torch.device(placement()[0]):
        model = Qwen2VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = ids["eos_token_id"]
    model.generation_config.pad_token_id = ids["pad_token_id"]
    model.save_pretrained(folder)
    load_processor(str(TINY), max_pixels=sizes.side**2).save_pretrained(folder)


LLAMA_END = 2  # the token


def llama(smoke: bool):
    """A Llama on the GPU in float16, or on the CPU in float32, whose end token is never the most
    likely one.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from xraygen.engines.model import placement

    text = scale(smoke).llama
    config = LlamaConfig(
        **_text_config(text),
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=LLAMA_END,
    )
    torch.manual_seed(0)
    device = placement()[0]
    dtype = torch.float16 if device == "cuda" else torch.float32
    with torch.device(device):
        model = LlamaForCausalLM._from_config(config, dtype=dtype)
    with torch.no_grad():
        model.lm_head.weight[LLAMA_END] = 0
    return model


def _text_config(text: gpu_counts.Text) -> dict:
    return {
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "intermediate_size": text.inner,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "num_key_value_heads": text.key_heads,
    }
