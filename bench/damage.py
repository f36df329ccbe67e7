"""Damage IU X-Ray's raw files in seeded, random ways, and check that reading them never breaks and
never loses a study silently.

    python bench/damage.py [--count 2000] [--seed 0] [--from ../shared/iu-xray --images 20]

Works in a temporary folder, on a small collection composed here (all layouts of images, own
wording) or on the files of --from. Prints one JSON line; exit status 1 if some damage led to a
traceback or to a silently smaller data set. A study or an image is silently lost if it was read
before the damage and not after it, no incident names it, and reading did not end in a UserError.
`unseen` counts, by kind, damage after which something reads differently and no incident names it:
other words in a text, other bytes after the end of a picture.
"""

import argparse
import csv
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.sources import Collection
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.iu_xray.images import identify_image
from xraygen.sources.iu_xray.text_files import TEXT_FILES

REGIONS = Regions.model_validate({name: {"about": name} for name in iu_xray.REGIONS})

Files = dict[str, bytes]  # path below the folder -> content
REPORTS, PROJECTIONS, ANNOTATIONS = TEXT_FILES
SERIES = 900  # of study number 0; no part of the real collection's numbering matters here


# --- the small collection


def compose(studies: int = 24, seed: int = 0) -> Files:
    """Half train, a quarter test, an eighth val, and the rest with reports that nobody annotated.

    Images in every layout, an id of every form; a quarter of the studies have images listed that
    are not there.
    """
    rng = np.random.default_rng(seed)
    reports, projections, files = [], [], {}
    annotations: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    for number in range(studies):
        uid, series = number * 7 + 1, f"IM-{SERIES + number}"
        id = (
            f"CXR{uid}_1_{series}"
            if uid == 1
            else f"CXR{uid}_{series}" + ("-1001" if number % 5 == 4 else "")
        )
        split = ("train", "test", "train", "val", "train", "test", "train", "")[number % 8]
        findings = (
            f"The heart measures {number} units, not enlarged."
            f" Lungs: clear in {number + 2} fields. "
        )
        findings += 'No fracture, "as drawn".'
        reports.append(
            [
                uid,
                "normal",
                "normal",
                "two views",
                "cough, for test",
                "none",
                findings,
                f"Quiet chest {number}.",
            ]
        )
        if split == "val":
            annotations[split].append({"id": id, "split": split, "original_report": findings})
        elif split:
            said = {
                "heart": f"{number} units.",
                "lung": "Clear.",
                "others": "Drawn." * (number % 3),
            }
            annotations[split].append(
                {"id": id, "report": dict.fromkeys(REGIONS, "") | said, "split": split}
            )
        for place in range(max(1, number % 4)):
            view = f"{series}-{place + 1}001"
            projections.append(
                [uid, f"{uid}_{view}.dcm.png", "Lateral" if place == 1 else "Frontal"]
            )
            if number % 4 == 0:  # listed, but not there
                continue
            kaggle, openi, r2gen = (
                f"{uid}_{view}.dcm.png",
                f"CXR{uid}_{'1_' * (uid == 1)}{view}.png",
                f"{id}/{place}.png",
            )
            depth = np.uint16 if number % 2 else np.uint8
            picture = Image.fromarray(rng.integers(0, np.iinfo(depth).max, (9, 8), dtype=depth))
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            files[f"images/{(kaggle, openi, r2gen)[number // 4 % 3]}"] = buffer.getvalue()
    header = [
        "uid",
        "MeSH",
        "Problems",
        "image",
        "indication",
        "comparison",
        "findings",
        "impression",
    ]
    files[REPORTS] = to_csv([header, *reports])
    files[PROJECTIONS] = to_csv([["uid", "filename", "projection"], *projections])
    files[ANNOTATIONS] = json.dumps(annotations, indent=1).encode()
    return files


def to_csv(rows: list[list]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def load(folder: Path, images: int) -> Files:
    """The text files of a real collection and the first `images` images."""
    pictures = sorted(
        path for path in folder.joinpath("images").glob("*.png") if identify_image(path)
    )[:images]
    paths = [folder / name for name in TEXT_FILES] + pictures
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# --- damages: each takes the files and a random.Random, and changes the files


STRAY = (b'"', b",", b"\n", b"\r\n", b"\xe9", b"\xff\xfe", b"\0", b'""', b"\\", b"{", b"\xc3")


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice([1, 1, 2, 5, 40, 400, 4000]))
    piece, before, after = data[start:end], data[:start], data[end:]
    return rng.choice(
        [
            lambda: before,  # cut
            lambda: data[: data.rfind(b"\n", 0, start) + 1],  # cut at the end of a line
            lambda: before + bytes(rng.randrange(256) for _ in piece) + after,  # overwritten
            lambda: (
                before
                + bytes(byte ^ (1 << rng.randrange(8)) for byte in piece[:1])
                + data[start + 1 :]
            ),
            lambda: before + after,  # a hole
            lambda: before + piece + piece + after,  # a stutter
            lambda: before + piece[::-1] + after,  # swapped
            lambda: before + bytes(len(piece)) + after,  # NUL
            lambda: before + rng.choice(STRAY) + data[start:],
        ]
    )()


