"""The phantom source: the same study anywhere, words that match the truth, pictures that show it on
its side.
"""

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import REGIONS
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import Case
from xraygen.language.text import sentences, tokens
from xraygen.sources.phantom import Phantom, PhantomSettings, draw, phantom, read
from xraygen.sources.phantom.film import curve
from xraygen.sources.phantom.findings import Findings, Lesion, Pleural, RibFracture
from xraygen.sources.phantom.frontal_anatomy import CARDIOTHORACIC, heart_borders

SHARED = Path(__file__).resolve().parents[2] / "shared"
ROOT = Path(__file__).resolve().parents[1]
MANY = [phantom(0, k) for k in range(3000)]
SIZE = 112
KS = range(6)

any_phantom = st.builds(phantom, st.integers(0, 2**40), st.integers(0, 3 * 10**9))


# --- the same study anywhere

FINGERPRINT = """
import hashlib, sys
from xraygen.sources.phantom import draw, phantom
digest = hashlib.sha256()
for k in (5, 10**9 + 3, 0):
    made = phantom(7, k)
    digest.update(made.model_dump_json().encode())
    for view in draw(made.findings, 7, k, 112):
        digest.update(view.tobytes())
print(digest.hexdigest())
"""


def test_a_study_is_the_same_in_any_process_whatever_the_hash_seed():
    seen = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1")
    }
    local = hashlib.sha256()
    for k, made in [(k, phantom(7, k)) for k in (0, 10**9 + 3, 5)][::-1]:
        local.update(made.model_dump_json().encode())
        for view in draw(made.findings, 7, k, SIZE):
            local.update(view.tobytes())
    assert seen == {f"{local.hexdigest()}\n".encode()}


