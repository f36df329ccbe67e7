"""What decoded JSON says about the regions: pieces of an annotation, and which of several pieces
are the annotation."""

import json
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from xraygen.prompting.region_names import RegionNames, is_metadata
from xraygen.prompting.silence import says_nothing


class Piece(NamedTuple):
    """What one or several JSON objects say. `unknown`: keys of texts that name no region.
    `problem`: why it is not an annotation. `form`: it only repeats the form that was asked for.
    `several`: it is made of several objects, of which more may have been to come.
    """

    texts: dict[str, str]
    repaired: bool = False
    unknown: tuple[str, ...] = ()
    problem: str | None = None
    form: bool = False
    several: bool = False

    def is_complete(self, names: RegionNames) -> bool:
        return len(self.texts) == len(names.regions)

    def spoken(self) -> set[str]:
        """Regions with a text."""
        return {region for region, text in self.texts.items() if text}

    def contradicts(self, other: "Piece") -> bool:
        both = self.spoken() & other.spoken()
        return any(self.texts[region] != other.texts[region] for region in both)


class Unfit(ValueError):
    """JSON that is readable, but not an annotation."""


def piece_of(value: object, names: RegionNames) -> Piece | None:
    """What a decoded value says; None if it cannot be an annotation."""
    if isinstance(value, list):
        return together([piece for member in value if (piece := piece_of(member, names))], names)
    if not isinstance(value, dict) or not value:
        return None
    if record := _record(value, names):
        return record
    own: list[Piece] = []
    nested: list[Piece] = []
    metadata: list[Piece] = []
    for key, item in value.items():
        if region := names.region_of(key):
            own.append(_region_piece(key, region, item, names))
        elif inner := piece_of(_nested(item), names):
            (metadata if is_metadata(key) else nested).append(inner)
        elif _has_text(item):
            own.append(Piece({}, repaired=True) if is_metadata(key) else Piece({}, unknown=(key,)))
        elif isinstance(item, str) and not is_metadata(key):
            own.append(Piece({}, repaired=True))
    if any(piece.texts for piece in (*own, *nested)):
        # What is under "confidence" or "reasoning" is not a second annotation.
        own += [Piece({}, repaired=True)] if metadata else []
    else:  # {"report": {the annotation}}
        nested += metadata
    return _joined([*own, *nested]) if own else together(nested, names)


def _nested(item: object) -> object:
    """JSON within a string, as in the arguments of a tool call, decoded."""
    if isinstance(item, str) and item.lstrip().startswith("{"):
        try:
            return json.loads(item, object_pairs_hook=all_values)
        except (ValueError, RecursionError):
            return item
    return item


