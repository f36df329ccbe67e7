"""The history of a training, as logged: the best pass so far, and when to stop."""

from collections.abc import Sequence


def best(history: Sequence[dict]) -> dict | None:
    """The entry with the lowest loss on dev, the earliest of equals."""
    evaluated = [entry for entry in history if "dev_loss" in entry]
    return min(evaluated, key=lambda entry: entry["dev_loss"], default=None)


def patience_is_over(history: Sequence[dict], patience: int | None) -> bool:
    """Whether dev has been evaluated `patience` times since the best pass; never if it is None."""
    evaluated = [entry for entry in history if "dev_loss" in entry]
    if patience is None or not evaluated:
        return False
    best_pass = min(range(len(evaluated)), key=lambda index: evaluated[index]["dev_loss"])
    return len(evaluated) - 1 - best_pass >= patience
