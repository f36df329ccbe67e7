"""finetune: data/prepared/{train,dev}.jsonl -> models/adapter, metrics/finetune.json,
reports/finetune (loss curves), metrics/finetune_speed.json.

On several GPUs: torchrun --nproc_per_node=8 -m stages.finetune && dvc commit finetune
"""

from pathlib import Path

from xraygen import params
from xraygen.core.errors import one_line
from xraygen.core.study import Study, read_jsonl, write_json, write_metrics
from xraygen.training.finetune import finetune


def main() -> None:
    loaded = params.load()
    prompt = loaded.regions.filled(loaded.finetune.prompt)
    settings = loaded.finetune.model_copy(update={"prompt": prompt})
    train, dev = (
        list(read_jsonl(f"data/prepared/{split}.jsonl", Study, loaded.regions))
        for split in ("train", "dev")
    )
    metrics = finetune(
        settings, train, dev, Path.cwd(), Path("models/adapter"), Path("reports/finetune")
    )
    if metrics:  # the first of several processes writes
        write_json(
            "metrics/finetune_speed.json", metrics.pop("speed")
        )  # which git ignores: it is another one on every run
        write_metrics("metrics/finetune.json", metrics)


if __name__ == "__main__":
    with one_line():
        main()
