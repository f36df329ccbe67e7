"""Damage a table of studies in seeded, random ways, and check that reading it never breaks and
never loses a study silently.

    python bench/table_damage.py [--count 2000] [--seed 0]

Works in a temporary folder on small tables composed here, in CSV and in JSON Lines. Prints one JSON
line; exit status 1 if some damage led to a traceback or to a silently smaller data set. A study is
silently lost if its id is still in the damaged file, it is not read, no incident names it or its
line, and reading did not end in a UserError. The same goes for a row that is neither in a study nor
in an incident.
"""

import argparse
import csv
import io
import json
import random
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from xraygen.core.characters import decode, printable
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.tables import has_no_value, read_rows, text_of_id
from xraygen.sources import Collection
from xraygen.sources.table.table import Table, TableSettings

REGIONS = Regions.model_validate(
    {
        "airway": {"about": "trachea and lungs"},
        "skeleton": {"about": "bones and joints"},
        "upper abdomen": {"about": "below the diaphragm"},
    }
)
COLUMNS = ("study", "patient", "report", "split", *REGIONS)
_ID = re.compile(r"ST-\d{4}")
_STRAY = (b'"', b",", b"\n", b"\r\n", b"\xe9", b"\xff\xfe", b"\0", b'""', b"\\", b"{", b"\xc3")
_JUNK = ("", "x", "NaN", "train", "ST-0001", "a\nb", '"', "\0", "ST-0001\nST-0002,x", "é")


def rows(studies: int = 40) -> list[dict[str, str]]:
    """A fifth of the studies have no reference; three studies in a row are of one patient."""
    made = []
    for number in range(studies):
        report = f'Trachea midline, "as before".\nLevel {number} of the spine, 5" above: intact.'
        curated = number % 5 > 0
        made.append(
            {
                "study": f"ST-{number:04d}",
                "patient": f"P{number // 3}",
                "report": report,
                "split": "test" if number // 3 % 3 == 0 else "train",
                "airway": "Trachea midline." if curated else "",
                "skeleton": f"Level {number}: intact." if curated else "",
                "upper abdomen": "",
            }
        )
    return made


def to_csv(table: list[dict[str, str]], quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


def to_unquoted_csv(table: list[dict[str, str]]) -> bytes:
    """As careless programs write it: no quotes around fields, but some within."""
    lines = [",".join(COLUMNS)]
    for row in table:
        lines.append(",".join(" ".join(row[name].replace(",", "").split()) for name in COLUMNS))
    return ("\n".join(lines) + "\n").encode()


def to_jsonl(table: list[dict[str, str]]) -> bytes:
    lines = []
    for row in table:
        said = {region: row[region] for region in REGIONS if row[region]}
        kept = {name: row[name] for name in COLUMNS[:4]}
        lines.append(json.dumps(kept | {"reference": said or None}))
    return ("\n".join(lines) + "\n").encode()


def settings(file: str) -> TableSettings:
    jsonl = file.endswith(".jsonl")
    return TableSettings(
        file=file,
        id="study",
        report="report",
        patient="patient",
        split="split",
        reference="reference" if jsonl else {region: region for region in REGIONS},
    )


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice([1, 1, 2, 5, 40, 400]))
    piece, before, after = data[start:end], data[:start], data[end:]
    changed = [
        before,  # cut
        data[: data.rfind(b"\n", 0, start) + 1],  # cut at the end of a line
        before + bytes(rng.randrange(256) for _ in piece) + after,  # overwritten
        before + after,  # a hole
        before + piece + piece + after,  # a stutter
        before + piece[::-1] + after,
        before + bytes(len(piece)) + after,  # NUL
        before + rng.choice(_STRAY) + data[start:],
        before + rng.choice(_STRAY) + piece + rng.choice(_STRAY) + after,
    ]
    return rng.choice(changed)


def of_file(data: bytes, rng: random.Random) -> bytes:
    text = data.decode()
    changed = [
        b"",
        b"\xef\xbb\xbf" + data,
        data.replace(b"\n", b"\r\n"),
        data.replace(b"\n", b"\r"),
        text.encode("utf-16"),
        text.encode("utf-16")[: rng.randrange(2 * len(text))],
        text.encode("utf-16-le"),
        data.replace(b"e", b"\xe9", rng.randrange(1, 50)),
        data + data,
        data.rstrip(b"\n"),
        data[data.index(b"\n") + 1 :],  # without its first line
        data.replace(b",", rng.choice([b";", b"\t", b"|"])),
        data.replace(b'"', b""),
        data.replace(b"\n", b"\n\n"),
    ]
    return rng.choice(changed)


