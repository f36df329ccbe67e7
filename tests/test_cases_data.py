"""What people's tables and reports look like: forms that pandas, spreadsheets and report generators
give them.
"""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REGIONS
from PIL import Image as Pictures

from xraygen.annotators.router import router
from xraygen.core.cases import read_cases, read_pairs
from xraygen.core.errors import UserError
from xraygen.core.study import Case, Study
from xraygen.judges.proxy.proxy import Proxy
from xraygen.language.text import sentences, token_f1, without_list_markers
from xraygen.sources import Collection
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.iu_xray.text_files import TEXT_FILES
from xraygen.sources.phantom import phantom
from xraygen.sources.prepare import summary

REPORTS, PROJECTIONS, ANNOTATIONS = TEXT_FILES
UIDS = range(500, 512)
SAID = ("Cardiac size is ordinary.", "No airspace opacity.", "The ribs are whole.")


def collection(folder: Path) -> dict[str, bytes]:
    """The files of a small collection in Kaggle's layout: 6 training, 4 test and 2 val studies with
    a view each.
    """
    reports = [["uid", "findings"], *([str(uid), f"{' '.join(SAID)} Note {uid}."] for uid in UIDS)]
    names = {uid: f"{uid}_IM-0{uid}-1001.dcm.png" for uid in UIDS}
    projections = [
        ["uid", "filename", "projection"],
        *([str(uid), names[uid], "Frontal"] for uid in UIDS),
    ]
    entries: dict[str, list] = {"train": [], "test": [], "val": []}
    for uid in UIDS:
        split = "train" if uid < 506 else "test" if uid < 510 else "val"
        entry = {"id": f"CXR{uid}_IM-0{uid}", "split": split}
        if split != "val":
            entry["report"] = dict(
                zip(REGIONS, (SAID[2], SAID[0], SAID[1], "", f"Note {uid}."), strict=True)
            )
        entries[split].append(entry)
    files = {
        REPORTS: table(reports),
        PROJECTIONS: table(projections),
        ANNOTATIONS: json.dumps(entries).encode(),
    }
    for uid, name in names.items():
        drawn = io.BytesIO()
        Pictures.new("L", (28, 28), uid % 256).save(drawn, "PNG")
        files[f"images/{name}"] = drawn.getvalue()
    write(folder, files)
    return files


def table(rows: list[list[str]], **form) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **form).writerows(rows)
    return text.getvalue().encode()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture
def raw(tmp_path) -> Path:
    collection(tmp_path / "raw")
    return tmp_path / "raw"


def change(path: Path, old: str, new: str, times: int = -1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, times))


def read(raw: Path) -> Collection:
    return iu_xray.read(raw, raw.parent, REGIONS)


def kinds(found: Collection) -> dict[str, int]:
    counts: dict[str, int] = {}
    for incident in found.incidents:
        counts[incident.kind] = counts.get(incident.kind, 0) + 1
    return counts


# The collection


def test_the_small_collection_needs_no_repair(raw):
    found = read(raw)
    assert (
        len(found.studies) == 12
        and all(len(study.images) == 1 for study in found.studies)
        and not found.incidents
    )


@pytest.mark.parametrize("form", ["{}.0", "{}.", "{}.00", " {}.0 ", "0{}"])
def test_uids_as_pandas_writes_them_are_the_same_uids(raw, form):
    whole = read(raw).studies
    for name in (REPORTS, PROJECTIONS):
        rows = list(csv.reader(io.StringIO((raw / name).read_text())))
        (raw / name).write_bytes(
            table([rows[0], *([form.format(row[0]), *row[1:]] for row in rows[1:])])
        )
    found = read(raw)
    assert found.studies == whole
    assert kinds(found) == ({} if form == "0{}" else {"uid_decimal": 2})


@pytest.mark.parametrize("uid", ["nan", "", "500.5", "5e2", "CXR"])
def test_other_uids_lose_their_row_and_no_more(raw, uid):
    change(raw / REPORTS, "500,", f"{uid},", 1)
    found = read(raw)
    assert len(found.studies) == 11 and kinds(found) == {
        "row_malformed": 1,
        "report_missing": 1,
        "image_unclaimed": 1,
    }


def test_where_all_is_lost_the_most_frequent_kind_is_named_with_an_example(raw):
    change(raw / REPORTS, "\n5", "\nx5")
    with pytest.raises(
        UserError,
        match=r"no test study is left: 12 row_malformed, .* for example "
        r".*reports\.csv:2: uid 'x500'",
    ):
        read(raw)


