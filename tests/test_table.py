"""Studies from a table of the user's: formats, splits by patient, and every kind of damage."""

import csv
import importlib.util
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from xraygen.core.errors import UserError
from xraygen.core.study import Study
from xraygen.sources import Collection, prepare
from xraygen.sources.table.incidents import KINDS
from xraygen.sources.table.table import Table, TableSettings

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("table_damage", ROOT / "bench" / "table_damage.py")
damage = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(damage)

REGIONS = damage.REGIONS  # airway, skeleton, upper abdomen
BY_REGION = {region: region for region in REGIONS}


def row(number: int, **changes) -> dict:
    """A study of a patient with two; the first two patients in test, the others in train."""
    said = {
        "airway": f"Trachea at {number}.",
        "skeleton": "Ribs intact." if number % 2 else "",
        "upper abdomen": "",
    }
    plain = {
        "study": f"S{number}",
        "patient": f"P{number // 2}",
        "report": f"Trachea at {number}. Ribs intact.",
        "split": "test" if number < 4 else "train",
        "images": "",
        "view": "",
    }
    return plain | said | changes


def read(folder: Path, rows: list[dict] | bytes, name: str = "mine.csv", **changes) -> Collection:
    """`rows` as a file of the format that `name` tells, or its bytes, read by the source."""
    path = folder / "data" / "raw" / "table" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, bytes):
        path.write_bytes(rows)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    elif name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
        from pyarrow import Table as Arrow
        from pyarrow import parquet

        parquet.write_table(Arrow.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    chosen = {
        "id": "study",
        "patient": "patient",
        "split": "split",
        "images": "images",
        "projection": "view",
        "reference": BY_REGION,
    }
    table = Table(TableSettings(file=name, **(chosen | changes)), REGIONS)
    return table.read(path.parent, folder / "drawn", folder)


def rows(count: int = 10, **at: dict) -> list[dict]:
    """`at`: {"r3": what is other in row 3}."""
    return [row(number, **at.get(f"r{number}", {})) for number in range(count)]


def kinds(collection: Collection) -> Counter:
    return Counter((one.action, one.kind) for one in collection.incidents)


def by_id(collection: Collection) -> dict[str, Study]:
    return {study.id: study for study in collection.studies}


def picture(folder: Path, name: str, shade: int, size: int = 8) -> str:
    path = folder / "data" / "raw" / "table" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("L", (size, size), shade).save(path)
    return name


# --- formats


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl", "mine.parquet"])
def test_every_format_gives_the_same_studies(tmp_path, name):
    expected = read(tmp_path, rows(), "expected.csv").studies
    assert len(expected) == 10
    assert read(tmp_path, rows(), name).studies == expected
    study = expected[5]
    assert (study.id, study.patient, study.split) == ("S5", "P2", "train")
    assert study.report == "Trachea at 5. Ribs intact."
    assert study.reference == {
        "airway": "Trachea at 5.",
        "skeleton": "Ribs intact.",
        "upper abdomen": "",
    }


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_separators_and_encodings_of_spreadsheets_are_understood(tmp_path, separator, encoding):
    table = rows(r5={"report": "Trachée à 5, “intact”.\nOne more line."})
    lines = []
    for one in [dict(zip(table[0], table[0], strict=True)), *table]:
        quoted = (f'"{cell}"' if "\n" in cell else cell for cell in one.values())
        lines.append(
            separator.join(quoted) if separator != "," else ",".join(map(_quoted, one.values()))
        )
    collection = read(tmp_path, ("\r\n".join(lines) + "\r\n").encode(encoding))
    assert by_id(collection)["S5"].report == "Trachée à 5, “intact”.\nOne more line."
    assert len(collection.studies) == 10
    expected = {} if encoding == "utf-8-sig" else {("repaired", "encoding"): 1}
    assert kinds(collection) == expected


def _quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell or "\n" in cell else cell


def test_ids_stay_what_they_are_and_numbers_lose_no_digit(tmp_path):
    number = 10**17 + 1  # more digits than a float has
    table = rows(r5={"study": number}, r6={"study": "007"}, r7={"study": 12.0})
    ids = by_id(read(tmp_path, table, "mine.jsonl"))
    assert {str(number), "007", "12"} < ids.keys()
    assert "007" in by_id(read(tmp_path, rows(r6={"study": "007"}), "mine.csv"))


def test_a_parquet_column_of_integers_with_gaps_is_read_without_decimals(tmp_path):
    table = [one | {"patient": None if k == 9 else k // 2} for k, one in enumerate(rows())]
    studies = by_id(read(tmp_path, table, "mine.parquet"))
    assert studies["S5"].patient == "2" and "S9" not in studies


def test_a_reference_may_be_json_in_one_column(tmp_path):
    table = [
        one | {"reference": json.dumps({r: one[r] for r in REGIONS if one[r]})} for one in rows()
    ]
    expected = read(tmp_path, rows(), "expected.csv").studies
    assert read(tmp_path, table, reference="reference").studies == expected
    nested = [one | {"reference": json.loads(one["reference"])} for one in table]
    assert read(tmp_path, nested, "mine.jsonl", reference="reference").studies == expected


def test_silence_differs_from_no_reference(tmp_path):
    silent = dict.fromkeys(REGIONS, "")
    missing = dict.fromkeys(REGIONS)
    table = rows(r5=silent | {"split": "train"}, r6=missing | {"split": ""})
    studies = by_id(read(tmp_path, table, "mine.jsonl"))
    assert studies["S5"].reference == silent and studies["S5"].split == "train"
    assert studies["S6"].reference is None and studies["S6"].split == "val"
    # In CSV both are an empty cell, which means no reference; JSON in a column can say either.
    assert by_id(read(tmp_path, rows(r5=silent), "mine.csv"))["S5"].split == "val"
    column = [one | {"r": "{}" if k == 5 else '{"airway": "x"}'} for k, one in enumerate(rows())]
    column[6]["r"] = "null"
    studies = by_id(read(tmp_path, column, reference="r"))
    assert studies["S5"].reference == silent and studies["S6"].reference is None


# --- splits


def test_words_for_splits_and_a_validation_split_with_references_is_dev(tmp_path):
    words = ["Test", "test", "TESTING", "test", "train", "training", "valid", "validation"]
    words += ["dev", "val"]
    table = [row(k, split=word) for k, word in enumerate(words)]
    studies = by_id(read(tmp_path, table, patient=None))
    found = [studies[f"S{k}"].split for k in range(10)]
    assert found == ["test"] * 4 + ["train"] * 2 + ["dev"] * 4
    kept = prepare.split(list(studies.values()), seed=0, dev_share=0.5)
    assert len(kept["train"]) == 2, "a dev split that is given is not enlarged out of train"


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 12), min_size=8, max_size=60),
    st.integers(0, 3),
    st.floats(0.1, 0.6),
    st.floats(0.1, 0.6),
)
def test_no_patient_is_in_two_of_train_dev_and_test(tmp_path_factory, patients, seed, test, dev):
    folder = tmp_path_factory.mktemp("t")
    table = [row(k, patient=f"P{patient}", split="") for k, patient in enumerate(patients)]
    for number in range(0, len(table), 7):
        table[number] |= dict.fromkeys(REGIONS, "")
    curated = {one["patient"] for one in table if one["airway"]}
    if len(curated) < 2:
        return
    studies = read(folder, table, split=None, seed=seed, test_share=test).studies
    assert len(studies) == len(table)
    splits = prepare.split(studies, seed, dev)
    where = defaultdict(set)
    for name in ("train", "dev", "test"):
        for study in splits[name]:
            where[study.patient].add(name)
    assert all(len(names) == 1 for names in where.values())
    assert splits["train"] and splits["test"]
    assert all(study.reference is None for study in splits["val"])
    again = read(folder, table[::-1], split=None, seed=seed, test_share=test).studies
    assert again == studies, "the order of rows does not matter"


