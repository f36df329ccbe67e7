"""Damaged raw files: every kind of incident by its own damage, every refusal by its own, and seeded
random ones of every sort.
"""

import csv
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REGIONS

from xraygen.core.errors import UserError
from xraygen.sources import Collection
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.iu_xray.incidents import KINDS
from xraygen.sources.iu_xray.text_files import TEXT_FILES

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "iu-xray"
REPORTS, PROJECTIONS, ANNOTATIONS = TEXT_FILES

_spec = importlib.util.spec_from_file_location("bench_damage", ROOT / "bench" / "damage.py")
damage = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(damage)


def read(folder: Path, files: dict[str, bytes]) -> Collection:
    damage.write(folder / "raw", {}, files)
    return iu_xray.read(folder / "raw", folder, REGIONS)


def in_csv(
    name: str, change: Callable[[list[list[str]]], object]
) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        rows = list(csv.reader(io.StringIO(files[name].decode(), newline="")))
        change(rows)
        files[name] = damage.to_csv(rows)

    return apply


def in_json(change: Callable[[dict], object]) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        content = json.loads(files[ANNOTATIONS])
        change(content)
        files[ANNOTATIONS] = json.dumps(content).encode()

    return apply


def in_bytes(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return apply


def image(
    name: str, data: Callable[[dict[str, bytes]], bytes | None]
) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        content = data(files)
        if content is None:
            del files[f"images/{name}"]
        else:
            files[f"images/{name}"] = content

    return apply


# Of the small collection: studies 8 and 15 have images in Kaggle's layout (one, two), 36 and 43 in
# Open-i's, 64 in R2Gen's (one).
TRAIN, TEST, VAL = "CXR1_1_IM-900", "CXR8_IM-901", "CXR22_IM-903"
ONE = "8_IM-901-1001.dcm.png"
TWIN = "8_IM-901-2001.dcm.png"
OTHER = "CXR36_IM-905-1001.png"

# kind -> (damage, id that the incident names, study that is no longer there)
NAMED: dict[str, tuple[Callable[[dict[str, bytes]], None], str, str | None]] = {
    "encoding": (in_bytes(REPORTS, b"measures 0", b"m\xe9asures 0"), REPORTS, None),
    "text_characters": (
        in_json(lambda c: c["train"][0]["report"].update(lung="clear\0\ud800")),
        TRAIN,
        None,
    ),
    "file_unterminated": (
        lambda files: files.update({PROJECTIONS: files[PROJECTIONS].rstrip()}),
        PROJECTIONS,
        None,
    ),
    "row_malformed": (in_csv(REPORTS, lambda rows: rows[1].pop()), f"{REPORTS}:2", TRAIN),
    "uid_decimal": (
        in_csv(REPORTS, lambda rows: rows[1].__setitem__(0, f"{rows[1][0]}.0")),
        REPORTS,
        None,
    ),
    "report_duplicate": (in_csv(REPORTS, lambda rows: rows.append(rows[1])), "CXR1", None),
    "report_conflict": (
        in_csv(REPORTS, lambda rows: rows.append([*rows[1][:6], "Enlarged.", ""])),
        TRAIN,
        TRAIN,
    ),
    "report_missing": (in_csv(REPORTS, lambda rows: rows.pop(1)), TRAIN, TRAIN),
    "report_empty": (in_csv(REPORTS, lambda rows: rows[1].__setitem__(6, " ")), TRAIN, TRAIN),
    "report_without_annotation": (in_json(lambda c: c["test"].pop(0)), "CXR8", TEST),
    "entry_malformed": (in_json(lambda c: c["test"].append(None)), f"{ANNOTATIONS}:test[6]", None),
    "entry_unknown_key": (in_json(lambda c: c["train"][0].update(author="me")), TRAIN, None),
    "split_missing": (in_json(lambda c: c["train"][0].pop("split")), TRAIN, None),
    "split_mismatch": (in_json(lambda c: c["train"][0].update(split="test")), TRAIN, TRAIN),
    "original_report_not_text": (
        in_json(lambda c: c["val"][0].update(original_report=None)),
        VAL,
        None,
    ),
    "original_report_differs": (
        in_json(lambda c: c["val"][0].update(original_report="Another.")),
        VAL,
        None,
    ),
    "annotation_missing": (in_json(lambda c: c["train"][0].update(report="Clear.")), TRAIN, TRAIN),
    "annotation_incomplete": (in_json(lambda c: c["train"][0]["report"].pop("bone")), TRAIN, TRAIN),
    "annotation_null": (in_json(lambda c: c["train"][0]["report"].update(bone=None)), TRAIN, None),
    "annotation_not_text": (
        in_json(lambda c: c["train"][0]["report"].update(bone=5)),
        TRAIN,
        TRAIN,
    ),
    "annotation_unknown_key": (
        in_json(lambda c: c["train"][0]["report"].update(spine="Straight.")),
        TRAIN,
        None,
    ),
    "annotation_of_val": (
        in_json(lambda c: c["val"][0].update(report={"lung": "Clear."})),
        VAL,
        None,
    ),
    "study_duplicate": (in_json(lambda c: c["train"].append(c["train"][0])), TRAIN, None),
    "study_conflict": (
        in_json(lambda c: c["train"].append(c["train"][0] | {"report": c["train"][1]["report"]})),
        TRAIN,
        TRAIN,
    ),
    "study_not_listed": (in_json(lambda c: c["train"][0].update(id="CXR1_IM-9000")), "CXR1", TRAIN),
    "split_leak": (
        in_json(lambda c: c["train"].append(c["test"][0] | {"split": "train"})),
        TEST,
        None,
    ),
    "projection_duplicate": (in_csv(PROJECTIONS, lambda rows: rows.append(rows[2])), ONE, None),
    "projection_conflict": (
        in_csv(PROJECTIONS, lambda rows: rows.append([*rows[2][:2], "Lateral"])),
        ONE,
        None,
    ),
    "projection_value": (in_csv(PROJECTIONS, lambda rows: rows[2].__setitem__(2, "AP")), ONE, None),
    "projection_missing": (
        in_csv(PROJECTIONS, lambda rows: rows.pop(2)),
        f"raw/images/{ONE}",
        None,
    ),
    "projection_without_report": (
        in_csv(PROJECTIONS, lambda rows: rows.append(["99999", "99999_IM-1-1.dcm.png", "Frontal"])),
        "CXR99999",
        None,
    ),
    "image_missing": (image(ONE, lambda files: None), TEST, None),
    "image_unreadable": (
        image(ONE, lambda files: files[f"images/{ONE}"][:-20]),
        f"raw/images/{ONE}",
        None,
    ),
    "image_duplicate": (
        image(TWIN, lambda files: files[f"images/{ONE}"]),
        f"raw/images/{TWIN}",
        None,
    ),
    "image_shared": (image(OTHER, lambda files: files[f"images/{ONE}"]), f"raw/images/{ONE}", None),
    "image_unclaimed": (image("CXR99999_IM-1-1.png", lambda files: b""), "CXR99999", None),
    "image_name": (image("scan.png", lambda files: b""), "raw/images/scan.png", None),
}


def test_the_undamaged_collection_reads_without_a_word_but_for_what_it_lacks(tmp_path):
    studies, incidents = read(tmp_path, damage.compose())
    assert len(studies) == 21
    assert {incident.kind for incident in incidents} == {
        "report_without_annotation",
        "image_missing",
        "image_unclaimed",
    }


@pytest.mark.parametrize("kind", NAMED)
def test_each_damage_is_named_and_loses_what_it_must_and_no_more(kind, tmp_path):
    apply, id, gone = NAMED[kind]
    files = damage.compose()
    before = read(tmp_path / "before", files)
    apply(files)
    after = read(tmp_path / "after", files)
    new = set(after.incidents) - set(before.incidents)
    assert (kind, id) in {(incident.kind, incident.id) for incident in new}
    assert {study.id for study in before.studies} - {study.id for study in after.studies} == {
        gone
    } - {None}
    assert next(incident for incident in new if incident.kind == kind).action == KINDS[kind].split(
        ":"
    )[0].replace(" ", "_")


def test_every_kind_is_tested():
    assert set(NAMED) | {"image_outside"} == set(KINDS)


def test_links_that_lead_out_are_excluded_and_those_within_are_not_followed_twice(tmp_path):
    files = damage.compose()
    before = read(tmp_path, files)
    images = tmp_path / "raw" / "images"
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "8_IM-901-3001.png").write_bytes(files[f"images/{OTHER}"])
    os.symlink(secret / "8_IM-901-3001.png", images / "8_IM-901-3001.png")
    os.symlink(secret, images / "more")
    os.symlink(images, images / "again")
    os.symlink(images / "loop", images / "loop")
    after = iu_xray.read(tmp_path / "raw", tmp_path, REGIONS)
    named = {
        incident.id: incident.kind for incident in set(after.incidents) - set(before.incidents)
    }
    assert named == {
        "raw/images/8_IM-901-3001.png": "image_outside",
        "raw/images/more": "image_outside",
    }
    assert after.studies == before.studies