def test_projections_of_which_no_row_is_usable_end_the_run(raw):
    change(raw / PROJECTIONS, "\n5", "\nu5")
    with pytest.raises(
        UserError,
        match=r"projections\.csv: no row is usable: 12 row_malformed; for example .*:2: uid 'u500'",
    ):
        read(raw)


@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_a_split_that_was_given_and_is_lost_ends_the_run(raw, split):
    content = json.loads((raw / ANNOTATIONS).read_text())
    for entry in content[split]:
        entry["id"] = "study"
    (raw / ANNOTATIONS).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"no {split} study is left: [246] entry_malformed"):
        read(raw)


@pytest.mark.parametrize("value", ["null", "NaN", '"nan"', '"None"', '"N/A"', '"<NA>"'])
def test_a_region_that_is_null_is_silent_and_counted(raw, value):
    whole = read(raw).studies
    change(raw / ANNOTATIONS, '"mediastinal": ""', f'"mediastinal": {value}', 3)
    found = read(raw)
    assert found.studies == whole and kinds(found) == {"annotation_null": 3}


@pytest.mark.parametrize("value", ["5", '["Wide."]', "true"])
def test_a_region_of_another_type_is_excluded(raw, value):
    change(raw / ANNOTATIONS, '"mediastinal": ""', f'"mediastinal": {value}', 1)
    assert kinds(read(raw)) == {
        "annotation_not_text": 1,
        "report_without_annotation": 1,
        "image_unclaimed": 1,
    }


@pytest.mark.parametrize("value", ["nan", "NaN", "None", "null", "<NA>", "N/A"])
def test_findings_that_spell_an_empty_cell_are_no_report(raw, value):
    change(raw / REPORTS, f"{' '.join(SAID)} Note 500.", value)
    assert kinds(read(raw)) == {"report_empty": 1, "image_unclaimed": 1}


def test_what_windows_wrote_reads_as_it_was_meant(raw):
    said = "Cardiac size – ordinary. The patient’s ribs are “whole”… 5 €."
    (raw / REPORTS).write_bytes(
        (raw / REPORTS).read_text().replace(f"{' '.join(SAID)} Note 500.", said).encode("cp1252")
    )
    found = read(raw)
    assert found.studies[0].report == said and kinds(found) == {"encoding": 1}


def test_windows_characters_that_became_control_characters_are_mended(raw):
    change(raw / ANNOTATIONS, "Note 500.", "Note \\u0096 500\\u0081.")
    found = read(raw)
    assert found.studies[0].reference["others"] == "Note – 500 ." and kinds(found) == {
        "text_characters": 1
    }


def test_pictures_that_are_links_elsewhere_end_the_run_and_one_of_them_is_counted(raw, tmp_path):
    paths = sorted((raw / "images").iterdir())
    (tmp_path / "store").mkdir()
    for path in paths[:1]:
        path.rename(tmp_path / "store" / path.name)
        path.symlink_to(tmp_path / "store" / path.name)
    assert kinds(read(raw))["image_outside"] == 1
    for path in paths[1:]:
        path.rename(tmp_path / "store" / path.name)
        path.symlink_to(tmp_path / "store" / path.name)
    with pytest.raises(
        UserError,
        match="no picture is left .* 12 image_outside, .*;"
        " for example raw/images/500.*link out of the folder",
    ):
        read(raw)


def test_links_that_lead_nowhere_or_in_a_circle_are_counted(raw):
    dangling, loop, *_ = sorted((raw / "images").iterdir())
    for path, target in ((dangling, raw / "gone.png"), (loop, loop)):
        path.unlink()
        path.symlink_to(target)
    assert kinds(read(raw)) == {"image_unreadable": 2}


def test_a_folder_of_pictures_of_no_study_ends_the_run(raw):
    for path in (raw / "images").iterdir():
        path.rename(path.with_name(f"9{path.name}"))
    with pytest.raises(UserError, match="no picture is left .*image_unclaimed"):
        read(raw)


