"""`xraygen init FILE`: what it infers of a table, what it writes, and what it leaves alone."""

import csv
import importlib.util
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from xraygen import params
from xraygen.cli import main
from xraygen.core.errors import UserError
from xraygen.sources.table.infer import infer
from xraygen.sources.table.init import DROPPED, init

SAID = ("Lines in place.", "Liver edge smooth.", "No free air seen.")


def rows(count: int = 40, **columns) -> list[dict]:
    """`columns`: by name a value, or what makes one of the row's number."""
    return [
        {name: made(number) if callable(made) else made for name, made in columns.items()}
        for number in range(count)
    ]


def report(number: int) -> str:
    return f"Film {number}. Lines in place. Liver edge smooth. No free air seen."


PLAIN = {
    "id": lambda n: f"A{n}",
    "report": report,
    "ref_devices": lambda n: SAID[0] if n % 5 else "",
    "ref_abdomen": lambda n: SAID[1] if n % 5 else "",
}


@pytest.mark.parametrize(
    "columns, expected",
    [
        (PLAIN, {"id": "id", "report": "report", "patient": None, "split": None, "images": None}),
        (PLAIN, {"reference": {"devices": "ref_devices", "abdomen": "ref_abdomen"}}),
        # no word says that these are references, but they repeat what the report says
        (
            {
                "Exam": lambda n: 1000 + n,
                "MRN": lambda n: 7000 + n // 2,
                "Age": lambda n: 20 + n % 60,
                "Indication": "Cough and fever for three days.",
                "Text": report,
                "Conclusion": lambda n: SAID[n % 3],
                "Ward": "North wing second floor.",
                "Devices": SAID[0],
                "Abdomen": lambda n: SAID[1] if n % 2 else "",
                "Fold": lambda n: ("train", "TEST")[n % 8 == 0],
            },
            {
                "id": "Exam",
                "patient": "MRN",
                "report": "Text",
                "split": "Fold",
                "reference": {"Devices": "Devices", "Abdomen": "Abdomen"},
                "ignored": ("Age", "Indication", "Conclusion", "Ward"),
            },
        ),
        # one study for each patient: the patient's id is still not taken for the study's
        ({"patient_id": lambda n: f"P{n}", "no": lambda n: n} | PLAIN | {"id": "x"}, {"id": "no"}),
        # what is about a patient is not the patient's id
        (
            PLAIN
            | {
                "patient_age": lambda n: 20 + n % 30,
                "PatientAge": lambda n: 20 + n % 30,
                "patient_class": lambda n: ("inpatient", "ward", "emergency")[n % 3],
            },
            {"patient": None, "ignored": ("patient_age", "PatientAge", "patient_class")},
        ),
        *(
            (PLAIN | {"patient_age": lambda n: n, name: lambda n: f"P{n // 4}"}, {"patient": name})
            for name in (
                "PatientID",
                "patient no",
                "anon_subject_key",
                "mrn",
                "pat_nr",
                "Patienten-Nr.",
            )
        ),
        # an image a row: the id is the study's, though the image's own is different in every row
        (
            {
                "dicom_id": lambda n: f"d{n}",
                "study_id": lambda n: f"s{n // 2}",
                "subject_id": lambda n: f"p{n // 6}",
                "path": lambda n: f"files/{n}.png",
                "ViewPosition": lambda n: ("PA", "LATERAL")[n % 2],
                "findings": lambda n: report(n // 2),
                "impression": "No acute disease is seen here.",
                "annotation": lambda n: json.dumps({"devices": SAID[0], "free air": None}),
            },
            {
                "id": "study_id",
                "patient": "subject_id",
                "images": "path",
                "projection": "ViewPosition",
                "report": "findings",
                "also": ("impression",),
                "reference": "annotation",
                "regions": ("devices", "free air"),
            },
        ),
        # as JSON Lines gives it
        (
            {
                "id": lambda n: n,
                "report": report,
                "images": lambda n: [{"path": f"{n}.dcm", "projection": "frontal"}],
                "reference": lambda n: {"devices": SAID[0]} if n % 3 else None,
                "patient": lambda n: n // 3,
            },
            {"id": "id", "images": "images", "reference": "reference", "patient": "patient"},
        ),
    ],
)
def test_columns_are_told_by_name_and_content(columns, expected):
    found = infer(rows(**columns), {})._asdict()
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    "names, regions",
    [
        (("lung_findings", "heart_findings"), ("lung", "heart")),
        (("findings_lung", "Heart text"), ("lung", "Heart")),
        (("ref_lung_text", "ref_heart_text"), ("lung", "heart")),
        (("lung_findings", "lung_impression"), ("lung_findings", "lung_impression")),
    ],
)
def test_a_region_is_what_is_left_of_a_columns_name(names, regions):
    plain = {key: PLAIN[key] for key in ("id", "report")}
    said = dict(zip(names, SAID, strict=False))
    assert infer(rows(**plain, **said), {}).regions == regions


