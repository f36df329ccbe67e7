"""params.yaml as frozen objects, checked on load: an unknown or wrong key is an error that names
file and key.

No stage depends on this file, so nothing in it may supply a value: a section's class is defined
next to the code that uses it, which the stages do depend on. The settings of a source, an annotator
or a judge are checked by the class that params.yaml names.
"""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from xraygen import judges, renamed, sources
from xraygen.annotators.base import Settings
from xraygen.annotators.engine import AnnotateParams
from xraygen.annotators.llm.params import LlmParams
from xraygen.annotators.load import settings_of
from xraygen.annotators.picture_audit import AuditParams
from xraygen.annotators.router.router import RouterParams
from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.plugins import settings_by_name
from xraygen.core.regions import Regions
from xraygen.core.study import Record
from xraygen.evaluation.params import CompareParams, EvaluateParams
from xraygen.sources.prepare import DataParams
from xraygen.training.params import FinetuneParams

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Params(Record):
    data: DataParams
    regions: Regions
    fit_router: RouterParams
    finetune: FinetuneParams
    llm: LlmParams
    approaches: Annotated[dict[Name, Settings], Field(min_length=1)]
    annotate: AnnotateParams = AnnotateParams()  # shapes no result
    audit: AuditParams
    evaluate: EvaluateParams
    compare: CompareParams


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml. UserError: missing, not YAML, or the first key that is unknown,
    missing or of the wrong type.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run this in the project's folder") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path | str = "params.yaml") -> Params:
    """Check the text of a params.yaml; errors as those of `load`."""
    try:
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no sections; restore it with `git checkout {path}`")
    renamed.check(content, str(path))
    content = content | {
        "data": settings_by_name(content.get("data"), "source", sources.kind, f"{path}: data"),
        "evaluate": settings_by_name(
            content.get("evaluate"), "judge", judges.kind, f"{path}: evaluate"
        ),
    }
    if isinstance(content.get("approaches"), dict):
        content["approaches"] = {
            name: settings_of(settings, f"{path}: approaches.{name}")
            for name, settings in content["approaches"].items()
        }
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from None
    chosen = params.evaluate
    tells_nothing = judges.kind(chosen.judge).clinical is judges.Judge.clinical
    if chosen.measure == "clinical" and tells_nothing:
        raise UserError(f"{path}: {judges.NO_CLINICAL.format(name=chosen.judge)}")
    for name, settings in params.approaches.items():
        try:
            settings.check_regions(params.regions)
            settings.check_approaches(params.approaches)
        except ValueError as error:
            raise UserError(f"{path}: approaches.{name}.{error}") from None
    return params
