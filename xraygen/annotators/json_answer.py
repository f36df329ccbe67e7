"""An annotation out of what a language model answered."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from xraygen.annotators.region_names import has_region_key, is_aside, names_region, region_of
from xraygen.study import REGIONS, Annotation
from xraygen.text import says_nothing

_STARTS = 200  # braces at which JSON that cannot be decoded is given up
_REPAIRS = 5  # braces from which a repair is tried
CUT = "the JSON of the answer ends too early"


def parse(answer: str, ended: bool = True) -> tuple[Annotation, bool]:
    """(annotation, whether it was repaired) of an answer. `ended`: False where the model was stopped before its end.

    What a model thought aloud does not count, nor do forms to be filled in ("..."). Of several JSON objects, those that complement each
    other are put together; otherwise the last one that has the regions is the answer. Regions that are not named are empty.

    Repaired are damaged JSON (by json-repair; each text has to stand in the answer), other names for a region, words for silence, null
    for an empty text, and lists. ValueError: why the answer is no annotation, among it that it is cut, or has text under a key that
    names no region.
    """
    text = _without_thinking(answer)
    if "{" not in text:
        raise ValueError("no JSON in the answer")
    if not names_region(text):  # json-repair takes minutes for what a model repeats without end
        raise ValueError("the JSON of the answer names no region" + _named(_unknown_keys(text)))
    found = _decoded(text)
    piece = _latest(found.groups())
    if piece is not None and not _is_damaged(found, piece):
        if found.is_open() and not piece.is_complete():
            raise ValueError(CUT)
        return _annotation(piece, ended)
    if piece is not None and piece.is_complete():
        piece = _with_tail(piece, text[found.end :])
    else:
        piece = _repaired(text) or piece
    if piece is None:
        raise ValueError("damaged JSON in the answer")
    return _annotation(piece, ended)


def is_whole(answer: str) -> bool:
    """Whether the answer holds all regions in JSON that has ended, so that nothing is to be expected after it."""
    try:
        text = _without_thinking(answer)
        found = _decoded(text)
        piece = _latest(found.groups())
    except ValueError:
        return False
    return piece is not None and piece.is_complete() and not has_region_key(text[found.end :])


# What was thought aloud

_THINKING = "think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad"
_OPENS = re.compile(
    rf"<(?:\w+:)?(?:{_THINKING})>|\[think\]|◁think▷|<\|(?:begin_of_|start_)?(?:{_THINKING})(?:_start)?\|>|<unused94>",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</(?:\w+:)?(?:{_THINKING})>|\[/think\]|◁/think▷|<\|(?:end_of_|end_|/)(?:{_THINKING})\|>|<\|(?:{_THINKING})_end\|>|<unused95>",
    re.IGNORECASE,
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final.*?<\|message\|>|(?<=\S)assistant\s?final(?=\W)", re.DOTALL)
_OTHER_CHANNEL = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)|\A\s*analysis(?=[A-Z])")


def _without_thinking(answer: str) -> str:
    """The answer proper. ValueError: it never came."""
    if _OTHER_CHANNEL.search(answer):
        finals = list(_FINAL_CHANNEL.finditer(answer))
        if not finals:
            raise ValueError("the answer ended while still thinking; raise max_tokens")
        answer = answer[finals[-1].end() :]
    elif finals := list(re.finditer(r"<\|channel\|>\s*final.*?<\|message\|>", answer, re.DOTALL)):
        answer = answer[finals[-1].end() :]
    closed = list(_CLOSES.finditer(answer))
    text = answer[closed[-1].end() :] if closed else answer
    if _OPENS.search(text):
        raise ValueError("the answer ended while still thinking; raise max_tokens")
    return text


# Objects


class _Piece(NamedTuple):
    """What one or several JSON objects say. `unknown`: keys of text that name no region; `problem`: why it is no annotation; `form`: it
    only repeats the form that was asked for."""

    texts: dict[str, str]
    repaired: bool = False
    unknown: tuple[str, ...] = ()
    problem: str | None = None
    form: bool = False
    several: bool = False

    def is_complete(self) -> bool:
        return len(self.texts) == len(REGIONS)

    def spoken(self) -> set[str]:
        """Regions with a text."""
        return {region for region, text in self.texts.items() if text}

    def contradicts(self, other: "_Piece") -> bool:
        return any(self.texts[region] != other.texts[region] for region in self.spoken() & other.spoken())


class _Unfit(ValueError):
    """JSON that can be read, and is no annotation."""


def _annotation(piece: _Piece, ended: bool) -> tuple[Annotation, bool]:
    if piece.problem:
        raise _Unfit(piece.problem)
    if not piece.texts:
        raise _Unfit("the JSON of the answer names no region" + _named(piece.unknown))
    if piece.form:
        raise _Unfit("the answer only repeats the form that was asked for")
    if piece.unknown:
        raise _Unfit("the JSON of the answer has text under a key that is no region" + _named(piece.unknown))
    if piece.several and not ended and not piece.is_complete():
        raise ValueError(CUT)
    return Annotation(**piece.texts), piece.repaired


def _named(keys: Sequence[str]) -> str:
    """The first key, for a reason; in damaged JSON a sentence of the report may have become one, which is not shown."""
    if not keys:
        return ""
    shown = " ".join(keys[0].split())
    return f": {shown!r}" if len(shown) <= 40 and len(shown.split()) <= 5 else ": a sentence"


def _piece(value: object) -> _Piece | None:
    """What a decoded value says; None: nothing that could be an annotation."""
    if isinstance(value, list):
        return _together([piece for member in value if (piece := _piece(member))])
    if not isinstance(value, dict) or not value:
        return None
    if record := _record(value):
        return record
    own, nested = [], []
    for key, item in value.items():
        if region := region_of(key):
            own.append(_region_piece(key, region, item))
        elif inner := _piece(_nested(item)):
            nested.append(inner)
        elif _has_text(item):
            own.append(_Piece({}, repaired=True) if is_aside(key) else _Piece({}, unknown=(key,)))
        elif isinstance(item, str) and not is_aside(key):
            own.append(_Piece({}, repaired=True))
    return _joined([*own, *nested]) if own else _together(nested)


def _nested(item: object) -> object:
    """JSON within a string, as in the arguments of a tool call, decoded."""
    if isinstance(item, str) and item.lstrip().startswith("{"):
        try:
            return json.loads(item, object_pairs_hook=_pairs)
        except (ValueError, RecursionError):
            return item
    return item


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    """An object of JSON. What a key that is duplicated stands for is a list of all its values: json would keep the last alone."""
    values: dict[str, list] = {}
    for key, value in pairs:
        said = values.setdefault(key, [])
        if value not in said:
            said.append(value)
    return {key: said[0] if len(said) == 1 else said for key, said in values.items()}


def _region_piece(key: str, region: str, item: object) -> _Piece:
    try:
        text, repaired, form = _text(item)
    except _Unfit as problem:
        return _Piece({region: ""}, problem=f"{region}: {problem}")
    return _Piece({region: text}, repaired=repaired or key != region, form=form)


_REGION_KEYS = ("region", "organ", "area", "anatomy", "location", "structure", "body_part", "bodypart", "section", "category", "name", "key")
_TEXT_KEYS = (
    "finding", "findings", "text", "description", "annotation", "value", "report", "observation", "observations", "statement", "content",
    "sentence", "sentences", "quote",
)  # fmt: skip


def _record(value: dict) -> _Piece | None:
    """Of {"region": "heart", "finding": "..."}."""
    lower = {key.strip().lower(): item for key, item in value.items()}
    names = [item for key in _REGION_KEYS if isinstance(item := lower.get(key), str) and region_of(item)]
    texts = [key for key in _TEXT_KEYS if key in lower]
    if len(names) != 1 or len(texts) != 1 or any(region_of(key) for key in value):
        return None
    unknown = [key for key, item in lower.items() if key not in (*_REGION_KEYS, *texts) and _has_text(item) and not is_aside(key)]
    piece = _region_piece("", region_of(names[0]), lower[texts[0]])
    return piece._replace(unknown=tuple(unknown))


def _text(item: object) -> tuple[str, bool, bool]:
    """(text, whether it was repaired, whether it only is the form to be filled in) of a region."""
    if item is None or isinstance(item, float) and math.isnan(item):
        return "", True, False
    if isinstance(item, list):
        parts = [_text(part) for part in item]
        return " ".join(text for text, *_ in parts if text), True, bool(parts) and all(form for *_, form in parts)
    if isinstance(item, dict):
        if isinstance(item.get("type"), str) and item.keys() <= {"type", "description", "title"}:
            return "", True, True  # a JSON schema
        texts = [text for key, text in item.items() if key.strip().lower() in _TEXT_KEYS]
        rest = [key for key, other in item.items() if key.strip().lower() not in _TEXT_KEYS and _has_text(other) and not is_aside(key)]
        if item and (len(texts) != 1 or rest):
            raise _Unfit("not a text")
        return (_text(texts[0])[0], True, False) if item else ("", True, False)
    if not isinstance(item, str):
        raise _Unfit("not a text")
    if re.search("[\ud800-\udfff]", item):
        raise _Unfit("half of a surrogate pair, which is no character")
    text = item.strip()
    if _is_placeholder(text):
        return "", True, True
    return ("", bool(text), False) if says_nothing(text) else (text, False, False)


_PLACEHOLDER = re.compile(
    r"[.…]{1,6}|<[^<>]*>|(?:[\[{(]\s*)?(?:(?:the|your|insert|some|a|an|if|any|region|quoted|report(?:'s)?|relevant|own|in|for|of|from)\s+)*"
    r"(?:string|str|text|texts|placeholder|here|todo|tbd|(?<=[\[{(])findings?|(?<=[\[{(])sentences?)(?:\s+(?:here|goes here))?(?:\s*[\])}])?",
    re.IGNORECASE,
)


def _is_placeholder(text: str) -> bool:
    return bool(_PLACEHOLDER.fullmatch(text)) and not (text.startswith("<") and says_nothing(text))


def _has_text(item: object) -> bool:
    if isinstance(item, dict):
        return any(map(_has_text, item.values()))
    if isinstance(item, list):
        return any(map(_has_text, item))
    return isinstance(item, str) and not says_nothing(item)


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    """All texts, those of one region one after the other."""
    texts: dict[str, list[str]] = {}
    for piece in pieces:
        for region, text in piece.texts.items():
            said = texts.setdefault(region, [])
            if text and text not in said:
                said.append(text)
    problem = next((piece.problem for piece in pieces if piece.problem), None)
    said = {region: " ".join(parts) for region, parts in texts.items()}
    several = any(len(parts) > 1 for parts in texts.values())
    return _Piece(
        said,
        repaired=several or any(piece.repaired for piece in pieces),
        unknown=tuple(key for piece in pieces for key in piece.unknown),
        problem=problem,
        form=any(piece.form for piece in pieces) and not any(said.values()),
    )


def _together(pieces: Sequence[_Piece]) -> _Piece | None:
    """Of objects that are listed: one annotation where they complement each other, else the last one."""
    proper = [piece for piece in pieces if not piece.form] or list(pieces)
    if len(proper) <= 1 or all(piece == proper[0] for piece in proper):
        return proper[0] if proper else None
    if any(
        piece.contradicts(other) and max(len(piece.spoken()), len(other.spoken())) > 1
        for number, piece in enumerate(proper)
        for other in proper[:number]
    ):
        return _latest(proper)
    return _joined(proper)._replace(repaired=True, several=True)


def _latest(pieces: Sequence[_Piece]) -> _Piece | None:
    """Of objects with other things between them: the last one that has the regions, and what completes it."""
    proper = [piece for piece in pieces if not piece.form] or list(pieces)
    if not proper:
        return None
    named = [piece for piece in proper if piece.texts]
    if not named:
        return _joined(proper)
    merged = named[-1]
    for piece in reversed(named[:-1]):
        if merged.is_complete():
            break
        if piece.contradicts(merged) and piece.spoken() - merged.texts.keys():
            return merged._replace(problem="the answer contradicts itself")
        if piece.texts.keys() - merged.texts.keys() and not piece.problem:
            merged = _joined([_Piece({**piece.texts, **merged.texts}), piece._replace(texts={}), merged._replace(texts={})])
            merged = merged._replace(repaired=True, several=True)
    if not merged.is_complete():
        lost = tuple(key for piece in proper if not piece.texts for key in piece.unknown)
        merged = merged._replace(unknown=merged.unknown + lost)
    return merged


# JSON that is whole


_START = re.compile(r"{(?!\s*{)|\[(?=\s*{)")
_OPEN = re.compile(r"(?:\[|[{,]\s*\"[^\"{}]*\"\s*:\s*\[?)\s*\Z")


class _Found(NamedTuple):
    """Pieces, each with where it starts and ends in `text`, in order."""

    text: str
    pieces: list[tuple[_Piece, int, int]]

    @property
    def end(self) -> int:
        """Of the last piece that names a region."""
        return max((end for piece, _, end in self.pieces if piece.texts), default=0)

    def is_open(self) -> bool:
        """Whether they stand in a list or an object that has no end."""
        if not self.pieces or not _OPEN.search(self.text, 0, self.pieces[0][1]):
            return False
        return not re.search(r"[\]}]", self.text[self.pieces[-1][2] :])

    def groups(self) -> list[_Piece]:
        """Those with nothing but commas between them are one."""
        groups: list[list[_Piece]] = []
        before = -1
        for piece, start, end in self.pieces:
            if groups and not self.text[before:start].strip(" \t\r\n,"):
                groups[-1].append(piece)
            else:
                groups.append([piece])
            before = end
        return [_together(group) for group in groups]

    def gaps(self) -> Iterator[str]:
        before = 0
        for _, start, end in self.pieces:
            yield self.text[before:start]
            before = end
        yield self.text[before:]


def _decoded(text: str) -> _Found:
    decoder, at, failed, pieces = json.JSONDecoder(object_pairs_hook=_pairs), 0, 0, []
    while failed < _STARTS and (match := _START.search(text, at)):
        try:
            value, at = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            at, failed = match.start() + 1, failed + 1
        else:
            if piece := _piece(value):
                pieces.append((piece, match.start(), at))
    return _Found(text, pieces)


def _is_damaged(found: _Found, piece: _Piece) -> bool:
    """Whether regions stand in JSON that could not be decoded, and count: after the annotation, or beside one that lacks some."""
    if piece.is_complete():
        return has_region_key(found.text[found.end :])
    return any(map(has_region_key, found.gaps()))


def _unknown_keys(text: str) -> list[str]:
    return [key for piece, *_ in _decoded(text).pieces for key in piece.unknown]


# JSON that is damaged


def _repaired(text: str) -> _Piece | None:
    """None: nothing in it can be read. ValueError: it is cut."""
    starts = [match.start() for match in re.finditer(r"{(?!\s*{)", text)]
    problem: ValueError | None = None
    for start in starts[:_REPAIRS]:
        try:
            piece, closed = _repair(text[start:])
        except (ValueError, RecursionError) as error:
            problem = error if isinstance(error, _Unfit) else problem
            continue
        if not closed:
            raise ValueError(CUT)
        return piece
    if problem:
        raise problem
    return None


def _with_tail(piece: _Piece, tail: str) -> _Piece:
    """With what follows a whole annotation and is damaged: another one, or the same once more, which may be cut."""
    start = tail.find("{")
    try:
        later, closed = _repair(tail[max(0, start) :])
    except (ValueError, RecursionError):
        return piece
    if closed:
        return _latest([piece, later])
    if all(piece.texts[region].startswith(text) for region, text in later.texts.items()):
        return piece
    raise ValueError(CUT)


def _repair(text: str) -> tuple[_Piece, bool]:
    """(what json-repair makes of damaged JSON, whether that had its end). ValueError: it names no region, or a text of it does not
    stand there."""
    pieces = []
    for value in _loads(text):
        if piece := _piece(value):
            pieces.append(piece)
            if piece.texts:
                _check_stands(value, text)
    piece = _together(pieces)
    if piece is None or not piece.texts:
        raise ValueError("damaged JSON")
    # JSON that has ended is not changed by what follows; else this is one more of its keys, or more of its text.
    continued = [_piece(value) for value in _loads(f'{text}\n"more": "more"')]
    closed = [_said(piece) for piece in pieces if piece.texts] == [_said(piece) for piece in continued if piece and piece.texts]
    return piece._replace(repaired=True), closed


def _said(piece: _Piece) -> tuple:
    return piece.texts, piece.unknown


def _loads(text: str) -> list:
    import json_repair

    value = json_repair.loads(text, skip_json_loads=True)
    return value if isinstance(value, list) else [value]


def _check_stands(value: object, text: str) -> None:
    """ValueError: json-repair has made up a text or a list."""
    plain = text.replace("\\'", "'")
    if isinstance(value, list) and value and "[" not in plain:
        raise ValueError("a repaired list that does not stand in the answer")
    for part in _strings(value):
        if not any(re.search(rf"(?<!\\){re.escape(form)}", plain) for form in _forms(part)):
            raise ValueError("a repaired text that does not stand in the answer")
    if isinstance(value, dict):
        for item in value.values():
            if isinstance(item, list):
                _check_stands(item, text)


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _forms(text: str) -> tuple[str, str, str]:
    return text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
