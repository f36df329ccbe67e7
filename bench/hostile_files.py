"""Image files that no decoder should be asked to read: bombs, broken files and other formats."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from functools import cache
from random import Random

MARKER = b"Zebrafish-Quux-70913"  # stands for a patient's text; no response or log may have it

_PNG = b"\x89PNG\r\n\x1a\n"
_DICOM_IMPLICIT = b"1.2.840.10008.1.2\0"
_DICOM_DEFLATED = b"1.2.840.10008.1.2.1.99"
_DICOM_RLE = b"1.2.840.10008.1.2.5\0"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@cache
def _zeros(count: int, level: int = 9) -> bytes:
    """That many zero bytes, compressed; a thousandth of their size."""
    made = zlib.compressobj(level)
    block = bytes(2**20)
    parts = [made.compress(block) for _ in range(count >> 20)]
    parts.append(made.compress(bytes(count & 2**20 - 1)) + made.flush())
    return b"".join(parts)


def png(width: int, height: int, pixels: bytes, *extra: bytes) -> bytes:
    """Grey. `pixels`: compressed, each row after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + b"".join(extra) + _chunk(b"IDAT", pixels)
    return _PNG + chunks + _chunk(b"IEND", b"")


@cache
def small_png() -> bytes:
    """A valid one, of 64 pixels a side."""
    return png(64, 64, _zeros(64 * 65))


@cache
def _jpeg(width: int, height: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG", progressive=True)
    return file.getvalue()


def _jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header has another size."""
    made = bytearray(_jpeg(64, 64))
    at = made.index(b"\xff\xc2")
    made[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(made)


def _many_scans() -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a pass over all pixels."""
    made = _jpeg(3000, 3000)
    start = made.rindex(b"\xff\xda")
    return made[:-2] + made[start:-2] * 500 + made[-2:]


def _element(group: int, element: int, kind: bytes, value: bytes) -> bytes:
    """With an explicit value representation."""
    value += b"\0" * (len(value) % 2)
    tag = struct.pack("<HH", group, element) + kind
    if kind in (b"OB", b"OW", b"SQ", b"UN"):
        return tag + struct.pack("<HI", 0, len(value)) + value
    return tag + struct.pack("<H", len(value)) + value


def dicom(
    rows: int,
    columns: int,
    pixels: bytes,
    syntax: bytes = b"1.2.840.10008.1.2.1\0",
    frames: int = 1,
    more: bytes = b"",
) -> bytes:
    """A chest radiograph in grey. `more`: elements before those of the image."""
    meta = _element(2, 0x10, b"UI", syntax)
    body = _element(8, 0x60, b"CS", b"DX") + _element(0x10, 0x10, b"PN", MARKER) + more
    body += _element(0x28, 2, b"US", struct.pack("<H", 1))
    body += _element(0x28, 4, b"CS", b"MONOCHROME2")
    body += _element(0x28, 8, b"IS", str(frames).encode())
    for number, value in ((0x10, rows), (0x11, columns), (0x100, 8), (0x101, 8), (0x102, 7)):
        body += _element(0x28, number, b"US", struct.pack("<H", value))
    body += _element(0x28, 0x103, b"US", struct.pack("<H", 0))
    body += _element(0x7FE0, 0x10, b"OB", pixels)
    if syntax == _DICOM_DEFLATED:
        packed = zlib.compressobj(9, wbits=-15)
        body = packed.compress(body) + packed.flush()
    length = _element(2, 0, b"UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + body


@cache
def _deflated_dicom() -> bytes:
    return dicom(16000, 16000, bytes(16000 * 16000), _DICOM_DEFLATED)


def _nested_dicom(depth: int) -> bytes:
    """Sequences in sequences, of undefined length."""
    opened = struct.pack("<HH", 8, 0x1140) + b"SQ\0\0" + b"\xff" * 4
    opened += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return dicom(8, 8, bytes(64), more=opened * depth)


@cache
def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.png", bytes(2**25))
    return file.getvalue()


@cache
def _small(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, kind)
    return file.getvalue()


@cache
def bombs() -> tuple[bytes, ...]:
    """Small files that decode to gigabytes, or say so."""
    text = b"Comment\0\0" + _zeros(2**28)
    profile = b"ICC\0\0" + _zeros(2**28)
    return (
        png(60000, 60000, _zeros(2**16)),
        png(2**31 - 1, 2**31 - 1, _zeros(100)),
        png(16000, 16000, _zeros(16000 * 16001)),
        png(1, 2**31 - 1, _zeros(2**28)),
        png(64, 64, _zeros(2**28)),  # far more data than pixels
        png(64, 64, _zeros(64 * 65), _chunk(b"zTXt", text)),
        png(64, 64, _zeros(64 * 65), _chunk(b"iCCP", profile)),
        png(0, 0, b""),
        _jpeg(12000, 12000),
        _jpeg_claiming(65500, 65500),
        _jpeg_claiming(65500, 1),
        _jpeg_claiming(0, 0),
        _many_scans(),
        dicom(65535, 65535, bytes(64)),
        dicom(64, 64, bytes(64 * 64), frames=2**31 - 1),
        dicom(0, 0, b""),
        dicom(64, 64, b"\xff" * 4096, _DICOM_RLE, frames=10**6),
        _deflated_dicom(),
        _nested_dicom(2000),
        _nested_dicom(100_000),
    )


@cache
def strangers() -> tuple[bytes, ...]:
    """Files of other formats."""
    return (
        *(_small(kind) for kind in ("GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX")),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n(" + MARKER + b") show\n",
        b"%PDF-1.7\n1 0 obj <</Length 99999999>> stream\n",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        b"GIF89a" + MARKER,
        b"RIFF\xff\xff\xff\xffWEBPVP8L",
        b"#!/bin/sh\nkill -9 -1\n",
        _zip(),
        gzip.compress(bytes(2**25), mtime=0),
        b"",
        b"\0" * 1000,
        MARKER,
    )


def broken(draw: Random) -> bytes:
    """A valid file, cut off or with some bytes changed."""
    valid = (small_png(), _jpeg(64, 64), dicom(64, 64, bytes(64 * 64)))
    file = bytearray(draw.choice(valid))
    if draw.random() < 0.4:
        return bytes(file[: draw.randrange(len(file))])
    for _ in range(draw.choice((1, 2, 20))):
        file[draw.randrange(len(file))] = draw.randrange(256)
    return bytes(file)


def hostile_file(draw: Random, heavy: bool) -> bytes:
    """`heavy`: bombs too, of which some take megabytes."""
    kind = draw.random()
    if heavy and kind < 0.4:
        return draw.choice(bombs())
    return draw.choice(strangers()) if kind < 0.6 else broken(draw)
