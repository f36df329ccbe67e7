"""Hostile requests, as bytes: the same for the same seed and number.

A family is a method-like function of a `Maker`, and `attack` calls them in turn. None may do more
than fail itself.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Literal, NamedTuple

from bench.hostile_files import MARKER, hostile_file, small_png

WORD = MARKER.decode()
ANNOTATIONS = b"/v1/annotations"
STREAM = b"/v1/annotations:stream"
JUDGEMENTS = b"/v1/judgements"
ROUTES = (ANNOTATIONS, STREAM, JUDGEMENTS)
READ_ONLY = (b"/", b"/healthz", b"/readyz", b"/openapi.json", b"/metrics", b"/v1/approaches")
JSON = b"application/json"

# complete: a response is due. partial: it may wait for more until it gives up. leaves: the client
# closes at once. resets: likewise, with RST. deaf: it does not read for a while.
Manner = Literal["complete", "partial", "leaves", "resets", "deaf"]


class Attack(NamedTuple):
    """`parts`: what is sent, with pauses of `pause` seconds between them."""

    family: str
    parts: list[bytes]
    manner: Manner = "complete"
    pause: float = 0.0


class Maker:
    """`authorization`: the header line with the key, or b"". `heavy`: with requests that take
    seconds or megabytes.
    """

    def __init__(self, seed: int, authorization: bytes, heavy: bool) -> None:
        self.seed, self.authorization, self.heavy = seed, authorization, heavy
        self.draw = Random(seed)

    def attack(self, number: int) -> Attack:
        self.draw = Random(f"{self.seed} {number}")
        family = FAMILIES[number % len(FAMILIES)]
        made = family(self)
        parts = [made] if isinstance(made, bytes) else made
        if isinstance(parts, Attack):
            return parts._replace(family=family.__name__)
        return Attack(family.__name__, parts)

    def request(
        self,
        body: bytes = b"",
        kind: bytes = JSON,
        path: bytes = ANNOTATIONS,
        method: bytes = b"POST",
        more: bytes = b"",
        length: bytes | None = None,
    ) -> bytes:
        """`more`: header lines. `length`: Content-Length, b"" for none."""
        if length is None:
            length = b"%d" % len(body)
        head = b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" % (method, path)
        if kind:
            head += b"Content-Type: " + kind + b"\r\n"
        if length:
            head += b"Content-Length: " + length + b"\r\n"
        return head + self.authorization + more + b"\r\n" + body

    def head(self, lines: bytes, path: bytes = ANNOTATIONS) -> bytes:
        """Without Content-Length and Connection."""
        start = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" % path
        return start + self.authorization + lines + b"\r\n"

    def valid(self) -> bytes:
        return annotations({"id": "1", "report": f"The heart is normal. No {WORD}."})


def annotations(*cases: object, **more: object) -> bytes:
    return json.dumps({"cases": cases, **more}).encode()


def multipart(parts: list[tuple[bytes, bytes]], boundary: bytes = b"cut") -> bytes:
    """`parts`: header lines and content."""
    made = [b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, *part) for part in parts]
    return b"".join(made) + b"--" + boundary + b"--\r\n"


def request_part(content: bytes) -> tuple[bytes, bytes]:
    return b'Content-Disposition: form-data; name="request"', content


def file_part(name: bytes, content: bytes, filename: bytes = b"a.png") -> tuple[bytes, bytes]:
    line = b'Content-Disposition: form-data; name="%b"; filename="%b"' % (name, filename)
    return line + b"\r\nContent-Type: application/octet-stream", content


FORM = b"multipart/form-data; boundary=cut"


# --- JSON ---

_VALUES: tuple[bytes, ...] = (
    b"null true false 0 -1 1.5 1e400 -1e-400 NaN Infinity -Infinity [] {} [[]] [null]".split()
    + [b'""', b'"\\u0000"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"' + MARKER + b'"']
    + [b"9" * 5000, b"-" + b"1" * 400 + b".5e999", b'"' + b"a" * 300_000 + b'"']
    + [b'{"id":1}', b'[{"id":"x"}]', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\xc0\x80"']
    + [b'"../../../etc/passwd"', b'"%s%n%x"', b'"{{7*7}}"', b'"<script>alert(1)</script>"']
)  # fmt: skip


def wrong_types(make: Maker) -> bytes:
    value = make.draw.choice(_VALUES)
    bodies = (
        b"%b",
        b'{"cases":%b}',
        b'{"cases":[%b]}',
        b'{"cases":[{"id":%b,"report":"Clear lungs."}]}',
        b'{"cases":[{"id":"1","report":%b}]}',
        b'{"cases":[{"id":"1","report":"Clear lungs.","images":%b}]}',
        b'{"cases":[{"id":"1","images":[%b]}]}',
        b'{"cases":[{"id":"1","images":[{"data":%b}]}]}',
        b'{"cases":[{"id":"1","images":[{"data":"","file":%b}]}]}',
        b'{"cases":[{"id":"1","images":[{"data":"AAAA","projection":%b}]}]}',
        b'{"approach":%b,"cases":[{"id":"1","report":"Clear lungs."}]}',
        b'{"cases":[{"id":"1","report":"Clear lungs.","' + MARKER + b'":%b}]}',
        b'{"' + MARKER + b'":%b,"cases":[{"id":"1","report":"Clear lungs."}]}',
        b'{"cases":[{"id":"1","report":"a"}],"cases":%b}',
        b'{"pairs":%b}',
        b'{"pairs":[%b]}',
        b'{"pairs":[{"reference":%b,"candidate":"Clear lungs."}]}',
        b'{"pairs":[{"reference":"Clear lungs.","candidate":%b}]}',
    )
    body = make.draw.choice(bodies) % value
    return make.request(body, path=JUDGEMENTS if b"pairs" in body else ANNOTATIONS)


def deep(make: Maker) -> bytes:
    depth = make.draw.choice((9, 100, 1001, 100_000))
    opened, closed = make.draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"cases":[', b"]}")))
    body = opened * depth + (b"1" + closed * depth if make.draw.random() < 0.7 else b"")
    if make.draw.random() < 0.5:
        body = b'{"cases":[{"id":"1","report":"a","' + MARKER + b'":' + body + b"}]}"
    return make.request(body, path=make.draw.choice(ROUTES))


def encodings(make: Maker) -> bytes:
    valid = make.valid().decode()
    body = make.draw.choice(
        (
            valid.encode("utf-16"),
            valid.encode("utf-8-sig"),
            valid.encode("utf-32-be"),
            valid.replace("heart", "\0").encode(),
            valid.replace("heart", "\\u0000\\ud83d \\udc00").encode(),
            valid.encode().replace(b"heart", b"\xff\xfe\xfd"),
            valid.encode() + valid.encode(),
            valid.encode() + b"\0" * 1000,
            b" " * 100_000 + valid.encode(),
            valid.replace(" ", "\u2028").encode(),
            b"/* " + MARKER + b" */" + valid.encode(),
            valid.replace('"', "'").encode(),
            b"",
            b"\xef\xbb\xbf",
        )
    )
    kind = make.draw.choice((JSON, b"application/json; charset=utf-16", b"text/plain", b""))
    return make.request(body, kind)


def many(make: Maker) -> bytes:
    case = {"id": "1", "report": f"Clear lungs. {WORD}"}
    count = make.draw.choice((0, 101, 1000, 20_000 if make.heavy else 2000))
    if make.draw.random() < 0.3:
        pair = {"reference": "Clear lungs.", "candidate": WORD}
        return make.request(json.dumps({"pairs": [pair] * count}).encode(), path=JUDGEMENTS)
    images = [{"data": base64.b64encode(small_png()).decode()}] * min(count, 1000)
    if make.draw.random() < 0.3:
        return make.request(annotations({"id": "1", "images": images}))
    return make.request(annotations(*[case] * count))


def identifiers(make: Maker) -> bytes:
    # Without the marker: a case's own id is the one thing that comes back.
    ids = (
        "x" * 10_000, "x" * 1_000_000, "\0", "\n", "a\r\nSet-Cookie: a=b", "\u202e" * 300,
        "🫁" * 999, "../../etc/passwd", "<img src=x onerror=alert(1)>", "\x7f", "\ud800",
        " ", "", "=1+1",
    )  # fmt: skip
    return make.request(annotations({"id": make.draw.choice(ids), "report": "Clear lungs."}))


def texts(make: Maker) -> bytes:
    """Texts that are slow to read for a careless pattern, or too long."""
    size = make.draw.choice((1000, 20_000, 49_999, 50_001, 300_000))
    units = (
        " ", "\n", "a", ".", "No ", "no\n", "1.", "1. a\n", "a, ", "((((", "\t\r\n", "éa\u0301",
        "xxxx ", "no effusion, ", "No effusion. ", "\u200b", "0.0.0.", "Dr. ", "A" * 39 + "\na",
        "left and right ", "- ", "i.e. ", "!?", "ß", "İ", "and/or ",
    )  # fmt: skip
    unit = make.draw.choice(units)
    text = (unit * (size // len(unit) + 1))[:size]
    if make.draw.random() < 0.4:
        letters = "abc .,;:\n()0123456789éß\u0301\u202e"
        text = "".join(make.draw.choices(letters, k=min(size, 20_000)))
    if make.draw.random() < 0.2:
        pair = {"reference": text, "candidate": make.draw.choice((text, text[::-1], WORD))}
        return make.request(json.dumps({"pairs": [pair]}).encode(), path=JUDGEMENTS)
    return make.request(annotations({"id": "1", "report": text + WORD}))


# --- images ---


def images(make: Maker) -> bytes:
    file = hostile_file(make.draw, make.heavy)
    data = base64.b64encode(file).decode()
    image = {"data": data, "projection": make.draw.choice(("frontal", "lateral", "unknown"))}
    count = make.draw.choice((1, 1, 2, 4, 5))
    return make.request(annotations({"id": "1", "report": WORD, "images": [image] * count}))


def base64s(make: Maker) -> bytes:
    good = base64.b64encode(small_png()).decode()
    data = make.draw.choice(
        (
            "A",
            "====",
            "!" * 1000,
            good[:-1],
            good + "=",
            "data:image/png;base64," + good,
            " " + good,
        )
        + (
            "A" * 4_000_001,
            good.replace("A", "\n"),
            good.replace("A", "-"),
            WORD,
            "é",
            "\ud800",
            "",
        )
        + ("file:///etc/passwd", "http://127.0.0.1:1/a.png", "A" * 100_000 + "=A")
    )
    return make.request(annotations({"id": "1", "report": "a", "images": [{"data": data}]}))


def forms(make: Maker) -> bytes | Attack:
    file = hostile_file(make.draw, make.heavy)
    name = make.draw.choice(
        (b"a", b"request", b"../../../etc/passwd", b"", b"\xff", b"a\0b", MARKER)
    )
    asked = annotations({"id": "1", "report": "a", "images": [{"file": name.decode("latin-1")}]})
    body = multipart([request_part(asked), file_part(name, file, b"../../" + MARKER)])
    shape = make.draw.randrange(16)
    kind = FORM
    if shape == 0:
        kind = b"multipart/form-data"
    elif shape == 1:
        kind = b"multipart/form-data; boundary=" + b"x" * make.draw.choice((71, 5000))
    elif shape == 2:
        kind = b'multipart/form-data; boundary="\xff\0"'
    elif shape == 3:
        body = multipart([file_part(b"a", file)])
    elif shape == 4:
        body = multipart([request_part(asked)] * 2)
    elif shape == 5:
        body = multipart([request_part(asked), *[file_part(b"f%d" % k, b"") for k in range(3000)]])
    elif shape == 6:
        body = multipart([(b"X: " + b"y" * 100_000, b""), request_part(asked)])
    elif shape == 7:
        body = multipart([(b"X: y\r\n" * 5000 + b"Z: y", b""), request_part(asked)])
    elif shape == 8:
        body = multipart([(MARKER, b""), (b"", b"")])
    elif shape == 9:
        body = b"--cut\r\n" * 5000
    elif shape == 10:
        body = body.replace(b"\r\n", b"\n")
    elif shape == 11:
        body += b"--cut\r\n" + MARKER * 100
    elif shape == 12:
        body = multipart([request_part(b"[" * 5000)])
    elif shape == 13:
        body = b""
    elif shape in (14, 15):
        body = body[: make.draw.randrange(len(body))]
        if make.draw.random() < 0.5:
            sent = make.request(body, kind, length=b"%d" % (len(body) + 1000))
            return Attack("", [sent], "partial")
    return make.request(body, kind)


# --- HTTP ---


def headers(make: Maker) -> bytes:
    lines = (
        b"X-Long: " + b"a" * 100_000 + b"\r\n",
        b"X-Long: " + b"a" * 20_000 + b"\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(5000)),
        b"X-Same: a\r\n" * 500,
        b"a" * 70_000 + b": b\r\n",
        b"no colon\r\n",
        b": empty name\r\n",
        b"Bad Name: a\r\n",
        b"X-Nul: a\0b\r\n",
        b"X-Bare: a\rb\r\n",
        b"X-Folded: a\r\n b\r\n",
        b"X-High: \xff\xfe" + MARKER + b"\r\n",
        b"Host: evil.example\r\n",
        b"Authorization: Bearer " + MARKER + b"\r\n",
        b"Authorization: Basic " + b"A" * 5000 + b"\r\n",
        b"Authorization: Bearer \xff\r\n",
        b"Cookie: a=" + MARKER + b"\r\n",
        b"Origin: http://" + MARKER + b".example\r\n",
        b"X-Request-Id: " + MARKER + b"\r\n",
        b"X-Forwarded-For: " + MARKER + b"\r\nX-Forwarded-Proto: a\r\nForwarded: for=a\r\n",
        b"X-Http-Method-Override: DELETE\r\n",
        b"Expect: 100-continue\r\n",
        b"Expect: " + MARKER + b"\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAA\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n",
        b"Range: bytes=0-0,1-1,-99999999999999\r\n",
        b"Accept: " + b"a/b," * 3000 + b"\r\n",
        b"Accept-Encoding: " + b"gzip;q=0.1," * 1000 + b"\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br, gzip, " + MARKER + b"\r\n",
        b"If-None-Match: *\r\nIf-Modified-Since: never\r\n",
        b"traceparent: " + MARKER + b"\r\n",
    )
    more = make.draw.choice(lines)
    if b"gzip\r\n" in more:
        return make.request(gzip.compress(bytes(2**24), mtime=0), more=more)
    if make.draw.random() < 0.5:
        path = make.draw.choice(READ_ONLY)
        return make.request(method=b"GET", kind=b"", length=b"", path=path, more=more)
    return make.request(make.valid(), more=more)


def content_types(make: Maker) -> bytes:
    kinds = (
        b"", b"application/xml", b"text/html", b"application/x-www-form-urlencoded", MARKER,
        b"application/json;" + b"a=b;" * 2000, b"application/JSON", b"application/problem+json",
        b"multipart/mixed; boundary=cut", b"multipart/form-data", b"application/x-ndjson", b"\xff",
        b"application/json, text/html", b"application/json; charset=" + MARKER, b"/", b";",
    )  # fmt: skip
    return make.request(make.valid(), make.draw.choice(kinds), make.draw.choice(ROUTES))


def lengths(make: Maker) -> Attack:
    body = make.valid()
    lines, manner = make.draw.choice(
        (
            (b"Content-Length: -1", "complete"),
            (b"Content-Length: +5", "complete"),
            (b"Content-Length: 0x10", "complete"),
            (b"Content-Length: 1_0", "complete"),
            (b"Content-Length: " + MARKER, "complete"),
            (b"Content-Length:", "partial"),
            (b"Content-Length: 5, 5", "complete"),
            (b"Content-Length: " + b"9" * 40, "complete"),
            (b"Content-Length: 18446744073709551615", "complete"),
            (b"Content-Length: 99999999999", "complete"),
            (b"Content-Length: 40000000", "complete"),
            (b"Content-Length: 30000000", "partial"),
            (b"Content-Length: %d" % (len(body) + 1), "partial"),
            (b"Content-Length: 0", "partial"),
            (b"Content-Length: 5\r\nContent-Length: 6", "complete"),
            (b"Content-Length: %d\r\nContent-Length: %d" % (len(body), len(body)), "partial"),
            (b"X: no length", "partial"),
        )
    )
    return Attack("", [make.head(lines + b"\r\n", make.draw.choice(ROUTES)) + body], manner)


def chunks(make: Maker) -> Attack:
    body = make.valid()
    good = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    sent = make.draw.choice(
        (
            b"ffffffffffffffff\r\n" + body,
            b"fffffffffffffffff\r\n" + body,
            b"-1\r\n" + body,
            b"0x5\r\n" + body,
            b"zz\r\n" + MARKER,
            b"\r\n\r\n",
            b"5\r\n" + body,
            b"%x;%b\r\n%b\r\n0\r\n\r\n" % (len(body), b"a=" + b"b" * 100_000, body),
            b"".join(b"1\r\n%b\r\n" % body[k : k + 1] for k in range(len(body))) + b"0\r\n\r\n",
            b"1\r\n \r\n" * 30_000 + good,
            good[:-5] + b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
            good[:-5] + b"0\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
            good[:-5],
            good.replace(b"\r\n", b"\n"),
            b"%x\n%b\r\n0\r\n\r\n" % (len(body), body),
        )
    )
    coding = make.draw.choice((b"chunked", b"chunked", b"chunked", b"xchunked", b"gzip, chunked"))
    coding = make.draw.choice((coding, coding, b"chunked, chunked", b"identity", b"\x0bchunked"))
    head = make.head(b"Transfer-Encoding: " + coding + b"\r\n", make.draw.choice(ROUTES))
    return Attack("", [head + sent], "partial")


def smuggled(make: Maker) -> Attack:
    inner = b"GET /" + MARKER + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    body = make.valid()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    lines, sent = make.draw.choice(
        (
            (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked + inner),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked + inner),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked + inner),
            (b"Transfer-Encoding : chunked\r\nContent-Length: 3\r\n", chunked + inner),
            (b"Content-Length: 0\r\n", inner),
            (b"Content-Length: %d\r\n" % len(body), body + inner * 50),
            (b"Content-Length: %d\r\n" % len(body), body + b"\0\r\n" + inner),
            (b"Content-Length: %d\n" % len(body), body + inner),
            (b"X: a\rContent-Length: 5\r\n", body + inner),
            (b"Content-Length: 5\r\n\tTransfer-Encoding: chunked\r\n", chunked + inner),
        )
    )
    return Attack("", [make.head(lines) + sent], "partial")


def paths(make: Maker) -> bytes:
    path = make.draw.choice(
        (
            b"/../../../../etc/passwd", b"/..%2f..%2fetc/passwd", b"/%2e%2e/%2e%2e/etc/passwd",
            b"/v1/../.api-keys", b"/.git/config", b"/.env", b"//evil.example/v1/annotations",
            b"/v1/annotations/", b"/v1/annotations//", b"/V1/ANNOTATIONS", b"/%00", b"/\0", b"/%ff",
            b"/%", b"/%zz", b"/\xff\xfe", b"/v1/annotations%00", b"/v1/annotations;a=b", b"*", b"a",
            b"http://evil.example/v1/annotations", b"http://" + MARKER, b"/" + b"a" * 100_000,
            b"/?" + b"a=b&" * 20_000, b"/v1/annotations?approach=" + MARKER, b"/" + MARKER, b"/#a",
            b"/v1/annotations:stream?approach=" + MARKER, b"/v1/annotations:stream?approach=%00",
            b"/v1/annotations:stream?approach=router&approach=constant&" + MARKER + b"=1",
            b"/docs", b"/redoc", b"/static/../../x", b"\\..\\..\\a", b"/v1/annotations\tHTTP/1.1",
            b"",
        )
    )  # fmt: skip
    method = make.draw.choice((b"GET", b"POST", b"POST"))
    kind = make.draw.choice((JSON, b"application/x-ndjson"))
    return make.request(make.valid() if method == b"POST" else b"", kind, path, method)


def methods(make: Maker) -> bytes:
    names = b"GET HEAD PUT DELETE PATCH OPTIONS TRACE CONNECT PROPFIND get pOsT PRI M-SEARCH QUERY"
    method = make.draw.choice((*names.split(), b"A" * 5000, MARKER, b"\xff", b"G ET", b""))
    path = make.draw.choice((*ROUTES, *READ_ONLY))
    return make.request(make.valid() if make.draw.random() < 0.5 else b"", path=path, method=method)


def protocols(make: Maker) -> Attack:
    path = make.draw.choice(ROUTES)
    sent = make.draw.choice(
        (
            b"GET /\r\n",
            b"GET / HTTP/0.9\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / HTTP/9999999999.1\r\nHost: a\r\n\r\n",
            b"GET / XTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + make.draw.randbytes(500),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n" * 5000 + b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET /healthz HTTP/1.1\nHost: a\nConnection: close\n\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 300,
            make.request(make.valid()).replace(b"HTTP/1.1", b"HTTP/1.0"),
            make.request(make.valid(), path=path).replace(b"\r\n", b"\n"),
            make.request(make.valid(), path=path).replace(b"\r\n", b"\r"),
            b"\0" * 70_000,
            b"A" * 200_000,
            make.draw.randbytes(make.draw.choice((1, 10, 1000, 100_000))),
            make.draw.randbytes(50) + make.request(make.valid()),
        )
    )
    return Attack("", [sent], "partial")


def mutated(make: Maker) -> Attack:
    """A valid request with bytes changed, deleted, or repeated."""
    image = {"data": base64.b64encode(small_png()).decode(), "projection": "frontal"}
    asked = annotations({"id": "1", "report": f"Clear lungs. {WORD}", "images": [{"file": "a"}]})
    valid = make.draw.choice(
        (
            make.request(make.valid()),
            make.request(annotations({"id": "1", "report": "a", "images": [image]})),
            make.request(multipart([request_part(asked), file_part(b"a", small_png())]), FORM),
            make.request(
                b'{"pairs":[{"reference":"Clear.","candidate":"Clear."}]}', path=JUDGEMENTS
            ),
            make.request(make.valid()[10:-1] + b"\n", b"application/x-ndjson", STREAM),
        )
    )
    sent = bytearray(valid)
    first = 0 if make.draw.random() < 0.5 else valid.index(b"\r\n\r\n")
    for _ in range(make.draw.choice((1, 1, 3, 30))):
        at = make.draw.randrange(first, len(sent))
        kind = make.draw.randrange(4)
        if kind < 2:
            sent[at] = make.draw.randrange(256)
        elif kind == 2:
            del sent[at : at + make.draw.randrange(20)]
        else:
            sent[at:at] = sent[at : at + make.draw.randrange(20)]
        if len(sent) < first + 2:
            break
    return Attack("", [bytes(sent)], "partial")


# --- streams ---


def streams(make: Maker) -> Attack:
    case = json.dumps({"id": "1", "report": f"Clear lungs. {WORD}"}).encode() + b"\n"
    image = base64.b64encode(hostile_file(make.draw, make.heavy)).decode()
    size = 8_000_000 if make.heavy else 400_000
    body = make.draw.choice(
        (
            case * 300,
            b"\n" * 100_000,
            b"x" * size,
            b'{"id":"1","report":"' + b"x" * size,
            (b"{}\n" + MARKER + b"\n[]\nnull\n" + case) * 100,
            b"[" * 100_000 + b"\n" + case,
            case.replace(b"\n", b"\r"),
            b"\xff\xfe\n\0\n" + case,
            json.dumps({"id": "1", "report": "a", "images": [{"data": image}]}).encode()
            + b"\n"
            + case,
            json.dumps({"id": "1", "report": "a", "images": [{"file": "a"}]}).encode(),
            b'{"id":"\xed\xa0\x80"}\n' + case,
            case[:-5],
        )
    )
    cut = make.draw.choice((1, 7, 1000, 2**16))
    blocks = [body[k : k + cut] for k in range(0, min(len(body), cut * 3000), cut)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    head = make.head(b"Transfer-Encoding: chunked\r\nConnection: close\r\n", STREAM)
    head = head.replace(JSON, b"application/x-ndjson")
    manner = make.draw.choice(("complete", "complete", "partial", "leaves", "deaf"))
    end = b"" if manner == "partial" else b"0\r\n\r\n"
    return Attack("", [head + sent + end], manner)


# --- clients ---


def leaving(make: Maker) -> Attack:
    """Clients that disconnect: within the head, within the body, or before the answer."""
    body = annotations(*[{"id": str(k), "report": f"Clear lungs. {WORD}"} for k in range(60)])
    sent = make.request(body, path=make.draw.choice(ROUTES))
    if make.draw.random() < 0.7:
        sent = sent[: make.draw.randrange(1, len(sent))]
    return Attack("", [sent], make.draw.choice(("leaves", "resets")))


def deaf(make: Maker) -> Attack:
    """Clients that ask for much and read nothing for a while."""
    body = annotations(*[{"id": str(k), "report": f"Clear lungs. {WORD}"} for k in range(100)])
    whole = make.request(body).replace(b"Connection: close\r\n", b"")
    get = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return Attack("", [make.draw.choice((whole * 20, get * 200))], "deaf")


def slow(make: Maker) -> Attack:
    """Heads and bodies that come a few bytes at a time, most of them never whole."""
    body = make.valid()
    sent = make.request(body, path=make.draw.choice(ROUTES))
    first = make.draw.choice((1, len(sent) - len(body), len(sent) - 5))
    step = make.draw.choice((1, 3))
    rest = [sent[k : k + step] for k in range(first, len(sent), step)]
    return Attack("", [sent[:first], *rest[:12]], "partial", 0.5 if make.heavy else 0.02)


_FEW: tuple[Callable[[Maker], bytes | Attack], ...] = (slow, deaf)
_MANY: tuple[Callable[[Maker], bytes | Attack], ...] = (
    wrong_types, deep, encodings, many, identifiers, texts, images, base64s, forms, headers,
    content_types, lengths, chunks, smuggled, paths, methods, protocols, mutated, streams, leaving,
)  # fmt: skip
# Some families are worth more tries than others; slow and deaf ones hold a connection.
FAMILIES = (*_MANY, wrong_types, images, forms, mutated, *_MANY, mutated, forms, *_FEW)


def all_attacks(maker: Maker, count: int) -> Iterator[Attack]:
    return map(maker.attack, range(count))