def test_sections_of_the_report_are_not_references_unless_named():
    sections = {
        "Final Impression": SAID[0],
        "clinical_history": SAID[1],
        "reason for exam": SAID[2],
        "Diagnosis": SAID[0],
    }
    found = infer(rows(**PLAIN, **sections), {})
    assert found.regions == ("devices", "abdomen")
    plain = {key: PLAIN[key] for key in ("id", "report")}
    with pytest.raises(UserError, match="no column seems to hold references"):
        infer(rows(**plain, **sections), {})
    assert infer(rows(**plain, **sections), {}, ["Diagnosis"]).regions == ("Diagnosis",)


def test_text_that_is_ignored_is_named():
    notes = infer(rows(**PLAIN, ward="North wing, second floor.", impression=report), {}).notes
    assert [note for note in notes if note.startswith("reference: ") and ": ward;" in note]
    assert not infer(rows(**PLAIN), {}).notes


def test_copies_of_the_report_are_not_references():
    copies = {
        "report_en": report,
        "ref_all": report,
        "overview": lambda n: report(n).replace("seen", "visible"),
    }
    found = infer(rows(**PLAIN, **copies), {})
    assert found.reference == {"devices": "ref_devices", "abdomen": "ref_abdomen"}
    plain = {key: PLAIN[key] for key in ("id", "report")}
    by_content = {"Devices": SAID[0], "Abdomen": lambda n: SAID[1] if n % 2 else ""}
    found = infer(rows(**plain, **by_content, **copies), {})
    assert found.reference == {"Devices": "Devices", "Abdomen": "Abdomen"}
    assert {"report_en", "overview"} <= set(found.ignored)
    with pytest.raises(UserError, match="no column seems to hold references"):
        infer(rows(**plain, **copies), {})
    # A curator's text about all there is, and long, but in other words, is a reference.
    own = "The devices and the abdomen are unremarkable in this film of today."
    assert infer(rows(**plain, gold_a=own, gold_b=SAID[0]), {}).regions == ("a", "b")


def test_a_misspelt_key_is_not_a_region():
    def curated(number: int) -> str:
        slip = {"abdomn": SAID[1]} if number % 50 == 7 else {"abdomen": SAID[1]}
        rare = {"devices": SAID[0]} if number % 20 == 0 else {}
        return json.dumps(slip | {"air": SAID[2]} | rare)

    plain = {key: PLAIN[key] for key in ("id", "report")}
    found = infer(rows(100, **plain, reference=curated), {})
    assert set(found.regions) == {"abdomen", "air", "devices"}
    (note,) = [note for note in found.notes if note.startswith("regions: ")]
    assert "abdomn in 2;" in note
    # One of 20 is not rare, and among keys of which all are rare none is a slip.
    assert "abdomn" in infer(rows(20, **plain, reference=curated), {}).regions
    alone = infer(rows(30, **plain, r=lambda n: json.dumps({f"part {n}": "said."})), {})
    assert len(alone.regions) == 30


