"""finetune: data/prepared/{train,dev}.jsonl -> models/adapter, metrics/finetune.json,
reports/finetune (loss curves), metrics/finetune_speed.json.

One process for each GPU (finetune.processes). On several nodes: torchrun, see docs/vlm.md.
"""

from pathlib import Path

from xraygen import params
from xraygen.core import cards
from xraygen.core.errors import one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json, read_jsonl, write_json, write_metrics
from xraygen.core.study import Study
from xraygen.prompting import training_record
from xraygen.training.finetune import finetune
from xraygen.training.model_card import model_card
from xraygen.training.processes import in_processes

OUT = Path("models/adapter")


def main() -> None:
    loaded = params.load()
    settings = loaded.finetune
    source = cards.read_source()
    prompt = loaded.regions.filled(settings.prompt)
    train = list(read_jsonl("data/prepared/train.jsonl", Study, loaded.regions))
    dev = list(read_jsonl("data/prepared/dev.jsonl", Study, loaded.regions))
    metrics = finetune(
        settings.model_copy(update={"prompt": prompt}),
        train,
        dev,
        root=Path.cwd(),
        out=OUT,
        curves=Path("reports/finetune"),
    )
    if metrics is None:  # another of several processes writes
        return
    # Git ignores the speed, which differs from run to run.
    write_json("metrics/finetune_speed.json", metrics.pop("speed"))
    write_metrics("metrics/finetune.json", metrics)
    made_from = read_json(OUT / training_record.FILE)
    studies = {"train": len(train), "dev": len(dev)}
    with replacing(OUT / "README.md") as file:
        file.write(model_card(made_from, metrics, source, studies, loaded.regions.names))


if __name__ == "__main__":
    with one_line():
        in_processes(params.load().finetune.processes, "stages.finetune", main)
