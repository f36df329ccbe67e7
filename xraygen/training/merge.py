"""An adapter merged into its base, as one model for servers that load no adapters."""

import shutil
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.files import replacing_folder
from xraygen.engines import model
from xraygen.prompting import training_record


def merge(adapter: Path, out: Path) -> None:
    """Write the merged model and its processor to the new folder `out`, computed in float32 and
    stored in the base's own precision.

    A server serves the folder as it is: pictures are limited in size as in training, and answers
    are greedy, without the penalties that the base may come with. Its training.json goes with it,
    because the merged model has to be shown what the adapter was trained on.

    UserError: `adapter` is not an adapter or does not say what it was trained on, its base is
    missing, or `out` exists or cannot be written.
    """
    import torch
    from transformers import AutoConfig, GenerationConfig

    if not (adapter / model.ADAPTER).is_file():
        raise UserError(
            f"{adapter}: no adapter ({model.ADAPTER} is missing); "
            "`dvc repro finetune` makes models/adapter"
        )
    if out.exists():
        raise UserError(f"{out}: exists already; name a new folder")
    shown = training_record.read(adapter)
    assert shown is not None  # of an adapter
    base, revision = model.base_of(str(adapter))
    with model.loading(base):
        config = AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)
    network, processor = model.load(
        str(adapter), dtype=torch.float32, device="cpu", max_pixels=shown.max_pixels
    )
    ends = network.generation_config.eos_token_id or processor.tokenizer.eos_token_id
    network.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=processor.tokenizer.pad_token_id
    )
    dtype = config.dtype or torch.float32
    for name in network.config.sub_configs:
        getattr(network.config, name).dtype = dtype
    with replacing_folder(out) as part:
        network.to(dtype).save_pretrained(part)
        processor.save_pretrained(part)
        shutil.copy(adapter / training_record.FILE, part)