def test_what_the_user_names_is_taken():
    table = rows(**PLAIN, mine=lambda n: f"B{n}", summary=report)
    named = {"id": "mine", "report": "summary"}
    found = infer(table, named, ["ref_abdomen"])
    assert (found.id, found.report, found.reference) == (
        "mine",
        "summary",
        {"abdomen": "ref_abdomen"},
    )
    with pytest.raises(UserError, match="--reference ref_abdomen: is given 2 times"):
        infer(table, {}, ["ref_abdomen", "ref_devices", "ref_abdomen"])
    with pytest.raises(UserError, match="no column 'hers'; there are: id, report"):
        infer(table, {"id": "hers"})


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"id": lambda n: n, "report": report}, "references.*--reference"),
        ({"report": report, "ref_a": SAID[0], "ref_b": SAID[1]}, "--id"),
        ({"id": lambda n: n, "age": lambda n: n}, "--report"),
        ({"A1": lambda n: n, 2 * report(0): report}, "first line does not look like names"),
        (
            {
                "id": lambda n: n,
                "report": report,
                "r": lambda n: json.dumps({f"finding {n} {k}": "x" for k in range(3)}),
            },
            "120 different keys",
        ),
    ],
)
def test_what_is_not_there_is_named_with_the_option_that_helps(columns, said):
    with pytest.raises(UserError, match=said):
        infer(rows(**columns), {})


# --- the project


