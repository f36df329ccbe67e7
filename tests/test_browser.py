"""The harness of the browser tests notices what a page does wrong."""

import shutil
import subprocess
import sys

import pytest
from browser import Watched, accessibility_violations, found, overflow

from recipes import chromium

POLICY = "default-src 'none'; script-src 'nonce-x'; img-src file:"
PAGE = f"""<!doctype html><html lang=en><title>A page</title><meta charset=utf-8>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<body><main><h1>A page</h1>%s</main></body></html>"""


@pytest.mark.parametrize(
    "content, problem",
    [
        ("<script nonce=x>console.error('lost')</script>", "lost"),
        ("<script nonce=x>undefined.x</script>", "Cannot read properties of undefined"),
        ("<script nonce=x>Promise.reject(new Error('late'))</script>", "late"),
        ("<script>a = 1</script>", "Content Security Policy"),
        ("<p onclick=a()>Text</p>", "Content Security Policy"),
        ("<img src=missing.png alt=a>", "ERR_FILE_NOT_FOUND"),
        ("<img src=http://localhost:9/a.png alt=a>", "Content Security Policy"),
        ("<script nonce=x>open('http://localhost:9')</script>", "request to http://localhost:9/"),
    ],
)
def test_what_a_page_does_wrong_is_noticed(browser, tmp_path, content, problem):
    path = tmp_path / "page.html"
    path.write_text(PAGE % content)
    watched = Watched(browser)
    page = watched.open(path)
    page.locator("main").click()
    watched.context.close()
    assert any(problem in found for found in watched.problems)


def test_a_page_that_does_nothing_wrong_is_opened(open_page, tmp_path):
    path = tmp_path / "a page.html"
    path.write_text(PAGE % "<p>Text</p>", encoding="utf-8")
    page = open_page(path)
    assert page.title() == "A page"
    assert not accessibility_violations(page)
    assert overflow(page) == 0


def test_bad_contrast_a_picture_without_words_and_a_wide_page_are_noticed(open_page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        "<!doctype html><html lang=en><title>A page</title><img src=data:,>"
        "<p style='color: #ccc; background: #fff; width: 9000px'>faint</p></html>"
    )
    page = open_page(path)
    found = accessibility_violations(page)
    assert {each.split(":")[0] for each in found} == {"color-contrast", "image-alt"}
    assert overflow(page) > 7000


def test_without_a_browser_tests_are_skipped_and_in_ci_they_fail(monkeypatch):
    monkeypatch.setattr(chromium, "NAMES", ["/nowhere/chromium"])
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        found()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        found()


def test_make_installs_chromium_as_root_in_two_tries(root, tmp_path):
    """With an apt-get that fails at first, and stub programs instead of those of the machine,
    which may have a browser.
    """
    shutil.copy(root / "Makefile", tmp_path)
    shutil.copytree(root / "recipes", tmp_path / "recipes", ignore=lambda *_: ["tiny_qwen2_vl"])
    programs = {
        "apt-get": 'echo "$*" >>log; test "$1" = update || test "$(grep -c update log)" = 2',
        "id": "echo 0",
        "sleep": "",
    }
    folder = tmp_path / ".venv/bin"
    folder.mkdir(parents=True)
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    for name in ("grep", "sh"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "python").symlink_to(sys.executable)
    (folder / "pip").touch()
    made = subprocess.run(
        [shutil.which("make"), "browser"],
        cwd=tmp_path,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert made.stderr == "" and made.returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == [
        "update -qq",
        "install -qq -y --no-install-recommends chromium",
    ] * 2