def test_prepare_says_in_one_line_what_it_excludes_and_repairs(raw, root):
    project = raw.parent
    (project / "params.yaml").write_text(
        (root / "params.yaml").read_text().replace("source: phantom", "source: iu-xray")
    )

    def prepare() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "stages.prepare", "raw"]
        return subprocess.run(
            command,
            cwd=project,
            env={"PYTHONPATH": str(root), "PATH": ""},
            capture_output=True,
            text=True,
        )

    done = prepare()
    assert done.returncode == 0 and done.stdout + done.stderr == ""
    change(raw / ANNOTATIONS, '"mediastinal": ""', '"mediastinal": null', 2)
    change(raw / REPORTS, "501,", "x,")
    done = prepare()
    line = (
        "raw: excluded 1 image_unclaimed, 1 report_missing, 1 row_malformed;"
        " repaired 2 annotation_null; data/prepared/incid"
    )
    assert done.returncode == 0 and done.stderr.startswith(line) and done.stderr.count("\n") == 1, (
        done.stderr
    )
    change(raw / REPORTS, "\n5", "\nx5")
    done = prepare()
    assert (
        done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    ), done.stderr


def test_nothing_lost_is_nothing_said():
    assert summary([]) == ""


# Tables


def cases(tmp_path: Path, name: str, content: str | bytes, **options) -> list[Case]:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_cases(tmp_path / name, **options))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", "id,report\n1,Ribs whole.\n"),
        ("C.CSV", "id,report\n1,Ribs whole.\n"),
        ("c.Tsv", "id\treport\n1\tRibs whole.\n"),
        ("c.csv", "id;report\r\n1;Ribs whole.\r\n"),
        ("c.csv", "id\treport\n1\tRibs whole.\n"),
        ("c.csv", "\ufeffsep=;\r\nid;report\r\n1;Ribs whole.\r\n"),
        ("c.csv", "sep=\t\nid\treport\n1\tRibs whole.\n"),
        ("c.csv", '"sep=|"\nid|report\n1|Ribs whole.\n'),
        ("c.csv", 'id , report\n 1, "Ribs whole."\n'),
        ("c.csv", "ID,Report\n1,Ribs whole.\n"),
        ("c.csv", ",id,report\n0,1,Ribs whole.\n"),
        ("c.csv", "id,report,,\n1,Ribs whole.,,\n,,,\n"),
        ("c.csv", "id,report\r1,Ribs whole.\r"),
        ("C.JSONL", '{"id": "1", "report": "Ribs whole."}\n'),
        ("c.jsonl", '\ufeff{" ID ": 1.0, "REPORT": "Ribs whole."}\r\n'),
    ],
)
def test_a_table_is_read_in_every_form_that_programs_give_it(tmp_path, name, content):
    (case,) = cases(tmp_path, name, content)
    assert (case.id, case.report.strip()) == ("1", "Ribs whole.")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.csv", 'id,report\n1,a\n2,"The "boot" heart."\n3,c\n', r"c.csv:3: damaged CSV"),
        ("c.csv", 'sep=;\nid;report\n1;a\n2;"The "boot" heart."\n', r"c.csv:4: damaged CSV"),
        (
            "c.csv",
            'id,report\n1,"two\nlines"\n2,"never closed\n3,c\n4,d\n',
            r"c.csv:4: damaged CSV",
        ),
        ("c.csv", 'id,report\n1,"two\nlines"\n2,a,b\n', r"c.csv:4: more fields"),
        ("c.csv", "id,report\n\n1\n", r"c.csv:3: fewer fields"),
        ("c.csv", "id,text\n1,a\n", r"c.csv:1: no 'report'; there are: id, text"),
        ("c.csv", "sep=;\nid;text\n1;a\n", r"c.csv:2: no 'report'; there are: id, text"),
        (
            "c.csv",
            "id,REPORT,Report\n1,a,b\n",
            r"c.csv:1: 'report' is there twice, as REPORT and Report",
        ),
        ("c.csv", "id,report,note, note\n1,a,b,c\n", r"c.csv:1: the column 'note' is there twice"),
        ("c.csv", "id,report\n1,é\n".encode("utf-16"), "not UTF-8 text.*save it as UTF-8"),
        ("c.csv", "id,report\n1,a\n".encode("utf-16-le"), "UTF-16; save it as UTF-8"),
        ("c.csv", "id,report\n1,é\n".encode("cp1252"), "not UTF-8 text.*save it as UTF-8"),
        ("c.csv", "id,report\nnan,a\n", "c.csv:2: not a case: no id"),
        ("c.jsonl", '{"id": NaN, "report": "a"}\n', "c.jsonl:1: not a case: no id"),
        ("c.jsonl", '{"id": 1, "report": 5}\n', "c.jsonl:1: not a case: report"),
        ("c.xlsx", "PK", "neither .csv, .tsv nor .jsonl"),
    ],
)
def test_damage_is_named_with_the_line_in_which_it_is(tmp_path, name, content, said):
    with pytest.raises(UserError, match=said):
        cases(tmp_path, name, content)


