"""Pictures as people have them: with marks and hot pixels, in every mode, and some that cannot be
read at all.
"""

import io
import json
import os
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import annotation, project_of
from PIL import Image as Pictures

from xraygen.annotators.base import Annotator, Settings
from xraygen.annotators.load import Checked
from xraygen.cli import main
from xraygen.core.errors import UserError
from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.core.study import AnnotationRecord, Case, Image, Study
from xraygen.prompting import conversation


def twelve_bits(size: int = 64) -> np.ndarray:
    """Something like a film of 12 bits: every value, dark and bright about equally often, nothing
    at the very ends twice.
    """
    return (
        np.random.default_rng(0)
        .permutation(np.linspace(40, 4000, size * size))
        .astype(np.uint16)
        .reshape(size, size)
    )


def seen(tmp_path: Path, pixels: np.ndarray, name: str = "x.png", **options) -> np.ndarray:
    Pictures.fromarray(pixels).save(tmp_path / name, **options)
    return np.asarray(open_picture(tmp_path / name))[..., 0].astype(int)


# More than 8 bits


def hot(pixels: np.ndarray) -> None:
    pixels[5, 5] = 65535


def several_hot(pixels: np.ndarray) -> None:
    pixels[::16, ::16] = np.arange(16).reshape(4, 4) * 2000 + 30000


def burnt_in_mark(pixels: np.ndarray) -> None:
    pixels[:16, :12] = 65535


def soft_mark(pixels: np.ndarray) -> None:
    pixels[:4, :16] = np.linspace(20000, 65535, 16).astype(np.uint16)


def hot_and_dead(pixels: np.ndarray) -> None:
    pixels += 30000
    pixels[5, 5], pixels[6, 6] = 0, 65535


def padded(pixels: np.ndarray) -> None:
    pixels += 30000
    pixels[:, :24] = 0


@pytest.mark.parametrize(
    "damage", [hot, several_hot, burnt_in_mark, soft_mark, hot_and_dead, padded]
)
def test_pixels_far_from_the_rest_do_not_decide_how_a_picture_is_scaled(tmp_path, damage):
    whole = twelve_bits()
    expected = seen(tmp_path, whole)
    marked = whole.copy()
    damage(marked)
    kept = (marked == whole) | (marked == whole + 30000)
    assert kept.mean() > 0.5
    assert np.abs(seen(tmp_path, marked) - expected)[kept].max() <= 1
    assert not kept.all() and set(seen(tmp_path, marked)[~kept]) <= {0, 255}


@pytest.mark.parametrize("values", [[0, 4095], [100, 2000, 4000], [7]])
def test_pictures_of_few_values_keep_them_apart_beside_a_hot_pixel(tmp_path, values):
    pixels = np.tile(np.array(values, np.uint16), (30, 30))
    plain = seen(tmp_path, pixels)
    assert sorted(set(plain.ravel())) == (
        [0]
        if len(values) == 1
        else [round(255 * (v - values[0]) / (values[-1] - values[0])) for v in values]
    )
    pixels[0, 0] = 65535
    if len(values) > 1:
        assert (seen(tmp_path, pixels) == plain)[1:].all()


def test_a_picture_without_such_pixels_goes_from_its_darkest_to_its_brightest(tmp_path):
    pixels = twelve_bits()
    assert (seen(tmp_path, pixels).min(), seen(tmp_path, pixels).max()) == (0, 255)
    assert np.abs(seen(tmp_path, pixels) - (pixels - 40.0) * 255 / 3960).max() <= 1


def test_8_bits_stay_as_they_are_whatever_stands_out(tmp_path):
    pixels = np.full((40, 40), 17, np.uint8)
    pixels[3, 3] = 255
    assert (seen(tmp_path, pixels) == pixels).all()


def test_fractions_that_are_no_numbers_do_not_count(tmp_path):
    fractions = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    fractions[0, :3] = np.nan, np.inf, -np.inf
    shown = seen(tmp_path, fractions, "x.tiff")
    assert (
        shown[0, :3].tolist() == [0, 255, 0]
        and shown[-1, -1] == 255
        and abs(shown[8, 0] - 127) <= 3
    )
    assert seen(tmp_path, np.full((4, 4), np.nan, np.float32), "y.tiff").max() == 0


