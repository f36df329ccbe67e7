"""`xraygen convert`: each layout from its own miniature, damage included; every unit is
counted.
"""

import csv
import gzip
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from xraygen.cli import main
from xraygen.core.cases import read_cases
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.sources.convert import Conversion, convert
from xraygen.sources.layouts import LAYOUTS
from xraygen.sources.layouts.mimic_cxr import findings
from xraygen.sources.layouts.reading import KINDS
from xraygen.sources.table.table import Table, TableSettings

OPEN_I = ROOT.parent / "shared" / "open-i" / "NLMCXR_reports.tgz"


def put(path: Path, content: str | bytes | list | dict = b"") -> Path:
    """A file, its folders made: bytes and text as they are, rows as CSV, an object as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and content and isinstance(content[0], tuple):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(content)
        return path
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def converted(layout: str, folder: Path) -> tuple[dict[str, dict], Conversion]:
    """Studies by id, as written to the folder, and what was counted; nothing is lost in between."""
    out = folder / "studies.jsonl"
    result = convert(layout, folder, out)
    studies = [json.loads(line) for line in out.read_text().splitlines()]
    assert result.studies == len(studies) and result.units == len(studies) + len(result.excluded)
    assert [study["id"] for study in studies] == sorted(study["id"] for study in studies)
    assert {incident.kind for incident in [*result.excluded, *result.repairs]} <= KINDS.keys()
    list(read_cases(out, pictures=True))  # what reads the file next accepts its ids and paths
    return {study["id"]: study for study in studies}, result


def kinds(incidents: list) -> dict[str, int]:
    names = [incident.kind for incident in incidents]
    return {name: names.count(name) for name in names}


def refused(layout: str, folder: Path, out: Path | None = None) -> str:
    out = out or folder / "studies.jsonl"
    with pytest.raises(UserError) as error:
        convert(layout, folder, out)
    assert not out.exists() and "\n" not in str(error.value)
    return str(error.value)


# Open-i


def xml(uid: str | None, text: str, *images: str, head: str = "") -> str:
    views = "".join(
        f'<parentImage id="{name}"><figureId>F1</figureId></parentImage>' for name in images
    )
    name = f'<uId id="{uid}"/>' if uid else ""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{head}<eCitation>{name}<Abstract>'
        f'<AbstractText Label="FINDINGS">{text}</AbstractText>'
        '<AbstractText Label="IMPRESSION">All as it should be.</AbstractText>'
        f"</Abstract>{views}</eCitation>"
    )


def test_open_i(tmp_path):
    put(tmp_path / "r/1.xml", xml("CXR1", "Heart of normal\n size.", "CXR1_1_IM-1-3001", "CXR1_9"))
    put(tmp_path / "images/CXR1_1_IM-1-3001.png")
    put(tmp_path / "r/2.xml", xml("CXR2", " "))
    put(tmp_path / "r/3.xml", xml("CXR3", "Old fracture.")[:-30])
    put(tmp_path / "r/4.xml", xml(None, "Lungs free."))
    put(tmp_path / "r/5.xml", xml("CXR5", "Fibrosis à droite.").encode("latin-1"))
    put(tmp_path / "r/6.xml", xml("CXR1", "Heart of normal size.", "CXR1_1_IM-1-3001", "CXR1_9"))
    put(tmp_path / "r/7.xml", xml("CXR7", "Clear.").encode("utf-16"))
    put(tmp_path / "r/9.xml", xml("CXR9", "Clear.").encode("utf-16")[:-1])
    os.mkfifo(tmp_path / "r/8.xml")
    put(tmp_path / "r/._1.xml", b"\0\5\26\7")  # macOS
    studies, result = converted("open-i", tmp_path)
    assert studies == {
        "CXR1": {
            "id": "CXR1",
            "report": "Heart of normal size.",
            "images": [{"path": "images/CXR1_1_IM-1-3001.png", "projection": "unknown"}],
        },
        "CXR5": {"id": "CXR5", "report": "Fibrosis à droite.", "images": []},
        "CXR7": {"id": "CXR7", "report": "Clear.", "images": []},
    }
    assert kinds(result.excluded) == {
        "no_findings": 1,
        "file_malformed": 2,
        "entry_malformed": 1,
        "id_duplicate": 1,
        "file_unreadable": 1,
    }
    assert kinds(result.repairs) == {"encoding": 2, "image_missing": 2} and result.units == 9


def test_entities_are_refused_before_they_blow_up(tmp_path):
    lines = ['<!ENTITY a0 "ha">']
    lines += [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)]
    bomb = f"<!DOCTYPE eCitation [{''.join(lines)}]>"
    secret = put(tmp_path.parent / "secret", "Something else.")
    outside = f'<!DOCTYPE eCitation [<!ENTITY e SYSTEM "{secret.as_uri()}">]>'
    put(tmp_path / "1.xml", xml("CXR1", "&a11;", head=bomb))
    put(tmp_path / "2.xml", xml("CXR2", "&e;", head=outside))
    put(tmp_path / "3.xml", xml("CXR3", "No effusion."))
    studies, result = converted("open-i", tmp_path)
    assert list(studies) == ["CXR3"] and kinds(result.excluded) == {"file_malformed": 2}


@pytest.mark.skipif(not OPEN_I.is_file(), reason="needs ../shared/open-i")
def test_every_file_of_open_i_is_accounted_for(tmp_path):
    with tarfile.open(OPEN_I) as archive:
        archive.extractall(tmp_path, filter="data")
    files = len(list(tmp_path.rglob("*.xml")))
    studies, result = converted("open-i", tmp_path)
    assert (files, result.units, len(studies)) == (3955, 3955, 3425)
    assert kinds(result.excluded) == {"no_findings": 530}
    assert all(re.fullmatch("CXR[0-9]+", id) and study["report"] for id, study in studies.items())


# R2Gen and ReXrank


def test_r2gen_of_iu_x_ray(tmp_path):
    entry = {"id": "CXR9_IM-1", "report": "Heart large.", "split": "train"}
    views = {"image_path": ["CXR9_IM-1/0.png", "CXR9_IM-1/1.png"]}
    content = {
        "train": [entry | views, {"id": "CXR8_IM-2", "report": None}, "no entry", entry | views],
        "val": [{"id": "CXR7_IM-3", "report": "Lungs free.", "image_path": "CXR7_IM-3/0.png"}],
        "test": [
            {"id": "CXR6", "report": "One."},
            {"id": "CXR6", "report": "Another."},
            {"id": ["CXR5"], "report": "A list."},
            {"id": "CXR4" * 99, "report": "Too long."},
        ],
    }
    put(tmp_path / "iu/annotation.json", content)
    for name in ("CXR9_IM-1/0", "CXR9_IM-1/1", "CXR7_IM-3/0"):
        put(tmp_path / f"iu/images/{name}.png")
    studies, result = converted("r2gen", tmp_path)
    assert list(studies) == ["CXR7_IM-3", "CXR9_IM-1"]
    assert [image["path"] for image in studies["CXR9_IM-1"]["images"]] == [
        "iu/images/CXR9_IM-1/0.png",
        "iu/images/CXR9_IM-1/1.png",
    ]
    assert studies["CXR9_IM-1"]["split"] == "train" and studies["CXR7_IM-3"]["split"] == "dev"
    assert "patient" not in studies["CXR9_IM-1"]
    assert kinds(result.excluded) == {
        "no_findings": 1,
        "entry_malformed": 3,
        "id_duplicate": 1,
        "id_conflict": 2,
    }


def test_r2gen_of_mimic_cxr_has_an_entry_an_image(tmp_path):
    def image(name: str, study: int, report: str = "Small effusion.") -> dict:
        path = f"p10/p10000001/s{study}/{name}.jpg"
        put(tmp_path / "images" / path)
        ids = {"id": name, "study_id": study, "subject_id": 10000001}
        return ids | {"report": report, "image_path": [path]}

    content = {
        "train": [image("a", 51), image("b", 51), image("c", 52), image("d", 52, "None seen")]
    }
    put(tmp_path / "annotation.json", content)
    studies, result = converted("r2gen", tmp_path)
    assert list(studies) == ["51"] and studies["51"]["patient"] == "10000001"
    assert len(studies["51"]["images"]) == 2
    assert kinds(result.excluded) == {"id_conflict": 2}


def test_rexrank(tmp_path):
    mimic = {
        "50051": {
            "image_path": ["/p10/p1001/s50051/a.jpg", "/p10/p1001/s50051/b.jpg"],
            "frontal_lateral": ["left lateral", "antero-posterior"],
            "section_findings": "Pacemaker in place.",
            "subject_id": 1001,
            "split": "test",
        }
    }
    plus = (
        '{"patient64_study1": {"image_path": ["valid/patient64/study1/view1_frontal.png"],'
        ' "frontal_lateral": ["Frontal"], "section_findings": "Rib fracture."},'
        ' "patient65_study1": {"section_findings": NaN}, "patient66_study1": 3}'
    )
    put(tmp_path / "ReXRank_MIMICCXR_test.json", mimic)
    put(tmp_path / "ReXRank_CheXpertPlus.json", plus)
    for name in ("files/p10/p1001/s50051/a.jpg", "files/p10/p1001/s50051/b.jpg"):
        put(tmp_path / name)
    put(tmp_path / "PNG/valid/patient64/study1/view1_frontal.png")
    studies, result = converted("rexrank", tmp_path)
    assert studies["50051"] == {
        "id": "50051",
        "report": "Pacemaker in place.",
        "images": [
            {"path": "files/p10/p1001/s50051/a.jpg", "projection": "lateral"},
            {"path": "files/p10/p1001/s50051/b.jpg", "projection": "frontal"},
        ],
        "patient": "1001",
        "split": "test",
    }
    assert studies["patient64_study1"]["patient"] == "patient64"
    assert "split" not in studies["patient64_study1"]
    assert kinds(result.excluded) == {"no_findings": 1, "entry_malformed": 1}


# MIMIC-CXR

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  Cough.

 FINDINGS:

 LUNGS: There is a small granuloma
 on the right.

 HEART: not enlarged.

 IMPRESSION:  Nothing acute.
"""


