"""The pictures of the pages in docs/: the report's overview, a study in it, the review page, and
the page of `xraygen serve`.

    python -m recipes.screenshots     # after `dvc repro`

Writes docs/report-overview.png, docs/report-study.png, docs/review.png and docs/service.png. Of
generated studies only: pictures of patients do not belong in a repository. The colours are reduced
to 256, which nobody sees and which makes a file a third of the size.
"""

import io
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from recipes import chromium
from xraygen.core.errors import UserError, one_line
from xraygen.core.files import replacing
from xraygen.core.json_lines import read_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 300_000
_WIDTH = 1280  # of the window, in pixels
# The study that the approaches shown differ most about, of those with an abnormal reference.
_STUDY = "#abnormal=1&sort=disagreement"


def overview(page: "Page") -> None:
    page.locator("#verdict").wait_for()


def study(page: "Page") -> None:
    """With the source of an answer marked in the report."""
    page.locator("#study[data-id]").wait_for()
    page.locator("#pictures img").first.wait_for()
    page.locator("#answers tr[data-region=heart] .answer[tabindex]").last.hover()


def review(page: "Page") -> None:
    """With the first text accepted and the second one being edited."""
    page.fill("#reader", "Reader 1")
    page.click("#start button")
    page.locator("#studies").wait_for()
    page.keyboard.press("a")
    page.keyboard.press("e")


def service(page: "Page") -> None:
    """With the example annotated, and the source of a finding marked."""
    page.click("#example")
    page.click("#annotate")
    page.locator(".finding[data-region=heart]").hover()


@contextmanager
def serving() -> Iterator[str]:
    """The address of `xraygen serve`, which has loaded the released approach. UserError: it does
    not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "xraygen", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            while not _ready(url):
                if process.poll() is not None:
                    raise UserError("xraygen serve: does not start")
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}readyz"):
            return True
    except urllib.error.URLError:
        return False


def take(browser: "Browser", url: str, show: Callable, height: int, to: Path) -> None:
    """Writes what a window of this height has once `show` has run. UserError: the file would be too
    large.
    """
    size = {"width": _WIDTH, "height": height}
    with closing(browser.new_context(viewport=size, reduced_motion="reduce")) as window:
        page = window.new_page()
        page.goto(url)
        show(page)
        page.wait_for_load_state("networkidle")
        taken = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide")))
    buffer = io.BytesIO()
    taken.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    if buffer.tell() > MOST_BYTES:
        raise UserError(f"{to}: would have {buffer.tell():,} bytes; at most {MOST_BYTES:,}")
    with replacing(to, "wb") as file:
        file.write(buffer.getvalue())
    print(f"{to.relative_to(ROOT)}: {buffer.tell():,} bytes")


def main() -> None:
    path = chromium.executable()
    if path is None:
        raise UserError("needs Chromium or Chrome; on Debian: apt-get install chromium")
    if read_json(ROOT / "metrics/data.json")["source"] != "phantom":
        raise UserError("metrics/data.json: the studies are not generated; no pictures of them")
    report = ROOT / "reports/index.html"
    if not report.is_file():
        raise UserError("reports/index.html: is missing; run `dvc repro`")
    approach = read_json(ROOT / "metrics/release.json")["approach"]
    with tempfile.TemporaryDirectory() as folder, chromium.launched(path) as browser:
        to_review = Path(folder) / "review.html"
        command = [sys.executable, "-m", "xraygen", "review", "--approach", approach]
        subprocess.run([*command, "--out", str(to_review)], cwd=ROOT, check=True)
        docs = ROOT / "docs"
        take(browser, report.as_uri(), overview, 1500, docs / "report-overview.png")
        take(browser, report.as_uri() + _STUDY, study, 1200, docs / "report-study.png")
        take(browser, to_review.as_uri(), review, 900, docs / "review.png")
        with serving() as url:
            take(browser, url, service, 1000, docs / "service.png")


if __name__ == "__main__":
    with one_line():
        main()