def bytes_of_text(files: Files, rng: random.Random) -> None:
    name = rng.choice(TEXT_FILES)
    files[name] = of_bytes(files[name], rng)


def bytes_of_image(files: Files, rng: random.Random) -> None:
    name = an_image(files, rng)
    files[name] = of_bytes(files[name], rng)


def an_image(files: Files, rng: random.Random) -> str:
    return rng.choice(sorted(name for name in files if name.startswith("images/")))


def file_of_text(files: Files, rng: random.Random) -> None:
    name, other = rng.sample(TEXT_FILES, 2)
    data = files[name]
    change = rng.choice(
        [
            "remove",
            "empty",
            "bom",
            "crlf",
            "utf-16",
            "latin-1",
            "other",
            "twice",
            "no last line end",
        ]
    )
    if change == "remove":
        del files[name]
    else:
        files[name] = {
            "empty": b"",
            "bom": b"\xef\xbb\xbf" + data,
            "crlf": data.replace(b"\n", b"\r\n"),
            "utf-16": data.decode("utf-8", "replace").encode("utf-16"),
            "latin-1": data.replace(b"e", b"\xe9", rng.randrange(1, 50)),
            "other": files[other],
            "twice": data + data,
            "no last line end": data.rstrip(b"\n"),
        }[change]


def image_file(files: Files, rng: random.Random) -> None:
    name, other = an_image(files, rng), an_image(files, rng)
    change = rng.choice(["remove", "rename", "empty", "copy", "as other", "text"])
    data = files[name]
    if change in ("remove", "rename"):
        del files[name]
    if change in ("rename", "copy"):
        names = [
            name + ".png",
            name.replace("CXR", "cxr-"),
            "images/x/y/" + Path(name).name,
            "images/scan.png",
            "images/99999_IM-1-1.png",
        ]
        files[rng.choice(names)] = data
    if change in ("empty", "text", "as other"):
        files[name] = {"empty": b"", "text": b"<html>not found</html>", "as other": files[other]}[
            change
        ]


CELLS = ("", "nan", "1.0", "-1", "0", "x" * 200, "a\nb", "99999", "\u0663", "{}", "1e3")


def rows_of_csv(files: Files, rng: random.Random) -> None:
    name = rng.choice([REPORTS, PROJECTIONS])
    rows = list(csv.reader(io.StringIO(files[name].decode(), newline="")))
    row, other, column = (
        rng.randrange(1, len(rows)),
        rng.randrange(1, len(rows)),
        rng.randrange(len(rows[0])),
    )
    junk = rng.choice([*CELLS, rows[other][0], rows[other][column]])
    change = rng.randrange(14)
    if change == 0:
        rows = [[cell for place, cell in enumerate(row) if place != column] for row in rows]
    elif change == 1:
        rows[0][column] = rng.choice(["", rows[0][column].upper() + "s", rows[0][column - 1]])
    elif change == 2:
        del rows[row]
    elif change == 3:
        rows.insert(other, list(rows[row]))
    elif change == 4:
        rows.insert(other, [*rows[row][:column], junk, *rows[row][column + 1 :]])
    elif change in (5, 6):
        rows[row][column] = junk
    elif change == 7:
        rows[row][0] = junk
    elif change == 8:
        rows[row].insert(column, junk)
    elif change == 9:
        del rows[row][column]
    elif change == 10:
        rows[row], rows[other] = rows[other], rows[row]
    elif change == 11:
        rows[1:] = [[*row[:column], junk, *row[column + 1 :]] for row in rows[1:]]
    elif change == 12:
        rows = [[*row[:column], *row[column:][::-1]] for row in rows]
    else:
        del rows[row : row + rng.randrange(1, len(rows))]
    files[name] = to_csv(rows)


VALUES = (
    None,
    1,
    1.5,
    True,
    [],
    {},
    "",
    "x",
    ["a"],
    {"bone": 1},
    "\ud800",
    "a\0b",
    "CXR99999_IM-0001",
    "train",
    [[[[]]]],
)


