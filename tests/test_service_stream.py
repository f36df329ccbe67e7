"""Streams: a case a line in, an annotation a line out, both at the same time."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from conftest import wait_until
from service import REPORT, Service, made_project, started

from xraygen.service.stream import Line, Splitter, blocks

PATH = "/v1/annotations:stream"
HEADERS = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = made_project(tmp_path_factory.mktemp("project"))
    with started(folder, "--max-body", "1", "--batch-size", "16") as service:
        yield service


def line(id: object) -> bytes:
    return json.dumps({"id": id, "report": REPORT}).encode() + b"\n"


def stream(service: Service, body: object) -> list[dict]:
    answer = service.request("POST", PATH, body, HEADERS)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.body.endswith(b"\n") or not answer.body
    return [json.loads(one) for one in answer.body.splitlines()]