def test_mimic_cxr(tmp_path):
    reports = tmp_path / "mimic-cxr-reports/files/p10"
    put(reports / "p1001/s51.txt", REPORT)
    put(reports / "p1001/s52.txt", "FINAL REPORT\n Chest, two views: no change.\n")
    put(
        reports / "p1002/s53.txt",
        REPORT.replace("granuloma", "cavity “old”").encode("cp1252"),
    )
    os.symlink(tmp_path.parent / "elsewhere.txt", reports / "p1002/s54.txt")
    split = [("dicom_id", "study_id", "subject_id", "split")]
    split += [("aa-1", "51", "1001", "validate"), ("bb-2", "53", "1002", "holdout"), ("odd",)]
    put(tmp_path / "mimic-cxr-2.0.0-split.csv", split)
    views = "dicom_id,subject_id,study_id,ViewPosition\naa-1,1001,51,PA\naa-2,1001,51,LL\n"
    put(tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz", gzip.compress(views.encode()))
    put(tmp_path / "files/p10/p1001/s51/aa-1.jpg")
    put(tmp_path / "files/p10/p1001/s51/aa-2.jpg")
    studies, result = converted("mimic-cxr", tmp_path)
    assert studies["s51"] == {
        "id": "s51",
        "report": "LUNGS: There is a small granuloma on the right. HEART: not enlarged.",
        "images": [
            {"path": "files/p10/p1001/s51/aa-1.jpg", "projection": "frontal"},
            {"path": "files/p10/p1001/s51/aa-2.jpg", "projection": "lateral"},
        ],
        "patient": "p1001",
        "split": "dev",
    }
    assert "“old”" in studies["s53"]["report"] and "split" not in studies["s53"]
    assert kinds(result.excluded) == {"no_findings": 1, "file_outside": 1}
    assert kinds(result.repairs) == {"encoding": 1, "row_malformed": 1, "split_unknown": 1}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("FINDINGS: Free.\nIMPRESSION: Free.", "Free."),
        (" FINDINGS AND IMPRESSION:\n Free.\n", "Free."),
        ("IMPRESSION: Free.\n FINDINGS: Tube.", "Tube."),
        ("FINDINGS: Tube.\n NOTIFICATION: Told by telephone.", "Tube."),
        ("WET READ: ___ 9:00 AM\n Free.\n FINAL REPORT\n FINDINGS: Tube.\n", "Tube."),
        ("The findings: free.", ""),
        ("", ""),
    ],
)
def test_the_section_of_a_report(report, expected):
    assert " ".join(findings(report).split()) == expected