def entries_of_json(files: Files, rng: random.Random) -> None:
    content = json.loads(files[ANNOTATIONS])
    splits = sorted(content)
    split, elsewhere = rng.choice(splits), rng.choice(splits)
    place = rng.randrange(len(content[split]))
    entry = content[split][place]
    other = rng.choice(content[elsewhere])
    junk = rng.choice([*VALUES, other["id"]])
    inside = entry["report"] if "report" in entry and rng.random() < 0.5 else entry
    key = rng.choice(sorted(inside))
    change = rng.randrange(14)
    if change == 0:
        del content[split][place]
    elif change == 1:
        content[elsewhere].insert(0, entry)
    elif change == 2:
        content[elsewhere].append(entry | {"split": elsewhere})
    elif change == 3:
        content[elsewhere].append(content[split].pop(place) | {"split": elsewhere})
    elif change == 4:
        content[split].append(entry | {rng.choice(sorted(entry)): junk})
    elif change == 5:
        del inside[key]
    elif change == 6:
        inside[rng.choice([key.upper(), "x", "\udcff", ""])] = inside.pop(key)
    elif change in (7, 8):
        inside[key] = junk
    elif change == 9:
        inside["extra"] = junk
    elif change == 10:
        content[split][place] = junk
    elif change == 11:
        id = entry["id"]
        entry["id"] = rng.choice(
            [other["id"], "CXR99999_IM-0001", id.lower(), id + " ", id.replace("IM-", "IM-1")]
        )
    elif change == 12:
        content[rng.choice([split + "s", elsewhere, "dev"])] = content.pop(split)
    else:
        content[split] = rng.choice([{}, None, [], content[split][:place], {"0": entry}])
    files[ANNOTATIONS] = json.dumps(content, indent=rng.choice([None, 1])).encode()


DAMAGES: tuple[Callable[[Files, random.Random], None], ...] = (
    bytes_of_text,
    bytes_of_text,
    rows_of_csv,
    rows_of_csv,
    entries_of_json,
    entries_of_json,
    file_of_text,
    bytes_of_image,
    image_file,
)


# --- what became of it


def write(folder: Path, before: Files, after: Files) -> None:
    """Turn a folder that holds `before` into one that holds `after`."""
    for name in before.keys() - after.keys():
        (folder / name).unlink()
    for name, data in after.items():
        if before.get(name) is not data:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def compare(before: Collection, after: Collection) -> tuple[list[str], list[str]]:
    """(what was lost, what reads differently) without an incident that names it."""
    named = {incident.id for incident in set(after.incidents) - set(before.incidents)}
    named |= {
        key[0] for name in named if (key := identify_image(Path(name))) and "/" not in name
    }  # a row of the projections
    later = {study.uid: study for study in after.studies}
    lost, changed = [], []
    for study in before.studies:
        if {study.id, f"CXR{study.uid}"} & named:
            continue
        if study.uid not in later:
            lost.append(study.id)
            continue
        kept = {
            key: image for image in later[study.uid].images for key in (image.path, image.sha256)
        }
        for image in study.images:
            if {image.path, study.uid} & named:
                continue
            now = kept.get(image.sha256) or kept.get(image.path)
            if now is None:
                lost.append(image.path)
            elif (now.sha256, now.projection) != (image.sha256, image.projection):
                changed.append(image.path)
        if any(
            getattr(study, field) != getattr(later[study.uid], field)
            for field in ("id", "report", "split", "reference")
        ):
            changed.append(study.id)
    return lost, changed


def run(files: Files, count: int, seed: int) -> dict:
    """Counts of what `count` damages led to, and the first ten failures as `damage (seed):
    what`.
    """
    outcomes, unseen, failures, start = Counter(), Counter(), [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder = root / "raw"
        write(folder, {}, files)
        whole = iu_xray.read(folder, root, REGIONS)
        for number in range(seed, seed + count):
            rng, after = random.Random(number), dict(files)
            damage = rng.choice(DAMAGES)
            damage(after, rng)
            write(folder, files, after)
            try:
                read = iu_xray.read(folder, root, REGIONS)
            except UserError as error:
                outcomes["refused"] += 1
                if not str(error):
                    failures.append(f"{damage.__name__} ({number}): an error that says nothing")
            except Exception:
                outcomes["traceback"] += 1
                failures.append(f"{damage.__name__} ({number}): {traceback.format_exc(limit=-2)}")
            else:
                lost, changed = compare(whole, read)
                said = "named" if read.incidents != whole.incidents else "harmless"
                outcomes["silently_smaller" if lost else "unseen" if changed else said] += 1
                if lost:
                    failures.append(f"{damage.__name__} ({number}): lost {lost}")
                if changed:
                    unseen[damage.__name__] += 1
            write(folder, after, files)
            for name in after.keys() - files.keys():
                (folder / name).unlink(missing_ok=True)
    names = ("traceback", "silently_smaller", "refused", "named", "unseen", "harmless")
    return {
        "damages": count,
        "seed": seed,
        "studies": len(whole.studies),
        "images": sum(len(study.images) for study in whole.studies),
        **{outcome: outcomes[outcome] for outcome in names},
        "unseen_by": dict(sorted(unseen.items())),
        "seconds": round(time.perf_counter() - start, 1),
        "failures": failures[:10],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--from", dest="source", type=Path, help="a folder with the real text files and images/"
    )
    parser.add_argument("--images", type=int, default=20, help="of its images, at most")
    arguments = parser.parse_args()
    files = load(arguments.source, arguments.images) if arguments.source else compose()
    result = run(files, arguments.count, arguments.seed)
    print(json.dumps(result))
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