def test_a_leaking_study_stays_in_test_with_the_test_annotation(tmp_path):
    files = damage.compose()
    twin = {"id": "CXR8_IM-901-5", "split": "train"}
    in_json(lambda c: c["train"].insert(0, c["train"][0] | twin))(files)
    studies, _ = read(tmp_path, files)
    (study,) = [study for study in studies if study.uid == "8"]
    assert (study.id, study.split, study.reference["heart"]) == (TEST, "test", "1 units.")


def test_an_image_shared_by_two_studies_is_kept_for_neither(tmp_path):
    files = damage.compose()
    NAMED["image_shared"][0](files)
    studies, _ = read(tmp_path, files)
    paths = {image.path for study in studies for image in study.images}
    assert not paths & {f"raw/images/{ONE}", f"raw/images/{OTHER}"}


@pytest.mark.parametrize("change", ["bom", "crlf", "cr"])
@pytest.mark.parametrize("name", [REPORTS, PROJECTIONS])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(name, change, tmp_path):
    files = damage.compose()
    before = read(tmp_path / "before", files).studies
    ends = {"crlf": b"\r\n", "cr": b"\r"}
    files[name] = (
        b"\xef\xbb\xbf" + files[name]
        if change == "bom"
        else files[name].replace(b"\n", ends[change])
    )
    after = read(tmp_path / "after", files)
    assert [s.model_dump(exclude={"images"}) for s in after.studies] == [
        s.model_dump(exclude={"images"}) for s in before
    ]