def test_16_bits_whose_darkest_value_is_white_are_turned_as_pillow_turns_8(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    assert (
        np.abs(
            seen(tmp_path, ramp, "x.tiff", tiffinfo={262: 0}) + np.arange(256).reshape(16, 16) - 255
        ).max()
        <= 1
    )


def test_colours_of_16_bits_are_not_black(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    grey = np.repeat(twelve_bits(32)[..., None], 3, axis=2).astype(
        ">u2"
    )  # Pillow writes no such file
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert 100 < np.asarray(open_picture(tmp_path / "x.png")).mean() < 150


# Modes and files


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F"]
)
def test_every_mode_becomes_8_bit_colour(tmp_path, mode):
    ramp = Pictures.fromarray(np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16))
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "F": "tiff", "I": "tiff"}.get(mode, "png")
    picture = (
        Pictures.fromarray(np.asarray(ramp).astype(np.uint16) * 16)
        if mode == "I;16"
        else ramp.convert(mode)
    )
    picture.save(tmp_path / f"x.{suffix}")
    shown = open_picture(tmp_path / f"x.{suffix}")
    assert shown.mode == "RGB" and shown.size == (16, 16)
    assert np.abs(np.asarray(shown)[..., 0].astype(int) - np.asarray(ramp)).mean() < (
        130 if mode == "1" else 4
    )


