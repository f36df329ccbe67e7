"""The report in both themes, in a narrow window, zoomed, in print, and for those who see it with a
screen reader, as far as axe-core can tell.
"""

import pytest
import synthetic_report
from browser import accessibility_violations, expect, overflow
from synthetic_report import opened

NARROW = {"width": 400, "height": 800}
WIDE = {"width": 1280, "height": 900}
ZOOMED = {"width": 640, "height": 450}  # what a window of 1280 pixels has at 200 %
STUDY = "#study=study 1"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    made = synthetic_report.collection(12)
    return synthetic_report.write(tmp_path_factory.mktemp("report"), made)


def views(page):
    """Everything that the report can show, one after the other."""
    expect(page.locator("#verdict")).to_be_visible()
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    yield "overview"
    page.evaluate("fragment => { location.hash = fragment; }", STUDY)
    opened(page, "study 1")
    page.locator("#filter-box").evaluate("box => { box.open = true; }")
    page.locator("#answers .answer[tabindex]").first.focus()
    yield "study"
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    yield "keys"


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_view_fits_its_window_and_axe_finds_nothing_serious(open_page, report, size):
    page = open_page(report, viewport=size, reduced_motion="reduce")
    found = {}
    for view in views(page):
        if (pixels := overflow(page)) > 0:
            found[view] = pixels
        for scheme, rules in (("light", []), ("dark", ["color-contrast"])):  # all that it changes
            page.emulate_media(color_scheme=scheme)
            if violations := accessibility_violations(page, rules):
                found[view, scheme] = violations
    assert found == {}


def test_every_view_fits_its_window_at_200_percent(open_page, report):
    page = open_page(report, viewport=ZOOMED, device_scale_factor=2)
    found = {view: overflow(page) for view in views(page)}
    assert found == dict.fromkeys(found, 0) and len(found) == 3


def test_a_narrow_window_shows_all_of_an_answer(open_page, report):
    """Laid out below each other, not in a table to be scrolled."""
    page = open_page(report, STUDY, viewport=NARROW)
    opened(page, "study 1")
    hidden = page.locator("#answers .answer").evaluate_all(
        "all => all.filter((one) => one.getBoundingClientRect().right > innerWidth).length"
    )
    assert hidden == 0


def test_the_theme_follows_the_system(open_page, report):
    page = open_page(report, STUDY, color_scheme="light")
    assert _lightness(page, "background-color") > 0.9 > 0.3 > _lightness(page, "color")
    page.emulate_media(color_scheme="dark")
    assert _lightness(page, "background-color") < 0.2 < 0.7 < _lightness(page, "color")


def test_print_has_the_study_and_none_of_the_controls(open_page, report):
    """Also where the screen is dark."""
    page = open_page(report, STUDY, color_scheme="dark")
    opened(page, "study 1")
    page.emulate_media(media="print")
    for name in ("#study-title", "#report", "#pictures img", "#answers .reference", ".findings"):
        expect(page.locator(name).first).to_be_visible()
    for name in ("#filters", "#list", "#study-next", "#columns", "#to-overview"):
        expect(page.locator(name)).to_be_hidden()
    assert _lightness(page, "background-color") > 0.9 > 0.3 > _lightness(page, "color")
    page.set_viewport_size(A4)
    for approaches in (4, 5):
        page.evaluate(SHOW_APPROACHES, approaches)
        cells = page.locator("tr[data-region=lung] td")
        expect(cells).to_have_count(1 + approaches)
        ends = cells.evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
        assert max(ends) <= A4["width"], f"{approaches} answers are cut"
        stacked = len(set(ends)) == 1
        assert stacked == (approaches == 5)


A4 = {"width": 688, "height": 1016}  # without margins
SHOW_APPROACHES = """async (count) => {
  const columns = Array.from({ length: count }, (_, number) => number % index.approaches.length);
  const view = { ...fields, columns, matched: new Set() };
  showStudy(index, await loadStudy(index, 1), index.studies[1], view);
}"""


def _lightness(page, of: str) -> float:
    """Of the page's text or background, in [0, 1]."""
    return page.evaluate(
        """of => {
          const colour = getComputedStyle(document.body).getPropertyValue(of);
          return Math.max(...colour.match(/[0-9.]+/g).slice(0, 3).map(Number)) / 255;
        }""",
        of,
    )


def test_the_report_can_be_read_by_keyboard_alone(open_page, report):
    """From the skip link to a study of the list, to the source of an answer."""
    page = open_page(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert _tab_to(page, "#to-studies", "Shift+Tab")
    page.keyboard.press("Enter")
    opened(page, "study 0")
    assert _tab_to(page, "#list a[data-id='study 3']")
    page.keyboard.press("Enter")
    opened(page, "study 3")
    assert _tab_to(page, "#answers .answer[tabindex]")
    expect(page.locator("#report mark").first).to_be_visible()


def _tab_to(page, selector: str, key: str = "Tab") -> bool:
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return True
    return False