def test_of_two_columns_the_one_that_is_spelt_as_expected_counts(tmp_path):
    assert cases(tmp_path, "c.csv", "id,report,Report\n1,a,b\n")[0].report == "a"


@pytest.mark.parametrize("gap", ["null", "NaN", '"nan"', '"None"', '"<NA>"', '" "', '"N/A"'])
def test_a_report_that_is_null_is_empty_in_json_lines_as_in_a_table(tmp_path, gap):
    first, second = cases(
        tmp_path,
        "c.jsonl",
        f'{{"id": "1", "report": {gap}}}\n{{"id": "2", "report": "Ribs whole."}}\n',
    )
    assert not first.report.strip() and second.report == "Ribs whole."
    if gap.startswith('"'):
        assert not cases(tmp_path, "c.csv", f"id,report\n1,{gap}\n")[0].report.strip()


def test_nothing_is_not_nothing_in_words(tmp_path):
    assert cases(tmp_path, "c.csv", "id,report\n1,None seen.\n")[0].report == "None seen."


def test_a_pair_with_an_empty_cell_is_silent(tmp_path):
    (tmp_path / "p.jsonl").write_text(
        '{"reference": NaN, "candidate": "nan"}\n{"Reference": "a", "candidate": "None"}\n'
    )
    assert [(row["reference"], row["candidate"]) for row in read_pairs(tmp_path / "p.jsonl")] == [
        ("", ""),
        ("a", ""),
    ]


@pytest.mark.parametrize("gap", ["null", "NaN", "[]", "[null]", '""', '"nan"'])
def test_images_that_are_null_are_none(tmp_path, gap):
    (case,) = cases(
        tmp_path, "c.jsonl", f'{{"id": "1", "report": "a", "images": {gap}}}\n', pictures=True
    )
    assert case.images == ()


@pytest.mark.parametrize(
    "column",
    ["image", "image_path", "image_paths", "img_path", "Picture", "filename", "frontal", "path"],
)
@pytest.mark.parametrize("value", ['"a.png"', '["a.PNG", "b.png"]', '{"path": "a.jpeg"}'])
def test_pictures_under_another_name_are_named_where_they_would_be_shown(tmp_path, column, value):
    row = f'{{"id": "1", "report": "a", "{column}": {value}}}\n'
    with pytest.raises(
        UserError, match=rf"c.jsonl:1: pictures are in the column '{column}'; rename it to images"
    ):
        cases(tmp_path, "c.jsonl", row, pictures=True)
    assert cases(tmp_path, "c.jsonl", row)[0].images == ()


@pytest.mark.parametrize(
    "row",
    ['"image": "Chest PA and lateral"', '"image": null', '"note": "see 2.png."', '"views": 2'],
)
def test_what_is_no_picture_is_another_column(tmp_path, row):
    (case,) = cases(tmp_path, "c.jsonl", f'{{"id": "1", "report": "a", {row}}}\n', pictures=True)
    assert case.images == ()


def test_images_are_found_in_other_case_and_stay_below_their_folder(tmp_path):
    (case,) = cases(tmp_path, "c.csv", "id,report,Images\n1,a,x.png; y.png\n", pictures=True)
    assert [image.path for image in case.images] == ["x.png", "y.png"]
    with pytest.raises(UserError, match="leaves the folder"):
        cases(tmp_path, "c.csv", "id,report,Images\n1,a,../x.png\n")