# Tables of images


def test_chexpert_plus(tmp_path):
    header = ("path_to_image", "frontal_lateral", "deid_patient_id", "split", "section_findings")
    study = "train/patient7/study2"
    rows = [
        (f"{study}/view1_frontal.jpg", "Frontal", "patient7", "train", "\nLine in place.\n"),
        ("valid/patient8/study1/view1_frontal.jpg", "Frontal", "patient8", "valid", "Stable."),
        (f"{study}/view2_lateral.jpg", "Lateral", "patient7", "train", "\nLine in place.\n"),
        ("train/patient9/study1/view1_frontal.jpg", "Frontal", "patient9", "train", ""),
        ("view1_frontal.jpg", "Frontal", "patient9", "train", "Where?"),
        ("train/patient9/study3/view1_frontal.jpg", "Frontal"),
    ]
    put(tmp_path / "df_chexpert_plus_240401.csv", [header, *rows])
    put(tmp_path / f"PNG/PNG/{study}/view1_frontal.png")
    put(tmp_path / f"PNG/PNG/{study}/view2_lateral.png")
    studies, result = converted("chexpert-plus", tmp_path)
    assert studies["patient7_study2"] == {
        "id": "patient7_study2",
        "report": "Line in place.",
        "images": [
            {"path": f"PNG/PNG/{study}/view1_frontal.png", "projection": "frontal"},
            {"path": f"PNG/PNG/{study}/view2_lateral.png", "projection": "lateral"},
        ],
        "patient": "patient7",
        "split": "train",
    }
    assert studies["patient8_study1"]["split"] == "dev"
    assert kinds(result.excluded) == {"no_findings": 1, "entry_malformed": 1, "row_malformed": 1}
    assert kinds(result.repairs) == {"image_missing": 1}