def test_the_share_and_the_seed_draw_test(tmp_path):
    table = [row(k, split="") for k in range(200)]
    drawn = {
        (seed, share): {
            study.id
            for study in read(tmp_path, table, split=None, seed=seed, test_share=share).studies
            if study.split == "test"
        }
        for seed, share in [(0, 0.2), (1, 0.2), (0, 0.4)]
    }
    assert len(drawn[0, 0.2]) == 40 and len(drawn[0, 0.4]) == 80
    assert drawn[0, 0.2] < drawn[0, 0.4] and drawn[0, 0.2] != drawn[1, 0.2]


def test_a_patient_in_two_given_splits_is_refused_without_being_named(tmp_path):
    with pytest.raises(UserError) as caught:
        read(tmp_path, rows(r5={"patient": "P1"}))
    said = str(caught.value)
    assert "1 patients are in more than one split" in said and "line 4" in said
    assert "split: null" in said and "P1" not in said
    # In val, which is compared with nothing, a patient of another split may be.
    studies = read(tmp_path, rows(r5=dict.fromkeys(REGIONS, "") | {"patient": "P1"})).studies
    assert len(studies) == 10


def test_a_record_without_a_patient_reads_as_before(tmp_path):
    study = read(tmp_path, rows(), patient=None).studies[0]
    assert study.patient is None and "patient" not in study.model_dump_json()
    study = read(tmp_path, rows()).studies[0]
    assert Study.model_validate_json(study.model_dump_json()) == study
    assert not hasattr(study.case(), "patient")