def test_seeds_and_numbers_give_different_studies():
    assert len({made.findings.model_dump_json() for made in MANY[:200]}) > 100
    assert [phantom(1, k).report for k in range(50)] != [made.report for made in MANY[:50]]
    normal = Findings()
    assert (draw(normal, 0, 1, SIZE)[0] != draw(normal, 0, 2, SIZE)[0]).mean() > 0.5


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Enough studies for several processes to share the work."""
    root = tmp_path_factory.mktemp("phantom")
    return root, read(
        PhantomSettings(train=24, test=6, val=4, size=SIZE, seed=3),
        root / "data" / "images",
        root,
        REGIONS,
    )


def test_more_training_studies_leave_the_others_as_they_are(collection, tmp_path):
    _, (studies, _) = collection
    few, _ = read(
        PhantomSettings(train=2, test=6, val=4, size=SIZE, seed=3),
        tmp_path / "data" / "images",
        tmp_path,
        REGIONS,
    )
    assert Counter(study.split for study in few) == {"train": 2, "test": 6, "val": 4}
    assert {study.id: study for study in few}.items() <= {
        study.id: study for study in studies
    }.items()


def test_the_collection_is_complete(collection):
    root, (studies, incidents) = collection
    assert incidents == [] and [study.id for study in studies] == sorted(
        {study.id for study in studies}
    )
    for study in studies:
        assert (study.reference is None) == (study.split == "val")
        assert [image.projection for image in study.images] == ["frontal", "lateral"]
        for image in study.images:
            assert image.path == f"data/images/{study.id}-{image.projection}.png"
            data = (root / image.path).read_bytes()
            assert hashlib.sha256(data).hexdigest() == image.sha256
            made = phantom(3, int(study.uid))
            assert made.id == study.id and made.report == study.report
            pixels = np.asarray(PIL.Image.open(io.BytesIO(data)))
            assert pixels.dtype == np.uint8
            assert np.array_equal(
                pixels, draw(made.findings, 3, int(study.uid), SIZE)[image.projection == "lateral"]
            )
    assert len(list((root / "data" / "images").iterdir())) == 2 * len(studies)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 100}, {"size": 56}, {"train": 0}, {"test": 10**9}, {"seed": -1}, {"sizes": 224}],
)
def test_wrong_params_are_refused(wrong):
    with pytest.raises(ValidationError) as error:
        PhantomSettings(**wrong)
    assert error.value.errors()[0]["loc"] == tuple(wrong)


def test_images_outside_the_root_are_refused(tmp_path):
    with pytest.raises(UserError, match="outside"):
        read(
            PhantomSettings(train=1, test=1, val=0),
            tmp_path / "images",
            tmp_path / "project",
            REGIONS,
        )
    assert not (tmp_path / "images").exists()


# --- words

# What a sentence that states the finding holds, each word of it; the region is the reference's.
STATED = {
    "heart": (
        "heart",
        lambda value: ["upper limit|borderline" if value == "borderline" else f"{value}(ly)? "],
    ),
    "mediastinum": ("mediastinal", lambda value: ["widen|wide"]),
    "aorta": ("mediastinal", lambda value: [value]),
    "vessels": (
        "lung",
        lambda value: ["edema" if value == "edema" else "congest|increased|engorged"],
    ),
    "volumes": ("lung", lambda value: ["low|hypo" if value == "low" else "hyper"]),
    "effusion": (
        "lung",
        lambda value: [
            "effusion",
            value.amount,
            "bilateral|both" if value.side == "both" else value.side,
        ],
    ),
    "pneumothorax": ("lung", lambda value: ["pneumothorax", value.amount, value.side]),
    "consolidation": (
        "lung",
        lambda value: [
            "consolidation|airspace|infiltrate|pneumonia",
            f"{value.side} {value.lobe} lobe",
        ],
    ),
    "nodule": (
        "lung",
        lambda value: ["nod", rf"{value.mm / 10} cm", f"{value.side} {value.lobe} lobe"],
    ),
    "granuloma": ("lung", lambda value: ["granuloma", f"{value.side} {value.lobe} lobe"]),
    "atelectasis": (
        "lung",
        lambda value: ["atelectasis", "bibasilar" if value == "both" else f"{value} basilar"],
    ),
    "rib_fracture": (
        "bone",
        lambda value: ["old|healed" if value.healed else "acute", "fracture", value.side],
    ),
    "spine": ("bone", lambda value: [value, "spondylosis|degenerative"]),
    "scoliosis": ("bone", lambda value: ["scoliosis", value]),
    "pacemaker": ("others", lambda value: ["pacemaker"]),
    "sternotomy": ("others", lambda value: ["sternotomy"]),
    "central_line": ("others", lambda value: [value, "line|catheter|picc"]),
    "clips": ("others", lambda value: ["clips"]),
    "hernia": ("others", lambda value: [value, "hernia"]),
    "free_air": ("others", lambda value: ["free.* air|pneumoperitoneum|free air"]),
}
ELSEWHERE = {"sternotomy": "bone", "central_line": "mediastinal", "hernia": "mediastinal"}
DENIED = r"\b(no|without|negative)\b[^.]*{}"


def states(text: str, words: list[str]) -> bool:
    return any(
        all(re.search(word, sentence.lower()) for word in words) for sentence in sentences(text)
    )


@given(any_phantom)
def test_what_is_abnormal_is_stated_and_filed_under_its_region(made: Phantom):
    assert set(STATED) == set(Findings.model_fields)
    for name in made.findings.abnormal():
        region, words = STATED[name]
        wanted = words(getattr(made.findings, name))
        assert states(made.report, wanted), (name, made.report)
        filed = [made.reference[place] for place in (region, ELSEWHERE.get(name, region))]
        assert any(states(text, wanted) for text in filed), (name, made.reference)


@given(any_phantom)
def test_nothing_is_denied_that_is_there_nor_stated_that_is_not(made: Phantom):
    findings, report = made.findings, made.report.lower()
    for name in ("effusion", "pneumothorax", "consolidation", "nodule"):
        if getattr(findings, name):
            word = (
                "(consolidation|infiltrate|pneumonia|airspace|opacity)"
                if name == "consolidation"
                else name
            )
            assert not re.search(DENIED.format(word), report), report
        else:
            assert all(
                re.match(r".*\b(no|without|negative)\b", s.lower())
                for s in sentences(report)
                if re.search(rf"\b{name}", s)
            )
    report = re.sub("limits? of normal", "limit", report)
    if findings.heart != "normal":
        assert not re.search(
            r"(heart|cardiac|cardiomediastinal)[^.]*(normal\.|unremarkable|within normal)|"
            r"no cardiomegaly",
            report,
        ), report
    if any(STATED[name][0] == "lung" for name in findings.abnormal()):
        assert not re.search(
            r"(?<!otherwise )\bclear\b(?! of)",
            report.replace("remainder of the lungs is clear", ""),
        ), report
    if not findings.free_air:
        assert not re.search(
            r"(?<!no )(?<!no subdiaphragmatic )(?<!or )free (intraperitoneal )?air", report
        ), report


@given(any_phantom)
def test_curators_know_nothing_that_the_report_does_not_say(made: Phantom):
    said = set(tokens(made.report))
    telling = set(
        "left right bilateral small moderate large mild severe upper middle lower acute old healed"
        " borderline".split()
    )
    for region in REGIONS:
        new = set(tokens(made.reference[region])) - said
        assert not new & telling, (new, made)
        assert not any(token.isdigit() for token in new)


@given(any_phantom)
def test_reports_are_sentences_of_ordinary_form(made: Phantom):
    assert 1 <= len(sentences(made.report)) <= 8
    assert not re.search(
        r"  | [.,]|[\[\]{}|]|\.\.", "~".join((made.report, *dict(made.reference).values()))
    )
    for sentence in sentences(made.report):
        assert re.match(r"[A-Z0-9]", sentence) and sentence.endswith(".")


def test_a_joint_sentence_serves_both_regions():
    joint = [made for made in MANY if "cardiomediastinal silhouette" in made.report.lower()]
    assert len(joint) > 100
    assert all(made.reference["heart"] and made.reference["mediastinal"] for made in joint)
    short = [
        made
        for made in joint
        if "ardiac" in made.reference["heart"].replace("ardiomediastinal", "")
    ]
    assert len(short) > 0.6 * len(joint)  # reworded for its region, as a rule


def test_a_region_that_is_not_mentioned_is_empty():
    about = {
        "bone": r"bon|osseous|skelet|spine|rib|scolio|spondyl|sternotomy|XXXX",
        "heart": r"heart|card",
        "mediastinal": r"mediastin|aort|trachea|XXXX|catheter|line|picc|hernia",
    }
    for region, words in about.items():
        silent = [made for made in MANY if not re.search(words, made.report, re.IGNORECASE)]
        assert len(silent) > 20
        assert all(made.reference[region] == "" for made in silent)


def test_the_shares_are_those_of_a_realistic_collection():
    shares = Counter(name for made in MANY for name in made.findings.abnormal())
    assert all(
        0.12 <= shares[name] / len(MANY) <= 0.2
        for name in ("effusion", "pneumothorax", "consolidation", "nodule")
    )
    assert all(shares[name] / len(MANY) > 0.02 for name in Findings.model_fields)
    normal = [made for made in MANY if not made.findings.abnormal()]
    assert 0.28 < len(normal) / len(MANY) < 0.40
    assert 0.33 < sum("XXXX" in made.report for made in MANY) / len(MANY) < 0.48
    assert 4.3 < sum(len(sentences(made.report)) for made in MANY) / len(MANY) < 5.5
    low = {"bone": 0.33, "heart": 0.005, "lung": 0.001, "mediastinal": 0.15, "others": 0.5}
    high = {"bone": 0.47, "heart": 0.06, "lung": 0.03, "mediastinal": 0.27, "others": 0.67}
    for region in REGIONS:
        assert (
            low[region]
            < sum(not made.reference[region] for made in MANY) / len(MANY)
            < high[region]
        ), region


def test_normal_reports_repeat_and_curators_mostly_agree_on_them():
    normal = [made for made in MANY[:1000] if not made.findings.abnormal()]
    times = Counter(made.report for made in normal)
    assert 0.2 < sum(times[made.report] > 1 for made in normal) / len(normal) < 0.5
    most, count = times.most_common(1)[0]
    answers = Counter(tuple(made.reference.values()) for made in MANY if made.report == most)
    assert count >= 5 and len(answers) > 1 and answers.most_common(1)[0][1] > 0.35 * answers.total()


@pytest.mark.skipif(not SHARED.exists(), reason="the real collection is not here")
def test_no_long_sentence_is_one_of_the_real_collection():
    rows = csv.DictReader(io.StringIO((SHARED / "iu-xray/indiana_reports.csv").read_text()))
    texts = [row[name] for row in rows for name in ("findings", "impression")]
    entries = json.loads((SHARED / "iu-xray/annotation_quiz_all.json").read_text())
    texts += [
        text
        for name in ("train", "test")
        for entry in entries[name]
        for text in entry["report"].values()
    ]
    real = {" ".join(tokens(sentence)) for text in texts for sentence in sentences(text)}
    own = {
        " ".join(tokens(s))
        for made in MANY
        for text in (made.report, *dict(made.reference).values())
        for s in sentences(text)
    }
    assert not [sentence for sentence in own & real if len(sentence.split()) >= 12]


# --- pictures


def views(k: int, **findings) -> tuple[np.ndarray, np.ndarray]:
    return tuple(view.astype(float) for view in draw(Findings(**findings), 0, k, SIZE))


def halves(picture: np.ndarray) -> dict[str, np.ndarray]:
    """The patient's right is on the viewer's left."""
    return {"right": picture[:, : SIZE // 2], "left": picture[:, SIZE // 2 :]}


SIDED = {
    "effusion": lambda side: Pleural(side=side, amount="small"),
    "pneumothorax": lambda side: Pleural(side=side, amount="small"),
    "consolidation": lambda side: Lesion(side=side, lobe="upper"),
    "nodule": lambda side: Lesion(side=side, lobe="lower", mm=15),
    "granuloma": lambda side: Lesion(side=side, lobe="upper", mm=5),
    "atelectasis": lambda side: side,
    "rib_fracture": lambda side: RibFracture(side=side, rib=6, healed=False),
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", SIDED)
@pytest.mark.parametrize("k", KS)
def test_a_finding_shows_on_its_side(name, side, k):
    change = halves(np.abs(views(k, **{name: SIDED[name](side)})[0] - views(k)[0]))
    other = {"right": "left", "left": "right"}[side]
    assert change[side].max() > 20
    assert change[side].sum() > 20 * change[other].sum()


@pytest.mark.parametrize(
    "findings",
    [{name: made("left")} for name, made in SIDED.items() if name != "rib_fracture"]
    + [
        {"heart": "mild"},
        {"mediastinum": "wide"},
        {"aorta": "tortuous"},
        {"aorta": "calcified"},
        {"vessels": "congested"},
    ]
    + [
        {"vessels": "edema"},
        {"volumes": "low"},
        {"volumes": "high"},
        {"spine": "mild"},
        {"pacemaker": True},
        {"sternotomy": True},
    ]
    + [{"central_line": "left"}, {"clips": True}, {"hernia": "small"}, {"free_air": True}],
    ids=lambda findings: "-".join(
        f"{name} {value}" if isinstance(value, str) else name for name, value in findings.items()
    ),
)
def test_a_finding_shows_in_both_views_above_the_noise(findings):
    for normal, abnormal in zip(views(1), views(1, **findings), strict=True):
        change = np.abs(abnormal - normal)
        assert (change > 12).sum() >= 6, np.sort(change.ravel())[-6:]


@pytest.mark.parametrize("side", ["right", "left"])
def test_scoliosis_bends_the_spine_of_the_frontal_view_alone(side):
    normal, bent = views(1), views(1, scoliosis=side)
    assert (np.abs(bent[0] - normal[0]) > 8).sum() > 50
    assert np.array_equal(bent[1], normal[1])


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_angle_fills_with_the_effusion(side, k):
    """Mean brightness of the lower outer part of the chest on that side."""
    columns = slice(SIZE // 6, SIZE // 3) if side == "right" else slice(-SIZE // 3, -SIZE // 6)
    pictures = [views(k)[0]] + [
        views(k, effusion=Pleural(side=side, amount=amount))[0]
        for amount in ("small", "moderate", "large")
    ]
    brightness = [
        picture[int(SIZE * 0.58) : int(SIZE * 0.76), columns].mean() for picture in pictures
    ]
    assert np.all(np.diff(brightness) > 5), brightness


@pytest.mark.parametrize("k", KS)
def test_a_pneumothorax_is_darker_and_without_markings(k):
    """Over the region that a large left one empties: black, and smoother than the lung that was
    there.
    """
    normal, collapsed = views(k)[0], views(k, pneumothorax=Pleural(side="left", amount="large"))[0]
    empty = normal - collapsed > 15
    assert empty.mean() > 0.03
    empty = ndimage.binary_erosion(empty, iterations=3)
    detail = [
        np.abs(np.diff(picture, axis=1))[empty[:, 1:] & empty[:, :-1]].mean()
        for picture in (normal, collapsed)
    ]
    assert detail[1] < 0.7 * detail[0]
    line = (collapsed - normal > 15) & (np.arange(SIZE) > SIZE // 2)
    assert line.any(axis=1).sum() > SIZE // 4  # along the edge of the fallen lung


@pytest.mark.parametrize("k", KS)
def test_the_heart_grows_from_grade_to_grade(k):
    """Bright pixels across the chest between hilum and diaphragm."""
    widths = []
    for grade in CARDIOTHORACIC:
        band = views(k, heart=grade)[0][
            int(SIZE * 0.54) : int(SIZE * 0.59), SIZE // 5 : -SIZE // 5
        ].mean(0)
        lung = np.sort(band)[: len(band) // 5].mean()
        widths.append((band > (lung + band.max()) / 2).sum())
    assert np.all(np.diff(widths) > 0), widths


def test_the_heart_is_as_wide_as_its_grade_says():
    y = np.linspace(-1, 0.3, 400)
    for grade, (low, high) in CARDIOTHORACIC.items():
        for ratio in (low, high):
            rights, lefts = heart_borders(Findings(heart=grade), ratio, 0.7)
            assert (curve(y, *rights).max() + curve(y, *lefts).max()) / (2 * 0.7) == pytest.approx(
                ratio, abs=0.012
            )
    grades = list(CARDIOTHORACIC.values())
    assert all(below[1] < above[0] for below, above in zip(grades, grades[1:], strict=False))
    assert CARDIOTHORACIC["normal"][1] < 0.5 < CARDIOTHORACIC["mild"][0]


@pytest.mark.parametrize("k", KS)
def test_pictures_look_like_chest_films(k):
    """Lungs darker than mediastinum and abdomen, air around the neck black, and no grade of light
    missing.
    """
    frontal, lateral = views(k)
    lung = min(
        half[SIZE // 3 : SIZE // 2, SIZE // 5 : SIZE // 3].mean()
        for half in halves(frontal).values()
    )
    assert frontal[SIZE // 3 : SIZE // 2, SIZE // 2 - 3 : SIZE // 2 + 3].mean() > lung + 50
    assert frontal[-SIZE // 8 :, SIZE // 3 : -SIZE // 3].mean() > lung + 90
    assert frontal[:4, :8].mean() < 40 and lateral[SIZE // 3 : SIZE // 2, :6].mean() < 60
    assert frontal.min() >= 5 and frontal.max() <= 250 and len(np.unique(frontal)) > 150


def test_a_larger_film_shows_the_same_patient():
    small, large = (
        draw(Findings(), 0, 1, 112)[0].astype(float),
        draw(Findings(), 0, 1, 224)[0].astype(float),
    )
    halved = large.reshape(112, 2, 112, 2).mean((1, 3))
    assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.98


# --- the benchmark's stream


def test_the_benchmark_streams_cases(tmp_path):
    out = tmp_path / "cases.jsonl"
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "phantom.py", "--cases", "50", "--out", out],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["cases"] == 50
    assert [(case.id, case.report) for case in read_jsonl(out, Case)] == [
        (made.id, made.report) for made in MANY[:50]
    ]
