"""Fetching IU X-Ray: copied from folders of every shape, or downloaded from a real server on
loopback.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xraygen.core.errors import UserError
from xraygen.sources.iu_xray.fetch import BASE_URL, PUBLISHED, Published, fetch_iu_xray
from xraygen.sources.iu_xray.text_files import TEXT_FILES

SHARED = Path(__file__).resolve().parents[2] / "shared" / "iu-xray"
TEXTS = {name: f"content of {name}\n".encode() for name in TEXT_FILES}
KNOWN = {
    name: Published(len(data), hashlib.sha256(data).hexdigest()) for name, data in TEXTS.items()
}
FIRST, _, LAST = TEXTS


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- from a folder


def test_images_of_any_layout_arrive_below_images_and_nothing_else_does(tmp_path, capsys):
    images = {
        "images/images_normalized/1_IM-1-1.dcm.png": b"a",
        "layouts/r2gen/CXR2_IM-2/0.png": b"b",
        "CXR3_IM-3-1.png": b"c",
        "layouts/open-i/CXR1_IM-1-1.png": b"a",
        "layouts/r2gen/CXR1_IM-1/0.png": b"a",
    }
    source = lay(
        tmp_path / "from",
        TEXTS | images | {"scan.png": b"d", "README.md": b"e", "images/._1_IM-1-1.dcm.png": b"f"},
    )
    fetch_iu_xray(tmp_path / "raw", source, published=KNOWN)
    kept = {
        "images/images_normalized/1_IM-1-1.dcm.png": b"a",
        "images/layouts/r2gen/CXR2_IM-2/0.png": b"b",
        "images/CXR3_IM-3-1.png": b"c",
    }
    assert tree(tmp_path / "raw") == TEXTS | kept
    said = capsys.readouterr().err
    assert (
        "2 images have the same bytes" in said
        and "1 images were skipped, as their names" in said
        and "3 images\n" in said
    )
    assert "differs" not in said


def test_a_difference_is_named_and_used(tmp_path, capsys):
    source = lay(tmp_path / "from", TEXTS | {LAST: b"fewer\n"})
    fetch_iu_xray(tmp_path / "raw", source, published=KNOWN)
    assert (tmp_path / "raw" / LAST).read_bytes() == b"fewer\n"
    differs = [line for line in capsys.readouterr().err.splitlines() if "differs" in line]
    assert (
        len(differs) == 1
        and LAST in differs[0]
        and hashlib.sha256(b"fewer\n").hexdigest()[:12] in differs[0]
    )


def test_where_there_are_no_images_the_two_ways_to_get_them_are_told(tmp_path, capsys):
    fetch_iu_xray(tmp_path / "raw", lay(tmp_path / "from", TEXTS), published=KNOWN)
    said = capsys.readouterr().err
    assert "NLMCXR_png.tgz" in said and "raddar/chest-xrays-indiana-university" in said
    assert str(tmp_path / "raw" / "images") in said


def test_a_second_run_rewrites_nothing_and_a_changed_file_is_made_good(tmp_path):
    image = "images/1_IM-1-1.dcm.png"
    source = lay(tmp_path / "from", TEXTS | {image: b"picture"})
    raw = tmp_path / "raw"
    fetch_iu_xray(raw, source, published=KNOWN)
    (raw / image).write_bytes(b"PICTURE")  # same size
    before = {name: (raw / name).stat().st_mtime_ns for name in TEXTS}
    (raw / "mine.txt").write_bytes(b"mine")
    fetch_iu_xray(raw, source, published=KNOWN)
    assert tree(raw) == TEXTS | {image: b"picture", "mine.txt": b"mine"}
    assert before == {name: (raw / name).stat().st_mtime_ns for name in TEXTS}


def test_what_is_fetched_is_no_link(tmp_path):
    target = lay(tmp_path / "elsewhere", {"real.png": b"picture"}) / "real.png"
    source = lay(tmp_path / "from", TEXTS)
    os.symlink(target, source / "1_IM-1-1.dcm.png")
    os.symlink(lay(tmp_path / "more", {"2_IM-1-1.dcm.png": b"x"}), source / "more")
    fetch_iu_xray(tmp_path / "raw", source, published=KNOWN)
    for path in (tmp_path / "raw").rglob("*"):
        assert not path.is_symlink() and (path.is_dir() or path.stat().st_nlink == 1)


def test_text_files_may_lie_deeper_or_be_there_already(tmp_path):
    raw, below = (
        tmp_path / "raw",
        lay(tmp_path / "from", {f"archive/{name}": data for name, data in TEXTS.items()}),
    )
    fetch_iu_xray(raw, below, published=KNOWN)
    images = lay(tmp_path / "images-only", {"images_normalized/1_IM-1-1.dcm.png": b"a"})
    fetch_iu_xray(raw, images, published=KNOWN)
    assert tree(raw) == TEXTS | {"images/images_normalized/1_IM-1-1.dcm.png": b"a"}


def test_the_folder_to_fetch_into_may_lie_in_the_source(tmp_path):
    source = lay(tmp_path, TEXTS | {"z/1_IM-1-1.dcm.png": b"a"})
    for _ in range(2):
        fetch_iu_xray(source / "raw", source, published=KNOWN)
    assert tree(source / "raw") == TEXTS | {"images/z/1_IM-1-1.dcm.png": b"a"}


def test_what_cannot_be_fetched_is_said_before_anything_is_copied(tmp_path):
    raw = tmp_path / "raw"
    cases = {
        "is not a folder": tmp_path / "nowhere",
        f"has no {LAST}": lay(
            tmp_path / "two", {name: data for name, data in TEXTS.items() if name != LAST}
        ),
        "2 below": lay(
            tmp_path / "double",
            {f"{top}/{name}": data for top in "ab" for name, data in TEXTS.items()},
        ),
    }
    for message, source in cases.items():
        with pytest.raises(UserError, match=message):
            fetch_iu_xray(raw, source, published=KNOWN)
    with pytest.raises(UserError, match="is the folder to fetch into"):
        fetch_iu_xray(tmp_path / "two", tmp_path / "two", published=KNOWN)
    assert not raw.exists()


def test_a_destination_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "raw").write_bytes(b"a file")
    with pytest.raises(UserError, match="cannot be written"):
        fetch_iu_xray(tmp_path / "raw", lay(tmp_path / "from", TEXTS), published=KNOWN)


def test_killed_halfway_and_run_again_it_is_complete(tmp_path):
    pictures = {f"images/{number}_IM-1-1.dcm.png": os.urandom(200_000) for number in range(1, 300)}
    source, raw = lay(tmp_path / "from", TEXTS | pictures), tmp_path / "raw"
    code = (
        "import sys; from pathlib import Path; from xraygen.sources.iu_xray.fetch import"
        " fetch_iu_xray; fetch_iu_xray(*map(Path, sys.argv[1:]))"
    )
    run = subprocess.Popen([sys.executable, "-c", code, raw, source], stderr=subprocess.DEVNULL)
    while len(list(raw.glob("images/*"))) < 20 and run.poll() is None:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    arrived = tree(raw)
    assert len(arrived) < len(TEXTS | pictures)
    assert all(
        arrived[name] == (TEXTS | pictures)[name] for name in arrived if not name.endswith(".part")
    )
    (raw / "images" / ".1_IM-1-1.dcm.png.4194305.part").write_bytes(b"half")
    fetch_iu_xray(raw, source, published=KNOWN)
    assert tree(raw) == TEXTS | pictures


# --- downloaded


@contextlib.contextmanager
def serving(files: dict[str, bytes], cut: int | None = None):
    """(URL, the paths asked for) of an HTTP server; with `cut`, connections break after
    that many bytes of a body.
    """
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            data = files.get(self.path.removeprefix("/data/"))
            if data is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/data/", asked
        finally:
            server.shutdown()
            thread.join()


def test_text_files_are_downloaded_checked_and_not_downloaded_again(tmp_path, capsys):
    raw = tmp_path / "data" / "raw" / "iu-xray"
    with serving(TEXTS) as (url, asked):
        fetch_iu_xray(raw, None, base_url=url, published=KNOWN)
        assert tree(tmp_path) == {f"data/raw/iu-xray/{name}": data for name, data in TEXTS.items()}
        (raw / FIRST).write_bytes(b"edited")
        fetch_iu_xray(raw, None, base_url=url, published=KNOWN)
    assert tree(raw) == TEXTS
    assert asked == [f"/data/{name}" for name in [*TEXTS, FIRST]]
    assert "NLMCXR_png.tgz" in capsys.readouterr().err


def test_a_download_that_is_not_the_published_file_is_refused_and_not_kept(tmp_path):
    raw = tmp_path / "iu-xray"
    with (
        serving(TEXTS | {LAST: b"<html>moved</html>"}) as (url, _),
        pytest.raises(UserError, match=f"{LAST}: what came .* --from"),
    ):
        fetch_iu_xray(raw, None, base_url=url, published=KNOWN)
    assert LAST not in tree(raw)
    with serving({LAST: TEXTS[LAST]}) as (url, asked):  # only what is missing is asked for
        fetch_iu_xray(raw, None, base_url=url, published=KNOWN)
    assert tree(raw) == TEXTS and asked == [f"/data/{LAST}"]


def test_a_server_that_breaks_off_or_lacks_the_file_is_one_line_that_says_what_to_do(tmp_path):
    with (
        serving({}) as (url, _),
        pytest.raises(UserError, match=r"cannot be downloaded \(404 Not Found\).*--from DIR"),
    ):
        fetch_iu_xray(tmp_path / "iu-xray", None, base_url=url, published=KNOWN)
    with serving(TEXTS, cut=5) as (url, _), pytest.raises(UserError, match="--from DIR"):
        fetch_iu_xray(tmp_path / "iu-xray", None, base_url=url, published=KNOWN)
    with pytest.raises(UserError, match=r"cannot be downloaded \(ConnectionError\).*--from DIR"):
        fetch_iu_xray(
            tmp_path / "iu-xray", None, base_url=url, published=KNOWN
        )  # the server is gone
    assert tree(tmp_path / "iu-xray") == {} if (tmp_path / "iu-xray").exists() else True


def test_the_address_and_the_checksums_are_of_every_text_file():
    assert BASE_URL.startswith("https://") and BASE_URL.endswith("/data/")
    assert set(PUBLISHED) == set(TEXT_FILES)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/iu-xray")
def test_the_real_folder_arrives_whole_with_the_one_known_difference(tmp_path, capsys):
    fetch_iu_xray(tmp_path / "raw", SHARED)
    said = capsys.readouterr().err
    assert (
        said.count("differs from the published file") == 1
        and "annotation_quiz_all.json: differs" in said
    )
    expected = {f"images/{path.name}" for path in (SHARED / "images").iterdir()} | set(TEXT_FILES)
    assert set(tree(tmp_path / "raw")) == expected


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/iu-xray")
def test_the_checksums_are_the_published_ones():
    rows = [line.split(",") for line in (SHARED / "UPSTREAM.csv").read_text().split()[1:]]
    assert {name: Published(int(size), sha256) for name, size, _, sha256 in rows} == PUBLISHED