# --- images


def test_images_of_a_row_or_of_several_rows_frontal_first(tmp_path):
    one = picture(tmp_path, "a/side.png", 1)
    two = picture(tmp_path, "a/front.png", 2)
    several = rows(r5={"images": f"{one}; a\\front.png", "view": "LL;PA"})
    collection = read(tmp_path, several)
    images = by_id(collection)["S5"].images
    assert [(image.path, image.projection) for image in images] == [
        ("data/raw/table/a/front.png", "frontal"),
        ("data/raw/table/a/side.png", "lateral"),
    ]
    rowwise = rows(r5={"images": one, "view": "lateral"})
    rowwise.insert(6, rowwise[5] | {"images": two, "view": "AP"})
    assert by_id(read(tmp_path, rowwise))["S5"].images == images
    assert len(read(tmp_path, rowwise).studies) == 10 and not collection.incidents
    listed = [{"path": one, "projection": "lateral"}, {"path": two, "projection": "frontal"}]
    read_json = read(tmp_path, rows(r5={"images": listed}), "mine.jsonl")
    assert by_id(read_json)["S5"].images == images
    in_a_cell = rows(r5={"images": json.dumps([one, two]), "view": '["lateral", "pa"]'})
    assert by_id(read(tmp_path, in_a_cell))["S5"].images == images


def test_dicom_tells_its_own_projection_where_the_table_does_not(tmp_path):
    pytest.importorskip("pydicom")
    from test_dicom import write

    folder = tmp_path / "data/raw/table"
    folder.mkdir(parents=True)
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for name, position in [("side.dcm", "LL"), ("front", "PA"), ("told.dcm", "LL")]:
        write(folder / name, pixels, ViewPosition=position)
        pixels = pixels + 1  # the same picture of two patients would be excluded
    (folder / "cut.dcm").write_bytes((folder / "side.dcm").read_bytes()[:300])
    table = rows(
        r5={"images": "side.dcm;front"},
        r6={"images": "told.dcm", "view": "frontal"},
        r7={"images": "cut.dcm"},
    )
    collection = read(tmp_path, table)
    studies = by_id(collection)
    views = [(Path(image.path).name, image.projection) for image in studies["S5"].images]
    assert views == [("front", "frontal"), ("side.dcm", "lateral")]
    assert studies["S6"].images[0].projection == "frontal"
    assert kinds(collection) == {("excluded", "image_unreadable"): 1}


# --- damage: kind -> (what is other, ids of the incidents, how many studies are left of ten)


def _outside(folder: Path) -> str:
    picture(folder, "../secret.png", 9)
    return "../secret.png"


