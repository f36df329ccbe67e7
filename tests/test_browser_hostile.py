"""Text from data is shown as it stands and never runs; what is missing next to the page is said."""

import json
import re
import shutil
from urllib.parse import quote

import pytest
import synthetic_report
from browser import expect
from conftest import REGIONS
from synthetic_report import opened

from xraygen.core.study import Judgement, Study
from xraygen.pages import render

# Each would set window.hit, or spoil what follows, if it were taken for markup or for a script.
VECTORS = [
    '<img src="missing" onerror="window.hit = 1">',
    "</script><script>window.hit = 2</script>",
    "<!--<script>window.hit = 3",
    "javascript:window.hit=4",
    '"><svg onload="window.hit = 5">',
    "' onfocus='window.hit = 6' autofocus='",
    "{{ 7 * 7 }} {% raw %} ${window.hit = 7} `${window.hit = 8}`",
    "*/;window.hit = 9;/* \\u003cscript>window.hit = 10\\u003c/script>",
    "a\u2028window.hit = 11;\u2029b",
    "[link](javascript:window.hit=12) &lt;b&gt; &#60;b>",
    "\u202etxet desrever\u202c a\u0000b \ufeff",
]
HOSTILE = " ".join(VECTORS)
APPROACHES = VECTORS[:4]
FAILED = 1


@pytest.fixture(scope="module")
def made() -> synthetic_report.Collection:
    """Every text that data can bring is hostile: ids, reports, references, names of approaches,
    answers, what the judge names, and errors.
    """
    texts = REGIONS.annotation({"lung": HOSTILE, "heart": f"Enlarged. {HOSTILE}"})
    members = [
        Study(
            id=f"{number} {vector}",
            uid=str(number),
            split="test",
            report=f"{vector} {HOSTILE}",
            reference=REGIONS.annotation({"lung": f"{vector} {HOSTILE}", "heart": vector}),
            novel=True,
        )
        for number, vector in enumerate(VECTORS)
    ]
    made = synthetic_report.of_texts(
        members, {name: [texts, None, *[texts] * (len(members) - 2)] for name in APPROACHES}
    )
    for name in APPROACHES:
        made.judgements[name] = [_hostile(judgement) for judgement in made.judgements[name]]
        failed = made.annotations[name][FAILED]
        made.annotations[name][FAILED] = failed.model_copy(update={"error": HOSTILE})
    return made


@pytest.fixture(scope="module")
def report(made, tmp_path_factory):
    return synthetic_report.write(tmp_path_factory.mktemp("hostile"), made)


def _hostile(judgement: Judgement) -> Judgement:
    if judgement.listed is None or judgement.clinical is None:
        return judgement
    named = (HOSTILE,)
    listed = {"matched": named, "significant": {"a": named, "b": named}}
    clinical = {"matched": named, "missed": named, "invented": named}
    return judgement.model_copy(
        update={
            "listed": judgement.listed.model_copy(update=listed),
            "clinical": judgement.clinical.model_copy(update=clinical),
        }
    )


def test_hostile_text_is_shown_and_does_not_run(open_page, report, made):
    page = open_page(report)
    assert page.locator("#overview-section").text_content().count(APPROACHES[0]) > 3
    page.click("#to-studies")
    ids = [study.id for study in made.studies]
    expect(page.locator("#matches")).to_have_text(f"{len(ids)} studies")
    shown = page.locator("#list .id").evaluate_all("all => all.map((one) => one.textContent)")
    assert shown == ids
    for number, study in enumerate(made.studies):
        page.locator("#list a").nth(number).click()
        opened(page, study.id)
        assert page.locator("#study-title").text_content() == study.id
        assert page.locator("#report").text_content() == study.report
        reference = page.locator("tr[data-region=lung] .reference .text")
        assert reference.text_content() == study.reference["lung"]
    answer = page.locator("#answers .answer[tabindex]").first
    answer.hover()
    answer.focus()
    expect(page.locator("#report mark").first).to_be_visible()
    page.locator("#list a").nth(0).click()
    page.locator("#marks").uncheck()
    name = page.locator("#columns input:checked").first.get_attribute("value")
    assert name in APPROACHES
    shown = page.locator(f"tr[data-region=lung] td[data-approach={json.dumps(name)}]")
    expect(shown.locator("ins, del")).to_have_count(0)
    assert shown.locator(".answer").text_content() == HOSTILE
    named = shown.locator(".findings dd").evaluate_all("all => all.map((one) => one.textContent)")
    assert named == [HOSTILE] * 6
    page.locator("#list a").nth(FAILED).click()
    opened(page, made.studies[FAILED].id)
    assert HOSTILE in shown.text_content()
    assert _ran_or_added(page) == []


