"""Fine-tuning, as stage `finetune` calls it: settings and curated studies in, an adapter (or a
whole model) and metrics out.

params       the settings
processes    several processes for one training
run          one training, from its last checkpoint to its result
trainer      transformers' Trainer with the loss over completions, evaluation on dev, checkpoints
network      the model, with the weights that are trained
dataset      studies as rows
batches      rows as batches of similar length
checkpoints  the files of a training that can be killed and resumed
history      the best pass and early stopping
curves       losses and learning rate, drawn
"""

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from xraygen import __version__
from xraygen.core.errors import UserError
from xraygen.core.files import identity, replacing_folder, sha256
from xraygen.core.json_lines import read_json
from xraygen.core.study import Study
from xraygen.engines import generation
from xraygen.engines.answers import cache_folder
from xraygen.engines.model import commit_of, workings
from xraygen.engines.precision import resolve
from xraygen.training.checkpoints import exclusive, remove_checkpoints
from xraygen.training.params import FinetuneParams
from xraygen.training.recombine import recombined


def finetune(
    params: FinetuneParams,
    train: Sequence[Study],
    dev: Sequence[Study],
    root: Path,
    out: Path,
    curves: Path,
) -> dict | None:
    """Train on `train`, keep the pass with the lowest loss on `dev`, and write it to `out` and
    dvclive's curves to `curves`; returns the metrics.

    `root`: what image paths are relative to. `out`: adapter_config.json and
    adapter_model.safetensors, or with method full the whole model; training.json says what it was
    trained on and with which settings. Two runs on one machine give the same bytes, even if one of
    them was killed and resumed: the state is kept in .cache/finetune, under a hash of everything
    that shapes the result. Of several processes (`processes.in_processes`) each calls this; the
    first one writes, the others return None.

    UserError: the base cannot be loaded, too many images cannot be read, no study is left to train
    on, or the loss is NaN or infinite.
    """
    try:
        with generation.uncollected():
            from accelerate import PartialState

            from xraygen.training import run
            from xraygen.training.curves import draw
    except ImportError as error:
        raise UserError(
            f"fine-tuning needs more packages ({error}): pip install -c constraints.txt -e '.[vlm]'"
        ) from None
    processes = PartialState(cpu=run.on_cpu())
    precision = resolve(params.precision)
    # What auto means here, as recorded in training.json.
    actual = {"precision": precision.name, "processes": processes.num_processes}
    params = params.model_copy(update=actual)
    if processes.is_main_process:
        print(precision.message, file=sys.stderr)
    train = [*train, *recombined(train, round(params.recombined * len(train)), params.seed)]
    made_from = _made_from(params, train, dev, root)
    folder = cache_folder() / "finetune" / _key(made_from)
    with exclusive(folder) if processes.is_main_process else contextlib.nullcontext():
        processes.wait_for_everyone()
        done = folder / "done"
        if not done.exists():
            run.train(params, train, dev, root, folder, curves, made_from)
        processes.wait_for_everyone()
        if not processes.is_main_process:
            return None
        remove_checkpoints(folder)
        draw(read_json(done / "history.json")["history"], curves)
        with replacing_folder(out) as part:
            shutil.copytree(done / "model", part)
        return read_json(done / "metrics.json")


def _made_from(
    params: FinetuneParams, train: Sequence[Study], dev: Sequence[Study], root: Path
) -> dict:
    """The content of training.json."""
    studies = [*train, *dev]
    records = "\n".join(study.model_dump_json() for study in studies)
    return {
        "base": params.base,
        "revision": commit_of(params.base, params.revision) or params.revision,
        "base_content": identity(params.base),
        "data": {
            "train": len(train),
            "dev": len(dev),
            "sha256": hashlib.sha256(records.encode()).hexdigest(),
            "images_sha256": sha256(_images(studies, root) if "image" in params.inputs else ()),
        },
        "params": params.model_dump(mode="json"),
        "xraygen": __version__,
    }


def _images(studies: Sequence[Study], root: Path) -> list[Path]:
    paths = [root / image.path for study in studies for image in study.images]
    return [path for path in paths if path.is_file()]


def _key(made_from: dict) -> str:
    """A hash of that and of what else shapes the result: code and libraries."""
    shapes = json.dumps([made_from, workings()], sort_keys=True)
    return hashlib.sha256(shapes.encode()).hexdigest()[:16]
