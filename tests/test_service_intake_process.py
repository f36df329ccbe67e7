"""The processes of the intake: what they read, what they survive, and what they leave behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from multiprocessing import active_children
from pathlib import Path

import pytest
import uvloop
from test_service_intake import FORM, JSON, case, form, png, request, shows

from xraygen.core.study import Case
from xraygen.service.images import private_folder
from xraygen.service.intake import Failed
from xraygen.service.intake_process import Asked, Intake
from xraygen.service.options import Options
from xraygen.service.problems import Problem

LARGE = request(*({"id": str(number), "report": "clear " * 2000} for number in range(10)))
PICTURE = request(case(png()), {"id": "b"}, approach="looks")
APPROACHES = {"reads": False, "looks": True}


@contextlib.asynccontextmanager
async def started(folder: Path, **options: object) -> AsyncIterator[Intake]:
    intake = Intake(Options.model_construct(**{"intakes": 1, **options}), APPROACHES, folder)
    await intake.start()
    try:
        yield intake
    finally:
        await intake.close()


def children() -> list[int]:
    """The process ids of the intakes."""
    return [child.pid for child in active_children() if child.pid]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_images_are_there_until_the_request_ends(tmp_path):
    async def scenario() -> None:
        async with started(tmp_path) as intake:
            with await intake.annotations(LARGE, JSON) as asked:
                lines = [Case.model_validate_json(line) for line in asked.items]
                assert [case.id for case in lines] == [str(number) for number in range(10)]
                assert {case.report for case in lines} == {"clear " * 2000}
            body = form({"request": shows("x"), "x": png()})
            with (
                await intake.annotations(PICTURE, JSON) as one,
                await intake.annotations(body, FORM) as other,
                await intake.line(json.dumps(case(png(), b"?")).encode(), "looks") as line,
            ):
                for asked in (one, other):
                    path = Case.model_validate_json(asked.items[0]).images[0].path
                    assert (tmp_path / path).read_bytes() == png()
                assert isinstance(line.items[0], Failed)
                assert line.items[0].id == "a" and line.items[0].problem.code == "image-type"
                assert one.items[1] == b'{"id":"b","report":""}'
            assert not list(tmp_path.iterdir())
            pairs = json.dumps({"pairs": [{"reference": "a" * 40_000, "candidate": "b"}] * 3})
            assert len((await intake.judgements(pairs.encode(), JSON)).items) == 3
            with pytest.raises(Problem) as caught:
                await intake.annotations(b"[" * 900_000, JSON)
            assert caught.value.code == "too-deep"
            limits = Path(f"/proc/{children()[0]}/limits").read_text()
        assert children() == []
        rows = {line[:25].strip(): line[25:].split()[0] for line in limits.splitlines()}
        assert rows["Max core file size"] == "0"
        assert 2**30 < int(rows["Max address space"]) < 3 * 2**30

    uvloop.run(scenario())


async def stopped(intake: Intake, body: bytes) -> asyncio.Task[Asked]:
    """A request that the process has been sent, and does not read."""
    os.kill(children()[0], signal.SIGSTOP)
    task = asyncio.create_task(intake.annotations(body, JSON))
    await asyncio.sleep(0.1)
    assert not task.done()
    return task


async def refused(task: asyncio.Task[Asked]) -> str:
    with pytest.raises(Problem) as caught:
        await task
    return caught.value.code


def test_a_request_that_kills_its_process_fails_alone(tmp_path, capfd):
    async def scenario() -> None:
        async with started(tmp_path) as intake:
            films = request(*[case(png(5000, 5000, compress_level=1))] * 4, approach="looks")
            task = asyncio.create_task(intake.annotations(films, JSON))
            waits = asyncio.create_task(intake.annotations(PICTURE, JSON))
            while not files(tmp_path):
                await asyncio.sleep(0.001)
            os.kill(children()[0], signal.SIGKILL)  # while it decodes the first
            assert await refused(task) == "too-costly"
            assert not list(tmp_path.iterdir())
            with await waits as asked:
                assert len(files(tmp_path)) == 1 and len(asked.items) == 2
            (idle,) = children()
            os.kill(idle, signal.SIGKILL)
            os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)
            with await intake.annotations(PICTURE, JSON) as asked:
                assert len(asked.items) == 2

    uvloop.run(scenario())
    assert capfd.readouterr().err.count('"intake-died"') == 2


def test_a_request_that_takes_too_long_is_ended(tmp_path):
    async def scenario() -> None:
        async with started(tmp_path, intake_timeout=0.3) as intake:
            before = children()
            assert await refused(await stopped(intake, LARGE)) == "too-costly"
            with await intake.annotations(LARGE, JSON) as asked:
                assert len(asked.items) == 10
            assert set(children()).isdisjoint(before)

    uvloop.run(scenario())


def test_a_request_that_is_cancelled_leaves_no_image(tmp_path):
    async def scenario() -> None:
        async with started(tmp_path) as intake:
            before = children()
            task = await stopped(intake, PICTURE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            os.kill(before[0], signal.SIGCONT)
            with await intake.annotations(PICTURE, JSON):
                assert len(files(tmp_path)) == 1
            assert children() == before
            assert not list(tmp_path.iterdir())

    uvloop.run(scenario())


def test_a_process_that_is_ended_at_work_is_not_replaced(tmp_path):
    async def scenario() -> None:
        async with started(tmp_path) as intake:
            asking = asyncio.create_task(intake.annotations(LARGE, JSON))
            await asyncio.sleep(0)  # it begins
            await asyncio.sleep(0)
            await intake.close()
            await asyncio.sleep(0.1)  # in which another would start
            assert not children() and not intake.ready()
            with pytest.raises(asyncio.CancelledError):
                await asking

    uvloop.run(scenario())


def test_a_bug_is_logged_by_its_place(tmp_path, capfd):
    async def scenario() -> None:
        async with started(tmp_path, max_text="planted") as intake:
            with pytest.raises(Problem) as caught:
                await intake.annotations(LARGE, JSON)
            assert caught.value.code == "internal"

    uvloop.run(scenario())
    out, err = capfd.readouterr()
    logged = json.loads(err)
    assert logged["type"] == "TypeError" and "service/intake.py" in logged["places"][-1]
    assert "planted" not in err and not out


# The folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_private_and_removed(temporary):
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "x").mkdir()
        (folder / "x/1.png").touch()
    assert not list(temporary.iterdir())


def test_what_a_killed_service_left_is_removed_by_the_next(temporary):
    hold = """
from xraygen.service.images import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    input()
"""
    command = [sys.executable, "-c", hold]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        left = Path(other.stdout.readline().strip())
        (left / "1.png").touch()
        with private_folder() as first, private_folder() as second:
            assert first.is_dir() and second.is_dir() and left.is_dir()
        other.kill()
    with private_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_other_files_with_such_a_name_are_left_alone(temporary):
    others = temporary / "others"
    others.mkdir()
    (others / "kept").touch()
    (temporary / "xraygen-images-link").symlink_to(others)
    (temporary / "xraygen-images-file").touch()
    with private_folder():
        pass
    assert (others / "kept").exists()
    assert (temporary / "xraygen-images-link").exists()
