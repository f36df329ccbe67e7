"""Loads a base model or an adapter, with its processor, on the device and in the precision that
suit it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from xraygen.core.errors import UserError
from xraygen.core.files import sha256
from xraygen.engines import generation

if TYPE_CHECKING:
    import torch

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
ADAPTER = "adapter_config.json"  # peft's; a folder that has it is an adapter


def load(
    name: str | Path,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    four_bit: bool = False,
    max_pixels: int | None = None,
    merge: bool = True,
):
    """(model, processor) of an image-text-to-text model: a folder, or a name on the Hugging Face
    hub at `revision`.

    An adapter folder loads its base, and the adapter is merged into it, except in 4 bits or with
    `merge=False`. `dtype`, `device`: None = as `placement` chooses. `max_pixels`: of a view, for
    models that take pictures of any size (Qwen-VL).

    UserError: there is no such model, it is of another kind, or its files are damaged or
    incomplete.
    """
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    name = str(name)
    base, base_revision, commit = source(name, revision)
    if base != name:
        # Slow, so only for adapters; and here, so that it fails before the weights are loaded.
        from peft import PeftModel
    chosen_device, chosen_dtype = placement()
    device = device or chosen_device
    dtype = dtype or chosen_dtype
    bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    # First, because a missing library shows here, and loading the weights takes minutes.
    processor = load_processor(base, base_revision, max_pixels)
    generation.without_cudnn_attention()
    with loading(base):
        model, info = AutoModelForImageTextToText.from_pretrained(
            base,
            revision=base_revision,
            dtype=dtype,
            use_safetensors=True,
            device_map={"": device},
            output_loading_info=True,
            trust_remote_code=False,
            quantization_config=bits if four_bit else None,
        )
    if wrong := sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]])):
        raise UserError(
            f"model {base}: cannot be loaded: its files lack {len(wrong)} weights, "
            f"the first {wrong[0]}"
        )
    # As transformers once did; it still leaves the attribute out of what it saves.
    model.config._commit_hash = commit
    if base != name:
        with loading(name), warnings.catch_warnings():
            # peft asks transformers for it by its former name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            model = PeftModel.from_pretrained(model, name)
        if merge and not four_bit:
            model = model.merge_and_unload()
    return model, processor


class Source(NamedTuple):
    """`base`: the model itself, without an adapter. `commit`: on the hub; None for a folder."""

    base: str
    revision: str | None
    commit: str | None


def source(name: str, revision: str | None = None) -> Source:
    """Where the weights of a model or of an adapter's base are. UserError: there is none."""
    if (Path(name) / ADAPTER).is_file():
        name, revision = base_of(name)
    if _is_path(name) and not Path(name).is_dir():  # transformers would look on the hub
        raise UserError(
            f"model {name}: no such folder; `dvc repro` makes it, or put a model's files there"
        )
    commit = commit_of(name, revision)
    return Source(name, commit or revision, commit)


