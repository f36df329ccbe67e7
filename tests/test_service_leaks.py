"""Nothing that a client sends leaves the service except in the answer to its own request: a key and
texts are planted wherever a request has a place for them, and searched for in everything that the
service writes.
"""

import base64
import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import numpy as np
from PIL import Image as Pictures
from PIL.PngImagePlugin import PngInfo
from service import Service, made_project, started
from test_dicom import write

KEY = "xrg_2Kq9rXw4mVb7"
PLANTED = "planted"  # in every text below
CRASH = "planted: crash the service"
ANNOTATIONS = "/v1/annotations"
STREAM = "/v1/annotations:stream"
JUDGEMENTS = "/v1/judgements"
APPROACHES = "/v1/approaches"

# An approach that tells everybody what it reads, and a bug in the process that speaks HTTP.
PLUGIN = f'''
import logging
import sys
import warnings

from xraygen.annotators.base import Annotator, Settings
from xraygen.service import intake_process


class Pictures(Settings):
    inputs: str = "image+report"


class Talkative(Annotator):
    Settings = Pictures

    def __call__(self, cases):
        for case in cases:
            print(case.report)
            print(case.report, file=sys.stderr)
            logging.error(case.report)
            warnings.warn(case.report)
            raise ValueError(case.report)


parse = intake_process.Intake.annotations


async def with_a_bug(self, body, content_type):
    if b"{CRASH}" in body:
        raise ValueError(body)
    return await parse(self, body, content_type)


intake_process.Intake.annotations = with_a_bug
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "own").mkdir()
    (folder / "own/talkative.py").write_text(PLUGIN)
    (folder / "temporary").mkdir()
    talkative = {"annotator": "own.talkative:Talkative", "reads": "models/router"}
    return made_project(folder, talkative=talkative)


def case(**fields: object) -> dict:
    """Of the approach that looks at images."""
    return {"approach": "talkative", "cases": [{"id": "a", "report": PLANTED} | fields]}


def picture(path: Path) -> bytes:
    """A PNG with a text in its header, cut off."""
    about = PngInfo()
    about.add_text("Patient", PLANTED)
    Pictures.fromarray(np.zeros((64, 64), np.uint8)).save(path, pnginfo=about)
    return path.read_bytes()[:-30]


def dicom(path: Path) -> bytes:
    """A file with names in its header, cut off."""
    pixels = np.zeros((64, 64), np.uint16)
    header = {"PatientName": PLANTED, "StudyDescription": PLANTED}
    return write(path, pixels, **header).read_bytes()[:-100]


def form(request: dict, image: bytes = b"", boundary: str = PLANTED, end: str = "--") -> tuple:
    """A body with the request and a part, and its content type."""
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="request"\r\n\r\n'
        f"{json.dumps(request)}\r\n--{boundary}\r\nContent-Disposition: form-data; "
        f'name="{PLANTED}"; filename="{PLANTED}.png"\r\nContent-Type: {PLANTED}/x\r\n\r\n'
    )
    return (
        body.encode() + image + f"\r\n--{boundary}{end}\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )


def requests(folder: Path) -> list[tuple]:
    """Method, path, body, headers; and the statuses that are possible."""
    png, dcm = picture(folder / "temporary.png"), dicom(folder / "temporary.dcm")
    wrong = {"Authorization": f"Bearer {KEY}{PLANTED}"}
    everywhere = dict.fromkeys(
        ("User-Agent", "Cookie", "Referer", "X-Request-Id", "X-Planted", "X-Forwarded-For"), PLANTED
    )
    bodies: list[object] = [
        b'{"cases": [{"id": "a", "report": "planted',
        b'{"cases": "planted\xff"}',
        b'{"planted": ' * 2000,
        {"cases": [], PLANTED: 1},
        case() | {"approach": PLANTED},
        {"cases": PLANTED},
        {"cases": [PLANTED]},
        case(id={PLANTED: 1}),
        case(id=PLANTED * 1000),
        case(report=[PLANTED]),
        case(report=PLANTED * 20_000),
        b'{"cases": [{"id": "a", "report": "\\ud800planted"}]}',
        case(**{PLANTED: PLANTED}),
        case(images=[{"data": PLANTED}]),
        case(images=[{"data": "!", PLANTED: PLANTED}]),
        case(images=[{"data": base64.b64encode(PLANTED.encode()).decode()}]),
        case(images=[{"data": base64.b64encode(png).decode()}]),
        case(images=[{"data": base64.b64encode(dcm).decode()}]),
        case(images=[{"data": "", "projection": PLANTED}]),
        case(images=[{"file": PLANTED}]),
        case(report=CRASH),
        case(),
    ]
    asked = case(images=[{"file": PLANTED}])
    forms = [
        form(asked, png),
        form(asked, dcm),
        form(asked, PLANTED.encode()),
        form(case(images=[{"file": f"no {PLANTED}"}])),
        form({PLANTED: 1}),
        form(asked, png, end=""),
        form(asked, png, boundary=PLANTED * 20),
        (b"planted", {"Content-Type": "multipart/form-data"}),
        (b"planted", {"Content-Type": PLANTED}),
    ]
    pairs = {"pairs": [{"reference": PLANTED, "candidate": [PLANTED], PLANTED: PLANTED}]}
    lines = b'{"id": "a", "report": "planted\n{"planted": 1}\nplanted\n{"id": ["planted"]}'
    ndjson = {"Content-Type": "application/x-ndjson"}
    return [
        *(("POST", ANNOTATIONS, body, {}) for body in bodies),
        *(("POST", ANNOTATIONS, *both) for both in forms),
        ("POST", JUDGEMENTS, pairs, {}),
        ("POST", JUDGEMENTS, {"pairs": PLANTED}, {}),
        ("POST", STREAM, lines, ndjson),
        ("POST", f"{STREAM}?approach={PLANTED}", lines, ndjson),
        ("GET", f"/{PLANTED}/..%2f?{PLANTED}={KEY}", None, {}),
        ("PLANTED", "/planted", None, {}),
        ("DELETE", ANNOTATIONS, None, {}),
        ("GET", f"{APPROACHES}?{PLANTED}={KEY}", None, everywhere),
        ("GET", APPROACHES, None, wrong),
        ("GET", APPROACHES, None, {"Authorization": f"{PLANTED} {KEY}"}),
        ("OPTIONS", APPROACHES, None, {"Origin": f"https://{PLANTED}.example"}),
    ]


RAW = (
    b"PLANTED planted HTTP/9.9\r\nplanted: planted\r\n\r\n",
    b"GET /planted HTTP/1.1\r\nHost: planted\r\nplanted\x00: planted\r\n\r\n",
    b"GET /planted HTTP/1.1\r\nHost: planted\r\nX: " + b"planted" * 20_000 + b"\r\n\r\n",
    b"POST /planted HTTP/1.1\r\nHost: planted\r\nContent-Length: planted\r\n\r\nplanted",
)


def raw(service: Service, sent: bytes) -> str:
    with service.connect() as connection:
        connection.sendall(sent)
        return connection.recv(2**16).decode()


def test_what_clients_send_appears_nowhere(folder):
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    variables = {"XRAYGEN_API_KEYS": f"lab:{digest}", "TMPDIR": str(folder / "temporary")}
    sent = requests(folder)
    options = ("--approach", "router", "--approach", "talkative")
    fine = case(report="planted.") | {"approach": "router"}
    with started(folder, *options, key=KEY, variables=variables) as service:
        answers = [service.request(*one) for one in sent]
        assert service.request("POST", ANNOTATIONS, fine).status == 200
        refused = [raw(service, one) for one in RAW]
        metrics = service.request("GET", "/metrics")
    assert metrics.status == 200
    assert all("nosniff" in one for one in refused)
    log = service.log()
    written = {"log": log, "metrics": metrics.body.decode()} | dict(zip(RAW, refused, strict=True))
    for one, answer in zip(sent, answers, strict=True):
        written[str(one)[:300]] = f"{answer.headers} {answer.body.decode()}"
    for where, text in written.items():
        found = [line for line in text.splitlines() if PLANTED in line.lower()]
        assert not found, f"{where}: {found[:2]}"
        assert KEY[4:] not in text and digest not in text, where
        assert "Traceback" not in text and str(folder) not in text, where
    events = [json.loads(line) for line in log.splitlines()]
    bugs = [event for event in events if "ValueError" in event.values()]
    assert any("service/app.py:" in str(bug["places"]) for bug in bugs)
    assert any(bug.get("model") == "talkative" for bug in bugs)
    assert {event.get("key") for event in events} == {None, "-", "lab"}
    assert list((folder / "temporary").rglob("*")) == []
