"""Decoding text files in the usual encodings, and removing control characters."""

import codecs
import re

# What a Windows program meant by bytes 80 to 9f; five of them are unassigned there.
_WINDOWS_1252 = {
    code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))
}
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_UNPRINTABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def decode(data: bytes) -> tuple[str, str | None]:
    """The text, and what was unusual about its encoding; None where it is UTF-8.

    UTF-16 is recognized by its byte order mark. Bytes that are not UTF-8 are read as Windows-1252,
    of which Latin-1 is a part. UnicodeDecodeError: damaged UTF-16.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16"), "UTF-16"
    text = data.decode("utf-8-sig", "surrogateescape")
    stray = _NOT_UTF8.findall(text)
    if not stray:
        return text, None
    line = text.count("\n", 0, text.index(stray[0])) + 1
    problem = f"{len(stray)} bytes are not UTF-8, the first in line {line}; read as Windows-1252"
    return _NOT_UTF8.sub(_windows_1252, text), problem


def _windows_1252(stray: re.Match[str]) -> str:
    return chr(ord(stray[0]) - 0xDC00).translate(_WINDOWS_1252)


def printable(text: str) -> str:
    """The text with a space for each control character, other than tabs and line ends, and "?" for
    each lone surrogate.
    """
    text = _UNPRINTABLE.sub(" ", text.translate(_WINDOWS_1252))
    return text.encode("utf-8", "replace").decode()
