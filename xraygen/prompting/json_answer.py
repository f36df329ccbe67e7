"""Reads the annotation in a language model's answer."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from xraygen.core.study import Annotation
from xraygen.prompting.pieces import Piece, Unfit, all_values, latest, piece_of, together
from xraygen.prompting.region_names import RegionNames

_STARTS = 200  # braces, at most, at which decoding is tried and fails
_REPAIRS = 5  # braces, at most, from which a repair is tried
CUT = "the JSON of the answer ends too early"


def parse(answer: str, names: RegionNames, ended: bool = True) -> tuple[Annotation, bool]:
    """(annotation, whether it was repaired) in an answer. `ended`: False if the model was stopped
    before its end.

    The model's reasoning does not count, nor do forms to be filled in ("..."). Of several JSON
    objects, those that complement each other are combined; otherwise the last one that names
    regions is the answer. Regions that are not named are empty.

    These are repaired: damaged JSON (by json-repair; each text must be in the answer), other names
    for a region, words for silence, null for an empty text, and lists. ValueError: why the answer
    is not an annotation, for example because it is cut, or has text under a key that names no
    region.
    """
    text = _without_thinking(answer)
    if "{" not in text:
        raise ValueError("no JSON in the answer")
    found = _decoded(text, names)
    piece = latest(found.groups(), names)
    if not names.mentioned(text):  # json-repair takes minutes for what a model repeats without end
        raise _nameless(piece or Piece({}))
    if piece is not None and not _is_damaged(found, piece, names):
        if not piece.is_complete(names) and (found.is_open() or found.breaks_off()):
            raise ValueError(CUT)
        return _annotation(piece, names, ended)
    if piece is not None and piece.is_complete(names):
        piece = _with_tail(piece, text[found.end :], names)
    else:
        piece = _repaired(text, names) or piece
    if piece is None:
        raise ValueError("damaged JSON in the answer")
    return _annotation(piece, names, ended)


def is_whole(answer: str, names: RegionNames) -> bool:
    """Whether the answer has all regions in JSON that has ended, so that nothing more is needed."""
    try:
        text = _without_thinking(answer)
        found = _decoded(text, names)
        piece = latest(found.groups(), names)
    except ValueError:
        return False
    if piece is None or not piece.is_complete(names) or piece.form:
        return False
    return not names.has_key(text[found.end :])


def _nameless(piece: Piece) -> Unfit:
    return Unfit("the JSON of the answer names no region" + _named(piece.unknown))


def _annotation(piece: Piece, names: RegionNames, ended: bool) -> tuple[Annotation, bool]:
    if piece.problem:
        raise Unfit(piece.problem)
    if not piece.texts:
        raise _nameless(piece)
    if piece.form:
        raise Unfit("the answer only repeats the form that was asked for")
    if piece.unknown:
        problem = "the JSON of the answer has text under a key that is no region"
        raise Unfit(problem + _named(piece.unknown))
    if piece.several and not ended and not piece.is_complete(names):
        raise ValueError(CUT)
    return names.regions.annotation(piece.texts), piece.repaired


def _named(keys: Sequence[str]) -> str:
    """The first key, for an error. In damaged JSON a sentence of the report may have become a key;
    it is not shown."""
    if not keys:
        return ""
    shown = " ".join(keys[0].split())
    return f": {shown!r}" if len(shown) <= 40 and len(shown.split()) <= 5 else ": a sentence"


# Reasoning

_THINKING = "think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad"
_OPENS = re.compile(
    rf"<(?:\w+:)?(?:{_THINKING})>|\[think\]|◁think▷|<unused94>"
    rf"|<\|(?:begin_of_|start_)?(?:{_THINKING})(?:_start)?\|>",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</(?:\w+:)?(?:{_THINKING})>|\[/think\]|◁/think▷|<unused95>"
    rf"|<\|(?:end_of_|end_|/)(?:{_THINKING})\|>|<\|(?:{_THINKING})_end\|>",
    re.IGNORECASE,
)
# Channels of gpt-oss; where special tokens are left out, "analysis" and "assistantfinal" remain.
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final.*?<\|message\|>", re.DOTALL)
_FINAL_WORD = re.compile(r"(?<=\S)assistant\s?final(?=\W)")
_OTHER_CHANNEL = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)|\A\s*analysis(?=[A-Z])")


def _without_thinking(answer: str) -> str:
    """The answer without the model's reasoning. ValueError: there is only reasoning."""
    finals = [match.end() for match in _FINAL_CHANNEL.finditer(answer)]
    in_channels = _OTHER_CHANNEL.search(answer)
    if in_channels:
        finals = finals or [match.end() for match in _FINAL_WORD.finditer(answer)]
    closed = [match.end() for match in _CLOSES.finditer(answer)]
    text = answer[max([*finals, *closed], default=0) :]
    if "{" not in text and not in_channels:  # the reasoning came after the answer
        within = rf"(?:{_OPENS.pattern}).*?(?:{_CLOSES.pattern})"
        if _OPENS.search(answer):
            text = re.sub(within, "", answer, flags=re.IGNORECASE | re.DOTALL)
    if in_channels and not finals or _OPENS.search(text):
        raise ValueError("the answer ended while still thinking; raise max_tokens")
    return text


# JSON that is whole


_START = re.compile(r"{(?!\s*{)|\[(?=\s*{)")
_OPEN = re.compile(r"(?:\[|[{,]\s*\"[^\"{}]*\"\s*:\s*\[?)\s*\Z")