@pytest.fixture
def project(tmp_path, root, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(root / "params.yaml", folder)
    for kind in ("scores", "usage"):
        (folder / "metrics" / kind).mkdir(parents=True)
        for name in ("router", *DROPPED):
            (folder / "metrics" / kind / f"{name}.json").write_text("{}\n")
    monkeypatch.chdir(folder)
    return folder


def table(path: Path, made: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    return path


def run(file: Path, given=(), reference=(), force: bool = False) -> str:
    settings = params.load()
    approaches = settings.approaches.keys()
    root = Path.cwd()
    return init(file, dict(given), reference, settings.data, approaches, root, params.parse, force)


def test_the_project_is_set_up_and_comments_stay(project, tmp_path):
    before = (project / "params.yaml").read_text()
    file = table(tmp_path / "mine.csv", rows(**PLAIN))
    said = run(file)
    after = (project / "params.yaml").read_text()
    settings = params.load()
    assert settings.data.source == "table"
    assert settings.data.settings["table"].reference == {
        "devices": "ref_devices",
        "abdomen": "ref_abdomen",
    }
    assert settings.regions.names == ("devices", "abdomen")
    assert list(settings.approaches) == ["constant", "router", "router-verbatim", "brief"]
    assert "{regions}" in settings.approaches["brief"].system
    assert (settings.finetune.max_steps, settings.finetune.inputs) == (1, "report")
    kept = before[before.index("\nfit_router:") : before.index("\nfinetune:")]
    kept_too = before[before.index("\n\nevaluate:") :]
    assert kept in after and kept_too in after, "sections that do not change keep every byte"
    for line in before[: before.index("\n  vlm-base:")].splitlines():
        if "#" in line:
            assert line[line.index("#") :] in after, line
    assert (project / "data/raw/table/mine.csv").read_bytes() == file.read_bytes()
    assert sorted(path.stem for path in (project / "metrics").rglob("*.json")) == ["router"] * 2
    for words in ("40 rows, 40 studies", "drawn by study", "val 8", "dvc repro", "vlm-base"):
        assert words in said, said
    assert "Liver" not in said, "what a report says is not printed"


def test_a_description_can_be_edited_as_text(project, tmp_path):
    run(table(tmp_path / "mine.csv", rows(**PLAIN)))
    text = (project / "params.yaml").read_text()
    assert "\n  devices:\n    about: what it says about devices\n" in text
    mine = "tubes, lines, and whatever else was put in"
    (project / "params.yaml").write_text(text.replace("what it says about devices", mine))
    assert params.load().regions.root["devices"].about == mine


def test_the_same_table_gives_the_same_bytes(project, tmp_path):
    file = table(tmp_path / "mine.csv", rows(**PLAIN))
    said = run(file)
    written = (project / "params.yaml").read_bytes()
    again = run(file, force=True)
    assert (project / "params.yaml").read_bytes() == written
    assert again.splitlines()[:10] == said.splitlines()[:10]


def test_what_is_removed_is_said_and_only_once_params_are_written(project, tmp_path):
    (project / "data/annotations/rules").mkdir(parents=True)
    file = table(tmp_path / "mine.csv", rows(**PLAIN))
    (project / f".params.yaml.{os.getpid()}.part").mkdir()  # so it cannot be written
    with pytest.raises(UserError, match="params.yaml"):
        run(file)
    for name in DROPPED:
        assert (project / f"metrics/scores/{name}.json").exists()
    assert (project / "data/annotations/rules").exists()
    (project / f".params.yaml.{os.getpid()}.part").rmdir()
    (line,) = [line for line in run(file).splitlines() if line.startswith("removed")]
    for name in DROPPED:
        assert f"metrics/scores/{name}.json" in line and f"metrics/usage/{name}.json" in line
    assert "data/annotations/rules" in line and "data/annotations/nearest" not in line
    assert "router" not in line


def test_a_second_table_takes_force_and_leaves_approaches_alone(project, tmp_path):
    run(table(tmp_path / "mine.csv", rows(**PLAIN)))
    text = (project / "params.yaml").read_text()
    mine = "  nearest: {annotator: router, reads: models/router, wording: learned}\n\nevaluate:"
    (project / "params.yaml").write_text(text.replace("\nevaluate:", mine))
    other = table(tmp_path / "other.csv", rows(50, **PLAIN))
    with pytest.raises(UserError, match="data.settings.table is there already.*--force"):
        run(other)
    assert params.load().data.settings["table"].file == "mine.csv"
    run(other, force=True)
    assert params.load().data.settings["table"].file == "other.csv"
    newer = table(tmp_path / "other" / "mine.csv", rows(50, **PLAIN))
    run(newer, force=True)
    assert (project / "data/raw/table/mine.csv").read_bytes() == newer.read_bytes()
    assert "nearest" in params.load().approaches, "an approach that the user added stays"


def test_force_keeps_what_is_said_of_regions_that_are_still_there(project, tmp_path):
    file = table(tmp_path / "mine.csv", rows(**PLAIN))
    run(file)
    text = (project / "params.yaml").read_text()
    mine = """devices:
    # a comment of mine
    also: [tube, line]   # as models say
    scored: false
    about: tubes, lines

  # the other
"""
    changed = text.replace("devices:\n    about: what it says about devices\n", mine)
    changed = changed.replace("what it says about abdomen", "|\n      liver,\n      spleen")
    (project / "params.yaml").write_text(changed)
    kept = params.load().regions.root["devices"]
    more = PLAIN | {"ref_air": SAID[2]}
    said = run(table(tmp_path / "mine.csv", rows(**more)), force=True)
    after = params.load().regions
    assert after.root["devices"] == kept and kept.also == ("tube", "line") and not kept.scored
    assert after.names == ("devices", "abdomen", "air")
    assert after.root["abdomen"].about == "liver,\nspleen\n"
    assert "regions declares 3, devices, abdomen as before" in said
    tail = text[text.index("\nfit_router:") :]
    written = (project / "params.yaml").read_text()
    assert written.endswith("\n  air:\n    about: what it says about air\n" + tail)
    assert "\n\n  air:" not in written, "the blank line belongs to the next section"


def test_what_is_said_of_the_regions_that_ship_is_not_kept(project, tmp_path):
    assert params.load().regions.root["lung"].also
    run(table(tmp_path / "mine.csv", rows(**PLAIN, ref_lung=SAID[2])))
    lung = params.load().regions.root["lung"]
    assert lung.about == "what it says about lung" and not lung.also


def test_an_approach_that_names_other_regions_is_refused_before_anything_is_written(
    project, tmp_path
):
    text = (project / "params.yaml").read_text()
    mine = """
  mine:
    annotator: llm
    reads: models/tiny-qwen2-vl
    system: As in the example.
    user: "{report}"
    examples: [{report: Heart normal., annotation: {heart: Heart normal.}}]

evaluate:"""
    (project / "params.yaml").write_text(text.replace("\nevaluate:", mine))
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    file = table(tmp_path / "mine.csv", rows(**PLAIN))
    done = CliRunner().invoke(main, ["init", str(file)])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    for words in ("approaches.mine.examples.0.annotation.heart", "nothing was written. Take"):
        assert words in done.stderr
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_another_file_of_the_same_name_is_not_overwritten(project, tmp_path):
    lying = table(project / "data/raw/table/mine.csv", rows(3, id=1))
    before = lying.read_bytes()
    with pytest.raises(UserError, match="is there already and differs"):
        run(table(tmp_path / "mine.csv", rows(**PLAIN)))
    assert lying.read_bytes() == before
    assert params.load().data.source == "phantom"


def test_a_table_in_its_place_is_used_where_it_is(project):
    file = table(project / "data/raw/table/sub/mine.jsonl", rows(**PLAIN))
    run(file)
    assert params.load().data.settings["table"].file == "sub/mine.jsonl"
    assert [path.name for path in (project / "data/raw").rglob("*") if path.is_file()] == [
        "mine.jsonl"
    ]


def test_images_come_along_with_their_paths(project, tmp_path):
    (tmp_path / "given/films").mkdir(parents=True)
    for number in range(40):
        Picture.new("L", (8, 8), number).save(tmp_path / f"given/films/{number}.png")
    columns = PLAIN | {"image": lambda n: f"films/{n}.png", "view": "PA"}
    said = run(table(tmp_path / "given/mine.csv", rows(**columns)))
    assert "image: 40 images" in said
    assert len(list((project / "data/raw/table/films").glob("*.png"))) == 40
    assert params.load().finetune.inputs == "image+report"
    # A folder that was forgotten: the table is used without, and that is said.
    shutil.rmtree(tmp_path / "given/films")
    said = run(table(tmp_path / "given/other.csv", rows(**columns)), force=True)
    assert "images      none" in said and "note: images: 'image' is not used" in said
    assert params.load().data.settings["table"].images is None
    with pytest.raises(UserError, match="none of the images"):
        run(tmp_path / "given/other.csv", {"images": "image"}, force=True)


def test_a_split_that_divides_patients_is_not_used_unless_it_is_named(project, tmp_path):
    columns = PLAIN | {
        "patient": lambda n: f"P{n // 4}",
        "split": lambda n: ("train", "test")[n % 2],
    }
    file = table(tmp_path / "mine.csv", rows(**columns))
    with pytest.raises(UserError, match="10 patients are in more than one split"):
        run(file, {"split": "split"})
    assert not (project / "data").exists()
    said = run(file)
    assert "drawn by patient" in said and "note: split: 'split' is not used" in said
    assert "P1" not in said


@pytest.mark.parametrize(
    "name, words, said",
    [
        ("split", ("train", "internal test", "external"), "external, internal test, train"),
        ("Fold", ("fold_a", "fold_b", "holdout"), "fold_a, fold_b, holdout"),
        ("data_set", tuple("gfedcba"), "a, b, c, d, e"),
        ("phase", ("first", "a phase that is described at length"), "first"),
    ],
)
def test_a_column_of_splits_with_other_words_is_said_to_be_ignored(
    project, tmp_path, name, words, said
):
    columns = PLAIN | {name: lambda n: words[n % len(words)]}
    file = table(tmp_path / "mine.csv", rows(**columns))
    assert (
        f"note: split: '{name}' is ignored, and splits are drawn, because its words ({said})"
        in (run(file))
    )


def test_columns_that_are_not_splits_or_are_used_have_no_note_about_splits(project, tmp_path):
    columns = PLAIN | {"settings": "a", "subset": lambda n: ("train", "test")[n % 8 == 1]}
    said = run(table(tmp_path / "mine.csv", rows(**columns)))
    assert "split       subset" in said and "note: split:" not in said


@pytest.mark.parametrize(
    "count, columns, said",
    [
        (2, {}, "left for dev: train has 1 .* at least 6"),
        (5, {}, "left for dev: train has 4 .* at least 6"),
        (20, {"patient": lambda n: f"P{n // 12}"}, "left for dev: train has 12 .* two patients"),
        (9, {"split": lambda n: ("train", "test")[n > 3]}, "left for dev: train has 4 "),
    ],
)
def test_too_few_studies_for_dev_or_test_are_refused(project, tmp_path, count, columns, said):
    before = (project / "params.yaml").read_bytes()
    curated = PLAIN | {"ref_devices": SAID[0]} | columns
    with pytest.raises(UserError, match=said):
        named = {"patient": "patient"} if "patient" in columns else {}
        run(table(tmp_path / "mine.csv", rows(count, **curated)), named)
    assert (project / "params.yaml").read_bytes() == before and not (project / "data").exists()


def test_few_studies_in_dev_or_test_are_said(project, tmp_path):
    curated = PLAIN | {"ref_devices": SAID[0]}
    said = run(table(tmp_path / "mine.csv", rows(120, **curated)))
    assert "note: splits: with 10 in dev and 24 in test, only large differences" in said
    said = run(table(tmp_path / "other.csv", rows(260, **curated)), force=True)
    assert "note: splits" not in said, said
    said = run(table(tmp_path / "third.csv", rows(7, **curated)), force=True)
    assert "note: splits: with 1 in dev and 1 in test, only" in said


def test_gaps_in_a_column_guessed_to_be_the_patient_are_said(project, tmp_path):
    gaps = PLAIN | {"patient_id": lambda n: "" if n in (0, 1, 2, 3) else f"P{n}"}
    file = table(tmp_path / "mine.csv", rows(**gaps))
    said = run(file)
    # Row 0 has no reference, and is released whether its patient is known or not.
    assert "'patient_id' is a guess, and empty in 3 rows" in said and "patient: null" in said
    assert "is a guess" not in run(file, {"patient": "patient_id"}, force=True)


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "not a file"),
        (b"", "no column"),
        (b"PK\3\4\0\0", "mine.csv"),
        (b"id,report\n1,a b c d\n", "mine.csv"),
        (b"\x80" * 3000, "mine.csv"),
    ],
)
def test_what_cannot_be_understood_changes_nothing(project, tmp_path, content, said):
    before = (project / "params.yaml").read_bytes()
    if content is not None:
        (tmp_path / "mine.csv").write_bytes(content)
    done = CliRunner().invoke(main, ["init", str(tmp_path / "mine.csv")])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert done.stderr.startswith("error: ") and said in done.stderr and not done.stdout
    assert (project / "params.yaml").read_bytes() == before and not (project / "data").exists()


