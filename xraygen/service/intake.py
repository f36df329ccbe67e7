"""From the bytes of a request to the lines that a model is sent.

What makes the whole request unreadable is raised as a Problem. What is wrong with one case becomes
a Failed in its place. Neither quotes anything that the client sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json

from xraygen.core.study import Record
from xraygen.service.images import Images
from xraygen.service.options import Options
from xraygen.service.problems import Problem
from xraygen.service.schemas import CaseIn, Pair

_LONGEST_TYPE = 1000  # characters; splitting one of 32 KiB could take 25 ms
# More than 100 long reports have commas. JSON of 32 MiB with ten million lists takes 1 GB.
_MOST_VALUES = 1_000_000
_BOM = b"\xef\xbb\xbf"
_FAULTS = {
    "extra_forbidden": "has an unknown field",
    "literal_error": "must be frontal, lateral or unknown",
    "missing": "is missing",
    "model_type": "must be an object, with each field once",
    "string_too_short": "is empty",
    "string_type": "must be a string",
    "string_unicode": "has a lone surrogate, which is not a character",
    "tuple_type": "must be a list",
}


class Failed(NamedTuple):
    """Why an item is not put to a model. `id`: the case's, None if it has none that is usable."""

    id: str | None
    problem: Problem


class Read(NamedTuple):
    """`items`: for each case or pair, in order, its JSON line or why there is none. `approach`:
    empty for pairs.
    """

    approach: str
    items: list[bytes | Failed]


class TooMuch(Exception):
    """The request has images, or is multipart: it is for the intake's process."""


class _Repeated:
    """Stands for an object in which a field is there twice."""


def _unique(fields: list[tuple[str, object]]) -> object:
    content = dict(fields)
    return content if len(content) == len(fields) else _Repeated()