def test_padchest(tmp_path):
    header = ("", "ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "Report")
    rows = [
        ("0", "1_a.png", "7", "100", "P1", "PA", "pulmon normal"),
        ("1", "1_b.png", "7", "100", "P1", "L", "pulmon normal"),
        ("2", "2_a.png", "7", "200", "P2", "COSTAL", "nan"),
        ("3", "3_a.png", "7", "300", "P3", "AP_horizontal", "derram pleural"),
    ]
    put(tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", [header, *rows])
    for name in ("1_a", "1_b", "3_a"):
        put(tmp_path / f"images/7/{name}.png")
    put(tmp_path / "small/3_a.jpg")
    studies, result = converted("padchest", tmp_path)
    views = [(image["path"], image["projection"]) for image in studies["100"]["images"]]
    assert views == [("images/7/1_a.png", "frontal"), ("images/7/1_b.png", "lateral")]
    assert studies["300"]["images"] == [{"path": "images/7/3_a.png", "projection": "frontal"}]
    assert studies["300"]["patient"] == "P3" and "split" not in studies["300"]
    assert kinds(result.excluded) == {"no_findings": 1}
    assert kinds(result.repairs) == {"image_ambiguous": 1}


def test_padchest_gr(tmp_path):
    def entry(id: str, *sentences: str | None) -> dict:
        found = [{"sentence_en": text, "sentence_es": "x", "boxes": []} for text in sentences]
        return {"StudyID": id, "ImageID": f"{id}_x.png", "findings": found}

    content = [
        entry("1", "Mass on the left.", "No effusion."),
        entry("2", None),
        entry("3", "Free."),
    ]
    put(tmp_path / "grounded_reports_20240819.json", content)
    assert "unzip master_table.csv.zip" in refused("padchest-gr", tmp_path)
    table = [("StudyID", "ImageID", "label", "split", "PatientID")]
    table += [("1", "1_x.png", "mass", "validation", "P1"), ("1", "1_x.png", "none", "", "")]
    put(tmp_path / "master_table.csv", table)
    put(tmp_path / "Padchest_GR_files/PadChest_GR/1_x.png")
    studies, result = converted("padchest-gr", tmp_path)
    assert studies["1"] == {
        "id": "1",
        "report": "Mass on the left. No effusion.",
        "images": [
            {"path": "Padchest_GR_files/PadChest_GR/1_x.png", "projection": "frontal"},
        ],
        "patient": "P1",
        "split": "dev",
    }
    assert "patient" not in studies["3"] and kinds(result.excluded) == {"no_findings": 1}


def test_rexgradient(tmp_path):
    image = "GR1/AC1/studies/1/series/1/instances/1.png"
    entry = {
        "Findings": "Hernia.",
        "ImagePath": [f"../deid_png/{image}", "../deid_png/../../../etc/passwd"],
        "ImageViewPosition": [None, "PA"],
        "PatientID": "GR1",
    }
    put(tmp_path / "metadata/train_metadata_view_position.json", {"pGR1_aAC1": entry})
    put(tmp_path / "metadata/train_metadata.json", {"pGR1_aAC1": entry | {"Findings": "Other."}})
    put(tmp_path / "metadata/valid_metadata.json", {"pGR2_aAC2": {"Findings": "Clear."}, "x": 1})
    put(tmp_path / f"deid_png/{image}")
    studies, result = converted("rexgradient", tmp_path)
    assert studies["pGR1_aAC1"] == {
        "id": "pGR1_aAC1",
        "report": "Hernia.",
        "images": [{"path": f"deid_png/{image}", "projection": "unknown"}],
        "patient": "GR1",
        "split": "train",
    }
    assert studies["pGR2_aAC2"]["split"] == "dev"
    assert kinds(result.excluded) == {"entry_malformed": 1}
    assert kinds(result.repairs) == {"image_missing": 1}


def test_kaggle_iu(tmp_path):
    reports = [("uid", "image", "findings", "impression")]
    reports += [("1", "PA", "Clips seen.", ""), ("2.0", "PA", "", "x"), ("x", "PA", "Tube.", "")]
    projections = [("uid", "filename", "projection"), ("1", "1_IM-1-4001.dcm.png", "Frontal")]
    put(tmp_path / "indiana_reports.csv", reports)
    put(tmp_path / "indiana_projections.csv", [*projections, ("?", "2.dcm.png", "Lateral")])
    put(tmp_path / "images/images_normalized/1_IM-1-4001.dcm.png")
    studies, result = converted("kaggle-iu", tmp_path)
    path = "images/images_normalized/1_IM-1-4001.dcm.png"
    assert studies == {
        "CXR1": {
            "id": "CXR1",
            "report": "Clips seen.",
            "images": [{"path": path, "projection": "frontal"}],
        }
    }
    assert kinds(result.excluded) == {"no_findings": 1, "entry_malformed": 1}
    assert kinds(result.repairs) == {"row_malformed": 1}


# What every layout has in common


def test_what_is_converted_is_a_table_that_the_pipeline_reads(tmp_path):
    raw = tmp_path / "data" / "raw" / "table"
    entries = {"train": [], "val": [], "test": []}
    for number, (split, of_split) in enumerate(entries.items()):
        (raw / f"iu/images/{number}").mkdir(parents=True)
        Picture.new("L", (4, 4), number).save(raw / f"iu/images/{number}/0.png")
        views = {"image_path": [f"{number}/0.png"]}
        of_split.append({"id": f"S{number}", "report": f"{split} clear."} | views)
    put(raw / "iu/annotation.json", entries)
    out = raw / "studies.jsonl"
    convert("r2gen", raw / "iu", out)
    curated = [json.loads(line) | {"lungs": "Clear."} for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps(study) + "\n" for study in curated))
    columns = {"images": "images", "split": "split", "reference": {"lungs": "lungs"}}
    regions = Regions.model_validate({"lungs": {"about": "lungs"}})
    table = Table(TableSettings(file=out.name, **columns), regions)
    studies, incidents = table.read(raw, tmp_path / "drawn", tmp_path)
    assert [study.split for study in studies] == ["train", "dev", "test"] and not incidents
    assert studies[0].images[0].path == "data/raw/table/iu/images/0/0.png"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_without_the_collection_is_refused(tmp_path, layout):
    assert refused(layout, tmp_path).startswith(f"{tmp_path}: no ")


def test_the_folder_must_lie_below_the_file_that_is_written(tmp_path):
    put(tmp_path / "data/1.xml", xml("CXR1", "Clear."))
    said = refused("open-i", tmp_path / "data", tmp_path / "elsewhere" / "s.jsonl")
    assert said.startswith(f"{tmp_path / 'data'}: not below {tmp_path / 'elsewhere'}")
    assert str(tmp_path / "data" / "s.jsonl") in said
    assert "not a .jsonl file" in refused("open-i", tmp_path / "data", tmp_path / "s.csv")
    assert "no such folder" in refused("open-i", tmp_path / "missing", tmp_path / "s.jsonl")


def test_where_no_study_is_left_nothing_is_written(tmp_path):
    put(tmp_path / "1.xml", xml("CXR1", "").replace("All", "Tout à").encode("latin-1"))
    assert "1 files: 0 written as studies, excluded 1 no_findings" in refused("open-i", tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    secret = put(tmp_path / "secret/1_a.png")
    put(tmp_path / "c/1.xml", xml("CXR1", "Clear.", "1_a", "2_a"))
    put(tmp_path / "c/real/2_a.png")
    os.symlink(secret, tmp_path / "c/1_a.png")
    os.symlink(secret.parent, tmp_path / "c/folder")
    os.symlink("real/2_a.png", tmp_path / "c/inside.png")
    studies, result = converted("open-i", tmp_path / "c")
    assert [image["path"] for image in studies["CXR1"]["images"]] == ["real/2_a.png"]
    assert kinds(result.repairs) == {"image_outside": 2, "image_missing": 1}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"train": [', "not JSON"),
        ('{"train": []}'.encode("utf-16")[:-1], "not JSON"),
        (b"[]", "not R2Gen's form"),
        (b'{"train": {}}', "not R2Gen's form"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path, content, problem):
    put(tmp_path / "annotation.json", content)
    assert problem in refused("r2gen", tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"uid,impression\n1,x\n", "no column named findings"),
        (b'uid,findings\n1,"a "quoted" word"\n', "damaged CSV near line 2"),
        (b'uid,findings\n1,"never closed\n2,x\n', "damaged CSV near line"),
        ("uid,findings\n1,x\n".encode("utf-16")[:-1], "cannot be read"),
        (b"", "no column named uid"),
    ],
)
def test_a_table_of_which_rows_might_be_lost_is_refused(tmp_path, content, problem):
    put(tmp_path / "indiana_reports.csv", content)
    put(tmp_path / "indiana_projections.csv", "uid,filename,projection\n")
    assert problem in refused("kaggle-iu", tmp_path)


def test_utf_16_is_read(tmp_path):
    """A table and JSON, as programs for Windows save them."""
    put(tmp_path / "k/indiana_reports.csv", 'uid,findings\n1,"Größe\nnormal"\n'.encode("utf-16"))
    put(tmp_path / "k/indiana_projections.csv", "uid,filename,projection\n")
    studies, result = converted("kaggle-iu", tmp_path / "k")
    assert studies["CXR1"]["report"] == "Größe normal" and kinds(result.repairs) == {"encoding": 1}
    entry = {"id": "a", "report": "Größe normal"}
    put(tmp_path / "r/annotation.json", json.dumps({"val": [entry]}).encode("utf-16"))
    studies, result = converted("r2gen", tmp_path / "r")
    assert studies["a"]["split"] == "dev" and kinds(result.repairs) == {"encoding": 1}


def test_a_damaged_gzip_is_refused(tmp_path):
    rows = ["path_to_image,section_findings,frontal_lateral,deid_patient_id,split"]
    rows += [f"train/p/s{n}/{n * n}.jpg,Clear.,Frontal,p,train" for n in range(9999)]
    table = gzip.compress("\n".join(rows).encode())
    put(tmp_path / "df_chexpert_plus_240401.csv.gz", table[: len(table) // 2])
    assert "cannot be read" in refused("chexpert-plus", tmp_path)


def test_the_command_prints_counts_and_no_text_of_a_report(tmp_path):
    put(tmp_path / "1.xml", xml("CXR1", "Secret finding.", "CXR1_1"))
    put(tmp_path / "2.xml", xml("CXR2", ""))
    put(tmp_path / "3.xml", xml("Secret words in the place of an id", "Secret finding."))
    out = str(tmp_path / "s.jsonl")
    done = CliRunner().invoke(main, ["convert", "open-i", str(tmp_path), "--out", out])
    assert done.exit_code == 0 and done.stdout == "" and "Secret" not in done.stderr
    assert done.stderr.splitlines() == [
        "3 files: 1 written as studies, "
        "excluded 1 entry_malformed (e.g. 3.xml), 1 no_findings (e.g. CXR2)",
        "also excluded: 1 image_missing (e.g. CXR1)",
        f"{out}: written",
    ]
    help = CliRunner().invoke(main, ["convert", "--help"]).output
    assert all(layout in " ".join(help.split()).replace("- ", "-") for layout in LAYOUTS)
    assert CliRunner().invoke(main, ["convert", "mimic", ".", "--out", out]).exit_code == 2


def test_the_same_collection_gives_the_same_bytes(tmp_path):
    names = ["CXR3", "CXR1", "CXR2"]
    for folder, order in (("a", names), ("b", sorted(names))):
        for place, name in enumerate(order):
            put(tmp_path / folder / f"{place}.xml", xml(name, f"Report {name}."))
        converted("open-i", tmp_path / folder)
    written = [(tmp_path / folder / "studies.jsonl").read_bytes() for folder in "ab"]
    assert written[0] == written[1]


def test_the_table_in_the_docs_has_every_layout_and_kind():
    text = (ROOT / "docs" / "collections.md").read_text()
    assert all(f"| `{layout}` |" in text for layout in LAYOUTS)
    assert all(f"| `{kind}` | {meaning} |" in text for kind, meaning in KINDS.items())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = {
    "r2gen": ("id", "report", "image_path", "study_id", "subject_id", "split"),
    "rexrank": ("section_findings", "image_path", "frontal_lateral", "subject_id", "split"),
    "rexgradient": ("Findings", "ImagePath", "ImageViewPosition", "PatientID"),
    "padchest-gr": ("StudyID", "ImageID", "findings"),
}


@pytest.mark.parametrize("layout", FIELDS)
def test_entries_of_any_form_are_counted_and_never_raise(tmp_path_factory, layout):
    folder = tmp_path_factory.mktemp(layout)
    put(folder / "master_table.csv", [("StudyID", "PatientID", "split")])
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[layout], JSON))

    @settings(max_examples=60)
    @given(st.lists(fields | JSON, min_size=1, max_size=4))
    def check(entries):
        by_id = {str(place): entry for place, entry in enumerate(entries)}
        put(folder / "annotation.json", {"train": entries})
        put(folder / "ReXRank_x.json", by_id)
        put(folder / "train_metadata.json", by_id)
        put(folder / "grounded_reports_x.json", entries)
        try:
            _, result = converted(layout, folder)
        except UserError as error:
            assert "no study is left" in str(error)
        else:
            assert result.units == len(entries) or layout == "r2gen"  # which groups entries
        finally:
            (folder / "studies.jsonl").unlink(missing_ok=True)

    check()