def test_a_quoted_line_break_is_part_of_the_text(tmp_path):
    files = damage.compose()
    in_bytes(REPORTS, b"not enlarged. Lungs", b"not enlarged.\nLungs")(files)
    assert (
        "not enlarged.\nLungs"
        in next(study for study in read(tmp_path, files).studies if study.id == TRAIN).report
    )


def swallow_a_row(rows: list[list[str]]) -> None:
    rows[3][-1] += "\n" + ",".join(rows.pop(4))


def rename_list(content: dict) -> None:
    content["vql"] = content.pop("val")


REFUSED = {
    "missing file": (
        lambda files: files.pop(PROJECTIONS),
        f"{PROJECTIONS}: is missing.*xraygen fetch",
    ),
    "empty file": (
        lambda files: files.update({REPORTS: b""}),
        f"{REPORTS}: no column is named 'uid'",
    ),
    "cut JSON": (
        lambda files: files.update({ANNOTATIONS: files[ANNOTATIONS][:-9]}),
        f"{ANNOTATIONS}: not JSON",
    ),
    "a key twice": (
        in_bytes(ANNOTATIONS, b'"val":', b'"test":'),
        f"{ANNOTATIONS}: .*'test' is duplicated",
    ),
    "no object": (
        lambda files: files.update({ANNOTATIONS: b"[]"}),
        f"{ANNOTATIONS}: should be an object",
    ),
    "deep nesting": (
        lambda files: files.update({ANNOTATIONS: b"[" * 200_000}),
        f"{ANNOTATIONS}: not JSON",
    ),
    "long number": (
        lambda files: files.update({ANNOTATIONS: b"1" * 5000}),
        f"{ANNOTATIONS}: not JSON",
    ),
    "no list": (in_json(lambda c: c.update(val={})), f"{ANNOTATIONS}: 'val' is not a list"),
    "list missing": (in_json(lambda c: c.pop("train")), f"{ANNOTATIONS}: 'train' is missing"),
    "list renamed": (in_json(rename_list), f"{ANNOTATIONS}: 'vql' is none of"),
    "no test study": (in_json(lambda c: c.update(test=[])), "no test study is left"),
    "no train study": (
        in_csv(REPORTS, lambda rows: [row.append("x") for row in rows[1:]]),
        "no test study is left: .*malformed",
    ),
    "column missing": (
        in_bytes(REPORTS, b",findings,", b",Findings:,"),
        f"{REPORTS}: no column is named 'findings'",
    ),
    "column twice": (
        in_bytes(REPORTS, b",impression", b",findings"),
        f"{REPORTS}: two columns are named 'findings'",
    ),
    "quote never closed": (
        in_bytes(REPORTS, b"Quiet chest 23.", b'"Quiet chest 23.'),
        f"{REPORTS}: not CSV near line 25",
    ),
    "quote closed early": (
        in_bytes(REPORTS, b"Quiet chest 2.", b'"Quiet" chest 2.'),
        f"{REPORTS}: not CSV near line 4",
    ),
    "row swallowed": (
        in_csv(REPORTS, swallow_a_row),
        f"{REPORTS}: a quote opened before line 5 swallows rows",
    ),
    "UTF-16": (
        lambda files: files.update({REPORTS: files[REPORTS].decode().encode("utf-16")}),
        f"{REPORTS}: is UTF-16",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_make_an_unknown_data_set_is_refused_in_one_sentence(name, tmp_path):
    apply, message = REFUSED[name]
    files = damage.compose()
    apply(files)
    with pytest.raises(UserError) as error:
        read(tmp_path, files)
    assert re.search(message, str(error.value)), error.value
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_folder_outside_the_root_is_refused(tmp_path):
    with pytest.raises(UserError, match="lies outside"):
        iu_xray.read(tmp_path / "raw", tmp_path / "project", REGIONS)


def test_random_damages_never_break_reading_or_lose_a_study_unsaid():
    result = damage.run(damage.compose(), count=250, seed=10_000)
    assert not result["failures"], "\n".join(result["failures"])
    assert result["refused"] > 20 and result["named"] > 80  # the damages do bite


@pytest.mark.slow
def test_the_benchmark_draws_random_damages():
    """By default 2,000."""
    run = subprocess.run(
        [sys.executable, "bench/damage.py", "--count", "400"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["damages"] == 400


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/iu-xray")
def test_random_damages_to_the_real_files():
    result = damage.run(damage.load(SHARED, images=10), count=60, seed=0)
    assert not result["failures"], "\n".join(result["failures"])


def test_the_fuzz_notices_a_study_that_vanishes(tmp_path):
    before = read(tmp_path, damage.compose())
    assert damage.compare(before, Collection(before.studies[1:], before.incidents))[0] == [
        before.studies[0].id
    ]
    fewer = [s.model_copy(update={"images": ()}) for s in before.studies]
    assert len(damage.compare(before, Collection(fewer, before.incidents))[0]) == sum(
        len(s.images) for s in before.studies
    )