def of_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(5)
    if change == 0:
        lines.insert(first, lines[second])
    elif change == 1:
        lines[first], lines[second] = lines[second], lines[first]
    elif change == 2:
        lines[first] = lines[first].rstrip(b"\n")
    elif change == 3:
        lines[first] = b"," + lines[first]
    else:
        lines[first] = rng.choice([b"\n", b"{}\n", b"null\n", b",,,\n", b"[1]\n", b'"\n'])
    return b"".join(lines)


def of_cells(data: bytes, rng: random.Random) -> bytes:
    """One cell of a table, or one value of an object, is other than it was."""
    junk = rng.choice(_JUNK)
    if data.startswith(b"{"):
        lines = data.decode().splitlines()
        place = rng.randrange(len(lines))
        row = json.loads(lines[place])
        values = [junk, None, 1, 1.5, True, [], {}, ["a"], {"airway": 1}, {"a": "b"}, "\ud800"]
        row[rng.choice(sorted(row))] = rng.choice(values)
        lines[place] = json.dumps(row)
        return ("\n".join(lines) + "\n").encode()
    table = list(csv.reader(io.StringIO(data.decode(), newline="")))
    row = rng.choice(table)
    column = rng.randrange(len(row))
    change = rng.randrange(3)
    if change == 0:
        row[column] = junk
    elif change == 1:
        row.insert(column, junk)
    else:
        del row[column]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    of_bytes,
    of_bytes,
    of_file,
    of_lines,
    of_cells,
)


def lost(path: Path, read: Collection) -> list[str]:
    """The ids in the damaged file of which neither a study nor an incident tells, and the rows."""
    known = {study.id for study in read.studies}
    named = {incident.id for incident in read.incidents} | known
    for study in read.studies:
        named.update(_ID.findall(study.id))  # damage that renames a study loses nothing
    text = decode(path.read_bytes())[0]
    lines = re.split("\r\n|\r|\n", text)
    for incident in read.incidents:
        place = incident.id.rpartition(":")[2]
        if place.isdecimal():
            first = int(place) - 1
            height = _height(path, lines[first:])
            named.update(_ID.findall("\n".join(lines[first : first + height])))
        named.update(_ID.findall(incident.id))
    unnamed = sorted(set(_ID.findall(text)) - named)
    for number, row in read_rows(path, ("study",), damaged=lambda *_: None):
        id = text_of_id(row.get("study"))
        id = printable(id).strip() if isinstance(id, str) else None
        blank = all(has_no_value(cell) for cell in row.values())
        if not blank and id not in named and f"{path.name}:{number}" not in named:
            unnamed.append(f"line {number}")
    return unnamed


def _height(path: Path, lines: list[str]) -> int:
    """How many lines the first row has; at most three, as one that has more swallows others."""
    if path.suffix == ".jsonl":
        return 1
    reader = csv.reader(f"{line}\n" for line in lines[:3])
    next(reader, None)
    return reader.line_num


def run(count: int, seed: int) -> dict:
    """Counts of what `count` damages led to, and the first ten failures."""
    table = rows()
    files = {
        "minimal.csv": to_csv(table),
        "quoted.csv": to_csv(table, csv.QUOTE_ALL),
        "careless.csv": to_unquoted_csv(table),
        "lines.jsonl": to_jsonl(table),
    }
    outcomes: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        whole = {}
        for name, data in files.items():
            (root / name).write_bytes(data)
            whole[name] = Table(settings(name), REGIONS).read(root, root, root).incidents
        for number in range(seed, seed + count):
            rng = random.Random(number)
            name = rng.choice(sorted(files))
            damage = rng.choice(DAMAGES)
            path = root / name
            path.write_bytes(damage(files[name], rng))
            what = f"{damage.__name__} of {name} ({number})"
            try:
                read = Table(settings(name), REGIONS).read(root, root, root)
            except UserError as error:
                outcomes["refused"] += 1
                if "\n" in str(error) or name not in str(error):
                    failures.append(f"{what}: not one line that names the file: {error}")
                continue
            except Exception:
                outcomes["traceback"] += 1
                failures.append(f"{what}: {traceback.format_exc(limit=-2)}")
                continue
            if missing := lost(path, read):
                outcomes["silently_smaller"] += 1
                failures.append(f"{what}: lost {missing[:5]}")
            else:
                outcomes["harmless" if read.incidents == whole[name] else "named"] += 1
    names = ("traceback", "silently_smaller", "refused", "named", "harmless")
    counts = {outcome: outcomes[outcome] for outcome in names}
    return {"damages": count, "seed": seed, **counts, "failures": failures[:10]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = run(arguments.count, arguments.seed)
    print(json.dumps(result))
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