def test_of_an_animation_the_first_frame_is_shown(tmp_path):
    frames = [Pictures.new("L", (8, 8), shade) for shade in (40, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(open_picture(tmp_path / "x.gif")).max() == 40


def bomb() -> bytes:
    """A picture of 40,000 by 40,000 pixels, in its header alone."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    start = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + start + struct.pack(">I", zlib.crc32(start))
    )


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Pictures.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


WHOLE = png(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
BAD = {
    "cut": WHOLE[: len(WHOLE) // 2],
    "empty": b"",
    "text": b"no picture",
    "bomb": bomb(),
    "damaged": WHOLE[:60] + b"\0" * 40 + WHOLE[100:],
    "no size": b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + b"IHDR"
    + struct.pack(">IIBBBBB", 0, 0, 8, 0, 0, 0, 0),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """With good.png, a strip that no model takes, every bad picture, a folder, a pipe, and links to
    nothing and to themselves.
    """
    (tmp_path / "good.png").write_bytes(WHOLE)
    (tmp_path / "strip.png").write_bytes(png(np.zeros((1, 900), np.uint8)))
    for name, content in BAD.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    return tmp_path


UNREADABLE = [*BAD, "folder", "pipe", "dangling", "loop", "absent"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_line_that_names_it(folder, name):
    with pytest.raises(UnreadablePicture, match=rf"study S: .*{name}.png") as error:
        conversation.pictures(Case(id="S", images=[Image(path=f"{name}.png")]), "image", 1, folder)
    assert "\n" not in str(error.value)


# What becomes of the case


def case(name: str) -> Case:
    return Case(id=name, report=f"Ribs whole. Note {name}.", images=[Image(path=f"{name}.png")])


def test_a_picture_that_cannot_be_read_fails_its_case_alone(folder, tiny_vlm, monkeypatch):
    pytest.importorskip("peft")
    from xraygen.annotators.vlm import Vlm, VlmSettings

    monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda: folder / "kept")
    approach = VlmSettings(
        annotator="vlm",
        reads="models/tiny",
        inputs="image+report",
        prompt="Annotate.",
        max_views=1,
        max_pixels=56 * 56,
        max_batch_tokens=600,
        max_new_tokens=4,
    )
    bad = ["strip", *UNREADABLE]
    annotate = Vlm(approach.model_copy(update={"reads": str(tiny_vlm)}), project_of(folder))
    records = list(annotate([case("good"), *map(case, bad), case("good")]))
    assert [record.id for record in records] == ["good", *bad, "good"]
    assert all(record.usage["tokens_in"] > 0 for record in (records[0], records[-1]))
    for record in records[1:-1]:
        assert record.annotation is None and record.error.startswith(f"study {record.id}: ")
        assert record.usage == {"unreadable_pictures": 1}
    assert annotate.shows_pictures and Checked(annotate, 0.05).shows_pictures


def test_a_study_with_such_a_picture_is_excluded_from_training_and_counted(
    folder, tiny_vlm, capsys
):
    pytest.importorskip("peft")
    from xraygen.engines.model import load_processor
    from xraygen.training.dataset import Rows

    processor = load_processor(str(tiny_vlm), max_pixels=56 * 56)
    params = SimpleNamespace(
        inputs="image+report", prompt="Annotate.", max_views=1, max_tokens=4000
    )

    def studies(*names: str) -> list[Study]:
        cases = map(case, names)
        return [
            Study(
                id=f"{k}-{one.id}",
                uid=str(k),
                split="train",
                report=one.report,
                images=one.images,
                reference=annotation(),
            )
            for k, one in enumerate(cases)
        ]

    rows = Rows(
        processor, studies("good", "cut", "strip", "absent", "good"), params, folder, "encode train"
    )
    assert len(rows) == 2 and rows.facts()["excluded"] == {"a picture cannot be read": 3}
    assert (
        "encode train: 3 of 5 studies have a picture that cannot be read;"
        " for example 1-cut (cut.png)" in capsys.readouterr().err
    )
    with pytest.raises(UserError, match="20 of 30 studies have a picture that cannot be read"):
        Rows(processor, studies(*["good"] * 10, *["cut"] * 20), params, folder, "encode train")
    with pytest.raises(UserError, match="3 of 3 studies"):
        Rows(processor, studies("cut", "cut", "cut"), params, folder, "encode train")
    assert (
        len(
            Rows(
                processor,
                studies(*["cut"] * 3),
                SimpleNamespace(**vars(params) | {"inputs": "report"}),
                folder,
                "x",
            )
        )
        == 3
    )


# How many may fail


class Scripted(Annotator):
    """Answers with the given records, one for each case."""

    def __init__(self, records: list[AnnotationRecord], pictures_only: bool) -> None:
        super().__init__(Settings(annotator="scripted", reads="nothing"), project_of(Path.cwd()))
        self.records = records
        self.pictures_only = pictures_only

    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        return "unreadable_pictures" in record.usage or not self.pictures_only

    def __call__(self, cases):
        for _, record in zip(cases, self.records, strict=True):
            yield record


def outcome(kinds: str, pictures_only: bool = True, share: float = 0.05) -> int | str:
    """How many records came, or the error. p: a picture that cannot be read, a: another failure, +:
    an annotation.
    """
    records = {
        "p": AnnotationRecord(
            id="p", annotation=None, error="cut", usage={"unreadable_pictures": 1}
        ),
        "a": AnnotationRecord(id="a", annotation=None, error="no JSON"),
        "+": AnnotationRecord(id="+", annotation=annotation()),
    }
    try:
        given = Scripted([records[kind] for kind in kinds], pictures_only)
        cases = [Case(id=kind, report="x") for kind in kinds]
        return len(list(Checked(given, share)(cases)))
    except UserError as error:
        return str(error)


def test_a_few_pictures_of_a_short_file_fail_their_cases_and_many_end_the_run():
    assert outcome("+ppp+") == 5 and outcome("+ppp+", pictures_only=False) == 5
    assert "20 of 20 cases" in outcome("p" * 30 + "+" * 30)
    assert outcome("+" * 500 + "p" * 20) == 520
    assert "3 of 3 cases have no annotation" in outcome("ppp")


def test_answers_are_bounded_as_before():
    assert outcome("aaa++") == 5
    assert "3 of 5 cases" in outcome("aaa++", pictures_only=False)
    assert outcome("+" * 100 + "a", pictures_only=False) == 101


def test_the_command_counts_what_failed_and_says_where_no_case_has_images(
    folder, tiny_vlm, root, monkeypatch
):
    pytest.importorskip("peft")
    text = (root / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text)
    (folder / "models").mkdir()
    (folder / "models" / "tiny-qwen2-vl").symlink_to(tiny_vlm)

    monkeypatch.chdir(folder)
    monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda: folder / "kept")

    def annotate(*rows: dict) -> str:
        """What the command says."""
        (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = CliRunner().invoke(
            main, ["annotate", "cases.jsonl", "--approach", "vlm-base", "--out", "out.jsonl"]
        )
        assert done.exit_code == (2 if "error: " in done.stderr else 0), done.stderr
        return done.stderr

    said = annotate(
        {"id": "a", "report": "Ribs.", "images": ["cut.png"]},
        {"id": "b", "report": ""},
        {"id": "c", "report": "Ribs."},
    )
    assert "3 cases annotated, " in said and "no case has images" not in said
    first = json.loads((folder / "out.jsonl").read_text().splitlines()[0])
    assert first["annotation"] is None and "cut.png" in first["error"]
    assert "cases.jsonl: no case has images, which vlm-base is shown" in annotate(
        {"id": "b", "report": "Ribs."}
    )
    assert "column 'image_path'; rename it to images" in annotate(
        {"id": "b", "report": "Ribs.", "image_path": "good.png"}
    )
