"""What the processes of forked.py have imported. Their server imports this once, without the
garbage collector, which would look through all of it again and again.
"""

import contextlib
import gc
import importlib

gc.disable()
for module in (
    "green_score",
    "peft",
    "xraygen.training.finetune",
    "xraygen.training.trainer",
    # What dvc and the stages import later, where they need it.
    "dvc.cli",
    "dvc.commands.repro",
    "dvc.repo",
    "dvclive",
    "jinja2",
    "json_repair",
    "matplotlib.backends.backend_svg",
    "matplotlib.pyplot",
    "openai",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.isotonic",
    "sklearn.linear_model",
    "transformers.models.qwen2_vl.modeling_qwen2_vl",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
gc.freeze()
gc.enable()
