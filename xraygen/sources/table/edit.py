"""Writing what was inferred of a table into params.yaml, whose comments stay."""

from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML, RoundTripRepresenter
from ruamel.yaml.comments import CommentedMap

from xraygen.core.files import replacing
from xraygen.core.regions import Regions
from xraygen.sources.table.table import TableSettings

_ABOUT = "say in `about` what belongs to the region: models are shown it in place of {regions}"


class _Representer(RoundTripRepresenter):
    """Writes null as null, where ruamel.yaml leaves nothing."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def edit(
    path: Path, settings: TableSettings, regions: Regions, dropped: Sequence[str]
) -> list[str]:
    """Make `path` one for the table, atomically; returns what was changed, a line for each change.

    `dropped`: approaches to leave out. Where there are any, the project is new to the table, and
    fine-tuning is cut short too, because no approach that is left uses its model.
    """
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(path.read_text(encoding="utf-8"))
    changes = ["data.source is table, described in data.settings.table"]
    content["data"]["source"] = "table"
    if content["data"].get("settings") is None:
        content["data"]["settings"] = CommentedMap()
    content["data"]["settings"]["table"] = _flat(settings.model_dump())
    # Into the same mapping, which carries the comments before the next section.
    content["regions"].clear()
    for name, region in regions.root.items():
        content["regions"][name] = _flat({"about": region.about})
    changes.append(f"regions has {len(regions)} regions; {_ABOUT}")
    for name in dropped:
        del content["approaches"][name]
    if dropped:
        left = ", ".join(content["approaches"])
        changes.append(
            f"approaches has {left}; without {', '.join(dropped)}, which name other regions or take "
            "a fine-tuned model (docs/own-data.md says how to add them)"
        )
        content["finetune"]["steps"] = 1
        changes.append("finetune.steps is 1, as no approach uses its model; null trains in full")
        if settings.images is None:
            content["finetune"]["inputs"] = "report"
            changes.append("finetune.inputs is report, as there are no images")
    with replacing(path) as file:
        yaml.dump(content, file)
    return changes


def _flat(values: dict) -> CommentedMap:
    """A mapping on one line where it is short, as YAML writes it in braces."""
    mapping = CommentedMap(values)
    if len(str(values)) < 80:
        mapping.fa.set_flow_style()
    return mapping
