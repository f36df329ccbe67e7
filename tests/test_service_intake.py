"""From bodies to cases: what is refused, what fails a case, and what a model is sent."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian
from test_dicom import NAME, RAMP, write

from xraygen.core.study import Case
from xraygen.service.images import Images
from xraygen.service.intake import (
    Failed,
    Read,
    TooMuch,
    read_annotations,
    read_judgements,
    read_line,
)
from xraygen.service.options import Options
from xraygen.service.problems import Problem

JSON = "application/json"
OPTIONS = Options(max_cases=5, max_images=2, max_text=100, max_id=20, max_pixels=10_000)
APPROACHES = {"reads": False, "looks": True}
SECRET = "planted"
UNKNOWN = "A field is unknown; known: id, images, report."


def read(body: bytes, content_type: str = JSON, images: Images | None = None) -> Read:
    return read_annotations(body, content_type, APPROACHES, OPTIONS, images)


def request(*cases: object, **more: object) -> bytes:
    return json.dumps({"cases": cases, **more}).encode()


def problem_of(item: bytes | Failed) -> tuple[str | None, str, str]:
    assert isinstance(item, Failed)
    return item.id, item.problem.code, item.problem.detail


def refusal(body: bytes, content_type: str = JSON) -> str:
    with pytest.raises(Problem) as caught:
        read(body, content_type)
    assert SECRET not in str(caught.value.content())
    return caught.value.code


# Whole requests


def test_cases_are_sent_to_the_model_as_they_came():
    texts = ["", "Clear lungs.\n", "Größe 心 \U0001f600", "\x00\x1f\u2028\ufeff"]
    cases = [{"id": f" {number}", "report": text} for number, text in enumerate(texts)]
    found = read(request(*cases, {"id": "last"}, approach="looks"))
    assert found.approach == "looks"
    assert [Case.model_validate_json(line) for line in found.items] == [
        *(Case.model_validate(case) for case in cases),
        Case(id="last"),
    ]
    assert not any(b"\n" in line for line in found.items)


def test_the_first_approach_is_the_default():
    assert read(request({"id": "a"})).approach == "reads"
    assert read(request({"id": "a"}, approach=None)).approach == "reads"


@pytest.mark.parametrize(
    "body, code",
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b'{"cases": [NaN]}', "not-json"),
        (b'{"cases": [-Infinity]}', "not-json"),
        (b'{"cases": [' + b"9" * 5000 + b"]}", "not-json"),
        (request({"id": "\xff"}).replace(b"\\u00ff", b"\xff"), "not-json"),
        (request({"id": "a"}).decode().encode("utf-16"), "not-json"),
        (b'{"cases": [{"id": "\xed\xa0\x80"}]}', "not-json"),  # a surrogate in bytes
        (b"[" * 100_000, "too-deep"),
        (b'{"cases":' * 100_000, "too-deep"),
        (b"[" * 1_000_001, "too-costly"),
        (b"[" + b"1," * 1_000_000 + b"1]", "too-costly"),
        (request([[[[[[[1]]]]]]]), "too-deep"),
        (b"[]", "invalid-request"),
        (b"{}", "invalid-request"),
        (b'{"cases": []}', "invalid-request"),
        (b'{"cases": {}}', "invalid-request"),
        (request({"id": "a"}, **{SECRET: 1}), "invalid-request"),
        (request({"id": "a"}, approach=SECRET), "invalid-request"),
        (request({"id": "a"}, approach=["reads"]), "invalid-request"),
        (b'{"cases": [{"id": "a"}], "cases": [{"id": "b"}]}', "invalid-request"),
        (request(*[{"id": "a"}] * 6), "too-many-cases"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(body, code):
    assert refusal(body) == code


def test_seven_levels_are_not_too_deep():
    assert problem_of(read(request([[[[[[1]]]]]])).items[0])[1] == "invalid-case"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-ndjson",
        "application/json; charset=latin-1",
        ";",
        "a" * 9999,
    ],
)
def test_other_media_types_are_refused(content_type):
    assert refusal(request({"id": "a"}), content_type) == "media-type"


def test_parameters_of_the_media_type_and_a_byte_order_mark_are_ignored():
    for content_type in ("Application/JSON", "application/json; charset=UTF-8; x"):
        assert len(read(b"\xef\xbb\xbf" + request({"id": "a"}), content_type).items) == 1


# Cases


@pytest.mark.parametrize(
    "case, id, code, detail",
    [
        (SECRET, None, "invalid-case", "it: must be an object, with each field once."),
        ({}, None, "invalid-case", "id: is missing."),
        ({"id": ""}, None, "invalid-case", "id: is empty."),
        ({"id": 7}, None, "invalid-case", "id: must be a string."),
        ({"id": "x" * 21}, None, "text-too-long", "id: must have at most 20 characters."),
        ({"id": "\ud800"}, None, "invalid-case", "id: has a lone surrogate"),
        ({"id": "a", "report": "\udc00"}, "a", "invalid-case", "report: has a lone surrogate"),
        ({"id": "a", "report": None}, "a", "invalid-case", "report: must be a string."),
        ({"id": "a", "report": "x" * 101}, "a", "text-too-long", "report: must have at most 100"),
        ({"id": "a", SECRET: 1}, "a", "invalid-case", UNKNOWN),
        ({"id": "a", "\ud800": 1}, "a", "invalid-case", UNKNOWN),
        ({"id": "a", "images": {}}, "a", "invalid-case", "images: must be a list."),
        ({"id": "a", "images": [{}] * 3}, "a", "too-many-images", "A case may have 2 images."),
        (
            {"id": "a", "images": [{"data": ""}, {SECRET: 1}]},
            "a",
            "invalid-case",
            "image 2: has an unknown field.",
        ),
        (
            {"id": "a", "images": [{"data": "", "projection": SECRET}]},
            "a",
            "invalid-case",
            "image 1, projection: must be frontal, lateral or unknown.",
        ),
    ],
)
def test_a_bad_case_fails_alone(case, id, code, detail):
    first, bad, last = read(request({"id": "first"}, case, {"id": "last"})).items
    assert (first, last) == (b'{"id":"first","report":""}', b'{"id":"last","report":""}')
    found = problem_of(bad)
    assert found[:2] == (id, code)
    assert found[2].startswith(detail) and SECRET not in found[2]
    alone = read_line(json.dumps(case).encode(), False, OPTIONS)
    assert problem_of(alone) == found


def test_a_field_that_is_there_twice_fails_its_case():
    items = read(b'{"cases": [{"id": "a", "id": "b"}, {"id": "a"}]}').items
    assert problem_of(items[0])[:2] == (None, "invalid-case")
    assert items[1] == b'{"id":"a","report":""}'


def test_a_line_that_is_not_json_fails():
    assert problem_of(read_line(b'{"id"', False, OPTIONS))[:2] == (None, "not-json")
    assert problem_of(read_line(b"[" * 10_000, False, OPTIONS))[:2] == (None, "too-deep")


def test_pairs():
    pairs = [
        {"reference": "a", "candidate": ""},
        {"reference": "a"},
        {"reference": "a", "candidate": "x" * 101},
        {"reference": "a", "candidate": "b", SECRET: ""},
    ]
    found = read_judgements(json.dumps({"pairs": pairs}).encode(), JSON, OPTIONS).items
    assert found[0] == b'{"reference":"a","candidate":""}'
    codes = [problem_of(item)[:2] for item in found[1:]]
    assert codes == [(None, "invalid-case"), (None, "text-too-long"), (None, "invalid-case")]
    with pytest.raises(Problem) as caught:
        read_judgements(b'{"pairs": []}', JSON, OPTIONS)
    assert caught.value.code == "invalid-request"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "report", "images", "cases", "data"]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
CASES = st.fixed_dictionaries({"id": VALUES}, optional={"report": VALUES, "images": VALUES})


def faithful(body: bytes, content_type: str = JSON) -> None:
    """A body is refused, or its usable cases are those that a JSON parser finds."""
    try:
        items = read(body, content_type).items
    except (Problem, TooMuch):
        return
    cases = json.loads(body)["cases"]
    for item, case in zip(items, cases, strict=True):
        if not isinstance(item, Failed):
            assert json.loads(item) == {"report": ""} | {
                key: value for key, value in case.items() if key != "images"
            }
            assert not case.get("images")


@settings(max_examples=200)
@given(st.lists(CASES, max_size=6))
def test_any_cases_are_sent_faithfully_or_fail(cases):
    faithful(request(*cases))


@settings(max_examples=100)
@given(VALUES)
def test_any_json_is_read_or_refused(value):
    faithful(json.dumps(value).encode())


@settings(max_examples=200)
@given(st.binary() | st.just(request({"id": "a", "report": "b"})), st.data())
def test_any_bytes_are_read_or_refused(body, data):
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + 1 :]
    try:
        items = read(damaged).items
    except (Problem, TooMuch):
        return
    assert all(isinstance(item, Failed) or Case.model_validate_json(item) for item in items)


# Images


def png(width: int = 8, height: int = 6, **options) -> bytes:
    file = io.BytesIO()
    shades = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    Pictures.fromarray(shades).save(file, "PNG", **options)
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    Pictures.new("L", (8, 6), 90).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">2I5B", 60_000, 60_000, 8, 0, 0, 0, 0)
    return png().replace(png()[12:33], header + struct.pack(">I", zlib.crc32(header)))


def text_bomb() -> bytes:
    chunk = b"zTXtx\0\0" + zlib.compress(bytes(30 * 2**20))
    length = struct.pack(">I", len(chunk) - 4)
    return png()[:33] + length + chunk + struct.pack(">I", zlib.crc32(chunk)) + png()[33:]


@pytest.fixture
def images(tmp_path):
    return Images(tmp_path, "request", OPTIONS)


@pytest.fixture
def dicom(tmp_path_factory):
    path = tmp_path_factory.mktemp("dicom") / "x"

    def content(pixels: np.ndarray = RAMP, **header) -> bytes:
        return write(path, pixels, **header).read_bytes()

    return content


def case(*contents: bytes, **more: object) -> dict:
    data = [base64.b64encode(content).decode() for content in contents]
    return {"id": "a", "images": [{"data": one, **more} for one in data]}


def test_images_are_kept_unchanged(images, dicom, tmp_path):
    contents = {".png": png(), ".jpg": jpeg(), ".dcm": dicom()}
    for suffix, content in contents.items():
        body = request(case(content, projection="lateral"), approach="looks")
        kept = Case.model_validate_json(read(body, images=images).items[0]).images[0]
        assert kept.path.startswith("request/") and kept.path.endswith(suffix)
        assert kept.projection == "lateral"
        assert (tmp_path / kept.path).read_bytes() == content
    assert (tmp_path / "request").stat().st_mode & 0o777 == 0o700


def test_images_of_an_approach_that_does_not_show_them_are_not_kept(images, tmp_path):
    assert read(request(case(png())), images=images).items == [b'{"id":"a","report":""}']
    assert problem_of(read(request(case(bomb())), images=images).items[0])[1] == "image-too-large"
    assert not list(tmp_path.iterdir())


def test_images_need_the_process():
    with pytest.raises(TooMuch):
        read(request(case(png())))


def test_bad_images_fail_their_case(images, dicom):
    frames = [Pictures.new("L", (8, 8), shade) for shade in (0, 9)]
    animated = io.BytesIO()
    frames[0].save(animated, "PNG", save_all=True, append_images=frames[1:])
    gif = io.BytesIO()
    frames[0].save(gif, "GIF")
    film = dcmread(io.BytesIO(dicom()))
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = io.BytesIO()
    film.save_as(deflated)
    bad: list[tuple[bytes, str]] = [
        (b"", "image-type"),
        (b"GIF89a", "image-type"),
        (gif.getvalue(), "image-type"),
        (bomb(), "image-too-large"),
        (png(101, 100), "image-too-large"),
        (dicom(Rows=60_000, Columns=60_000), "image-too-large"),
        (text_bomb(), "image-unreadable"),
        (png()[:50], "image-unreadable"),
        (jpeg()[:-200], "image-unreadable"),
        (b"\xff\xd8\xff" + bytes(100), "image-unreadable"),
        (animated.getvalue(), "image-unreadable"),
        (dicom()[:-100], "image-unreadable"),
        (dicom(NumberOfFrames=2), "image-unreadable"),
        (dicom(BitsAllocated=7), "image-unreadable"),
        (deflated.getvalue(), "image-unreadable"),
        (bytes(128) + b"DICM" + bytes(50), "image-unreadable"),
        (png()[:100].ljust(128) + b"DICM", "image-unreadable"),  # DICOM to those who read it
    ]
    for content, code in bad:
        body = request({"id": "good"}, case(png(), content), approach="looks")
        good, failed = read(body, images=images).items
        found = problem_of(failed)
        assert found[:2] == ("a", code), content[:20]
        assert found[2].startswith("image 2: ") and "/" not in found[2]
        assert NAME not in found[2] and "MRN-4711" not in found[2]
        assert good == b'{"id":"good","report":""}'


@pytest.mark.parametrize(
    "image", [{"data": "iVBORw0KGgo"}, {"data": "iVBO\n"}, {"data": "é"}, {"data": "_-=="}, {}]
)
def test_data_is_strict_base64(images, image):
    failed = read(request({"id": "a", "images": [image]}), images=images).items[0]
    assert problem_of(failed)[1] == "invalid-case"


def test_all_images_of_a_request_have_a_limit_together(tmp_path):
    options = OPTIONS.model_copy(update={"max_request_pixels": 100})
    images = Images(tmp_path, "request", options)
    body = request(case(png()), case(png()), case(png()), {"id": "b"}, approach="looks")
    first, second, third, text = read(body, images=images).items
    assert isinstance(first, bytes) and isinstance(second, bytes) and isinstance(text, bytes)
    assert problem_of(third)[1] == "image-too-large"


# multipart/form-data

FORM = "multipart/form-data; boundary=frontier"


def form(parts: Mapping[str, bytes], end: bytes = b"--\r\n") -> bytes:
    head = b'--frontier\r\nContent-Disposition: form-data; name="%s"; filename="../../x"\r\n\r\n'
    lines = [head % name.encode() + content + b"\r\n" for name, content in parts.items()]
    return b"".join(lines) + b"--frontier" + end


def shows(*names: str) -> bytes:
    images = [{"file": name} for name in names]
    return request({"id": "a", "images": images}, approach="looks")


def test_files_are_parts_by_name(images, tmp_path):
    parts = {"x": png(), "request": shows("x", "ü"), "ü": jpeg(), "of no case": png()}
    (line,) = read(form(parts), FORM, images).items
    one, two = Case.model_validate_json(line).images
    assert (tmp_path / one.path).read_bytes() == png()
    assert (tmp_path / two.path).read_bytes() == jpeg()
    assert {path.name for path in tmp_path.rglob("*")} == {"request", "1.png", "2.jpg"}


def test_a_file_that_is_missing_fails_its_case(images):
    failed = read(form({"request": shows("x"), "y": png()}), FORM, images).items[0]
    assert problem_of(failed)[:2] == ("a", "invalid-case")


def test_bad_forms_are_refused(images):
    good = form({"request": shows("x"), "x": png()})
    bad = [
        (good, "multipart/form-data"),
        (good, "multipart/form-data; boundary="),
        (good, "multipart/form-data; boundary=other"),
        (good, "multipart/form-data; boundary=" + "x" * 900),
        (good, "multipart/form-data; boundary=\xff"),
        (good.replace(b'name="x"', b'name="request"'), FORM),
        (good.replace(b'name="x"; ', b""), FORM),
        (good.replace(b'name="x"', b'name="x"; x="' + b"y" * 10_000 + b'"'), FORM),
        (good.replace(b"\r\n\r\n", b"\r\nX: y" * 100 + b"\r\n\r\n", 1), FORM),
        (form({str(number): b"" for number in range(5000)}), FORM),
        (b"--frontier--\r\n", FORM),
        (b"", FORM),
    ]
    for body, content_type in bad:
        with pytest.raises(Problem) as caught:
            read(body, content_type, images)
        assert caught.value.code in ("invalid-multipart", "not-json"), body[:200]
    for end in range(0, len(good) - 4, 3):
        with pytest.raises(Problem):
            read(good[:end], FORM, images)
