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
    encoding = encoding_of(data)
    if encoding == "utf-16":
        return data.decode(encoding), "UTF-16"
    text = data.decode(encoding, "surrogateescape")
    first = _NOT_UTF8.search(text)
    if first is None:
        return text, None
    line = text.count("\n", 0, first.start()) + 1
    text, count = as_windows_1252(text)
    return text, f"{count} bytes are not UTF-8, the first in line {line}; read as Windows-1252"


def encoding_of(start: bytes) -> str:
    """The encoding, by the byte order mark that a file may start with."""
    utf_16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if utf_16 else "utf-8-sig"


def as_windows_1252(text: str) -> tuple[str, int]:
    """A text that was decoded with `surrogateescape`, with Windows-1252's characters for the bytes
    that are not UTF-8, and the number of these bytes.
    """
    return _NOT_UTF8.subn(_windows_1252, text)


def _windows_1252(stray: re.Match[str]) -> str:
    return chr(ord(stray[0]) - 0xDC00).translate(_WINDOWS_1252)


def printable(text: str) -> str:
    """The text with a space for each control character, other than tabs and line ends, and "?" for
    each lone surrogate.
    """
    text = _UNPRINTABLE.sub(" ", text.translate(_WINDOWS_1252))
    return text.encode("utf-8", "replace").decode()
