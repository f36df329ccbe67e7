"""README.md of the model that finetune writes, as a model card of the Hugging Face hub.

A folder and not a file next to the training code, whose hash identifies a training
(`engines.model.workings`): another wording of the card trains nothing again.
"""

from collections.abc import Mapping, Sequence

import yaml

from xraygen.core import cards
from xraygen.core.origin import Prepared
from xraygen.training.params import FinetuneParams

_METHODS = {
    "lora": "LoRA (low-rank matrices added to frozen weights)",
    "qlora": "QLoRA (low-rank matrices added to frozen weights in 4 bits)",
    "full": "All weights of the parts in `targets`",
}
_SHOWN = {
    "image+report": "its pictures and its report",
    "image": "its pictures",
    "report": "its report",
}


def model_card(
    made_from: Mapping,
    metrics: Mapping,
    source: Prepared,
    studies: Mapping[str, int],
    regions: Sequence[str],
) -> str:
    """The card of a model. `made_from`: the content of its training.json; `metrics`: that of
    metrics/finetune.json; `source`: where the studies come from; `studies`: their number in train
    and dev; `regions`: by which it answers.
    """
    params = FinetuneParams.model_validate(made_from["params"])
    sections = {
        "Intended use": _intended_use(params, regions),
        "Out-of-scope use": f"{cards.OUT_OF_SCOPE} Studies, languages and regions other than those "
        "that it was trained on.",
        "Training data": _training_data(made_from, params, metrics, source, studies),
        "Training procedure": _procedure(made_from, params, metrics),
        "Results": _results(metrics),
        "Limits": _limits(metrics, source),
    }
    parts = [cards.RESEARCH_ONLY, cards.terms(source, "this model"), _base_line(made_from)]
    title = f"{params.base}, fine-tuned to annotate radiology studies by region"
    return cards.card(_metadata(made_from, params, source), title, parts, sections)


def _metadata(made_from: Mapping, params: FinetuneParams, source: Prepared) -> dict:
    adapter = params.method != "full"
    metadata: dict = {}
    # The hub's key is for models on the hub alone.
    if _on_hub(made_from):
        metadata["base_model"] = params.base
        metadata["base_model_relation"] = "adapter" if adapter else "finetune"
    metadata |= {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation" if params.inputs == "report" else "image-text-to-text",
    }
    metadata |= _license(made_from, source)
    if source.language:
        metadata["language"] = [source.language]
    metadata["tags"] = [*([params.method] if adapter else []), "medical", "radiology", "xraygen"]
    return metadata


def _on_hub(made_from: Mapping) -> bool:
    """Whether the base is a model on the hub, which its name identifies, and not a folder."""
    return made_from["base_content"] == made_from["base"]


def _license(made_from: Mapping, source: Prepared) -> dict[str, str]:
    """That of the studies where they bind; else that of the base, which is not looked up."""
    if not source.redistributable:
        return cards.license_metadata(source)
    known = {"license": "other", "license_name": "license-of-the-base-model"}
    if _on_hub(made_from):
        known["license_link"] = f"https://huggingface.co/{made_from['base']}"
    return known


def _base_line(made_from: Mapping) -> str:
    base = made_from["base"]
    if not _on_hub(made_from):
        return (
            f"The base is the folder `{base}` of the project. Its licence, which applies as well, "
            "is not looked up here."
        )
    revision = f", revision {made_from['revision']}" if made_from["revision"] else ""
    return (
        f"The base is [{base}](https://huggingface.co/{base}){revision}. Its licence, stated "
        "there, applies as well."
    )


def _intended_use(params: FinetuneParams, regions: Sequence[str]) -> str:
    return (
        f"Shown a study, that is {_SHOWN[params.inputs]}, it answers with a JSON object that has a "
        f"text for each region: {', '.join(regions)}. It is for research on such annotation, "
        "as one of the approaches that the project xraygen compares:\n\n"
        "    xraygen annotate cases.jsonl --approach vlm-finetuned --out annotations.jsonl\n\n"
        "It has to be shown what it was trained on. `prompt`, `inputs`, `max_views` and "
        "`max_pixels` are in training.json, where xraygen reads them."
    )


def _training_data(
    made_from: Mapping,
    params: FinetuneParams,
    metrics: Mapping,
    source: Prepared,
    studies: Mapping[str, int],
) -> str:
    lines = [
        cards.source_line(source),
        f"Studies: train {studies['train']:,}, dev {studies['dev']:,}. {cards.seeds_line(source)} "
        "The model learned from train; dev is there to choose the pass that is kept; test and val "
        "were not shown.",
        *(_used(split, metrics[split]) for split in ("train", "dev")),
    ]
    if params.recombined:
        extra = made_from["data"]["train"] - studies["train"]
        lines.append(
            f"In addition, {extra:,} studies were composed of sentences of several reports."
        )
    lines.append(f"SHA-256 of the records of train and dev: {made_from['data']['sha256']}.")
    return cards.listed(lines)


def _used(split: str, facts: Mapping) -> str:
    excluded = facts["excluded"]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(excluded.items()))
    return (
        f"Used of {split}: {facts['examples']:,}, with {facts['prompt_tokens']:,} tokens of "
        f"prompts and {facts['completion_tokens']:,} of answers; skipped: {kinds or 'none'}."
    )


def _procedure(made_from: Mapping, params: FinetuneParams, metrics: Mapping) -> str:
    settings = yaml.safe_dump(made_from["params"], sort_keys=False, allow_unicode=True)
    indented = "".join(f"    {line}\n" for line in settings.rstrip("\n").split("\n"))
    return (
        f"{_METHODS[params.method]}: {metrics['trained_parameters']:,} parameters were trained, "
        f"in {metrics['steps']:,} of {metrics['planned_steps']:,} planned steps. The loss is over "
        f"the tokens of the answers alone. Kept: step {metrics['best_step']:,}. Made by xraygen "
        f"{made_from['xraygen']} with the settings\n\n{indented}"
    )


def _results(metrics: Mapping) -> str:
    dev = metrics["dev_loss"]
    measured = "not measured, no study of dev could be used" if dev is None else f"{dev:.4f}"
    lines = [
        f"Loss on dev: {measured}.",
        f"Loss on train, as last logged: {metrics['train_loss']:.4f}.",
    ]
    return (
        f"{cards.listed(lines)}\n\nThe loss is the mean cross entropy of a token of the answers, "
        "in nats, at the step that was kept.\n\nScores on test are not known when this card is "
        "written. `dvc repro compare` puts them into reports/comparison.md, in the rows of the "
        "approaches that read this folder."
    )


def _limits(metrics: Mapping, source: Prepared) -> str:
    if source.generated:
        first = (
            "It was fine-tuned on generated studies alone. That shows that the pipeline works and "
            "says nothing about real patients."
        )
    else:
        first = (
            "It has learned from one source and the wording of its curators. How it does on other "
            "patients, devices and hospitals was not measured."
        )
    chosen = "Dev chose the step that was kept, so that the loss on dev is optimistic."
    lines = [
        first,
        *([chosen] if metrics["dev_loss"] is not None else []),
        "It may leave out findings and invent others. docs/evidence.md says how xraygen marks "
        "texts that the report does not support.",
        "Energy and emissions were not measured.",
    ]
    return cards.listed(lines)
