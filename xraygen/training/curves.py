"""Curves of the losses and of the learning rate, by dvclive."""

from collections.abc import Sequence
from pathlib import Path

import dvclive

NAMES = {"loss": "train/loss", "learning_rate": "train/learning_rate", "dev_loss": "dev/loss"}


class Curves:
    """Writes what is logged to a folder, in which `dvc plots` finds it."""

    def __init__(self, folder: Path):
        self._live = dvclive.Live(str(folder), save_dvc_exp=False, dvcyaml=False)

    def log(self, history: Sequence[dict]) -> None:
        for entry in history:
            self._live.step = entry["step"]
            for name, curve in NAMES.items():
                if name in entry:
                    self._live.log_metric(curve, round(entry[name], 6))
            self._live.make_summary()

    def end(self) -> None:
        self._live.end()


def draw(history: Sequence[dict], folder: Path) -> None:
    """The curves of a finished training."""
    curves = Curves(folder)
    curves.log(history)
    curves.end()