def test_hostile_text_in_a_page_itself_stays_what_it_is(open_page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render("base.html.jinja", [], [], VECTORS), encoding="utf-8")
    page = open_page(path)
    assert page.evaluate("JSON.parse(document.getElementById('data').textContent)") == VECTORS
    assert _ran_or_added(page) == []


def test_a_hostile_address_is_shown_and_does_not_run(open_page, report):
    page = open_page(report, "#study=" + quote(HOSTILE))
    expect(page.locator("#study-note")).to_be_visible()
    assert VECTORS[0] in page.locator("#study-note").text_content()
    asked = "&".join(
        f"{name}={quote(HOSTILE)}"
        for name in ("approach", "region", "verdict", "min", "text", "sort", "show", "__proto__")
    )
    page.evaluate("asked => { location.hash = asked; }", f"#{asked}")
    expect(page.locator("#filter-text")).to_have_value(HOSTILE)
    assert _ran_or_added(page) == []


def _ran_or_added(page) -> list[str]:
    """What became of hostile text: scripts that ran, elements and listeners."""
    return page.evaluate(
        """() => [
          ...("hit" in window ? [`ran: ${window.hit}`] : []),
          ...Array.from(document.querySelectorAll(
            "img[src=missing], [onerror], [onload], [onfocus], [autofocus], [href^='javascript:']"
          ), (one) => one.outerHTML),
          ...Array.from(document.scripts).filter((one) => !one.nonce && one.id !== "data")
            .map((one) => one.outerHTML),
        ]"""
    )


def test_the_content_policy_would_stop_markup_from_running(open_page, report):
    page = open_page(report, allowed="Content Security Policy|ERR_FILE_NOT_FOUND")
    metas = page.locator("meta[http-equiv=Content-Security-Policy]")
    policy = metas.get_attribute("content")
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|\*|https?:|script-src[^;]*(file|data|'self')", policy)
    page.evaluate(
        """vectors => {
          window.stopped = [];
          document.addEventListener("securitypolicyviolation", (violation) => {
            window.stopped.push(violation.effectiveDirective);
          });
          for (const each of vectors) document.body.insertAdjacentHTML("beforeend", each);
          const script = document.createElement("script");
          script.textContent = "window.hit = 1";
          document.body.append(script);
        }""",
        VECTORS,
    )
    stopped: list[str] = []
    for _ in range(200):
        stopped = page.evaluate("window.stopped.sort()")
        if len(stopped) >= 3:
            break
        page.wait_for_timeout(50)
    assert stopped == ["script-src-attr", "script-src-attr", "script-src-elem"]
    assert not page.evaluate("'hit' in window")


def test_a_page_without_its_files_says_what_is_missing(open_page, report, tmp_path):
    shutil.copy(report, tmp_path)
    page = open_page(tmp_path / "index.html", "#studies", allowed="ERR_FILE_NOT_FOUND")
    expect(page.locator("#problem")).to_contain_text("studies/index.js could not be loaded")
    shutil.copytree(report.parent / "studies", tmp_path / "studies")
    (tmp_path / "studies/0000.js").unlink()
    page.reload()
    expect(page.locator("#study-note")).to_contain_text("studies/0000.js could not be loaded")
    expect(page.locator("#list a")).to_have_count(len(VECTORS))
    page.click("#to-overview")
    expect(page.locator("#verdict")).to_be_visible()


def test_a_page_with_the_files_of_another_run_says_so(open_page, report, tmp_path):
    shutil.copytree(report.parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "studies/0000.js"
    first, second, *others = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([first, *others]), encoding="utf-8")
    page = open_page(tmp_path / "index.html", "#studies")
    expect(page.locator("#study-note")).to_contain_text("is not of this page’s run")
