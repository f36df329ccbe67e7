"""Generated cases for scale.py: JSON Lines files of any length, and a few lines in them that cannot
be annotated.

The generator words 10,000 reports a second, which is too slow for ten million. So the reports are
the first sentences of one of 20,000 generated reports and the last ones of another. Of 20,000 such
reports 93 % are distinct (85 % of the generator's own), with 4,300 distinct sentences (5,100):
what the router keeps in memory is used about as often as for generated reports.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from xraygen.language.text import sentences
from xraygen.sources.phantom import phantom

_POOL = 20_000
_FIRST = 10**8  # numbers of phantoms that are in no split


@cache
def _pool() -> list[list[str]]:
    """The sentences of generated reports, as they are between the quotes of JSON."""
    reports = (phantom(0, _FIRST + number).report for number in range(_POOL))
    return [[json.dumps(part)[1:-1] for part in sentences(report)] for report in reports]


def name(number: int) -> str:
    """The id of a case; ids sort like the cases."""
    return f"case-{number:08}"


def lines(count: int, seed: int = 0) -> Iterator[str]:
    """JSON, with id and report."""
    pool = _pool()
    draw = random.Random(seed)
    for number in range(count):
        first, second = pool[int(draw.random() * _POOL)], pool[int(draw.random() * _POOL)]
        cut = int(draw.random() * (len(first) + 1))
        report = " ".join(first[:cut] + second[cut:])
        yield f'{{"id": "{name(number)}", "report": "{report}"}}\n'


def write(path: Path, count: int) -> int:
    """Returns the size in bytes."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines(count))
    return path.stat().st_size


class Poison(NamedTuple):
    """`line`: of the case with this id."""

    kind: str
    line: Callable[[str], bytes]


def _row(**cells: object) -> Callable[[str], bytes]:
    return lambda id: json.dumps({"id": id, "report": "The lungs are clear.", **cells}).encode()


def _text(before: str, after: str) -> Callable[[str], bytes]:
    return lambda id: f'{{"id": "{id}", "report": "{before}'.encode() + after.encode()


POISONS = (
    Poison("an image path that leaves the folder", _row(images=["../../elsewhere.png"])),
    Poison("an absolute image path", _row(images=["/tmp/elsewhere.png"])),
    Poison("images that are a number", _row(images=7)),
    Poison("a report that is a list", _row(report=["The lungs", "are clear."])),
    Poison("a lone surrogate", _text("\\ud800 The lungs are clear.", '"}')),
    Poison("not a JSON object", lambda id: json.dumps([id, "The lungs."]).encode()),
    Poison("JSON that ends early", _text("The lungs are clear.", "")),
    Poison("a raw control character", _text("The lungs\x01 are clear.", '"}')),
    Poison("not UTF-8", lambda id: _row()(id).replace(b"lungs", b"l\xfcngs")),
    Poison("deep nesting", lambda id: b'{"id": "%b", "x": ' % id.encode() + b"[" * 200_000),
    Poison("no id", lambda id: b'{"report": "The lungs are clear."}'),
    Poison("a report of 60,000 characters", _row(report="The lungs. " * 6000)),
    Poison(
        "17 MiB of text",
        lambda id: _row(report="The lungs are clear. " * (17 * 2**20 // 21))(id),
    ),
)

# These look alike and are cases like any other.
HARMLESS = (
    _row(report='</script> \' OR 1=1; -- "} {"id": "x"}'),
    _row(report="The lungs\u0001 are\u202e clear.\u0000"),
    _row(report="\U0001f600 " * 1000),
    _row(report="The lungs are clear. " * 2000),
    _row(images=[]),
)


class Failing(NamedTuple):
    """`place`: in bytes, by which a line is named whose id cannot be read."""

    id: str
    place: str
    kind: str

    def is_named(self, ids: Collection[str]) -> bool:
        return self.id in ids or any(id.endswith(f"at byte {self.place}") for id in ids)


def write_poisoned(path: Path, count: int, poisons: int) -> list[Failing]:
    """`poisons` lines that cannot be read among `count`, and as many that only look so."""
    draw = random.Random(1)
    drawn = draw.sample(range(count), 2 * poisons)
    poison_of = {number: POISONS[k % len(POISONS)] for k, number in enumerate(drawn[:poisons])}
    harmless_of = {number: HARMLESS[k % len(HARMLESS)] for k, number in enumerate(drawn[poisons:])}
    failing = []
    with path.open("wb") as file:
        for number, line in enumerate(lines(count)):
            id = name(number)
            if poison := poison_of.get(number):
                failing.append(Failing(id, f"{file.tell():,}", poison.kind))
                file.write(poison.line(id) + b"\n")
            elif harmless := harmless_of.get(number):
                file.write(harmless(id) + b"\n")
            else:
                file.write(line.encode())
    return failing


def write_marked(path: Path, count: int, marks: dict[int, str]) -> None:
    """Cases, with a word in front of the report of some: {number: word}."""
    with path.open("w", encoding="utf-8") as file:
        for number, line in enumerate(lines(count)):
            word = marks.get(number)
            file.write(line.replace('"report": "', f'"report": "{word} ') if word else line)
