"""A study in the report: its sources, its answers, what the judge made of them, its pictures."""

import pytest
import synthetic_report
from browser import expect
from synthetic_report import (
    ASTRAL,
    BIG_HEART,
    FAILED,
    LUNGS_CLEAR,
    SIZE,
    UNCURATED,
    UNREADABLE,
    cell,
    opened,
)

from xraygen.pages.pictures import LONGEST

COUNT = 60


@pytest.fixture(scope="module")
def made() -> synthetic_report.Collection:
    return synthetic_report.collection(COUNT)


@pytest.fixture(scope="module")
def report(made, tmp_path_factory):
    return synthetic_report.write(tmp_path_factory.mktemp("report"), made)


@pytest.fixture
def page_at(shared, report):
    """page_at("#study=study 1"): the report there, in a window that tests share."""
    yield lambda fragment: shared.show(report, fragment)
    assert not shared.new_problems()


def test_the_source_of_an_answer_is_marked_in_the_report(page_at, made):
    """Also after characters that JavaScript counts twice."""
    study = made.studies[ASTRAL]
    evidence = made.annotations["careful"][ASTRAL].evidence
    sources = {
        region: [study.report[start:end] for start, end in evidence[region].spans]
        for region in ("lung", "heart")
    }
    assert len(sources["lung"]) > 1 and sources["heart"]
    page = page_at(f"#study={study.id}&show=careful")
    opened(page, study.id)
    marked = page.locator("#report mark")
    assert page.locator("#report").inner_text() == study.report
    expect(marked).to_have_count(0)
    cell(page, "lung", "careful").locator(".answer").hover()
    expect(marked).to_have_text(sources["lung"])
    assert page.locator("#report").text_content() == study.report
    page.locator("#study-title").hover()
    expect(marked).to_have_count(0)
    cell(page, "heart", "careful").locator(".answer").focus()
    expect(marked).to_have_text(sources["heart"])
    page.keyboard.press("Tab")  # to the next region with a source
    expect(marked).not_to_have_text(sources["heart"])


def test_words_that_differ_from_the_reference_are_marked(page_at, made):
    number, words = next(
        (number, study.reference["heart"])
        for number, study in enumerate(made.studies)
        if number != UNCURATED and study.reference["heart"] == "Mild cardiomegaly."
    )
    page = page_at(f"#study=study {number}&show=inventive")
    answer = cell(page, "heart", "inventive")
    expect(answer.locator("ins.added")).to_have_text(["Severe"])
    expect(answer.locator("del.missing")).to_have_text(["Mild"])
    expect(page.locator("tr[data-region=heart] .reference .text")).to_have_text(words)
    page.locator("#marks").uncheck()
    expect(answer.locator(".answer")).to_have_text(BIG_HEART)
    expect(answer.locator("ins, del")).to_have_count(0)


def test_what_the_judge_made_of_an_answer_is_shown(page_at, made):
    """Of each kind of finding the first study that has it."""
    kinds = {
        "matched": lambda one: one.listed.matched,
        "missed": lambda one: one.listed.significant.get("b", ()),
        "false": lambda one: one.listed.significant.get("a", ()),
        "abnormal-missed": lambda one: one.clinical.missed,
        "abnormal-invented": lambda one: one.clinical.invented,
    }
    judged = {
        (name, one.id, one.region): one for name, each in made.judgements.items() for one in each
    }
    page = None
    for kind, of in kinds.items():
        judgement = next(
            one
            for one in judged.values()
            if one.verdict == "judged"
            and of(one)
            and not (one.listed.significant.keys() - {"a", "b"})
        )
        approach = next(name for (name, *key), one in judged.items() if one is judgement)
        fragment = f"#study={judgement.id}&show={approach}"
        if page is None:
            page = page_at(fragment)
        page.evaluate("fragment => { location.hash = fragment; }", fragment)
        opened(page, judgement.id)
        shown = cell(page, judgement.region, approach)
        expect(shown.locator(f".{kind} dd")).to_have_text("; ".join(of(judgement)))
        expect(shown.locator(".facts")).to_contain_text(f"score {judgement.score:.2f}")
        expect(shown.locator(".facts")).to_contain_text(f"clinical {judgement.clinical.score:.2f}")
    approach, judgement = next(
        (name, judgement)
        for (name, *_), judgement in judged.items()
        if judgement.clinical.score == 1 and judgement.clinical.missed
    )
    page.evaluate(
        "fragment => { location.hash = fragment; }", f"#study={judgement.id}&show={approach}"
    )
    opened(page, judgement.id)
    missed = cell(page, judgement.region, approach).locator(".abnormal-missed")
    expect(missed).to_have_text(
        f"− missed, not clinically significant: {'; '.join(judgement.clinical.missed)}"
    )
    expect(missed.locator(".bad")).to_have_count(0)
    page.locator("#findings").uncheck()
    expect(page.locator(".findings")).to_have_count(0)


def test_support_and_confidence_are_shown(page_at, made):
    page = page_at("#study=study 27&show=careful")
    evidence = made.annotations["careful"][27].evidence["lung"]
    assert evidence.confidence == 0.99 and evidence.support == "unsupported"
    facts = cell(page, "lung", "careful").locator(".facts")
    expect(facts).to_contain_text("unsupported")
    expect(facts).to_contain_text("confidence 0.99")


def test_studies_that_lack_something_are_shown_with_what_they_have(page_at, made):
    page = page_at(f"#study=study {FAILED}&show=short&show=template&marks=0")
    expect(cell(page, "lung", "short")).to_contain_text("failed the answer is no JSON")
    expect(cell(page, "lung", "template").locator(".answer")).to_have_text(LUNGS_CLEAR)
    expect(page.locator("#pictures")).to_be_empty()
    page.evaluate("location.hash = '#study=study 5&show=careful'")
    opened(page, f"study {UNCURATED}")
    expect(page.locator("tr[data-region=lung] .reference")).to_contain_text("no reference")
    expect(page.locator("#report")).to_have_text(made.studies[UNCURATED].report)
    expect(page.locator("#answers .facts:has-text('score')")).to_have_count(0)


def test_pictures_are_shown_and_enlarged(open_page, report):
    page = open_page(report, "#study=study 1", allowed="ERR_FILE_NOT_FOUND")
    views = page.locator("#pictures img")
    expect(views).to_have_count(2)
    assert views.evaluate_all("all => all.map((one) => one.alt)") == [
        "frontal view",
        "lateral view",
    ]
    views.nth(1).click()
    large = page.locator("#picture-large")
    expect(large).to_have_js_property("naturalWidth", min(SIZE[0], LONGEST))
    expect(large).to_have_attribute("alt", "lateral view")
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    page.evaluate("number => { location.hash = `#study=study ${number}`; }", UNREADABLE)
    expect(page.locator("#pictures")).to_have_text("lateral: not readable")
    expect(views).to_have_js_property("complete", True)
    folder = report.parent / "studies/pictures"
    folder.rename(folder.with_name("elsewhere"))
    try:
        page.evaluate("location.hash = '#study=study 0'")
        note = "picture not found; copy the folder “studies/pictures” too"
        expect(page.locator("#pictures > *")).to_have_text([f"frontal: {note}", f"lateral: {note}"])
    finally:
        folder.with_name("elsewhere").rename(folder)