def all_values(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object in which a duplicated key has the list of all its values; json would keep only
    the last one."""
    values: dict[str, list] = {}
    for key, value in pairs:
        found = values.setdefault(key, [])
        if value not in found:
            found.append(value)
    return {key: found[0] if len(found) == 1 else found for key, found in values.items()}


def _region_piece(key: str, region: str, item: object, names: RegionNames) -> Piece:
    try:
        text, repaired, form = _text(item, names)
    except Unfit as problem:
        return Piece({region: ""}, problem=f"{region}: {problem}")
    return Piece({region: text}, repaired=repaired or key != region, form=form)


_REGION_KEYS = (
    "region",
    "organ",
    "area",
    "anatomy",
    "location",
    "structure",
    "body_part",
    "bodypart",
    "section",
    "category",
    "name",
    "key",
)
_TEXT_KEYS = (
    "finding",
    "findings",
    "text",
    "description",
    "annotation",
    "value",
    "report",
    "observation",
    "observations",
    "statement",
    "content",
    "sentence",
    "sentences",
    "quote",
)


def _record(value: dict, names: RegionNames) -> Piece | None:
    """The piece in {"region": "heart", "finding": "..."}; None if `value` is not such a record."""
    lower = {key.strip().lower(): item for key, item in value.items()}
    given = [lower[key] for key in _REGION_KEYS if isinstance(lower.get(key), str)]
    regions = [region for name in given if (region := names.region_of(name))]
    texts = [key for key in _TEXT_KEYS if key in lower]
    if len(regions) != 1 or len(texts) != 1 or any(map(names.region_of, value)):
        return None
    piece = _region_piece("", regions[0], lower[texts[0]], names)
    # There is a record for each region, so an answer that was stopped after one lacks the others.
    return piece._replace(several=True, unknown=_unknown(lower, known=(*_REGION_KEYS, *texts)))


def _unknown(value: dict, known: Sequence[str]) -> tuple[str, ...]:
    """Other keys that have text."""
    others = [key for key in value if key not in known and not is_metadata(key)]
    return tuple(key for key in others if _has_text(value[key]))


def _text(item: object, names: RegionNames) -> tuple[str, bool, bool]:
    """(text of a region, whether it was repaired, whether it is only the form to be filled in)"""
    if item is None or isinstance(item, float) and math.isnan(item):
        return "", True, False
    if isinstance(item, list):
        parts = [_text(part, names) for part in item]
        form = bool(parts) and all(form for *_, form in parts)
        return " ".join(text for text, *_ in parts if text), True, form
    if isinstance(item, dict):
        if isinstance(item.get("type"), str) and item.keys() <= {"type", "description", "title"}:
            return "", True, True  # a JSON schema
        if not item:
            return "", True, False
        lower = {key.strip().lower(): other for key, other in item.items()}
        texts = [lower[key] for key in _TEXT_KEYS if key in lower]
        if len(texts) != 1 or _unknown(lower, known=_TEXT_KEYS):
            raise Unfit("not a text")
        return _text(texts[0], names)[0], True, False
    if not isinstance(item, str):
        raise Unfit("not a text")
    if re.search("[\ud800-\udfff]", item):
        raise Unfit("half of a surrogate pair, which is no character")
    text = item.strip()
    if _is_placeholder(text):
        return "", True, True
    if says_nothing(text) or says_nothing(names.anonymous(text)):
        return "", bool(text), False
    return text, False, False


# "...", "<what the report says>", "string", "your text here", "[findings]"
_PLACEHOLDER = re.compile(
    r"""
    [.…]{2,6} | … | <[^<>]*>
    | (?:[\[{(]\s*)?
      (?:(?:the|your|insert|some|an?|if|any|region|quoted|report(?:'s)?|relevant|own|in|for|of|from)
         \s+)*
      (?:string|str|texts?|placeholder|here|todo|tbd|(?<=[\[{(])(?:finding|sentence)s?)
      (?:\s+(?:goes\s+)?here)?
      (?:\s*[\])}])?
    """,
    re.IGNORECASE | re.VERBOSE,
)


def _is_placeholder(text: str) -> bool:
    return bool(_PLACEHOLDER.fullmatch(text)) and not (text.startswith("<") and says_nothing(text))


def _has_text(item: object) -> bool:
    if isinstance(item, dict):
        return any(map(_has_text, item.values()))
    if isinstance(item, list):
        return any(map(_has_text, item))
    return isinstance(item, str) and not says_nothing(item)


def _joined(pieces: Sequence[Piece]) -> Piece:
    """All pieces in one; several texts of a region are concatenated."""
    texts: dict[str, list[str]] = {}
    for piece in pieces:
        for region, text in piece.texts.items():
            parts = texts.setdefault(region, [])
            if text and text not in parts:
                parts.append(text)
    problem = next((piece.problem for piece in pieces if piece.problem), None)
    said = {region: " ".join(parts) for region, parts in texts.items()}
    several = any(len(parts) > 1 for parts in texts.values())
    return Piece(
        said,
        repaired=several or any(piece.repaired for piece in pieces),
        unknown=tuple(key for piece in pieces for key in piece.unknown),
        problem=problem,
        form=any(piece.form for piece in pieces) and not any(said.values()),
    )


def together(pieces: Sequence[Piece], names: RegionNames) -> Piece | None:
    """Of objects in a list: one annotation if they complement each other, else the last one."""
    proper = [piece for piece in pieces if not piece.form] or list(pieces)
    if len(proper) <= 1 or all(piece == proper[0] for piece in proper):
        return proper[0] if proper else None
    if any(
        piece.contradicts(other) and max(len(piece.spoken()), len(other.spoken())) > 1
        for number, piece in enumerate(proper)
        for other in proper[:number]
    ):
        return latest(proper, names)
    return _joined(proper)._replace(repaired=True, several=True)


def latest(pieces: Sequence[Piece], names: RegionNames) -> Piece | None:
    """Of objects with other text between them: the last one that names regions, and what completes
    it."""
    proper = [piece for piece in pieces if not piece.form] or list(pieces)
    if not proper:
        return None
    named = [piece for piece in proper if piece.texts]
    if not named:
        return _joined(proper)
    merged = named[-1]
    for piece in reversed(named[:-1]):
        if merged.is_complete(names):
            break
        if piece.contradicts(merged) and piece.spoken() - merged.texts.keys():
            return merged._replace(problem="the answer contradicts itself")
        if piece.texts.keys() - merged.texts.keys() and not piece.problem:
            both = _joined([piece, merged])
            texts = piece.texts | merged.texts
            merged = both._replace(texts=texts, repaired=True, several=True)
    if not merged.is_complete(names):
        lost = tuple(key for piece in proper if not piece.texts for key in piece.unknown)
        merged = merged._replace(unknown=merged.unknown + lost)
    return merged
