"""reports/studies: the files of every test study against the records that they come from."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import REGIONS, annotation
from PIL import Image as Pictures

from xraygen import judges
from xraygen.core.errors import UserError
from xraygen.core.study import (
    AnnotationRecord,
    Evidence,
    Image,
    Judgement,
    Listed,
    Study,
)
from xraygen.evaluation.evaluate import judge_annotations
from xraygen.language.text import disagreement
from xraygen.pages import studies
from xraygen.pages.answered import Answers

PROXY = judges.load("proxy")
HOSTILE = "</script><script>x()</script> <!-- \u2028\u2029 \x00 \" ' \\ & {{ 1 }} \U0001fa7b"
FRACTURE = "Fracture of the left sixth rib."
EFFUSION = "Small right effusion."


def study(id: str, **fields) -> Study:
    content = {"uid": id, "split": "test", "report": f"{FRACTURE} {EFFUSION}", "novel": True}
    return Study(id=id, **content | fields)


def record(id: str, evidence: dict | None = None, **texts: str) -> AnnotationRecord:
    return AnnotationRecord(id=id, annotation=annotation(**texts), evidence=evidence or {})


STUDIES = [
    study("a/1", reference=annotation(bone=FRACTURE, lung=EFFUSION, others="Port in place.")),
    study("a/2", novel=False, report="Without a reference."),
    study("../3", reference=annotation(heart="Normal heart size.")),
]
ANSWERS = {
    "first": [
        record(
            "a/1",
            {
                "bone": Evidence(support="verbatim", spans=((0, 31),), confidence=0.91237),
                "lung": Evidence(support="unsupported"),
                "others": Evidence(support="reworded", spans=((0, 8), (10, 31)), confidence=1),
            },
            bone=FRACTURE,
            lung="Large left effusion. Nodule in the left lung.",
            others="Port.",
        ),
        record("a/2", lung="Something."),
        record("../3", heart="Enlarged heart."),
    ],
    "second": [
        record("a/1", lung=EFFUSION),
        AnnotationRecord(id="a/2", annotation=None, error="no answer"),
        AnnotationRecord(id="../3", annotation=None, error="the answer is no JSON"),
    ],
}


def judged(members: list[Study], records: list[AnnotationRecord]) -> list[Judgement]:
    return judge_annotations(members, records, PROXY, REGIONS)


def answers(members: list[Study] = STUDIES, records: dict = ANSWERS) -> dict[str, Answers]:
    return {name: Answers(given, judged(members, given)) for name, given in records.items()}


def write(folder: Path, members=STUDIES, given: dict | None = None, root: Path = Path()):
    given = answers() if given is None else given
    return studies.write(folder, members, given, REGIONS, 0.05, root)


def index(folder: Path) -> dict:
    text = (folder / "index.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("xraygen.index(").removesuffix(");\n"))


def page(folder: Path, number: int = 0) -> list[dict]:
    text = (folder / f"{number:04d}.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f"xraygen.page({number},").removesuffix(");\n"))


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_page_has_every_text_span_and_number_of_the_records(tmp_path):
    write(tmp_path / "studies")
    found = page(tmp_path / "studies")
    assert [one["id"] for one in found] == ["a/1", "a/2", "../3"]
    assert [one["report"] for one in found] == [one.report for one in STUDIES]
    assert found[0]["reference"] == STUDIES[0].reference
    assert found[1]["reference"] == {}
    known = {
        (name, one.id, one.region): one
        for name, records in ANSWERS.items()
        for one in judged(STUDIES, records)
    }
    for number, (name, records) in enumerate(ANSWERS.items()):
        for given, member in zip(records, found, strict=True):
            answer = member["answers"][number]
            assert answer["error"] == given.error
            assert list(answer["regions"]) == list(REGIONS)
            for region, shown in answer["regions"].items():
                assert shown["text"] == (given.annotation or {}).get(region, "")
                evidence = given.evidence.get(region, Evidence())
                assert shown["support"] == evidence.support
                assert shown["spans"] == [list(span) for span in evidence.spans]
                judgement = known.get((name, given.id, region))
                if judgement is None:
                    assert shown["judgement"] is None
                    assert member["id"] == "a/2" or region == "others"
                    continue
                assert shown["judgement"]["score"] == pytest.approx(judgement.score, abs=5e-5)
                assert shown["judgement"]["verdict"] == judgement.verdict
                assert shown["judgement"]["clinical"]["score"] == judgement.clinical.score
    assert found[0]["answers"][0]["regions"]["bone"]["confidence"] == 0.9124
    lung = found[0]["answers"][0]["regions"]["lung"]["judgement"]
    assert lung["clinical"]["invented"] and "nodule" in " ".join(lung["false"])
    empty = found[0]["answers"][1]["regions"]["bone"]["judgement"]
    assert empty["verdict"] == "candidate_empty" and empty["missed"] == []


def test_missed_is_what_the_reference_has_and_false_is_what_the_text_has():
    """Significant errors alone: the others do not count in the score."""
    named = {category: (f"of {category}",) for category in "abcdef"}
    listed = Listed(matched=("m",), significant=named, insignificant={"a": ("trifle",)})
    one = Judgement(
        id="1",
        region="lung",
        reference="x",
        candidate="y",
        score=0.123456,
        verdict="judged",
        listed=listed,
        judge="mine",
    )
    rest = [
        one.model_copy(update={"region": name, "listed": None})
        for name in REGIONS.scored
        if name != "lung"
    ]
    from xraygen.pages.answered import Answer
    from xraygen.pages.study_json import content, row

    answer = Answer(record("1", lung="y"), {each.region: each for each in [one, *rest]})
    member = study("1", reference=annotation(lung="x"))
    shown = content(member, [answer], [], REGIONS)["answers"][0]["regions"]
    assert shown["lung"]["judgement"] == {
        "score": 0.1235,
        "verdict": "judged",
        "matched": ["m"],
        "missed": ["of b", "of f"],
        "false": ["of a", "of c", "of d", "of e"],
        "clinical": None,
    }
    assert shown["heart"]["judgement"]["missed"] == []
    assert "clinical" not in row(member, [answer], REGIONS), "the judge does not tell"


def errors(clinical: dict) -> str:
    if clinical["score"] == 1:
        return "0"
    return {(0, 0): "0", (1, 0): "1", (0, 1): "2", (1, 1): "3"}[
        bool(clinical["missed"]), bool(clinical["invented"])
    ]


def test_the_index_tells_missed_from_invented_findings_and_from_those_of_no_significance():
    from xraygen.core.study import Clinical
    from xraygen.pages.answered import Answer
    from xraygen.pages.study_json import row

    given = {
        "bone": Clinical(score=0.5, missed=("fracture",)),
        "heart": Clinical(score=-0.5, invented=("cardiomegaly",)),
        "lung": Clinical(score=0, missed=("effusion",), invented=("nodule",)),
        "mediastinal": Clinical(score=1, missed=("aortic calcification",)),
    }
    judged_regions = {
        region: Judgement(
            id="1",
            region=region,
            reference="x",
            candidate="y",
            score=0.5,
            verdict="judged",
            clinical=clinical,
            judge="mine",
        )
        for region, clinical in given.items()
    }
    assert tuple(given) == REGIONS.scored
    member = study("1", reference=annotation(lung="x"))
    untold = judged_regions["lung"].model_copy(update={"clinical": None})
    found = row(
        member,
        [
            Answer(record("1"), judged_regions),
            Answer(record("1"), judged_regions | {"lung": untold}),
        ],
        REGIONS,
    )
    assert found["errors"] == ["1230", "12-0"]


def test_the_index_has_what_studies_are_filtered_and_sorted_by(tmp_path):
    write(tmp_path / "studies")
    found = index(tmp_path / "studies")
    assert found["approaches"] == ["first", "second"] and found["alpha"] == 0.05
    assert found["regions"] == list(REGIONS) and found["scored"] == list(REGIONS.scored)
    first, bare, last = found["studies"]
    assert [first["id"], bare["id"], last["id"]] == ["a/1", "a/2", "../3"]
    assert [first["novel"], bare["novel"]] == [True, False]
    assert [found["scored"][number] for number in first["abnormal"]] == ["bone", "lung"]
    assert bare["abnormal"] == last["abnormal"] == []
    texts = ["Large left effusion. Nodule in the left lung.", EFFUSION]
    assert first["disagreement"][REGIONS.names.index("lung")] == round(disagreement(texts), 3)
    assert first["disagreement"][0] == 1, "one says something of bone, the other nothing"
    assert last["disagreement"] == [0] * 5, "an answer that failed does not disagree"
    content = page(tmp_path / "studies")[0]["answers"]
    for number, answer in enumerate(content):
        cells = [answer["regions"][region]["judgement"] for region in REGIONS.scored]
        assert first["score"][number] == [cell["score"] for cell in cells]
        assert first["clinical"][number] == [cell["clinical"]["score"] for cell in cells]
        assert list(first["errors"][number]) == [errors(cell["clinical"]) for cell in cells]
        assert [found["verdicts"][one] for one in first["verdict"][number]] == [
            cell["verdict"] for cell in cells
        ]
    assert first["confidence"][0] == [0.9124, None, None, None, 1]
    assert first["support"] == [["v", None, "u", None, "r"], [None] * 5]
    assert bare["score"] == bare["verdict"] == [[None] * 4] * 2 and "clinical" not in bare
    assert [one["failed"] for one in found["studies"]] == [[], [1], [1]]
    assert "errors" not in bare


def test_text_from_data_stays_text(tmp_path):
    members = [study(HOSTILE, report=HOSTILE, reference=annotation(lung=HOSTILE))]
    records = [
        AnnotationRecord(id=HOSTILE, annotation=annotation(lung=f"x {HOSTILE}"), error=HOSTILE)
    ]
    write(tmp_path / "studies", members, answers(members, {"a": records}))
    for name in ("index.js", "0000.js"):
        raw = (tmp_path / "studies" / name).read_text(encoding="utf-8")
        assert "<" not in raw and not set(raw) & {"\u2028", "\u2029", "\x00"}
    (found,) = page(tmp_path / "studies")
    assert found["id"] == found["report"] == found["reference"]["lung"] == HOSTILE
    assert found["answers"][0]["regions"]["lung"]["text"] == f"x {HOSTILE}"
    assert found["answers"][0]["error"] == index(tmp_path / "studies")["studies"][0]["id"]


def changed(**streams) -> dict[str, Answers]:
    return answers() | {"second": answers()["second"]._replace(**streams)}


SECOND = answers()["second"]
UNCURATED = SECOND.judgements[0].model_copy(update={"id": "a/2"})


@pytest.mark.parametrize(
    "streams, said",
    [
        ({"annotations": SECOND.annotations[::-1]}, "data/annotations/second"),
        ({"annotations": SECOND.annotations[:-1]}, "data/annotations/second"),
        ({"annotations": [*SECOND.annotations, SECOND.annotations[0]]}, "too many"),
        ({"judgements": SECOND.judgements[::-1]}, "data/judgements/second"),
        ({"judgements": SECOND.judgements[1:]}, "data/judgements/second"),
        ({"judgements": [SECOND.judgements[0], *SECOND.judgements]}, "data/judgements/second"),
        ({"judgements": [*SECOND.judgements[:4], UNCURATED]}, "data/judgements/second"),
        ({"judgements": [*SECOND.judgements, UNCURATED]}, "too many"),
    ],
)
def test_records_that_do_not_match_the_studies_leave_the_former_files(tmp_path, streams, said):
    write(tmp_path / "studies")
    before = hashes(tmp_path / "studies")
    with pytest.raises(UserError, match=said) as error:
        write(tmp_path / "studies", given=changed(**streams))
    assert "run `dvc repro --force --single-item" in str(error.value)
    assert hashes(tmp_path / "studies") == before
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_the_files_are_the_same_each_time_and_those_of_a_former_run_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "PAGE", 1)
    write(tmp_path / "studies")
    (tmp_path / "studies/pictures/00007-0.webp").touch()
    write(tmp_path / "studies", STUDIES[:1], answers(STUDIES[:1], {"a": ANSWERS["first"][:1]}))
    assert list(hashes(tmp_path / "studies")) == ["0000.js", "index.js"]
    write(tmp_path / "studies")
    write(tmp_path / "other")
    assert hashes(tmp_path / "studies") == hashes(tmp_path / "other")
    named = studies.files(len(STUDIES))
    assert named["page"] == 1
    assert {named["files"]["index"], *named["files"]["pages"]} == {
        f"studies/{name}" for name in hashes(tmp_path / "studies")
    }


def test_a_page_is_written_before_the_next_studies_are_read(tmp_path, monkeypatch):
    """However large the collection, a page of it is in memory."""
    monkeypatch.setattr(studies, "PAGE", 2)
    members = [study(str(number), reference=annotation(lung=EFFUSION)) for number in range(7)]
    records = [record(one.id, lung=EFFUSION) for one in members]
    read = {"studies": 0, "annotations": 0, "judgements": 0}

    def noted(name: str, items: list) -> Iterator:
        for item in items:
            written = len(list(tmp_path.glob(".studies.*.part/0*.js")))
            assert int(item.id) <= 2 * written + 2, "one study ahead, to see where judgements end"
            read[name] += 1
            yield item

    given = Answers(noted("annotations", records), noted("judgements", judged(members, records)))
    write(tmp_path / "studies", noted("studies", members), {"a": given})
    assert read == {"studies": 7, "annotations": 7, "judgements": 28}
    assert [len(page(tmp_path / "studies", number)) for number in range(4)] == [2, 2, 2, 1]


def test_pictures_are_small_grey_copies_and_unreadable_ones_are_named(tmp_path):
    deep = np.linspace(1000, 1400, 900 * 600).reshape(600, 900).astype(np.uint16)
    Pictures.fromarray(deep).save(tmp_path / "deep.png")
    color = np.zeros((40, 30, 3), np.uint8)
    color[..., 0] = 200
    Pictures.fromarray(color).save(tmp_path / "color.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    names = ["deep.png", "color.png", "damaged.png", "missing.png"]
    views = [Image(path=name, projection="frontal") for name in names]
    members = [study("1"), study("2", images=views)]
    given = {"a": Answers([record("1"), record("2")], [])}
    written = write(tmp_path / "studies", members, given, tmp_path)
    assert written.studies == 2 and len(written.unreadable) == 2
    assert "damaged.png" in written.unreadable[0] and "missing.png" in written.unreadable[1]
    without, shown = page(tmp_path / "studies")
    assert without["pictures"] == []
    assert (
        shown["pictures"]
        == [
            {"src": f"studies/pictures/00001-{number}.webp", "projection": "frontal"} | size
            for number, size in enumerate(
                [{"width": 768, "height": 512}, {"width": 30, "height": 40}]
            )
        ]
        + [{"src": None, "projection": "frontal", "width": None, "height": None}] * 2
    )
    copies = [tmp_path / one["src"] for one in shown["pictures"] if one["src"]]
    assert sorted((tmp_path / "studies/pictures").iterdir()) == copies
    for copy in copies:
        with Pictures.open(copy) as picture:
            assert picture.format == "WEBP"
            red, green, blue = (np.asarray(band, int) for band in picture.convert("RGB").split())
            assert abs(red - blue).max() <= 2 and abs(red - green).max() <= 2
    with Pictures.open(copies[0]) as picture:
        grey = np.asarray(picture.convert("L"), int)
        assert grey.min() < 10 and grey.max() > 245, "16 bits as annotators are shown them"
    assert copies[0].stat().st_size < 20_000


def test_dicom_is_shown_as_annotators_are_shown_it(tmp_path):
    dicom = pytest.importorskip("test_dicom")
    dicom.write(tmp_path / "1.dcm", dicom.RAMP, PhotometricInterpretation="MONOCHROME1")
    members = [study("1", images=[Image(path="1.dcm")])]
    write(tmp_path / "studies", members, {"a": Answers([record("1")], [])}, tmp_path)
    with Pictures.open(tmp_path / "studies/pictures/00000-0.webp") as picture:
        shown = np.asarray(picture.convert("L"), int)
    assert np.abs(shown - dicom.grey(tmp_path / "1.dcm")).mean() < 5
    assert shown[0].mean() > shown[-1].mean() + 200, "a negative is turned"


def test_without_the_package_that_reads_dicom_the_rest_is_shown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "1.dcm").write_bytes(b"\0" * 128 + b"DICM")
    members = [study("1", images=[Image(path="1.dcm")])]
    written = write(tmp_path / "studies", members, {"a": Answers([record("1")], [])}, tmp_path)
    assert "install" in written.unreadable[0]
    assert page(tmp_path / "studies")[0]["pictures"][0]["src"] is None


def test_texts_that_several_approaches_give_count_as_often_as_they_are_given():
    apart = [0, 0.5, 0.5]  # token F1 of "a b" and "a c" is 1/2
    assert disagreement(["a b", "a b", "a c"]) == pytest.approx(sum(apart) / 3)
    assert disagreement(["", "", "a"]) == pytest.approx(2 / 3)
    assert disagreement(["", ""]) == disagreement(["a"]) == disagreement([]) == 0