def _link(folder: Path) -> str:
    (folder / "secret.png").write_bytes(b"x")
    (folder / "data/raw/table").mkdir(parents=True, exist_ok=True)
    (folder / "data/raw/table/link.png").symlink_to(folder / "secret.png")
    return "link.png"


def _cut(folder: Path) -> str:
    path = folder / "data/raw/table" / picture(folder, "cut.png", 5, 64)
    path.write_bytes(path.read_bytes()[:-20])
    return "cut.png"


NAMED = {
    "text_characters": ({"r5": {"report": "Trachea\0 at\x1b 5."}}, ["S5"], 10),
    "reference_missing": ({"r5": dict.fromkeys(REGIONS, "")}, ["S5"], 10),
    "projection_value": ({"r5": {"images": "good.png", "view": "oblique"}}, ["S5"], 10),
    "id_missing": ({"r5": {"study": " nan "}}, ["mine.csv:7"], 9),
    "report_missing": ({"r5": {"report": "None"}}, ["S5"], 9),
    "split_unknown": ({"r5": {"split": "holdout"}}, ["S5"], 9),
    "patient_missing": ({"r5": {"patient": ""}}, ["S5"], 9),
    "id_conflict": ({"r5": {"study": "S6"}}, ["S6"], 8),
    "image_missing": ({"r5": {"images": "gone.png;good.png"}}, ["S5"], 10),
    "image_unreadable": ({"r5": {"images": _cut}}, ["S5"], 10),
    "image_shared": (
        {"r5": {"images": "same.png"}, "r6": {"images": "same.png"}},
        ["S5", "S6"],
        10,
    ),
}


@pytest.mark.parametrize("kind", sorted(NAMED))
def test_each_kind_of_damage_is_named(tmp_path, kind):
    at, ids, left = NAMED[kind]
    picture(tmp_path, "good.png", 3)
    picture(tmp_path, "same.png", 4)
    changed = {
        key: {name: cell(tmp_path) if callable(cell) else cell for name, cell in cells.items()}
        for key, cells in at.items()
    }
    changed["r9"] = {"images": picture(tmp_path, "whole.png", 6)}  # not all images are lost
    collection = read(tmp_path, rows(**changed))
    action = KINDS[kind].partition(":")[0]
    assert [one.id for one in collection.incidents if one.kind == kind] == ids
    assert kinds(collection) == {(action, kind): len(ids)}
    assert len(collection.studies) == left


@pytest.mark.parametrize(
    "make",
    [
        _outside,
        _link,
        lambda folder: "/etc/hostname",
        lambda folder: "c:\\x.png",
        lambda folder: "https://example.org/x.png",
    ],
)
def test_an_image_outside_the_folder_is_excluded(tmp_path, make):
    picture(tmp_path, "good.png", 3)
    changed = {"r5": {"images": make(tmp_path)}, "r9": {"images": "good.png"}}
    collection = read(tmp_path, rows(**changed))
    assert kinds(collection) == {("excluded", "image_outside"): 1}
    assert not by_id(collection)["S5"].images and by_id(collection)["S9"].images


def test_rows_that_repeat_or_are_ragged_are_counted(tmp_path):
    assert kinds(read(tmp_path, [*rows(), row(5)])) == {("repaired", "row_duplicate"): 1}
    lines = [",".join(row(0))] + [",".join(one.values()) for one in rows()]
    ragged = "\n".join([*lines, "S10,P5,too,few", lines[3] + ",more", ",,,,,,,,"]) + "\n"
    collection = read(tmp_path, ragged.encode())
    assert kinds(collection) == {("excluded", "row_malformed"): 2} and len(collection.studies) == 10
    assert [one.id for one in collection.incidents] == ["mine.csv:12", "mine.csv:13"]
    cut = "\n".join(lines).encode()
    assert kinds(read(tmp_path, cut)) == {("repaired", "file_unterminated"): 1}


