"""params.yaml as frozen objects, checked on load: an unknown or wrong key is an error that names
file and key.

No stage depends on this file, so nothing in it may supply a value: a section whose class has
defaults or validators is defined next to the code that uses it, which the stages do depend on.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from xraygen.annotators.router.router import RouterParams
from xraygen.annotators.settings import Approach, LlmParams
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import Record, Share, first_problem
from xraygen.judges.green.green import GreenParams
from xraygen.sources.phantom import PhantomParams
from xraygen.sources.prepare import DataParams
from xraygen.training.params import FinetuneParams

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class EvaluateParams(Record):
    """`resamples`: bootstrap resamples behind each interval. `green`: settings of the judge green,
    whether it is the one or not.
    """

    judge: Literal["proxy", "green"]
    green: GreenParams
    resamples: PositiveInt
    seed: NonNegativeInt


class CompareParams(Record):
    """`resamples`: bootstrap resamples behind each interval, and the fewest permutations of a test,
    which takes 20 times the number of comparisons over alpha where that is more. `alpha`:
    family-wise error admitted after Holm's correction. `power`: chance of detecting a difference as
    large as the detectable one that is printed.
    """

    resamples: PositiveInt
    alpha: Share
    power: Share
    seed: NonNegativeInt


class Params(Record):
    data: DataParams
    regions: Regions
    phantom: PhantomParams
    fit_router: RouterParams
    finetune: FinetuneParams
    llm: LlmParams
    approaches: Annotated[dict[Name, Approach], Field(min_length=1)]
    evaluate: EvaluateParams
    compare: CompareParams

    def approach(self, name: str) -> Approach:
        if name not in self.approaches:
            raise UserError(
                f"params.yaml: no approach '{name}'; there are: {', '.join(sorted(self.approaches))}"
            )
        return self.approaches[name]


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml. UserError: missing, not YAML, or the first key that is unknown,
    missing or of the wrong type.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run this in the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no sections; restore it with `git checkout {path}`")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from None
