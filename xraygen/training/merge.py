"""An adapter and its base as one model, for servers that take no adapters."""

import shutil
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.files import replacing_folder
from xraygen.engines import model
from xraygen.prompting import training_record


def merge(adapter: Path, out: Path) -> None:
    """Write the model and its processor to the new folder `out`, added up in float32 and stored in
    the base's own precision.

    Its training.json goes along: what the adapter was trained on holds for the whole model too.
    UserError: `adapter` is none, does not say what it was trained on, or its base is not there;
    `out` exists or cannot be written.
    """
    import torch
    from transformers import AutoConfig

    if not (adapter / model.ADAPTER).is_file():
        raise UserError(
            f"{adapter}: no adapter ({model.ADAPTER} is not there); `dvc repro finetune` makes models/adapter"
        )
    if out.exists():
        raise UserError(f"{out}: exists already; name a new folder")
    training_record.read(adapter)
    base, revision = model.base_of(str(adapter))
    with model.loading(base):
        stored = AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False).dtype
    network, processor = model.load(str(adapter), dtype=torch.float32, device="cpu")
    with replacing_folder(out) as beside:
        network.to(stored or torch.float32).save_pretrained(beside)
        processor.save_pretrained(beside)
        shutil.copy(adapter / training_record.FILE, beside)
