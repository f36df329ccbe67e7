"""Families other than Qwen2-VL: miniatures of random weights, with their own processors, annotate
and are fine-tuned as it is.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import chosen_up_to_rounding, project_of
from PIL import Image as Pictures

from xraygen.annotators.vlm import Vlm, VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.study import Case, Image, Study
from xraygen.sources.phantom import draw, phantom

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("dvclive")

from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Gemma3Processor,
    GenerationConfig,
    Idefics3Processor,
)
from transformers import PreTrainedTokenizerFast as Tokenizer
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from xraygen.engines import decoding
from xraygen.engines.model import load, load_processor
from xraygen.prompting import encoding
from xraygen.prompting.conversation import PROMPT
from xraygen.training.finetune import finetune
from xraygen.training.params import FinetuneParams

PARTS = (
    "{% for part in turn['content'] %}"
    "{{ part['text'] if part['type'] == 'text' else 'IMAGE' }}{% endfor %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% for turn in messages %}<start_of_turn>"
    "{{ 'model' if turn['role'] == 'assistant' else turn['role'] }}\n"
    + PARTS.replace("IMAGE", "<start_of_image>")
    + "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
IDEFICS_CHAT = (
    "<|im_start|>{% for turn in messages %}{{ turn['role'] | capitalize }}: "
    + PARTS.replace("IMAGE", "<image>")
    + "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}
SIGLIP = TEXT | {"hidden_size": 32, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
QWEN = {
    "depth": 2,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 64,
    "out_hidden_size": 64,
}
ROPE = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}
APPROACH = VlmSettings(
    annotator="vlm",
    reads="models/x",
    inputs="image+report",
    max_views=2,
    max_pixels=112 * 112,
    max_batch_tokens=1,
    max_new_tokens=12,
)


def vlm(approach: VlmSettings, root: Path, images: Path | None = None) -> Vlm:
    return Vlm(approach, project_of(root, images))


PARAMS = FinetuneParams(
    base="models/x",
    method="lora",
    targets=["language"],
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.1,
    inputs="image+report",
    max_views=2,
    max_pixels=112 * 112,
    max_tokens=600,
    learning_rate=0.05,
    lr_scheduler_type="cosine",
    warmup_ratio=0.0,
    epochs=1,
    max_steps=2,
    max_batch_tokens=1200,
    gradient_accumulation_steps=1,
    gradient_checkpointing=True,
    precision="auto",
    optimizer="adamw_torch_fused",
    early_stopping_patience=None,
    seed=0,
)


def tokenizer_of(family: str, tiny_vlm: Path) -> Tokenizer:
    """tiny_vlm's byte-level BPE with the family's own tokens and chat template."""
    if family == "gemma3":
        named = {
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        }
        own = {
            "bos_token": "<bos>",
            "eos_token": "<end_of_turn>",
            "chat_template": GEMMA_CHAT,
            "extra_special_tokens": named,
        }
    elif family == "idefics3":
        marks = ["<image>", "<fake_token_around_image>", "<global-img>"]
        own = {
            "eos_token": "<end_of_utterance>",
            "chat_template": IDEFICS_CHAT,
            "additional_special_tokens": marks,
        }
    else:
        return Tokenizer.from_pretrained(tiny_vlm)
    return Tokenizer(
        tokenizer_file=str(tiny_vlm / "tokenizer.json"), pad_token="<|endoftext|>", **own
    )


def configured(family: str, tokenizer: Tokenizer):
    text, token = TEXT | {"vocab_size": len(tokenizer)}, tokenizer.convert_tokens_to_ids
    if family == "gemma3":
        layers = {
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 64,
            "head_dim": 64,
        }
        marks = {"boi": "<start_of_image>", "eoi": "<end_of_image>", "image": "<image_soft_token>"}
        ids, text = (
            {f"{name}_token_index": token(mark) for name, mark in marks.items()},
            text | layers,
        )
        vision = SIGLIP | {"model_type": "siglip_vision_model", "vision_use_head": False}
        ids["mm_tokens_per_image"] = 4
    elif family == "idefics3":
        ids, text = (
            {"image_token_id": token("<image>"), "scale_factor": 2},
            text | {"model_type": "llama", "pad_token_id": 0},
        )
        vision = SIGLIP | {"model_type": "idefics3_vision"}
    else:
        marks = ("vision_start", "vision_end", "image_pad", "video_pad")
        ids = {f"{mark.removesuffix('_pad')}_token_id": token(f"<|{mark}|>") for mark in marks}
        if family == "qwen2_5_vl":
            text, vision = (
                text | {"rope_parameters": dict(ROPE)},
                QWEN | {"window_size": 56, "fullatt_block_indexes": [1]},
            )
        else:
            text |= {
                "rope_parameters": ROPE | {"mrope_interleaved": True},
                "head_dim": 64,
                "num_attention_heads": 2,
            }
            vision = QWEN | {
                "deepstack_visual_indexes": [0],
                "num_position_embeddings": 64,
                "patch_size": 16,
            }
    return AutoConfig.for_model(family, text_config=text, vision_config=vision, **ids)


def build(family: str, tiny_vlm: Path, folder: Path) -> None:
    tokenizer = tokenizer_of(family, tiny_vlm)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(configured(family, tokenizer))
    with torch.no_grad():
        for (
            name,
            weight,
        ) in (
            model.named_parameters()
        ):  # so wide that answers differ from case to case, and with the pictures
            if weight.ndim > 1:
                weight.normal_(0, 0.05 if "embed_tokens" in name else 0.2)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if family == "gemma3":
        pictures = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
        Gemma3Processor(pictures, tokenizer, GEMMA_CHAT, 4).save_pretrained(folder)
    elif family == "idefics3":
        pictures = Idefics3ImageProcessorPil(
            size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
        )
        Idefics3Processor(pictures, tokenizer, 4, IDEFICS_CHAT).save_pretrained(folder)
    else:  # Qwen's own needs torchvision, so what is on the hub is written here
        pictures = {
            "image_processor_type": "Qwen2VLImageProcessor",
            "min_pixels": 3136,
            "max_pixels": 12845056,
        }
        if family == "qwen3_vl":
            size = {"shortest_edge": 65536, "longest_edge": 16777216}
            pictures = {
                "image_processor_type": "Qwen2VLImageProcessorFast",
                "patch_size": 16,
                "size": size,
            }
        (folder / "preprocessor_config.json").write_text(json.dumps(pictures))


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl", "gemma3", "idefics3"])
def project(request, tmp_path_factory, tiny_vlm) -> Iterator[Path]:
    """A folder named as the family, with models/x; it is the working folder meanwhile."""
    folder = tmp_path_factory.mktemp("families") / request.param
    build(request.param, tiny_vlm, folder / "models" / "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            "xraygen.engines.answers.cache_folder", lambda: tmp_path_factory.mktemp("kept")
        )  # each annotator answers by itself
        yield folder


@pytest.fixture(scope="module")
def studies(project) -> list[Study]:
    """With no view, with one, with two; of two sizes."""
    made = []
    for k in range(9):
        one, images = phantom(0, k), []
        for projection, pixels in zip(
            ("frontal", "lateral")[: k % 3], draw(one.findings, 0, k, 112), strict=False
        ):
            images.append(Image(path=f"{k}-{projection}.png", projection=projection))
            Pictures.fromarray(pixels).resize((112, 112) if k % 2 else (64, 96)).save(
                images[-1].path
            )
        made.append(
            Study(
                id=one.id,
                uid=one.uid,
                split="train",
                report=one.report,
                images=images,
                reference=one.reference,
            )
        )
    return made


def answers(cases, **changes) -> list:
    return list(vlm(APPROACH.model_copy(update=changes), Path())(cases))


def test_a_padded_batch_answers_as_each_case_alone(studies):
    cases, model, found = [one.case() for one in studies], load("models/x")[0], []
    annotate = vlm(APPROACH.model_copy(update={"max_batch_tokens": 100_000}), Path())
    said = annotate._decode
    annotate._decode = lambda row, tokens: found.append((row, list(tokens[0]))) or said(row, tokens)
    assert len({record.raw for record in annotate(cases)}) > 4
    assert len(found) == 9 and all(
        chosen_up_to_rounding(model, row, tokens) for row, tokens in found
    )


def test_rows_leave_the_batch_as_they_end_and_answer_as_they_would_alone(studies):
    annotate = vlm(APPROACH, Path())
    rows = [annotate.row(one.case()) for one in studies]
    pad = annotate.processor.tokenizer.pad_token_id
    limits = [12 + len(row["input_ids"]) % 17 for row in rows]  # rows end one by one
    config = GenerationConfig(max_new_tokens=max(limits), pad_token_id=pad)
    annotate.model.generation_config.eos_token_id = None  # an answer ends nowhere else
    shapes = []

    def look(_, args, given) -> None:
        shapes.append(tuple(given["input_ids"].shape))

    with annotate.model.register_forward_pre_hook(look, with_kwargs=True):
        ended = list(
            decoding.decode(
                annotate.model,
                encoding.collate(rows, pad),
                lambda row, said: len(said) == limits[row],
                config,
            )
        )
    lengths = [len(said) for _, said in ended]
    assert lengths == sorted(limits) and len(set(limits)) > 4
    said = dict(ended)
    assert [len(said[row]) for row in range(9)] == limits
    assert all(chosen_up_to_rounding(annotate.model, row, said[at]) for at, row in enumerate(rows))
    assert len(shapes) == max(limits), "no token is computed twice"
    assert {tokens for _, tokens in shapes[1:]} == {1}, "the cache goes along"
    computed = [rows for rows, _ in shapes]
    assert computed == sorted(computed, reverse=True) and computed[-1] < 9 / 4


def test_samples_are_drawn_by_the_numbers_of_their_places(studies):
    annotate, samples, length = vlm(APPROACH, Path()), 5, 16
    rows, pad = (
        [annotate.row(one.case()) for one in studies[:4]],
        annotate.processor.tokenizer.pad_token_id,
    )
    annotate.model.generation_config.eos_token_id = None
    config = GenerationConfig(max_new_tokens=length, pad_token_id=pad)
    answers = decoding.decode(
        annotate.model,
        encoding.collate(rows, pad),
        lambda row, said: len(said) == length - row % 3,
        config,
        samples,
    )
    said = [answer for _, answer in sorted(answers)]
    assert [len(answer) for answer in said] == [
        length - row % 3 for row in range(len(rows) * samples)
    ]
    assert len({tuple(answer[: length - 2]) for answer in said}) > 2 * len(rows)
    numbers = decoding.strata(samples, length).tolist()
    for at, answer in enumerate(said):
        assert chosen_up_to_rounding(
            annotate.model, rows[at // samples], answer, numbers[at % samples]
        )


def test_the_picture_counts(studies):
    cases = [one.case() for one in studies if one.images]
    swapped = [
        one.model_copy(update={"images": other.images})
        for one, other in zip(cases, cases[1:] + cases[:1], strict=True)
    ]
    assert [one.raw for one in answers(cases)] != [one.raw for one in answers(swapped)]
    assert answers(cases, inputs="report") == answers(swapped, inputs="report")


def test_the_parts_that_are_named_learn_and_the_adapter_loads(project, studies):
    def trained(*targets: str) -> set[str]:
        params = PARAMS.model_copy(update={"targets": targets})
        metrics = finetune(
            params, studies[:6], studies[6:], Path(), Path("adapter"), Path("curves")
        )
        assert metrics["steps"] == 2 and metrics["train"]["examples"] == 6
        return set(load_file("adapter/adapter_model.safetensors"))

    language = trained("language")
    assert (
        all("language_model.layers" in name or "text_model.layers" in name for name in language)
        and len(language) == 28
    )
    rows = encoding.encode(
        load_processor("models/x"), [studies[2].case()], Path(), "image+report", PROMPT, 2
    )
    networks = [
        load(name, dtype=torch.float32, device="cpu")[0].eval() for name in ("models/x", "adapter")
    ]
    with torch.no_grad():
        base, tuned = (network(**encoding.collate(rows, 0)).logits for network in networks)
    assert not torch.allclose(base, tuned, atol=1e-2)
    if project.name == "gemma3":  # its projector is a bare matrix
        with pytest.raises(
            UserError, match="models/x has no layer for LoRA in projector; leave that out"
        ):
            trained("language", "projector")
    else:
        projector = trained("language", "projector") - language
        assert projector and all("merger" in name or "connector" in name for name in projector)


@pytest.mark.parametrize("size", [(30, 40), (64, 96), (300, 200), (2000, 2500)])
def test_max_pixels_is_honoured_where_any_size_is_taken(project, tmp_path, size):
    Pictures.new("L", size).save(tmp_path / "x.png")
    for max_pixels in (112 * 112, 280 * 280):
        processor = load_processor("models/x", max_pixels=max_pixels)
        (row,) = encoding.encode(
            processor, [Case(id="x", images=[Image(path="x.png")])], tmp_path, "image", PROMPT, 1
        )
        if project.name.startswith("qwen"):
            assert (
                0
                < row["pixel_values"].shape[0] * processor.image_processor.patch_size**2
                <= max_pixels
            )
        else:
            assert row["pixel_values"].shape[-2:] == (56, 56)


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="what is said without torchvision"
)
@pytest.mark.parametrize(("family", "kind"), [("smolvlm", "SmolVLM"), ("molmo2", "Molmo2")])
def test_a_family_that_needs_torchvision_says_so_before_its_weights_are_read(
    tiny_vlm, tmp_path, family, kind
):
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    Tokenizer.from_pretrained(tiny_vlm).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": f"{kind}ImageProcessor"})
    )
    with pytest.raises(
        UserError, match="^model .*: its processor needs torchvision, .*: pip install torchvision$"
    ):
        load(tmp_path)
