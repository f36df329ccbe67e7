"""Reading IU X-Ray: reports, references, splits, images in every layout; and the real collection
where it is at hand.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePath

import pytest
from conftest import REGIONS
from hypothesis import given
from hypothesis import strategies as st

from xraygen.core.study import Case, Image
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.iu_xray.images import identify_image
from xraygen.sources.iu_xray.text_files import TEXT_FILES

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "iu-xray"
REPORTS, PROJECTIONS, ANNOTATIONS = TEXT_FILES
real = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/iu-xray")

_spec = importlib.util.spec_from_file_location("bench_damage", ROOT / "bench" / "damage.py")
damage = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(damage)


@pytest.fixture
def files() -> dict[str, bytes]:
    return damage.compose()


def read(folder: Path, files: dict[str, bytes]):
    damage.write(folder / "data" / "raw", {}, files)
    return iu_xray.read(folder / "data" / "raw", folder, REGIONS)


def by_id(collection) -> dict:
    return {study.id: study for study in collection.studies}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("1000_IM-0003-1001.dcm.png", ("1000", "IM-0003-1001")),
        ("a/b/CXR1000_IM-0003-1001.png", ("1000", "IM-0003-1001")),
        ("CXR1_1_IM-0001-4001.png", ("1", "IM-0001-4001")),
        ("1_IM-0001-4001.dcm.png", ("1", "IM-0001-4001")),
        ("21_IM-0729-1001-0001.dcm.PNG", ("21", "IM-0729-1001-0001")),
        ("CXR1000_IM-0003/0.png", ("1000", None)),
        ("CXR1032_IM-0026-1001/12.jpg", ("1032", None)),
        ("CXR1_1_IM-0001/1.png", ("1", None)),
        ("0007_IM-0003-1001.png", ("7", "IM-0003-1001")),
        ("0_IM-0003-1001.png", ("0", "IM-0003-1001")),
        ("CXR1000_IM-0003/a.png", None),
        ("images/0.png", None),
        ("1000.png", None),
        ("1000_IM-0003-1001.dcm", None),
        ("\u0661_IM-0003-1001.png", None),
    ],
)
def test_an_image_is_known_by_its_name_in_every_layout(path, key):
    assert identify_image(PurePath(path)) == key


@given(st.text(max_size=40))
def test_no_name_breaks_the_reading_of_names(name):
    key = identify_image(PurePath(name))
    assert key is None or key[0].isascii() and key[0].isdigit()


def test_studies_are_read_as_given_and_sorted(tmp_path, files):
    studies, _ = read(tmp_path, files)
    assert [study.id for study in studies] == sorted(study.id for study in studies)
    assert Counter(study.split for study in studies) == {"train": 12, "test": 6, "val": 3}
    study = next(study for study in studies if study.id == "CXR8_IM-901")
    assert (study.uid, study.split, study.reference["heart"], study.reference["bone"]) == (
        "8",
        "test",
        "1 units.",
        "",
    )
    assert (
        study.report == "The heart measures 1 units, not enlarged. Lungs: clear in 3 fields."
        ' No fracture, "as drawn".'
    )
    assert all((study.reference is None) == (study.split == "val") for study in studies)


def test_original_report_comes_before_findings(tmp_path, files):
    content = json.loads(files[ANNOTATIONS])
    content["val"][0]["original_report"] = "Something else was seen."
    content["train"][0]["original_report"] = "And here."
    files[ANNOTATIONS] = json.dumps(content).encode()
    studies = by_id(read(tmp_path, files))
    assert studies[content["val"][0]["id"]].report == "Something else was seen."
    assert studies[content["train"][0]["id"]].report == "And here."


def test_images_come_frontal_first_with_paths_from_the_root(tmp_path, files):
    images = by_id(read(tmp_path, files))["CXR22_IM-903"].images
    assert [(image.path, image.projection) for image in images] == [
        ("data/raw/images/22_IM-903-1001.dcm.png", "frontal"),
        ("data/raw/images/22_IM-903-3001.dcm.png", "frontal"),
        ("data/raw/images/22_IM-903-2001.dcm.png", "lateral"),
    ]
    assert len({image.sha256 for image in images}) == 3
    assert all((tmp_path / image.path).is_file() for image in images)


def test_r2gen_numbers_tell_the_view_only_where_all_listed_are_the_same(tmp_path, files):
    studies = by_id(read(tmp_path, files))
    assert [image.projection for image in studies["CXR64_IM-909-1001"].images] == [
        "frontal"
    ]  # one listed, frontal
    assert [image.projection for image in studies["CXR71_IM-910"].images] == [
        "unknown",
        "unknown",
    ]  # frontal and lateral listed


def test_r2gen_numbers_tell_no_view_where_the_projections_lost_a_row(tmp_path, files):
    files[PROJECTIONS] = b"".join(
        line for line in files[PROJECTIONS].splitlines(True) if b"71_IM-910-2001" not in line
    )
    collection = read(tmp_path, files)
    assert [image.projection for image in by_id(collection)["CXR71_IM-910"].images] == [
        "unknown",
        "unknown",
    ]
    assert ("projection_missing", "CXR71_IM-910") in {
        (incident.kind, incident.id) for incident in collection.incidents
    }


def test_every_layout_gives_the_same_images(tmp_path, files):
    kaggle = by_id(read(tmp_path / "kaggle", files))["CXR22_IM-903"].images
    for layout, name in {
        "open-i": "CXR22_IM-903-{}.png",
        "nested": "deep/er/22_IM-903-{}.dcm.png",
    }.items():
        moved = {
            f"images/{name.format(path[-12:-8])}" if path.startswith("images/22_") else path: data
            for path, data in files.items()
        }
        images = by_id(read(tmp_path / layout, moved))["CXR22_IM-903"].images
        assert [(i.projection, i.sha256) for i in images] == [
            (i.projection, i.sha256) for i in kaggle
        ]


def test_two_layouts_side_by_side_give_each_image_once_and_the_one_that_tells_its_view(
    tmp_path, files
):
    before = by_id(read(tmp_path / "before", files))["CXR22_IM-903"].images
    for place, view in enumerate(("2001", "3001", "1001")):
        files[f"images/CXR22_IM-903/{place}.png"] = (
            files[f"images/22_IM-903-{view}.dcm.png"] + b" resized, say"
        )
        files[f"images/CXR22_IM-903-{view}.png"] = (
            files[f"images/22_IM-903-{view}.dcm.png"] + b" resized otherwise"
        )
    after = read(tmp_path / "after", files)
    assert by_id(after)["CXR22_IM-903"].images == before
    assert Counter(incident.kind for incident in after.incidents)["image_duplicate"] == 6


def test_images_of_a_second_series_of_the_uid_belong_to_its_study(tmp_path, files):
    files["images/22_IM-999-1001.dcm.png"] = damage.compose(seed=1)["images/22_IM-903-1001.dcm.png"]
    files[PROJECTIONS] += b"22,22_IM-999-1001.dcm.png,Lateral\n"
    images = by_id(read(tmp_path, files))["CXR22_IM-903"].images
    assert ("data/raw/images/22_IM-999-1001.dcm.png", "lateral") in {
        (image.path, image.projection) for image in images
    }


def test_an_image_cut_anywhere_or_with_any_bit_flipped_before_its_end_is_excluded(tmp_path, files):
    name = "images/8_IM-901-1001.dcm.png"
    whole = files[name]
    damage.write(tmp_path / "data" / "raw", {}, files)
    path = tmp_path / "data" / "raw" / name
    for place in range(0, len(whole) - 12, 5):  # the last chunk, IEND, holds nothing
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            path.write_bytes(data)
            collection = iu_xray.read(tmp_path / "data" / "raw", tmp_path, REGIONS)
            assert not by_id(collection)["CXR8_IM-901"].images
            assert "image_unreadable" in {incident.kind for incident in collection.incidents}


def test_jpeg_and_sixteen_bits_are_images_too(tmp_path, files):
    import io

    import numpy as np
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(buffer, "JPEG")
    files["images/CXR8_IM-901-7.jpg"] = buffer.getvalue()
    assert files["images/8_IM-901-1001.dcm.png"][24] == 16  # bit depth in the PNG header
    assert len(by_id(read(tmp_path, files))["CXR8_IM-901"].images) == 2


def test_without_any_image_studies_keep_their_reports_and_nothing_is_said(tmp_path, files):
    texts = {name: files[name] for name in TEXT_FILES}
    collection = read(tmp_path, texts)
    assert len(collection.studies) == 21 and not any(study.images for study in collection.studies)
    assert {incident.kind for incident in collection.incidents} == {"report_without_annotation"}


def test_a_folder_of_images_that_is_empty_is_told(tmp_path, files):
    (tmp_path / "data" / "raw" / "images").mkdir(parents=True)
    collection = read(tmp_path, {name: files[name] for name in TEXT_FILES})
    assert Counter(incident.kind for incident in collection.incidents)["image_missing"] == 21


def test_names_that_utf8_cannot_say_are_excluded(tmp_path, files):
    folder = os.fsencode(tmp_path / "data" / "raw" / "images") + b"/\xff"
    os.makedirs(folder)
    for name in (b"/\xfe.png", b"/8_IM-901-9001.png"):
        with open(folder + name, "wb") as file:
            file.write(files["images/8_IM-901-1001.dcm.png"])
    incidents = read(tmp_path, files).incidents
    assert Counter(incident.kind for incident in incidents)["image_name"] == 2


def test_reading_is_the_same_whatever_the_hash_seed(tmp_path, files):
    in_train = json.loads(files[ANNOTATIONS])
    in_train["test"].append(in_train["train"][0] | {"split": "test"})
    files[ANNOTATIONS] = json.dumps(in_train).encode()
    files["images/8_IM-901-1001.dcm.png"] = files["images/CXR36_IM-905-1001.png"] = files[
        "images/22_IM-903-1001.dcm.png"
    ]
    damage.write(tmp_path / "raw", {}, files)
    code = (
        "from pathlib import Path; from conftest import REGIONS; "
        "from xraygen.sources.iu_xray.read import read; "
        "print(read(Path('raw'), Path('.'), REGIONS))"
    )
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout and runs[0].stdout


# --- the real collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    folder = root / "raw"
    shutil.copytree(SHARED / "images", folder / "images")
    for name in TEXT_FILES:
        shutil.copyfile(SHARED / name, folder / name)
    return iu_xray.read(folder, root, REGIONS)


@real
def test_every_real_study_is_read(collection):
    assert Counter(study.split for study in collection.studies) == {
        "train": 2069,
        "val": 296,
        "test": 295,
    }
    assert all(study.report for study in collection.studies)
    assert all((study.reference is None) == (study.split == "val") for study in collection.studies)
    assert {"CXR1_1_IM-0001", "CXR1072_IM-0052-1001"} <= {study.id for study in collection.studies}


@real
def test_every_real_image_is_claimed_or_explained(collection):
    claimed = [image for study in collection.studies for image in study.images]
    unclaimed = [
        incident.id for incident in collection.incidents if incident.kind == "image_unclaimed"
    ]
    # 50 studies with images are among the 295 of the test split that are kept apart.
    assert (len(claimed), len(unclaimed)) == (733, 50)
    names = {PurePath(image.path).name for image in claimed}
    rest = [path.name for path in (SHARED / "images").iterdir() if path.name not in names]
    assert {f"CXR{name.split('_')[0]}" for name in rest} == set(unclaimed) and len(rest) + len(
        claimed
    ) == 839
    assert "unknown" not in {image.projection for image in claimed}


@real
def test_the_real_files_need_no_repair_but_one(collection):
    kinds = Counter(incident.kind for incident in collection.incidents)
    # 2,660 of 3,851 reports are annotated; 350 of those studies have images here, one of them not
    # all.
    expected = {
        "report_without_annotation": 1191,
        "image_unclaimed": 50,
        "original_report_differs": 1,
        "image_missing": 2311,
    }
    assert kinds == expected


@real
@pytest.mark.parametrize("layout", ["r2gen", "open-i"])
def test_the_other_layouts_of_real_studies_hold_the_same_images(layout, collection, tmp_path):
    for name in TEXT_FILES:
        (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(SHARED / name, tmp_path / "raw" / name)
    shutil.copytree(SHARED / "layouts" / layout, tmp_path / "raw" / "images")
    found = [
        study for study in iu_xray.read(tmp_path / "raw", tmp_path, REGIONS).studies if study.images
    ]
    kaggle = by_id(collection)

    def views(images: tuple[Image, ...]) -> set:
        return {
            (image.sha256, image.projection if layout == "open-i" else None) for image in images
        }

    assert len(found) >= 5
    for study in found:
        assert views(study.images) == views(kaggle[study.id].images), study.id


@real
def test_a_real_case_has_no_reference(collection):
    assert (
        set(collection.studies[0].case().model_dump())
        == set(Case.model_fields)
        == {"id", "report", "images"}
    )
