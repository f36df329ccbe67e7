"""The annotator `recorded`: what was answered elsewhere is found by study id, and a mistake in a
file does not pass unnoticed.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REGIONS, annotation, parse, project_of

from xraygen import params
from xraygen.annotators.recorded import Recorded, RecordedSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl, write_jsonl
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.language.text import token_f1
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.iu_xray.text_files import ANNOTATIONS, TEXT_FILES

pytest.importorskip("json_repair")
SHARED = Path(__file__).resolve().parents[2] / "shared"
RECORDED = SHARED / "recorded"
needs_recorded = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="no recorded answers at ../shared/recorded"
)
SAID = annotation(bone="No fracture.", lung="Clear: \u201cno effusion\u201d.")


def annotator(folder: Path, name: str, **settings) -> Recorded:
    return Recorded(
        RecordedSettings(annotator="recorded", reads=name, **settings), project_of(folder)
    )


def csv_file(path: Path, *rows: tuple) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path.name


def cases(*ids: str) -> list[Case]:
    return [Case(id=id, report=f"report of {id}") for id in ids]


def test_answers_are_found_by_id_whatever_the_columns_are_called_and_come_in_the_order_of_the_cases(
    tmp_path,
):
    other = annotation(heart="Large.")
    rows = [
        ("S1", "x", json.dumps(SAID)),
        ("S2", "y", f"Sure:\n```json\n{json.dumps(other)}\n```"),
    ]
    csv_file(tmp_path / "a.csv", ("study", "note", "said by it"), *rows)
    lines = (json.dumps({"said by it": answer, "study": id}) for id, _, answer in rows)
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    for name in ("a.csv", "a.jsonl"):
        records = list(
            annotator(tmp_path, name, id="study", answer="said by it")(cases("S2", "S1"))
        )
        assert [(record.id, record.annotation) for record in records] == [
            ("S2", other),
            ("S1", SAID),
        ]
        assert [record.raw for record in records] == [rows[1][2], rows[0][2]]


def test_a_column_for_each_region_needs_no_json_and_regions_without_one_are_empty(tmp_path):
    csv_file(
        tmp_path / "a.csv",
        ("id", "Knochen", "Lunge", "heart"),
        ("S1", ' No {"fracture"}. ', "", "left aside"),
    )
    (record,) = annotator(tmp_path, "a.csv", columns={"bone": "Knochen", "lung": "Lunge"})(
        cases("S1")
    )
    assert record.annotation == annotation(bone='No {"fracture"}.') and record.usage == {
        "repaired": False
    }


def test_ids_that_are_numbers_in_json_and_null_texts(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 17, "bone": null, "lung": "Clear."}\n')
    (record,) = annotator(tmp_path, "a.jsonl", columns={"bone": "bone", "lung": "lung"})(
        cases("17")
    )
    assert record.annotation == annotation(lung="Clear.")


def test_what_has_no_row_or_cannot_be_read_fails_with_its_reason_and_nothing_is_dropped(tmp_path):
    rows = [
        ("S1", "I cannot help."),
        ("S2", '{"bone": 3}'),
        ("S3", "{'lung': 'Clear.'}"),
        ("S5", ""),
    ]
    csv_file(tmp_path / "a.csv", ("id", "a"), *rows)
    records = list(annotator(tmp_path, "a.csv", answer="a")(cases("S1", "S2", "S3", "S4", "S5")))
    assert [record.annotation for record in records] == [
        None,
        None,
        annotation(lung="Clear."),
        None,
        None,
    ]
    assert [record.error for record in records] == [
        "no JSON in the answer",
        "bone: not a text",
        None,
        "no row in a.csv",
        "no JSON in the answer",
    ]
    assert [record.raw for record in records] == [
        "I cannot help.",
        '{"bone": 3}',
        "{'lung': 'Clear.'}",
        "",
        "",
    ]
    assert records[2].usage == {"repaired": True}


def test_a_study_may_stand_twice_with_one_answer_but_not_with_two(tmp_path):
    csv_file(
        tmp_path / "a.csv",
        ("id", "a", "b"),
        ("S1", '{"lung": "x"}', "1"),
        ("S2", "", ""),
        ("S1", '{"lung": "x"}', "2"),
    )
    assert len(list(annotator(tmp_path, "a.csv", answer="a")(cases("S1")))) == 1
    with pytest.raises(UserError, match="^a.csv:4: another answer for S1"):
        annotator(tmp_path, "a.csv", columns={"lung": "a", "bone": "b"})


def test_ids_of_another_kind_are_a_mistake_and_a_file_that_covers_another_split_is_none(tmp_path):
    csv_file(tmp_path / "a.csv", ("id", "a"), ("CXR17_IM-0499", "{}"), ("CXR18_IM-0500", "{}"))
    recorded = annotator(tmp_path, "a.csv", answer="a")
    assert [record.error for record in recorded(cases("CXR9_IM-0001", "CXR8_IM-2000"))] == [
        "no row in a.csv"
    ] * 2
    for id in ("PH0000000001", "17", "CXR17", "cxr17_im-0499", "CXR17_IM-0499 "):
        with pytest.raises(
            UserError, match=f"^a.csv: study ids do not fit.* like {id}, .* like CXR17_IM-0499$"
        ):
            list(recorded(cases(id)))
        (record,) = recorded.unlimited()(cases(id))  # other cases may fit, on a cluster
        assert record.error == "no row in a.csv"
    assert list(recorded([])) == []
    csv_file(tmp_path / "none.csv", ("id", "a"))
    with pytest.raises(UserError, match="S1, the file has none"):
        list(annotator(tmp_path, "none.csv", answer="a")(cases("S1")))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.csv", "id,b\n1,x\n", "a.csv:1: no 'a'"),
        ("a.csv", "study,a\n1,x\n", "a.csv:1: no 'id'"),
        ("a.csv", "id,a\n ,x\n", "a.csv:2: id: not a study id"),
        ("a.jsonl", '{"id": null, "a": "x"}\n', "a.jsonl:1: id: not a study id"),
        ("a.jsonl", '{"id": "1", "a": "x"}\n{"id": "2", "a": 3}\n', "a.jsonl:2: a: not a text"),
    ],
)
def test_a_damaged_file_is_the_users_error_with_file_and_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        annotator(tmp_path, name, answer="a")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="none.csv: No such file"):
        annotator(tmp_path, "none.csv", answer="a")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"reads": "a.csv"}, "give either answer or columns"),
        (
            {"reads": "a.csv", "answer": "a", "columns": {"lung": "b"}},
            "give either answer or columns",
        ),
        ({"reads": "a.csv", "columns": {}}, "columns"),
        ({"reads": "a.csv", "columns": {"lungs": "b"}}, "lungs"),
        ({"reads": "a.csv", "answers": "a"}, "answers"),
        *(
            ({"reads": m, "answer": "a"}, "copy it there")
            for m in ("../a.csv", "/a.csv", "b/../../a.csv", "b\\a.csv")
        ),
        ({"reads": "a.txt", "answer": "a"}, "not a .csv, .tsv or .jsonl file"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(root, tmp_path, settings, said):
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["approaches"]["elsewhere"] = {"annotator": "recorded", **settings}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"params.yaml: approaches.elsewhere.*{said}") as caught:
        params.load(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_the_stage_takes_a_file_that_covers_part_of_test_and_nothing_of_dev(root, tmp_path):
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["approaches"] = {
        "elsewhere": {"annotator": "recorded", "reads": "answers/a.csv", "answer": "a"}
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    for number, split in enumerate(("dev", "test")):
        studies = [
            Study(id=f"S{number}{k}", uid=f"{number}{k}", split=split, report="r", reference=SAID)
            for k in range(3)
        ]
        write_jsonl(tmp_path / f"data/prepared/{split}.jsonl", studies)
    (tmp_path / "answers").mkdir()
    csv_file(tmp_path / "answers/a.csv", ("id", "a"), ("S12", "{'lung': 'Clear.'}"))
    stage = [sys.executable, "-m", "stages.annotate", "elsewhere"]
    done = subprocess.run(
        stage,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "data/annotations/elsewhere"
    records = {
        split: list(read_jsonl(out / f"{split}.jsonl", AnnotationRecord))
        for split in ("dev", "test")
    }
    assert [record.error for record in records["dev"]] == ["no row in answers/a.csv"] * 3
    assert [record.annotation for record in records["test"]] == [
        None,
        None,
        annotation(lung="Clear."),
    ]
    usage = json.loads((tmp_path / "metrics/usage/elsewhere.json").read_text())
    assert usage == {"cases": 6, "failed": 5, "repaired": 1}


@needs_recorded
@pytest.mark.parametrize(
    "name, columns, rows",
    [
        ("gpt-4o-mini_test.csv", ["response_prompt_1", "response_prompt_2"], 50),
        ("gpt-4o-mini_val.csv", ["response_prompt_1"], 296),
        ("qwen2-vl-2b_val.csv", ["response_base", "response_finetuned"], 296),
    ],
)
def test_every_recorded_answer_is_read(tmp_path, name, columns, rows):
    with (RECORDED / name).open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == rows
    shutil.copy(RECORDED / name, tmp_path)
    for column in columns:
        # What stands between the outermost braces, by json alone: so that what is read is what was
        # said, not only something.
        whole = {
            row["id"]: json.loads(row[column][row[column].index("{") : row[column].rindex("}") + 1])
            for row in answers
        }
        expected, repaired = {}, {}
        for id, said in whole.items():
            spine = said.pop("Thoracic spine", "")  # which is bone
            silent = [
                region for region in said if said[region].strip().lower() in ("nan", "none", "...")
            ]
            texts = {region: "" if region in silent else said[region].strip() for region in said}
            expected[id] = annotation(
                **texts | {"bone": f"{texts.get('bone', '')} {spine}".strip()}
            )
            repaired[id] = bool(silent or spine)
        assert [parse(row[column]) for row in answers] == [
            (expected[row["id"]], repaired[row["id"]]) for row in answers
        ]
        records = list(annotator(tmp_path, name, answer=column)(cases(*expected)))
        assert {record.id: record.annotation for record in records} == expected


@needs_recorded
@pytest.mark.skipif(
    not (SHARED / "iu-xray").is_dir(), reason="needs the IU X-Ray files in ../shared/iu-xray"
)
@pytest.mark.parametrize(
    "column, expected",
    [
        ("response_prompt_1", {"bone": 0.956, "heart": 0.758, "lung": 0.930, "mediastinal": 0.537}),
        ("response_prompt_2", {"bone": 0.971, "heart": 0.780, "lung": 0.911, "mediastinal": 0.519}),
    ],
)
def test_token_f1_of_the_recorded_prompts_on_the_test_studies(tmp_path, column, expected):
    """By way of studies as the pipeline reads them, and by json and csv alone; the ids fit as they
    are.
    """
    shutil.copy(RECORDED / "gpt-4o-mini_test.csv", tmp_path)
    (tmp_path / "iu").mkdir()
    for name in TEXT_FILES:
        shutil.copy(SHARED / "iu-xray" / name, tmp_path / "iu")
    studies = [
        study
        for study in iu_xray.read(tmp_path / "iu", tmp_path, REGIONS).studies
        if study.split == "test"
    ]
    records = annotator(tmp_path, "gpt-4o-mini_test.csv", answer=column)(
        study.case() for study in studies
    )
    pairs = [
        (study.reference, record.annotation)
        for study, record in zip(studies, records, strict=True)
        if record.annotation
    ]
    assert (len(studies), len(pairs)) == (295, 49)

    entries = json.loads((SHARED / "iu-xray" / ANNOTATIONS).read_text(encoding="utf-8"))["test"]
    references = {entry["id"]: entry["report"] for entry in entries}
    with (RECORDED / "gpt-4o-mini_test.csv").open(encoding="utf-8", newline="") as file:
        direct = {row["id"]: json.loads(row[column]) for row in csv.DictReader(file)}
    means = {}
    for region in REGIONS.scored:
        by_pipeline = [token_f1(reference[region], said[region]) for reference, said in pairs]
        by_hand = [token_f1(references[id][region], said[region]) for id, said in direct.items()]
        assert sorted(by_pipeline, key=str) == sorted(by_hand, key=str)
        scored = [score for score in by_pipeline if score is not None]
        means[region] = round(sum(scored) / len(scored), 3)
    assert means == expected


def test_texts_by_column_of_a_stopped_answer_are_a_failure(tmp_path):
    write_csv = "id,lung,heart,finish_reason\na,Clear.,,length\nb,Clear.,Large.,stop\n"
    (tmp_path / "answers.csv").write_text(write_csv)
    columns = {"lung": "lung", "heart": "heart"}
    approach = RecordedSettings(annotator="recorded", reads="answers.csv", columns=columns)
    cut, whole = Recorded(approach, project_of(tmp_path))(
        [Case(id="a", report="x"), Case(id="b", report="x")]
    )
    assert cut.annotation is None and "finish_reason length" in cut.error
    assert whole.annotation["heart"] == "Large."
