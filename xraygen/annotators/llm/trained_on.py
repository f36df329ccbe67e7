"""What a fine-tuned model on a server is shown: the conversation that it was trained on, token for
token and pixel for pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError
from xraygen.core.study import Case
from xraygen.engines import model
from xraygen.prompting import conversation, encoding
from xraygen.prompting.training_record import Shown

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MERGE = "run `xraygen merge` on it, serve the new folder, and read that"


class TrainedOn:
    """`shown`: in training. `folder`: of the model, merged or not, that the server has as well;
    its chat template and its processor do the rest there.

    UserError: packages are missing, the folder's files are, or a server of the adapter and its base
    would show or do something else.
    """

    def __init__(self, shown: Shown, folder: str, where: str) -> None:
        self.shown = shown
        self.folder = folder
        base, revision = folder, None
        try:
            if (Path(folder) / model.ADAPTER).is_file():
                _refuse_partly_served(Path(folder), where)
                base, revision = model.base_of(folder)
            self.processor = model.load_processor(base, revision, shown.max_pixels)
            if base != folder and "image" in shown.inputs:
                served = model.load_processor(base, revision)
                _refuse_resized(folder, base, served, self.processor, where)
        except ImportError as error:
            raise UserError(
                f"{where}: what a fine-tuned model was shown takes more packages ({error}); "
                "install them with `pip install -c constraints.txt -e '.[llm,vlm]'`"
            ) from None

    def turns(self, case: Case) -> list[dict[str, str]]:
        """The text of the user's only turn; the views come before it."""
        case = encoding.readable(case, self.processor.tokenizer)
        text = conversation.text_of(case, self.shown.prompt, self.shown.inputs)
        return [{"role": "user", "content": text}]

    def resized(self, picture: Picture) -> Picture:
        """The picture in the size that it has for the model. UnreadablePicture: it is too narrow a
        strip.
        """
        return encoding.resized(self.processor, picture)


def _refuse_partly_served(adapter: Path, where: str) -> None:
    """UserError: the adapter is of more than the language model. vLLM drops its other weights, with
    only a warning or none (vllm-project/vllm#23796).
    """
    if parts := " and ".join(sorted(model.adapted_parts(adapter) - {"language"})):
        raise UserError(
            f"{where}.reads: {adapter} is an adapter of {parts}, and a server such as vLLM leaves "
            f"those weights out; {_MERGE}"
        )


def _refuse_resized(adapter: str, base: str, served, trained, where: str) -> None:
    """UserError: the base's own processor, which its server uses, would resize views that have the
    size they had in training. Only Qwen's processors have such limits.
    """
    own, size = served.image_processor.size, trained.image_processor.size
    if own == size:
        return
    least, most = own["shortest_edge"], own["longest_edge"]
    if least > size["shortest_edge"] or most < size["longest_edge"]:
        raise UserError(
            f"{where}.reads: a server of {base} resizes views to {least:,} to {most:,} pixels, and "
            f"{adapter} was trained on views of {size['shortest_edge']:,} to "
            f"{size['longest_edge']:,}; {_MERGE}"
        )