def test_what_cannot_be_copied_changes_nothing(project, tmp_path):
    before = (project / "params.yaml").read_bytes()
    (project / "data/raw").mkdir(parents=True)
    (project / "data/raw/table").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="mine.csv: cannot be written"):
        run(table(tmp_path / "mine.csv", rows(**PLAIN)))
    assert (project / "params.yaml").read_bytes() == before


def test_many_studies_are_said_to_take_long(project, tmp_path):
    said = run(table(tmp_path / "mine.csv", rows(4800, **PLAIN)))
    assert "brief is asked about 1,075 studies" in said


def test_random_damage_gives_an_answer_or_one_line(project, tmp_path, root):
    path = root / "bench" / "table_damage.py"
    spec = importlib.util.spec_from_file_location("table_damage", path)
    damage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(damage)
    whole = {"a.csv": damage.to_csv(damage.rows()), "b.jsonl": damage.to_jsonl(damage.rows())}
    outcomes = set()
    for seed in range(60):
        rng = random.Random(seed)
        name = rng.choice(sorted(whole))
        (tmp_path / name).write_bytes(rng.choice(damage.DAMAGES)(whole[name], rng))
        try:
            assert "Level" not in run(tmp_path / name, force=True), "a report is not printed"
            outcomes.add("inferred")
        except UserError as error:
            assert "\n" not in str(error) and "Level" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"inferred", "refused"}