def load_processor(name: str, revision: str | None = None, max_pixels: int | None = None):
    """The processor of a model. Pictures are resized by Pillow if the family allows it, so that
    they are the same with and without torchvision.

    UserError: its files are missing or damaged, or its family needs a library that is missing.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer

    at = {"revision": revision, "trust_remote_code": False}
    with loading(name):
        if AutoConfig.from_pretrained(name, **at).model_type in QWEN:
            from xraygen.engines.processor import Qwen2VLProcessor

            tokenizer = AutoTokenizer.from_pretrained(name, **at)
            pictures = AutoImageProcessor.from_pretrained(name, **at, backend="pil")
            if max_pixels:
                # A smaller picture is scaled up to `least` and then rounded up to whole tokens;
                # Qwen3-VL's own is 65,536.
                least = min(
                    pictures.size["shortest_edge"], max_pixels, max(max_pixels // 4, 56 * 56)
                )
                pictures.size = type(pictures.size)(shortest_edge=least, longest_edge=max_pixels)
            return Qwen2VLProcessor(pictures, tokenizer, chat_template=tokenizer.chat_template)
        processor = AutoProcessor.from_pretrained(name, **at)
        processor.image_processor = AutoImageProcessor.from_pretrained(name, **at, backend="pil")
        return processor


def commit_of(name: str, revision: str | None) -> str | None:
    """The commit that `revision`, such as main, of a model on the hub means now (None = the default
    branch), or offline the one in the hub's cache. None for a folder, and if neither knows.
    """
    from transformers.utils.hub import resolve_revision

    if _is_path(name) or Path(name).is_dir():
        return None
    found = resolve_revision(name, revision)  # a str, `revision` as given, which knows its commit
    commit = getattr(found, "resolved", found)
    return commit if commit and re.fullmatch("[0-9a-f]{40}", commit) else None


def _is_path(name: str) -> bool:
    return name.startswith(("models/", "/", "."))


def workings() -> dict[str, str]:
    """What shapes a result apart from weights, data and settings: the project's code around models,
    and the libraries.
    """
    from importlib.metadata import version

    from transformers.utils import is_bitsandbytes_available

    libraries = {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")}
    if is_bitsandbytes_available():
        libraries["bitsandbytes"] = version("bitsandbytes")
    package = Path(__file__).parents[1]
    layers = (package / layer for layer in ("engines", "prompting", "training"))
    return libraries | {
        "xraygen": sha256(sorted(f for layer in layers for f in layer.glob("*.py")))
    }


def placement() -> tuple[str, torch.dtype]:
    """(device, precision): bfloat16 if the GPU has it, because Qwen2-VL is known to overflow in
    float16; otherwise float32.
    """
    import torch

    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "cuda", torch.bfloat16 if native else torch.float32
    return "mps" if torch.backends.mps.is_available() else "cpu", torch.float32


def devices() -> list[str]:
    """Those that this process may use: every GPU, or the one device there is. A process that was
    started to share the machine with others gets one: the HTTP service has one for each approach,
    which would otherwise start one for each GPU.
    """
    import torch

    first, _ = placement()
    count = torch.cuda.device_count() if first == "cuda" else 1
    if count == 1 or multiprocessing.parent_process():
        return [first]
    return [f"cuda:{index}" for index in range(count)]


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """As `generation.loading`, and also for a missing torchvision and for the bare Exceptions that
    tokenizers raises for damaged files. Any other exception is a bug, and keeps its traceback.
    """
    from transformers.utils import is_torchvision_available

    with generation.loading(name):
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError):
                raise
            if "torchvision" in str(error).lower() and not is_torchvision_available():
                raise UserError(
                    f"model {name}: its processor needs torchvision, of the same build as torch: "
                    "pip install torchvision"
                ) from None
            if type(error) is Exception:
                raise ValueError(str(error)) from error
            raise


def part_of(name: str) -> Literal["language", "vision", "projector"]:
    """The part of a vision-language model that a layer belongs to, by the names that transformers'
    models use.
    """
    if re.search(r"merger|projector|connector", name):
        return "projector"
    return "vision" if re.search(r"visual|vision", name) else "language"


def adapted_parts(folder: Path) -> set[str]:
    """The parts of the model that the adapter in a folder changes. UserError: it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = folder / "adapter_model.safetensors"
    try:
        with safe_open(path, framework="numpy") as weights:
            return {part_of(name) for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}; run `dvc repro`") from None


def base_of(folder: str) -> tuple[str, str | None]:
    """(base, revision) of an adapter folder."""
    if not (Path(folder) / "adapter_model.safetensors").is_file():
        raise UserError(f"model {folder}: no adapter_model.safetensors in it; run `dvc repro`")
    try:
        content = json.loads((Path(folder) / ADAPTER).read_text(encoding="utf-8"))
        return str(content["base_model_name_or_path"]), content.get("revision")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}/{ADAPTER}: damaged: {error!r}; run `dvc repro`") from None
