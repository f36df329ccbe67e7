"""The browser that tests, benchmarks and screenshots use: Chromium or Chrome as the machine has it.

python -m recipes.chromium     # prints its path; exit status 1 where there is none
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def executable() -> str | None:
    found = filter(None, map(shutil.which, NAMES))
    return next(found, None)


@contextmanager
def launched(path: str) -> Iterator["Browser"]:
    """The browser at this path, without a window. While it runs, asyncio takes the thread's event
    loop for a running one, so that asyncio.run() fails there.
    """
    from playwright.sync_api import sync_playwright

    # Playwright starts it without Chromium's sandbox, which root could not use.
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path) as found:
        yield found


if __name__ == "__main__":
    path = executable()
    print(path or "no Chromium or Chrome is found", file=sys.stdout if path else sys.stderr)
    sys.exit(not path)
