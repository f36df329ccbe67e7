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

    Its training.json goes with it, because the merged model has to be shown what the adapter was
    trained on. UserError: `adapter` is not an adapter or does not say what it was trained on, its
    base is missing, or `out` exists or cannot be written.
    """
    import torch
    from transformers import AutoConfig

    if not (adapter / model.ADAPTER).is_file():
        raise UserError(
            f"{adapter}: no adapter ({model.ADAPTER} is missing); "
            "`dvc repro finetune` makes models/adapter"
        )
    if out.exists():
        raise UserError(f"{out}: exists already; name a new folder")
    training_record.read(adapter)
    base, revision = model.base_of(str(adapter))
    with model.loading(base):
        config = AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)
    network, processor = model.load(str(adapter), dtype=torch.float32, device="cpu")
    with replacing_folder(out) as part:
        network.to(config.dtype or torch.float32).save_pretrained(part)
        processor.save_pretrained(part)
        shutil.copy(adapter / training_record.FILE, part)
