"""Bodies of multipart/form-data (RFC 7578), from memory to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from xraygen.service.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


def parts(body: bytes, boundary: str, most: int) -> dict[str, bytes]:
    """The parts by name. File names are ignored. Problem: the body is not multipart, is truncated,
    has more than `most` parts, or one without a name or with a name that another has.
    """
    reading = _Parts(most)
    try:
        MultipartParser(boundary, reading.callbacks()).write(body)
    except (FormParserError, UnicodeEncodeError):
        raise Problem("invalid-multipart", "It is damaged, or its boundary is wrong.") from None
    if not boundary or not reading.ended:
        raise Problem("invalid-multipart", "It has no boundary, or is truncated.")
    return reading.found


class _Parts:
    def __init__(self, most: int) -> None:
        self.most = most
        self.found: dict[str, bytes] = {}
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_part_data": self._data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.found) == self.most:
            raise Problem("invalid-multipart", f"It may have {self.most} parts.")
        self._name: str | None = None
        self._content = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field = data[start:end].lower()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        if self._field != b"content-disposition":
            return
        _, options = parse_options_header(data[start:end].decode("latin-1"))
        if b"name" in options:
            self._name = options[b"name"].decode(errors="replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content = data[start:end]  # once, since the body is read at once

    def _end_part(self) -> None:
        if not self._name or self._name in self.found:
            raise Problem("invalid-multipart", "Each part must have a name, no two the same.")
        self.found[self._name] = self._content

    def _end(self) -> None:
        self.ended = True
