"""Pages in a real browser. The fixture `open_page` opens one, offline, and fails the test over
whatever the page does wrong on the way: errors and violations of its content policy (both are
written to the console), exceptions that nothing catches, requests to a network.

    def test_the_title(open_page):
        page = open_page("reports/index.html", "#study=1", viewport={"width": 400, "height": 800})
        assert page.title() == "..."
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from recipes import chromium

# Generous, because the machine may be busy; a test that passes waits for none of it.
_PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One for all tests of a file, and started by the first of them. Not one for all files: see
    chromium.launched.
    """
    with chromium.launched(found()) as browser:
        yield browser


def found() -> str:
    """The browser's path. Without one the test is skipped, and in CI it fails."""
    path = chromium.executable()
    if path is None:
        stop = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        stop("needs Chromium or Chrome; on Debian: apt-get install chromium")
    return path


class Watched:
    """A separate window (storage, size, theme), and what went wrong in it. `origin`: of a server,
    which is then all that may be asked; None = nothing may be.
    """

    def __init__(self, browser, origin: str | None = None, **options):
        self.problems: list[str] = []
        self.origin = origin
        self.context = browser.new_context(offline=origin is None, **options)
        self.context.set_default_timeout(_PATIENCE_MS)
        self.context.on("console", self._heard)
        self.context.on("weberror", lambda caught: self.problems.append(str(caught.error)))
        self.context.on("request", self._asked)

    def open(self, path: Path | str, fragment: str = ""):
        """`path`: of a file, or after the origin."""
        page = self.context.new_page()
        address = f"{self.origin}{path}" if self.origin else Path(path).resolve().as_uri()
        page.goto(address + fragment)
        return page

    def _heard(self, message) -> None:
        if message.type == "error":
            self.problems.append(f"{message.text} ({message.location['url']})")

    def _asked(self, request) -> None:
        own = [f"{self.origin}/"] if self.origin else []
        if not request.url.startswith(("file:", "data:", "blob:", *own)):
            self.problems.append(f"request to {request.url}")


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """open_page(path, fragment, allowed=, **options) -> playwright's Page. `allowed`: a pattern of
    problems that the test expects. `options`: `origin`, and those of playwright's new_context, such
    as viewport, color_scheme, device_scale_factor.
    """
    opened: list[tuple[Watched, str | None]] = []

    def open_page(path: Path | str, fragment: str = "", allowed: str | None = None, **options):
        watched = Watched(browser, **options)
        opened.append((watched, allowed))
        return watched.open(path, fragment)

    yield open_page
    problems = []
    for watched, allowed in opened:
        watched.context.close()
        problems += [
            problem
            for problem in watched.problems
            if allowed is None or not re.search(allowed, problem)
        ]
    assert not problems


@pytest.fixture(scope="module")
def shared(browser) -> Iterator["Shared"]:
    """A window for tests of a file that ask of a page only what its address says: faster than a new
    one each time.
    """
    window = Shared(browser)
    yield window
    window.context.close()


class Shared(Watched):
    def show(self, path: Path | str, fragment: str):
        """The page at this fragment. It is loaded once: a file of tests has one page."""
        page = self.context.pages[0] if self.context.pages else self.open(path)
        page.mouse.move(0, 0)
        page.evaluate(
            "fragment => { document.activeElement.blur(); location.hash = fragment; }", fragment
        )
        return page

    def new_problems(self) -> list[str]:
        """Those since the last time."""
        self.context.pages[0].evaluate("0")  # so that everything before has been heard
        found = self.problems.copy()
        self.problems.clear()
        return found


def expect(locator):
    """Playwright's expect, which looks again until what is asserted holds."""
    from playwright.sync_api import expect

    expect.set_options(timeout=_PATIENCE_MS)
    return expect(locator)


def accessibility_violations(page, rules: Sequence[str] = ()) -> list[str]:
    """What axe-core calls serious or critical in the page as it is now: rule, element, reason.
    `rules`: those to check; none = all.
    """
    from axe_playwright_python.sync_playwright import Axe

    options: dict = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['target'][0]}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def overflow(page) -> float:
    """By how many pixels the page itself is wider than the window; 0 = no scroll bar."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
