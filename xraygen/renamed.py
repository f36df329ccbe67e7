"""Keys of params.yaml that have another name now, or are gone, so that an error can say so."""

from collections.abc import Iterator

from xraygen.core.errors import UserError

# Old key, by its path (* = any name): new key in the same section, or the path to where it went.
RENAMED = {
    "phantom": "data.settings.phantom",
    "evaluate.green": "evaluate.settings.green",
    "fit_router.price": "silence_price",
    "finetune.r": "lora_r",
    "finetune.alpha": "lora_alpha",
    "finetune.dropout": "lora_dropout",
    "finetune.swaps": "word_swap_rate",
    "finetune.rate": "learning_rate",
    "finetune.schedule": "lr_scheduler_type",
    "finetune.warmup": "warmup_ratio",
    "finetune.steps": "max_steps",
    "finetune.batch_tokens": "max_batch_tokens",
    "finetune.accumulation": "gradient_accumulation_steps",
    "finetune.checkpointing": "gradient_checkpointing",
    "finetune.sharded": "fsdp",
    "finetune.optimiser": "optimizer",
    "finetune.patience": "early_stopping_patience",
    "llm.key": "api_key_env",
    "llm.batch_tokens": "max_batch_tokens",
    "approaches.*.model": "reads",
    "approaches.*.batch_tokens": "max_batch_tokens",
}
REMOVED = ("approaches.*.beams",)


def check(content: dict, file: str) -> None:
    """UserError, in one line: all keys of `content` that have been renamed, with their names now,
    or removed; and a missing section `regions`, which there was not always.
    """
    problems = []
    for old, new in RENAMED.items():
        problems += [f"{key} is now {new}" for key in _found(content, old.split("."))]
    for old in REMOVED:
        problems += [f"{key} is gone: delete it" for key in _found(content, old.split("."))]
    if "regions" not in content:
        problems.append("regions: missing; docs/regions.md has the section to copy")
    if problems:
        raise UserError(f"{file}: {'; '.join(problems)}")


def _found(section: object, path: list[str]) -> Iterator[str]:
    """The keys of a section that match a path, in full."""
    if not isinstance(section, dict) or _is_users_own(section):
        return
    first, *rest = path
    for key in list(section) if first == "*" else [first]:
        if key not in section:
            continue
        if rest:
            yield from (f"{key}.{inner}" for inner in _found(section[key], rest))
        else:
            yield key


def _is_users_own(section: dict) -> bool:
    """An approach whose annotator is a class outside the package names its settings as it likes."""
    return ":" in str(section.get("annotator"))