def _no_number(_: str) -> object:
    raise ValueError("NaN and Infinity are not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number).decode


def read_annotations(
    body: bytes,
    content_type: str,
    approaches: Mapping[str, bool],
    options: Options,
    images: Images | None = None,
) -> Read:
    """The cases of a request. `approaches`: by name, the default one first, whether it shows
    pictures. `images`: where images are kept.

    Problem: the request cannot be read as a whole. TooMuch: it takes `images`, and there are none.
    """
    media_type, parameters = _media_type(content_type)
    files: Mapping[str, bytes] = {}
    if media_type == "multipart/form-data":
        if images is None:
            raise TooMuch
        from xraygen.service.multipart import parts

        most = 1 + options.max_cases * options.max_images
        files = parts(body, parameters.get("boundary", ""), most)
        body = files.pop("request", b"")
    else:
        _refuse_other_than_json(media_type, parameters)
    request = _object(_json(body, options.max_depth), {"approach", "cases"})
    approach = _approach(request.get("approach"), approaches)
    cases = _list(request, "cases", options.max_cases)
    reader = _Reader(options, approaches[approach], images, files)
    return Read(approach, [reader.item(case) for case in cases])


def read_line(
    line: bytes, pictures: bool, options: Options, images: Images | None = None
) -> bytes | Failed:
    """A case, a line of a stream. `pictures`: whether the approach shows them. TooMuch: it takes
    `images`, and there are none.
    """
    try:
        content = _json(line, options.max_depth)
    except Problem as problem:
        return Failed(None, problem)
    return _Reader(options, pictures, images, {}).item(content)


def read_judgements(body: bytes, content_type: str, options: Options) -> Read:
    """The pairs of a request. Problem: the request cannot be read as a whole."""
    _refuse_other_than_json(*_media_type(content_type))
    request = _object(_json(body, options.max_depth), {"pairs"})
    return Read("", [_pair(pair, options) for pair in _list(request, "pairs", options.max_cases)])


class _Reader:
    """The cases of one request. Files that no case refers to are ignored."""

    def __init__(
        self, options: Options, pictures: bool, images: Images | None, files: Mapping[str, bytes]
    ) -> None:
        self.options, self.pictures, self.images, self.files = options, pictures, images, files

    def item(self, content: object) -> bytes | Failed:
        return _item(self._line, content, _usable_id(content, self.options))

    def _line(self, content: object) -> bytes:
        if isinstance(content, dict):
            self._refuse_many(content)
        case = CaseIn.model_validate(content)
        _refuse_long("id", case.id, self.options.max_id)
        _refuse_long("report", case.report, self.options.max_text)
        fields: dict[str, object] = {"id": case.id, "report": case.report}
        if case.images and (kept := self._images(case)):
            fields["images"] = kept
        return to_json(fields)

    def _refuse_many(self, content: dict[str, object]) -> None:
        """Here because pydantic would list what is wrong with each of thousands."""
        _refuse_unknown(content, CaseIn)
        images = content.get("images")
        if isinstance(images, list) and len(images) > self.options.max_images:
            raise Problem("too-many-images", f"A case may have {self.options.max_images} images.")

    def _images(self, case: CaseIn) -> list[dict[str, str]]:
        if self.images is None:
            raise TooMuch
        kept = []
        for number, image in enumerate(case.images, 1):
            where = f"image {number}"
            if (image.data is None) == (image.file is None):
                raise Problem("invalid-case", f"{where}: must have either data or file.")
            if image.data is not None:
                content = self.images.decoded(where, image.data)
            else:
                content = self._part(where, image.file or "")
            path = self.images.keep(where, content, self.pictures)
            if path:
                kept.append({"path": path, "projection": image.projection})
        return kept

    def _part(self, where: str, name: str) -> bytes:
        if name not in self.files:
            raise Problem("invalid-case", f"{where}: there is no part with the name in file.")
        return self.files[name]


def _pair(content: object, options: Options) -> bytes | Failed:
    def line(content: object) -> bytes:
        if isinstance(content, dict):
            _refuse_unknown(content, Pair)
        pair = Pair.model_validate(content)
        _refuse_long("reference", pair.reference, options.max_text)
        _refuse_long("candidate", pair.candidate, options.max_text)
        return to_json({"reference": pair.reference, "candidate": pair.candidate})

    return _item(line, content, None)


def _refuse_unknown(content: dict[str, object], model: type[Record]) -> None:
    if not content.keys() <= model.model_fields.keys():
        known = ", ".join(sorted(model.model_fields))
        raise Problem("invalid-case", f"A field is unknown; known: {known}.")


def _item(line: Callable[[Any], bytes], content: object, id: str | None) -> bytes | Failed:
    try:
        return line(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        problem = Problem("invalid-case", _sentence(first))
    except Problem as raised:
        problem = raised.with_traceback(None)  # which would keep the body alive
    return Failed(id, problem)


def _sentence(error: ErrorDetails) -> str:
    """What is wrong and where, without the value or an unknown field's name."""
    places = error["loc"]
    if error["type"] == "extra_forbidden":
        places = places[:-1]
    names = [f"image {place + 1}" if isinstance(place, int) else place for place in places]
    if len(names) > 1:
        names.remove("images")
    fault = _FAULTS.get(error["type"], "is wrong")
    return f"{', '.join(names) or 'it'}: {fault}."


def _usable_id(content: object, options: Options) -> str | None:
    id = content.get("id") if isinstance(content, dict) else None
    usable = isinstance(id, str) and 0 < len(id) <= options.max_id and _is_unicode(id)
    return id if usable else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_long(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise Problem("text-too-long", f"{name}: must have at most {most:,} characters.")
    if not _is_unicode(text):
        raise Problem("invalid-case", f"{name}: {_FAULTS['string_unicode']}.")


def _media_type(content_type: str) -> tuple[str, Mapping[str, str]]:
    """Its name, in lower case, and its parameters."""
    if content_type == "application/json":
        return content_type, {}
    if len(content_type) > _LONGEST_TYPE:
        return "", {}
    from python_multipart.multipart import parse_options_header

    name, parameters = parse_options_header(content_type)
    texts = {key.decode("latin-1").lower(): parameters[key].decode("latin-1") for key in parameters}
    return name.decode("latin-1").strip(), texts


def _refuse_other_than_json(media_type: str, parameters: Mapping[str, str]) -> None:
    if media_type != "application/json":
        raise Problem("media-type", "Send application/json, or images as multipart/form-data.")
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Problem("media-type", "Send JSON in UTF-8.")


def _json(body: bytes, max_depth: int) -> object:
    brackets = body.count(b"[") + body.count(b"{")
    if brackets + body.count(b",") > _MOST_VALUES:
        raise Problem("too-costly", "It has too many lists, objects or commas.")
    try:
        content = _decode(body.removeprefix(_BOM).decode())
    except UnicodeDecodeError:
        raise Problem("not-json", "It is not UTF-8.") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError:  # not JSON, or an integer of thousands of digits
        raise Problem("not-json", "It has no syntax of RFC 8259.") from None
    if brackets > max_depth and _is_deeper(content, max_depth):
        raise _too_deep(max_depth)
    return content


def _too_deep(max_depth: int) -> Problem:
    return Problem("too-deep", f"Lists and objects may be nested {max_depth} deep.")


def _is_deeper(content: object, depth: int) -> bool:
    """Whether lists and objects are nested more than `depth` deep."""
    nested = _containers([content])
    for _ in range(depth):
        nested = [inner for one in nested for inner in _containers(_values(one))]
    return bool(nested)


def _containers(values: Iterable[object]) -> list[dict | list]:
    return [value for value in values if isinstance(value, dict | list)]


def _values(container: dict | list) -> Iterable[object]:
    return container.values() if isinstance(container, dict) else container


def _object(content: object, known: set[str]) -> dict[str, object]:
    if not isinstance(content, dict):
        raise Problem("invalid-request", "It must be an object, with each field once.")
    if not content.keys() <= known:
        raise Problem("invalid-request", f"A field is unknown; known: {', '.join(sorted(known))}.")
    return content


def _list(request: dict[str, object], name: str, most: int) -> list[object]:
    items = request.get(name)
    if not isinstance(items, list) or not items:
        raise Problem("invalid-request", f"{name}: must be a list with at least one.")
    if len(items) > most:
        raise Problem("too-many-cases", f"{name}: must have at most {most}.")
    return items


def _approach(name: object, approaches: Mapping[str, bool]) -> str:
    if name is None:
        return next(iter(approaches))
    if not isinstance(name, str) or name not in approaches:
        raise Problem("invalid-request", "approach: GET /v1/approaches lists those loaded.")
    return name
