"""What the cards of a model and of a data set share: the header that the Hugging Face hub reads,
and the terms of the data behind them.

The keys of the header are those of huggingface.co/docs/hub/model-cards and /datasets-cards.
"""

import re
from collections.abc import Sequence

import yaml
from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem, read_json
from xraygen.core.origin import FILE, Prepared

RESEARCH_ONLY = "**Research only, not for clinical use.**"
OUT_OF_SCOPE = (
    "Anything that affects a patient: diagnosis, triage, treatment, and reports that are acted on. "
    "Nothing here was tested for that, and nobody has approved it."
)

# Licences of data that the hub knows by this identifier; any other is `other`, with its name.
# huggingface.co/docs/hub/repositories-licenses
_KNOWN = frozenset(
    "apache-2.0 mit bsd-3-clause cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 "
    "cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 odbl odc-by "
    "pddl".split()
)


def read_source() -> Prepared:
    """Of the studies in data/prepared. UserError: prepare has not recorded it."""
    try:
        return Prepared.model_validate(read_json(FILE))
    except ValidationError as error:
        raise UserError(f"{FILE}: {first_problem(error)}; run `dvc repro -f prepare`") from None


def license_metadata(source: Prepared) -> dict[str, str]:
    """The keys of the header for what is made of these studies. `license` is `other` unless the hub
    knows the licence and it allows redistribution.
    """
    name = _identifier(source.license) if source.license else "not-stated"
    if source.redistributable and name in _KNOWN:
        return {"license": name}
    link = {"license_link": source.license_link} if source.license_link else {}
    return {"license": "other", "license_name": name} | link


def _identifier(license: str) -> str:
    return re.sub(r"[^a-z0-9.+]+", "-", license.lower()).strip("-") or "named-in-the-card"


def terms(source: Prepared, made: str) -> str:
    """On which terms the studies may be used, and what was made of them: `made`, "this model"."""
    title = _title(source)
    license = one_line(source.license or "")
    note = f" {source.license_note}" if source.license_note else ""
    if source.redistributable:
        return f"Made from {title}, which may be redistributed. Licence: {license}.{note}"
    if not license:
        return (
            f"**Not to be redistributed.** Made from {title}, whose licence is not stated: assume "
            f"that neither the studies nor {made} may be passed on."
        )
    return (
        f"**Not to be redistributed.** Made from {title}, which is marked as not redistributable. "
        f"Licence: {license}.{note} Assume that {made} may not be passed on either."
    )


def source_line(source: Prepared) -> str:
    return f"Source: {_title(source)} (`{source.source}`)."


def _title(source: Prepared) -> str:
    return source.title or f"the studies of the source `{source.source}`"


def seeds_line(source: Prepared) -> str:
    """The seeds that drew the studies of each split."""
    seeds = ", ".join(f"`{key}` {seed}" for key, seed in source.seeds.items())
    return f"Seeds in params.yaml: {seeds}."


def one_line(text: str) -> str:
    return " ".join(text.split())


def listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def card(metadata: dict, title: str, parts: Sequence[str], sections: dict[str, str]) -> str:
    """A card: the header in YAML, the title, paragraphs, and sections {heading: text}."""
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    body = [f"# {title}", *parts]
    for heading, text in sections.items():
        body += [f"## {heading}", text.strip("\n")]
    return f"---\n{header}---\n\n" + "\n\n".join(body) + "\n"