_BEGUN = re.compile(r"{\s*(?:\"|\Z)")  # and not a brace in prose
_BETWEEN = re.compile(r"[\s,;]*(?:(?:[-*•]|\d+[.)])\s*)?")


class _Found(NamedTuple):
    """Pieces in order, each with its start and end in `text`."""

    text: str
    pieces: list[tuple[Piece, int, int]]
    names: RegionNames

    @property
    def end(self) -> int:
        """Where the last piece that names a region ends."""
        return max((end for piece, _, end in self.pieces if piece.texts), default=0)

    def is_open(self) -> bool:
        """Whether they are in a list or an object that has no end."""
        if not self.pieces or not _OPEN.search(self.text, 0, self.pieces[0][1]):
            return False
        return not re.search(r"[\]}]", self.text[self.pieces[-1][2] :])

    def breaks_off(self) -> bool:
        """Whether an object begins after the last piece and has no end."""
        if not self.pieces:
            return False
        tail = self.text[self.pieces[-1][2] :]
        return bool(_BEGUN.search(tail)) and tail.count("{") > tail.count("}")

    def groups(self) -> list[Piece]:
        """Pieces with nothing but commas or list markers between them are combined."""
        groups: list[list[Piece]] = []
        before = -1
        for piece, start, end in self.pieces:
            if groups and _BETWEEN.fullmatch(self.text, before, start):
                groups[-1].append(piece)
            else:
                groups.append([piece])
            before = end
        return [one for group in groups if (one := together(group, self.names))]

    def gaps(self) -> Iterator[str]:
        before = 0
        for _, start, end in self.pieces:
            yield self.text[before:start]
            before = end
        yield self.text[before:]


def _decoded(text: str, names: RegionNames) -> _Found:
    decoder = json.JSONDecoder(object_pairs_hook=all_values)
    pieces = []
    at = failed = 0
    while failed < _STARTS and (match := _START.search(text, at)):
        try:
            value, at = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            at = match.start() + 1
            failed += 1
        else:
            if piece := piece_of(value, names):
                pieces.append((piece, match.start(), at))
    return _Found(text, pieces, names)


def _is_damaged(found: _Found, piece: Piece, names: RegionNames) -> bool:
    """Whether JSON that could not be decoded names regions that matter: after the annotation, or
    anywhere if the annotation is incomplete."""
    if piece.is_complete(names):
        return names.has_key(found.text[found.end :])
    return any(map(names.has_key, found.gaps()))


# JSON that is damaged


def _repaired(text: str, names: RegionNames) -> Piece | None:
    """None: nothing in it is readable. ValueError: it is cut."""
    starts = [match.start() for match in re.finditer(r"{(?!\s*{)", text)]
    problem: ValueError | None = None
    for start in starts[:_REPAIRS]:
        try:
            piece, closed = _repair(text[start:], names)
        except (ValueError, RecursionError) as error:
            problem = error if isinstance(error, Unfit) else problem
            continue
        if not closed:
            raise ValueError(CUT)
        return piece
    if problem:
        raise problem
    return None


def _with_tail(piece: Piece, tail: str, names: RegionNames) -> Piece:
    """The piece, which is complete, or the one in the damaged JSON after it. That may be another
    annotation, or the same again, which may be cut. ValueError: another one is cut."""
    start = tail.find("{")
    try:
        later, closed = _repair(tail[max(0, start) :], names)
    except (ValueError, RecursionError):
        return piece
    if closed:
        return latest([piece, later], names) or piece
    if all(piece.texts[region].startswith(text) for region, text in later.texts.items()):
        return piece
    raise ValueError(CUT)


def _repair(text: str, names: RegionNames) -> tuple[Piece, bool]:
    """(what json-repair makes of damaged JSON, whether that had an end). ValueError: it names no
    region, or json-repair has made up a text."""
    pieces = []
    for value in _loads(text):
        if piece := piece_of(value, names):
            pieces.append(piece)
            if piece.texts:
                _check_not_made_up(value, text)
    piece = together(pieces, names)
    if piece is None or not piece.texts:
        raise ValueError("damaged JSON")
    # What follows does not change JSON that has ended; otherwise it becomes another key, or part of
    # a text.
    continued = [piece_of(value, names) for value in _loads(f'{text}\n"more": "more"')]
    closed = _contents(pieces) == _contents(filter(None, continued))
    return piece._replace(repaired=True), closed


def _contents(pieces: Iterable[Piece]) -> list[tuple]:
    return [(piece.texts, piece.unknown) for piece in pieces if piece.texts]


def _loads(text: str) -> list:
    import json_repair

    value = json_repair.loads(text, skip_json_loads=True)
    return value if isinstance(value, list) else [value]


def _check_not_made_up(value: object, text: str) -> None:
    """ValueError: json-repair has made up a text or a list."""
    plain = text.replace("\\'", "'")
    if isinstance(value, list) and value and "[" not in plain:
        raise ValueError("a repaired list that is not in the answer")
    for part in _strings(value):
        if not any(re.search(rf"(?<!\\){re.escape(form)}", plain) for form in _forms(part)):
            raise ValueError("a repaired text that is not in the answer")
    if isinstance(value, dict):
        for item in value.values():
            if isinstance(item, list):
                _check_not_made_up(item, text)


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _forms(text: str) -> tuple[str, str, str]:
    return text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