# Reports


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "heart size is ordinary. no opacity. ribs whole.",
            ["heart size is ordinary.", "no opacity.", "ribs whole."],
        ),
        ("heart size is ordinary . no opacity .", ["heart size is ordinary .", "no opacity ."]),
        ("heart size is ordinary\nno opacity", ["heart size is ordinary", "no opacity"]),
        ("no opacity.ribs whole.", ["no opacity.", "ribs whole."]),
        ("NO OPACITY. RIBS WHOLE.", ["NO OPACITY.", "RIBS WHOLE."]),
        ("no opacity; ribs whole", ["no opacity;", "ribs whole"]),
        ("opacity? no. ribs whole!", ["opacity?", "no.", "ribs whole!"]),
        ("a nodule of 1.5 cm. ribs whole.", ["a nodule of 1.5 cm.", "ribs whole."]),
        (
            "told to dr. smith, e.g. by phone. ribs whole.",
            ["told to dr. smith, e.g. by phone.", "ribs whole."],
        ),
        ("Told to Dr. Smith. Ribs whole.", ["Told to Dr. Smith.", "Ribs whole."]),
        (
            "approx. 5 mm vs. 4 mm before. ribs whole",
            ["approx. 5 mm vs. 4 mm before.", "ribs whole"],
        ),
        (
            "rt. base opacity, see fig. 2. ribs whole",
            ["rt. base opacity, see fig. 2.", "ribs whole"],
        ),
        ("1. no opacity. 2. ribs whole.", ["no opacity.", "ribs whole."]),
        ("1) no opacity 2) ribs whole", ["no opacity", "ribs whole"]),
        ("- no opacity\n- ribs whole", ["no opacity", "ribs whole"]),
        ("a nodule (2 x 3) cm. ribs whole", ["a nodule (2 x 3) cm.", "ribs whole"]),
        ("Seen.Heart ordinary", ["Seen.", "Heart ordinary"]),
    ],
)
def test_sentences_end_where_they_do_in_any_case(text, parts):
    assert sentences(text) == parts


@pytest.fixture(scope="module")
def fitted() -> tuple[router.Router, list[Study]]:
    """A router of generated studies, without their pictures, and others to ask it about."""

    def generated(split: str, numbers: range) -> list[Study]:
        made = [phantom(seed=3, k=k) for k in numbers]
        return [
            Study(id=one.id, uid=one.uid, split=split, report=one.report, reference=one.reference)
            for one in made
        ]

    return router.fit(
        generated("train", range(400)), router.RouterParams(epochs=4), REGIONS
    ), generated("test", range(400, 460))


def as_tokens(text: str) -> str:
    return " ".join(
        "".join(f" {mark} " if mark in ".,;" else mark for mark in text.lower()).split()
    )


@pytest.mark.parametrize(
    "form", [str.lower, as_tokens, str.upper], ids=["small letters", "tokens", "capitals"]
)
def test_the_router_reads_a_report_in_any_letters(fitted, form):
    model, studies = fitted
    for region in REGIONS.scored:
        scores = []
        for say in (str, form):
            found = [
                token_f1(study.reference[region], model.annotate(say(study.report))[region])
                for study in studies
            ]
            found = [score for score in found if score is not None]
            scores.append(sum(found) / len(found))
        assert scores[1] > scores[0] - 0.02 > 0.7, (region, scores)


# Lists


LISTED = [
    "- Ribs are whole.\n- No opacity.",
    "1. Ribs are whole.\n2. No opacity.",
    "1. Ribs are whole. 2. No opacity.",
    "1) Ribs are whole. 2) No opacity.",
    "1) Ribs are whole 2) No opacity",
    "(1) Ribs are whole. (2) No opacity.",
    "a) Ribs are whole.\nb) No opacity.",
    "* Ribs are whole.\n* No opacity.",
    "• Ribs are whole\n• No opacity",
    "1.Ribs are whole.\n2.No opacity.",
    "1.\nRibs are whole.\n2.\nNo opacity.",
    "  1 - Ribs are whole.\n  2 - No opacity.",
]


@pytest.mark.parametrize("text", LISTED)
def test_list_markers_are_no_findings(text):
    plain = "Ribs are whole. No opacity."
    (opinion,) = Proxy().judge([(plain, text)])
    (turned,) = Proxy().judge([(text, plain)])
    assert opinion.score == turned.score == 1.0
    assert opinion.errors.a == opinion.errors.b == 0 and opinion.matched_findings == 2


def test_numbers_that_mark_nothing_stay():
    for text in (
        "A nodule of 1.5 cm.",
        "Fracture of rib 3. Opacity.",
        "-5 units",
        "Two views (1) and (2) x 3 cm.",
    ):
        assert without_list_markers(text) == text
    (opinion,) = Proxy().judge([("A nodule of 3 cm.", "A nodule of 9 cm.")])
    assert opinion.score < 1


@pytest.mark.parametrize(
    "text",
    [
        "(R) lower lobe opacity.",
        "(L) lung is clear.",
        "C. difficile colitis.",
        "A. fib history.",
        "2 - view chest.",
    ],
)
def test_what_only_looks_like_a_list_marker_stays(text):
    assert sentences(text) == [text]
