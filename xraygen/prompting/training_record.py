"""What a model was shown in training, as files in its folder record it: training.json.

Stage `finetune` writes that file next to the weights. Its `prompt`, `inputs`, `max_views` and
`max_pixels` hold for whoever uses the model: shown anything else, it gives plausible, bad
annotations.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.study import NonEmpty, Record
from xraygen.engines.model import ADAPTER
from xraygen.prompting.conversation import Inputs

FILE = "training.json"
REGIONS_FILE = "regions.json"


_Names = TypeAdapter(Annotated[tuple[NonEmpty, ...], Field(min_length=1)])


class Shown(Record):
    """What a model is shown of a case: at most `max_views` views, of at most `max_pixels` pixels
    each."""

    prompt: NonEmpty
    inputs: Inputs
    max_views: PositiveInt
    max_pixels: Annotated[int, Field(ge=28 * 28)]


def read(folder: Path) -> Shown | None:
    """What the model in `folder` was shown in training; None of a base model, which has no
    training.json.

    UserError: an adapter without training.json, or a training.json that does not say.
    """
    path = folder / FILE
    if not path.is_file():
        if (folder / ADAPTER).is_file():
            raise UserError(
                f"{path}: missing, so it is unknown what this adapter was shown in training; "
                "run `dvc repro finetune`, or write the file: "
                '{"params": {"prompt": ..., "inputs": ..., "max_views": ..., "max_pixels": ...}}'
            )
        return None
    again = "run `dvc repro -f finetune`, or add what the model was trained with"
    try:
        params = json.loads(path.read_text(encoding="utf-8"))["params"]
        stated = {name: params[name] for name in Shown.model_fields if name in params}
        return Shown.model_validate(stated)
    except ValidationError as error:
        raise UserError(f"{path}: params.{first_problem(error)}; {again}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"damaged, no settings of a training in it ({error!r})"
        raise UserError(f"{path}: {what}; {again}") from None


def taught_regions(folder: Path) -> tuple[str, ...] | None:
    """The names under which the model in `folder` answers, whatever it is asked: a list in the
    regions.json of a model that knows no others, such as the small one that ships. None without
    that file. UserError: it holds anything else.
    """
    path = folder / REGIONS_FILE
    if not path.is_file():
        return None
    try:
        return _Names.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise UserError(f"{path}: not a list of names; restore it, or remove it") from None
