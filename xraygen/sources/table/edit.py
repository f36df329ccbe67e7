"""Writing what was inferred of a table into params.yaml, whose comments stay."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML, RoundTripRepresenter
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import LiteralScalarString

from xraygen.core.files import replacing
from xraygen.core.regions import Regions
from xraygen.sources.table.table import TableSettings

# In place of prompts that name the regions of the data that ships.
_SYSTEM = """\
You annotate radiology reports by region. Answer with one JSON object with these keys:
{regions}
The value of each is what the report says of that region, or "" where it says nothing."""
_ABOUT = "say in `about` what belongs to the region: models are shown it in place of {regions}"


class _Representer(RoundTripRepresenter):
    """Writes null as null, where ruamel.yaml leaves nothing."""


_Representer.add_representer(
    type(None),
    lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null"),
)


def edit(
    path: Path, settings: TableSettings, regions: Regions, dropped: Sequence[str], first: bool
) -> list[str]:
    """Make `path` one for the table, atomically; returns what was changed, a line for each change.

    `dropped`: approaches to leave out. `first`: the project had another source, so its prompt is
    made one for any regions, and fine-tuning, whose model no approach uses any more, is cut short.
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
    content["data"]["settings"]["table"] = CommentedMap(settings.model_dump())
    declared = {name: CommentedMap(about=region.about) for name, region in regions.root.items()}
    changes.append(f"regions declares {len(regions)}; {_ABOUT}")
    for name in dropped:
        del content["approaches"][name]
    if first:
        left = ", ".join(content["approaches"])
        changes.append(
            f"approaches has {left}, not {', '.join(dropped)}, which name other regions or take "
            "a fine-tuned model; docs/own-data.md says how to add them"
        )
        brief = content["approaches"].get("brief")
        if brief is not None and "{regions}" not in brief.get("system", ""):
            brief["system"] = LiteralScalarString(_SYSTEM)
            changes.append("approaches.brief.system asks for these regions")
        if content["llm"]["provider"] == "local":
            content["llm"]["max_failed"] = 1.0
            changes.append(
                "llm.max_failed is 1.0: the small model of llm.provider local has learned from "
                "other reports and often fails here; ask a server, or leave brief out"
            )
        content["finetune"]["max_steps"] = 1
        changes.append(
            "finetune.max_steps is 1, as no approach uses its model; null trains in full"
        )
        if settings.images is None:
            content["finetune"]["inputs"] = "report"
            if content["finetune"]["targets"] != ["language"]:  # there is nothing to learn to see
                content["finetune"]["targets"] = ["language"]
            changes.append("finetune.inputs is report, as there are no images")
    text = _with_regions(_dumped(yaml, content), _dumped(yaml, {"regions": declared}))
    with replacing(path) as file:
        # A section's blank line before it goes with the last approach that is left out.
        file.write(re.sub(r"(?<!\n)\n(?=evaluate:\n)", "\n\n", text))
    return changes


def _dumped(yaml: YAML, content: Mapping) -> str:
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def _with_regions(text: str, section: str) -> str:
    """`text` with `section` for its own. As text, because ruamel.yaml keeps the blank line and the
    comments before the next section within the last of the regions that are replaced.
    """
    indented = r"(?:(?:#.*|[ \t]*)\n)*[ \t]+\S.*\n"
    return re.sub(rf"(?m)^regions:.*\n(?:{indented})*", lambda _: section, text, count=1)
