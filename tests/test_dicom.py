"""DICOM images are opened like any other picture, and nothing of their header comes along."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from data_store import DataStore
from PIL import Image as Pictures
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)

from xraygen.cli import main
from xraygen.core import dicom
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.core.regions import Regions
from xraygen.core.study import Case, Image
from xraygen.prompting import conversation
from xraygen.sources.table.table import Table, TableSettings

NAME = "Doe^Jane"
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def write(path: Path, pixels: np.ndarray, **header) -> Path:
    """A grey image of 12 bits in a file with a patient's name, unless `header` says otherwise."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID = NAME, "MRN-4711"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = min(12, dataset.BitsAllocated)
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    for name, value in header.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def grey(path: Path) -> np.ndarray:
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)[..., 0].astype(int)


def sample(name: str) -> Path:
    return Path(DataStore().get_path(name))


# A real radiograph: a chest, PA, 15 bits, MONOCHROME1, with a window


def test_a_real_radiograph_shows_bones_bright_and_lungs_dark():
    film = grey(sample("RG1_UNCR.dcm"))
    assert film.shape == (1955, 1841)
    height, width = film.shape
    spine = film[height // 2, width // 2 - 50 : width // 2 + 50].mean()
    lung = film[height // 3, width // 4 : width // 3].mean()
    assert spine > lung + 30


@pytest.mark.parametrize("name", ["RG1_J2KR.dcm", "RG1_J2KI.dcm"])
def test_compressed_files_show_the_same_film(name):
    plain, compressed = grey(sample("RG1_UNCR.dcm")), grey(sample(name))
    assert np.abs(plain - compressed).max() <= (0 if name.endswith("R.dcm") else 4)


def test_lossless_jpeg_is_read():
    film = grey(sample("JPEG-LL.dcm"))
    assert film.shape == (1024, 256) and film.min() == 0 and film.max() == 255


# From stored values to grey


def test_monochrome1_is_the_negative_of_monochrome2(tmp_path):
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    positive = grey(write(tmp_path / "2.dcm", RAMP, **window))
    negative = grey(
        write(tmp_path / "1.dcm", RAMP, PhotometricInterpretation="MONOCHROME1", **window)
    )
    assert positive[0, 0] == 0 and positive[-1, -1] == 255
    assert (negative == 255 - positive).all()


def test_a_window_counts_in_rescaled_values(tmp_path):
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    film = grey(write(tmp_path / "x.dcm", RAMP, WindowCenter=1000, WindowWidth=401, **rescale))
    shown = film.ravel()
    assert (shown[:900] == 0).all()  # 2 * 900 - 1000 = 800 = 1000 - 200
    assert (shown[1101:] == 255).all()
    assert abs(shown[1000] - 127) <= 1 and (np.diff(shown[900:1100]) >= 0).all()


def test_a_window_wider_than_the_values_is_not_stretched_to_them(tmp_path):
    film = grey(write(tmp_path / "x.dcm", RAMP // 4, WindowCenter=2048, WindowWidth=4096))
    assert film.max() == 64


def test_the_first_of_several_windows_is_used(tmp_path):
    both = {"WindowCenter": [2048, 100], "WindowWidth": [4096, 10]}
    one = {"WindowCenter": 2048, "WindowWidth": 4096}
    first, only = write(tmp_path / "a.dcm", RAMP, **both), write(tmp_path / "b.dcm", RAMP, **one)
    assert (grey(first) == grey(only)).all()


UNUSABLE = [{"WindowCenter": "nan"}, {"WindowCenter": "inf"}, {"WindowWidth": "nan"}]
UNUSABLE += [{"WindowWidth": "inf"}, {"WindowWidth": "1e308"}, {"WindowWidth": 0}]


@pytest.mark.parametrize(
    "header", [{}, *({"WindowCenter": 5, "WindowWidth": 9} | wrong for wrong in UNUSABLE)]
)
def test_without_a_window_values_are_scaled_as_in_a_png_of_16_bits(tmp_path, header):
    marked = RAMP.copy()
    marked[:4, :4] = 0  # a burnt-in mark
    Pictures.fromarray(marked).save(tmp_path / "x.png")
    film = grey(write(tmp_path / "x.dcm", marked, **header))
    assert np.abs(film - grey(tmp_path / "x.png")).max() <= 1


def test_8_bits_stay_as_they_are(tmp_path):
    pixels = np.arange(64, 128, dtype=np.uint8).reshape(8, 8)
    assert (grey(write(tmp_path / "x.dcm", pixels)) == pixels).all()


@pytest.mark.parametrize("slope", [0.01, 0.5, 3])
def test_rescaled_8_bits_are_scaled_to_what_is_there(tmp_path, slope):
    pixels = np.arange(64, 128, dtype=np.uint8).reshape(8, 8)
    film = grey(write(tmp_path / "x.dcm", pixels, RescaleSlope=slope, RescaleIntercept=0))
    assert film.min() == 0 and film.max() == 255 and (np.diff(film.ravel()) > 0).all()


def test_a_rescale_that_changes_nothing_leaves_8_bits_as_they_are(tmp_path):
    pixels = np.arange(64, 128, dtype=np.uint8).reshape(8, 8)
    path = write(tmp_path / "x.dcm", pixels, RescaleSlope=1, RescaleIntercept=0)
    assert (grey(path) == pixels).all()


def test_signed_values_with_a_sigmoid(tmp_path):
    pixels = (RAMP.astype(int) - 2048).astype(np.int16)
    sigmoid = {"WindowCenter": 0, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    film = grey(write(tmp_path / "x.dcm", pixels, PixelRepresentation=1, **sigmoid)).ravel()
    assert film[0] < 3 and film[-1] > 252 and abs(film[2048] - 127) <= 1
    assert abs(film[2548] - 255 / (1 + np.exp(-2))) <= 1  # PS3.3 C.11.2.1.3.1


def test_a_lookup_table_of_8_bits_for_12_bits_does_not_wrap_around(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = np.sort(np.arange(4096) // 16)[::-1].astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    film = grey(write(tmp_path / "x.dcm", RAMP, VOILUTSequence=Sequence([table])))
    assert (film.ravel() == 255 - np.arange(4096) // 16).all()


def test_colour_is_read(tmp_path):
    path = shutil.copy(sample("SC_rgb.dcm"), tmp_path / "x.dcm")
    colours = np.asarray(open_picture(Path(path)))
    assert colours.shape == (100, 100, 3) and colours[5, 50].tolist() == [255, 0, 0]


def test_a_model_is_shown_dicom_as_any_other_picture(tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Pictures.fromarray(pixels).save(tmp_path / "x.png")
    write(tmp_path / "x.dcm", pixels)
    case = Case(id="S", images=[Image(path="x.png"), Image(path="x.dcm")])
    shown = conversation.pictures(case, "image", 2, tmp_path)
    assert shown[0]["image"].tobytes() == shown[1]["image"].tobytes()


# Which files are DICOM


@pytest.mark.parametrize("name", ["film", "IM000001", "film.DCM", "film.png"])
def test_a_file_is_known_by_its_suffix_or_by_its_first_bytes(tmp_path, name):
    assert grey(write(tmp_path / name, RAMP)).shape == (64, 64)


def test_a_file_of_another_kind_is_none(tmp_path):
    Pictures.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.png")
    os.mkfifo(tmp_path / "pipe")
    kinds = [dicom.is_dicom(tmp_path / name) for name in ("x.png", "pipe", "missing.dcm")]
    assert kinds == [False, False, False]


# What is refused, in one line that says nothing of the patient


def refusal(path: Path) -> str:
    with pytest.raises(UnreadablePicture) as error:
        open_picture(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and "doe" not in text.lower()
    return text


def test_several_frames_are_refused(tmp_path):
    path = write(tmp_path / "x.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2)
    assert "2 frames" in refusal(path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", 64 * 64 // 2 - 1)
    path = write(tmp_path / "x.dcm", RAMP)
    assert "limit" in refusal(path)
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", 64 * 64 // 2)
    assert open_picture(path).size == (64, 64)  # as large as Pillow itself reads


def test_an_image_of_too_many_pixels_is_refused_whatever_pillow_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", None)
    path = write(tmp_path / "x.dcm", RAMP)
    content = path.read_bytes()
    for tag in (b"\x28\0\x10\0US\2\0", b"\x28\0\x11\0US\2\0"):  # Rows, Columns
        content = content.replace(tag + struct.pack("<H", 64), tag + struct.pack("<H", 7072))
    path.write_bytes(content)
    assert "limit of 50,000,000" in refusal(path)


def test_damaged_files_are_refused_whatever_is_cut(tmp_path):
    whole = write(tmp_path / "whole", RAMP, WindowCenter=9, WindowWidth=9).read_bytes()
    path = tmp_path / "cut.dcm"
    for size in [0, 4, 131, 132, 140, *range(150, len(whole) - 2, 397)]:
        path.write_bytes(whole[:size])
        refusal(path)


def test_a_damaged_length_takes_no_memory(tmp_path):
    whole = bytearray(write(tmp_path / "whole", RAMP, StudyDescription="x" * 40).read_bytes())
    length = whole.index(b"x" * 40) - 8
    whole[length + 4 : length + 6] = b"UN"  # whose length has four bytes
    whole[length + 6 : length + 12] = b"\0\0" + (0xF0000000).to_bytes(4, "little")
    (tmp_path / "x.dcm").write_bytes(whole)
    tracemalloc.start()
    refusal(tmp_path / "x.dcm")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_deflated_file_is_refused_before_it_is_inflated(tmp_path):
    path = write(tmp_path / "x.dcm", RAMP)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert "transfer syntax" in refusal(path)


def test_a_deflated_file_is_refused_wherever_its_header_says_so(tmp_path, monkeypatch):
    path = write(tmp_path / "x.dcm", RAMP)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    content = path.read_bytes()
    syntax = content.index(b"\x02\0\x10\0UI")
    private = b"\x02\0\x02\x01OB\0\0" + struct.pack("<I", 70_000) + bytes(70_000)
    path.write_bytes(content[:syntax] + private + content[syntax:])

    def inflate(*_, **__):
        raise AssertionError("inflated")

    monkeypatch.setattr("zlib.decompress", inflate)
    assert "transfer syntax" in refusal(path)


@pytest.mark.parametrize(
    ("name", "marker", "offset", "size"),
    [("MR2_J2KI.dcm", b"\xff\x4f\xff\x51", 8, ">2I"), ("JPEG-LL.dcm", b"\xff\xc3", 5, ">2H")],
)
def test_a_compressed_image_larger_than_its_header_says_is_refused(
    tmp_path, name, marker, offset, size
):
    content = bytearray(sample(name).read_bytes())
    struct.pack_into(size, content, content.index(marker) + offset, 2000, 2000)
    (tmp_path / "x.dcm").write_bytes(content)
    assert "another size" in refusal(tmp_path / "x.dcm")


def test_fill_bytes_hide_no_size_of_a_compressed_image(tmp_path):
    whole = sample("JPEG-LL.dcm").read_bytes()
    frame = whole.index(b"\xff\xc3")
    filled = bytearray(whole[:frame] + b"\xff\xff" + whole[frame:])
    length = filled.rindex(b"\xfe\xff\x00\xe0", 0, frame) + 4  # of the item that holds the frame
    struct.pack_into("<I", filled, length, struct.unpack_from("<I", filled, length)[0] + 2)
    path = tmp_path / "x.dcm"
    path.write_bytes(filled)
    assert (grey(path) == grey(sample("JPEG-LL.dcm"))).all()
    struct.pack_into(">2H", filled, frame + 2 + 5, 2000, 2000)
    path.write_bytes(filled)
    assert "another size" in refusal(path)
    filled[frame] = 0  # some decoders search for the next marker
    path.write_bytes(filled)
    assert "cannot be read" in refusal(path)


def test_a_second_header_hides_no_size_of_a_compressed_image(tmp_path):
    content = sample("MR2_J2KI.dcm").read_bytes()
    start = content.index(b"\xff\x4f\xff\x51")
    hidden = bytearray(content[start : start + 60])
    struct.pack_into(">2I", hidden, 8, 2000, 2000)
    length = content.rindex(b"\xfe\xff\x00\xe0", 0, start) + 4
    changed = bytearray(content[:start] + hidden + content[start:])
    longer = struct.unpack_from("<I", changed, length)[0] + len(hidden)
    struct.pack_into("<I", changed, length, longer)
    (tmp_path / "x.dcm").write_bytes(changed)
    assert "another size" in refusal(tmp_path / "x.dcm")


def test_damaged_headers_are_refused_or_read_and_never_quoted(tmp_path, capfd):
    whole = bytearray(write(tmp_path / "whole", RAMP).read_bytes())
    start = whole.index(b"PN") - 4
    rng = np.random.default_rng(0)
    path = tmp_path / "x.dcm"
    for _ in range(150):
        damaged = whole.copy()
        for place in rng.integers(132, start + 200, 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            open_picture(path)
        except UserError as error:
            assert "Doe" not in str(error) and "4711" not in str(error)
    out, err = capfd.readouterr()
    assert "Doe" not in out + err and "4711" not in out + err


OPENED_WITHOUT = """
import sys
from pathlib import Path
for module in sys.argv[2:]:
    sys.modules[module] = None  # to import it is an ImportError
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture, open_picture
try:
    open_picture(Path(sys.argv[1]))
except UserError as error:
    print(type(error) is UserError, error)
"""


def test_values_that_cannot_be_read_are_not_quoted(tmp_path):
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    function = write(tmp_path / "1.dcm", RAMP, VOILUTFunction="DoeJane", **window)
    refusal(function)
    number = write(tmp_path / "2.dcm", RAMP, WindowCenter=2048, WindowWidth=4096)
    number.write_bytes(number.read_bytes().replace(b"DS\4\x002048", b"DS\4\x00Doe "))
    for path in (function, number, sample("emri_small_jpeg_2k_lossless_too_short.dcm")):
        command = [sys.executable, "-W", "always", "-c", OPENED_WITHOUT, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert "doe" not in done.stdout.lower() and not done.stderr


@pytest.mark.parametrize(
    ("name", "missing"),
    [("RG1_UNCR.dcm", ["pydicom"]), ("JPEG-LL.dcm", ["pylibjpeg", "libjpeg"])],
)
def test_a_missing_package_ends_the_run_and_names_the_extra(name, missing):
    command = [sys.executable, "-c", OPENED_WITHOUT, str(sample(name)), *missing]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.startswith("True") and "pip install -c constraints.txt -e '.[dicom]'" in said


# The projection, and nothing else


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("PA", "frontal"),
        ("AP", "frontal"),
        ("LL", "lateral"),
        ("LATERAL", "lateral"),
        ("", "unknown"),
        ("LLO", "unknown"),
    ],
)
def test_the_projection_is_the_view_position(tmp_path, position, expected):
    path = write(tmp_path / "x", RAMP, ViewPosition=position)
    assert dicom.projection(path) == expected


def test_a_damaged_file_has_no_projection(tmp_path):
    whole = bytearray(write(tmp_path / "whole", RAMP, ViewPosition="PA").read_bytes())
    for content in (b"no DICOM", whole.replace(b"CS\2\0PA", b"LS\2\0PA"), whole[:200]):
        (tmp_path / "x.dcm").write_bytes(content)
        assert dicom.projection(tmp_path / "x.dcm") == "unknown"


def test_of_the_header_only_the_projection_is_converted(tmp_path):
    images = tmp_path / "images" / "A1"
    images.mkdir(parents=True)
    write(images / "0.dcm", RAMP, ViewPosition="LL")
    write(images / "1", RAMP, ViewPosition="PA")
    entry = {"id": "A1", "report": "Lungs free.", "image_path": ["A1/0.png", "A1/1.png"]}
    (tmp_path / "annotation.json").write_text(json.dumps({"train": [entry]}))
    done = CliRunner().invoke(
        main, ["convert", "r2gen", str(tmp_path), "--out", str(tmp_path / "s.jsonl")]
    )
    written = (tmp_path / "s.jsonl").read_text()
    assert json.loads(written)["images"] == [
        {"path": "images/A1/0.dcm", "projection": "lateral"},
        {"path": "images/A1/1", "projection": "frontal"},
    ]
    assert not any(text in written + done.output for text in ("Doe", "4711"))


def test_a_table_takes_the_projection_from_the_file_where_it_has_none(tmp_path):
    raw = tmp_path / "data" / "raw" / "table"
    raw.mkdir(parents=True)
    rows = []
    for number, split in enumerate(["train", "test"]):
        write(raw / f"{number}.dcm", RAMP + number, ViewPosition="LL")
        images = [{"path": f"{number}.dcm", "projection": "unknown"}]
        said = {"id": f"S{number}", "report": "Clear.", "split": split, "lungs": "Clear."}
        rows.append(json.dumps(said | {"images": images}))
    (raw / "mine.jsonl").write_text("\n".join(rows))
    columns = {"images": "images", "split": "split", "reference": {"lungs": "lungs"}}
    settings = TableSettings(file="mine.jsonl", **columns)
    regions = Regions.model_validate({"lungs": {"about": "lungs"}})
    studies = Table(settings, regions).read(raw, tmp_path / "drawn", tmp_path).studies
    (image,) = studies[0].images
    assert image.projection == "lateral"
    assert image.sha256 == hashlib.sha256((raw / "0.dcm").read_bytes()).hexdigest()


def test_a_picture_carries_nothing_of_the_header(tmp_path):
    picture = open_picture(write(tmp_path / "x.dcm", RAMP))
    picture.save(tmp_path / "x.png")
    assert not picture.info
    assert b"Doe" not in (tmp_path / "x.png").read_bytes()