@pytest.mark.parametrize(
    "cell, kind, left",
    [
        ('{"airway": 3}', "reference_malformed", 9),
        ('{"airway": "x", "airway": "y"}', "reference_malformed", 9),
        ('["airway"]', "reference_malformed", 9),
        ('{"airway"', "reference_malformed", 9),
        ('{"liver": "x"}', "reference_malformed", 9),
        ('{"airway": "x", "liver": "y"}', "reference_unknown_key", 10),
        ('{"airway": "x\\u0000"}', "text_characters", 10),
    ],
)
def test_a_json_reference_that_cannot_be_read(tmp_path, cell, kind, left):
    table = [one | {"r": '{"airway": "x"}'} for one in rows()]
    table[5]["r"] = cell
    collection = read(tmp_path, table, reference="r")
    assert [one.kind for one in collection.incidents] == [kind]
    assert len(collection.studies) == left


def test_every_kind_is_tested():
    covered = NAMED.keys() | {"encoding", "image_outside", "row_duplicate", "row_malformed"}
    covered |= {"file_unterminated", "reference_malformed", "reference_unknown_key"}
    assert covered == KINDS.keys()


def test_every_kind_is_in_the_docs():
    page = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` | {meaning} |\n" in page for kind, meaning in KINDS.items())


# --- refusals


@pytest.mark.parametrize(
    "content, changes, said",
    [
        (b"", {}, "no 'study'; there are: none"),
        (b"study;patient\n1;2\n", {}, "no 'report'; there are: study, patient"),
        (damage.to_csv([])[:5] + b"\0\0\0\n", {}, "not text, or UTF-16"),
        (b"\xff\xfeS\0t", {}, "mine.csv"),
        (rows(), {"report": "Report text"}, "no 'Report text'"),
        ([row(k, split="train") for k in range(10)], {}, "no test study with a reference is left"),
        (
            [row(k, report="") for k in range(9)],
            {},
            "no train study with a reference is left: 9 report_missing",
        ),
        (rows(r5={"images": "gone.png"}), {}, "none of the images"),
        (rows(1), {"split": None}, "fewer than two patients have a reference"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_line(tmp_path, content, changes, said):
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, **changes)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_a_header_is_refused_without_repeating_a_report(tmp_path):
    report = "Trachea midline, and a good many more words about this one patient than a name has."
    content = f'S1,"{report}",x\nS2,"{report}",y\n'.encode()
    with pytest.raises(UserError, match="does not look like names of columns") as caught:
        read(tmp_path, content)
    assert "Trachea" not in str(caught.value)


def test_a_quote_that_swallows_rows_is_refused(tmp_path):
    lines = [",".join(row(0))] + [",".join(one.values()) for one in rows()]
    lines[5] = '"' + lines[5]
    lines[7] = lines[7].replace("Ribs intact.,", 'Ribs 2",', 1)
    with pytest.raises(UserError, match="swallows rows|damaged CSV"):
        read(tmp_path, ("\n".join(lines) + "\n").encode())


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"reference": {"airway": "a", "liver": "b"}}, "no region 'liver'"),
        ({"reference": {"airway": "a"}}, "no column for the region 'skeleton'"),
    ],
)
def test_reference_columns_are_checked_against_the_regions(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        read(tmp_path, rows(), **changes)


@pytest.mark.parametrize("file", ["../x.csv", "/x.csv", "x.xlsx", "a\\x.csv"])
def test_the_file_is_below_its_folder_and_of_a_known_format(file):
    with pytest.raises(ValueError):
        TableSettings(file=file, reference="r")


def test_parquet_without_its_library_names_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "data/raw/table").mkdir(parents=True)
    with pytest.raises(UserError, match=r"-c constraints.txt -e '\.\[parquet\]'"):
        read(tmp_path, b"PAR1", "mine.parquet")


def test_a_damaged_parquet_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="mine.parquet: cannot be read"):
        read(tmp_path, b"PAR1 and no more", "mine.parquet")


def test_random_damage_gives_no_traceback_and_no_silently_smaller_data_set():
    thorough = settings.default is settings.get_profile("thorough")
    result = damage.run(2000 if thorough else 300, seed=0)
    assert result["failures"] == []
    assert result["refused"] and result["named"] and result["harmless"]
