"""The report in a browser: every study can be found, read and linked to."""

import pytest
import synthetic_report
from browser import expect
from conftest import REGIONS
from expected_report import Expected, mean, summaries
from synthetic_report import FLOOR, cell, opened

COUNT = 120  # three files of studies, and two parts of the list
LISTED = 100  # in a part of the list


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


@pytest.fixture(scope="module")
def expected(made) -> Expected:
    return Expected(made)


def listed(page):
    return page.locator("#list .id")


def ids(numbers) -> list[str]:
    return [f"study {number}" for number in numbers]


def compared(page) -> list[str]:
    """The approaches shown, without the floor."""
    shown = page.locator("#columns input:checked")
    names = shown.evaluate_all("boxes => boxes.map((box) => box.value)")
    return [name for name in names if name != FLOOR]


def test_every_study_is_listed_with_its_scores(open_page, report, expected):
    page = open_page(report)
    assert page.locator("#studies-section").is_hidden()
    page.click("#to-studies")
    expect(page.locator("#matches")).to_have_text(f"{COUNT} studies")
    expect(listed(page)).to_have_text(ids(range(LISTED)))
    expect(page.locator("#columns input:checked")).to_have_count(3)
    expect(page.locator("#columns").get_by_label(FLOOR)).to_be_checked()
    shown = compared(page)
    scores = [expected.scores(number, shown) for number in range(COUNT)]
    expect(page.locator("#list .scores")).to_have_text(summaries(scores[:LISTED]))
    unsupported = [
        any(expected.pairs(number, shown, REGIONS, unsupported=True)) for number in range(LISTED)
    ]
    assert 0 < sum(unsupported) < LISTED
    expect(page.locator("#list .chip.bad", has_text="unsupported")).to_have_count(sum(unsupported))
    page.click("#list-next")
    expect(listed(page)).to_have_text(ids(range(LISTED, COUNT)))
    page.select_option("#sort", "score")
    keys = [(min(one), mean(one)) if one else (2, 2) for one in scores]
    order = sorted(range(COUNT), key=lambda number: (*keys[number], number))
    expect(listed(page)).to_have_text(ids(order[:LISTED]))
    page.select_option("#sort", "id")
    page.select_option("#filter-approach", FLOOR)  # alone, it is not left out
    alone = [expected.scores(number, [FLOOR]) for number in range(LISTED)]
    expect(page.locator("#list .scores")).to_have_text(summaries(alone))


def test_the_floor_is_what_the_filters_are_about_where_it_is_asked_for_or_alone(page_at, expected):
    wanted = expected.found([FLOOR], high=0.1)
    others = expected.found(["careful"], high=0.1)
    assert set(wanted) - set(others)
    page = page_at(f"#max=0.1&show=careful&show={FLOOR}")
    expect(listed(page)).to_have_text(others[:LISTED])
    page.select_option("#filter-approach", FLOOR)
    expect(listed(page)).to_have_text(wanted[:LISTED])
    page.evaluate("fragment => { location.hash = fragment; }", f"#max=0.1&show={FLOOR}")
    expect(listed(page)).to_have_text(wanted[:LISTED])


EVERYONE = ("careful", "template", "short", "inventive")
# Controls with what is put into them, and the same as `Expected.found` takes it.
FILTERS = [
    ({"text": "Cardiomegaly  PLEURAL"}, {"text": "cardiomegaly pleural"}),
    ({"text": "🫁"}, {"text": "🫁"}),
    ({"text": "study 7"}, {"text": "study 7"}),
    ({"approach": "short", "verdict": "candidate_empty"}, {"verdict": "candidate_empty"}),
    ({"approach": "short", "region": "heart", "verdict": "judged"}, {"verdict": "judged"}),
    ({"approach": "careful", "region": "lung", "clinical": "missed"}, {"clinical": "missed"}),
    ({"approach": "careful", "region": "lung", "clinical": "right"}, {"clinical": "right"}),
    ({"approach": "inventive", "clinical": "invented"}, {"clinical": "invented"}),
    ({"approach": "short", "region": "heart", "clinical": "either"}, {"clinical": "either"}),
    ({"approach": "inventive", "clinical": "detail"}, {"clinical": "detail"}),
    ({"approach": "careful", "max": "0"}, {"high": 0}),
    ({"approach": "careful", "min": "0.05", "max": "0.95"}, {"low": 0.05, "high": 0.95}),
    ({"approach": "inventive", "region": "heart", "min": "1"}, {"low": 1}),
    ({"region": "mediastinal", "abnormal": True}, {"abnormal": True}),
    ({"region": "lung", "disagree": "0.9"}, {"disagree": 0.9}),
    ({"approach": "*", "region": "lung", "disagree": "0.7"}, {"disagree": 0.7}),
    ({"approach": "*", "failed": True}, {"failed": True}),
    ({"approach": "template", "unsupported": True}, {"unsupported": True}),
    ({"novel": True}, {"novel": True}),
    (
        {
            "approach": "template",
            "region": "lung",
            "verdict": "judged",
            "max": "0.2",
            "disagree": "0.4",
            "abnormal": True,
            "unsupported": True,
            "novel": True,
            "text": "left effusion",
        },
        {
            "verdict": "judged",
            "high": 0.2,
            "disagree": 0.4,
            "abnormal": True,
            "unsupported": True,
            "novel": True,
            "text": "left effusion",
        },
    ),
]


def set_filter(page, name: str, value: str | bool) -> None:
    control = page.locator(f"#filter-{name}")
    if value is True:
        control.check()
    elif name in ("approach", "region", "verdict", "clinical"):
        control.select_option(value)
    else:
        control.fill(value)


def test_filters_find_what_the_records_say(page_at, expected):
    page = page_at("#studies")
    expect(page.locator("#filter-verdict option")).to_have_text(
        [
            "any",
            "judged",
            "identical",
            "both empty",
            "reference empty",
            "answer empty",
            "judgement unreadable",
            "not judged",
        ]
    )
    for controls, asked in FILTERS:
        for name, value in controls.items():
            set_filter(page, name, value)
        named = controls.get("approach")
        approaches = {None: compared(page), "*": EVERYONE}.get(named, (named,))
        regions = (controls["region"],) if "region" in controls else tuple(REGIONS)
        if "disagree" in asked:
            asked = asked | {"disagreeing": EVERYONE if named == "*" else compared(page)}
        wanted = expected.found(approaches, regions, **asked)
        assert 0 < len(wanted) < COUNT, controls
        expect(page.locator("#matches")).to_have_text(f"{len(wanted)} of {COUNT} studies")
        expect(listed(page)).to_have_text(wanted[:LISTED])
        page.click("#clear")
        expect(page.locator("#matches")).to_have_text(f"{COUNT} studies")


def test_filters_are_about_the_approaches_shown_unless_they_name_one(page_at, expected):
    page = page_at("#max=0.1&region=lung&show=careful")
    expect(page.locator("#columns").get_by_label("careful")).to_be_disabled()
    expect(page.locator("#columns-note")).to_have_text("One has to be shown.")
    expect(listed(page)).to_have_text(expected.found(["careful"], ["lung"], high=0.1)[:LISTED])
    page.locator("#columns").get_by_label("short").check()
    expect(page.locator("#columns").get_by_label("careful")).to_be_enabled()
    expect(page.locator("#columns-note")).to_be_hidden()
    expect(listed(page)).to_have_text(
        expected.found(["careful", "short"], ["lung"], high=0.1)[:LISTED]
    )


def test_studies_are_sorted_by_what_the_filters_are_about(page_at, made, expected):
    last = float("inf")
    orders = {}
    scores = [expected.scores(number, ["careful"], ["lung"]) for number in range(COUNT)]
    orders["score"] = [scores[number][0] if scores[number] else last for number in range(COUNT)]
    clinical = [expected.clinical(number, "careful", "lung") for number in range(COUNT)]
    orders["clinical"] = [last if score is None else score for score in clinical]
    confidences = [record.evidence["lung"].confidence for record in made.annotations["careful"]]
    orders["confidence"] = [last if sure is None else sure for sure in confidences]
    pair = ("careful", "template")
    orders["disagreement"] = [
        -expected.disagreement(number, "lung", pair) for number in range(COUNT)
    ]
    page = page_at(f"#approach=careful&region=lung&show=template&show={FLOOR}")
    for name, values in orders.items():
        assert len(set(values)) > (2 if name == "clinical" else 20), name
        page.select_option("#sort", name)
        order = sorted(range(COUNT), key=lambda number: (round(values[number], 4), number))
        expect(listed(page)).to_have_text(ids(order[:LISTED]))


def test_a_study_has_an_address_that_can_be_sent_on_and_gone_back_to(open_page, report, expected):
    page = open_page(report, "#studies")
    opened(page, "study 0")
    page.click("#list a[data-id='study 60']")
    opened(page, "study 60")
    page.select_option("#filter-region", "heart")
    page.locator("#filter-novel").check()
    expect(page.locator("#matches")).to_have_text(f"60 of {COUNT} studies")
    expect(page.locator("#study-position")).to_have_text("31 of 60")
    page.go_back()
    page.go_back()
    expect(page.locator("#matches")).to_have_text(f"{COUNT} studies")
    expect(page.locator("#filter-region")).to_have_value("")
    opened(page, "study 60")
    page.go_back()
    opened(page, "study 0")
    for _ in range(3):
        page.go_forward()
    expect(page.locator("#study-position")).to_have_text("31 of 60")
    page.reload()
    expect(page.locator("#study-position")).to_have_text("31 of 60")
    opened(page, "study 60")
    assert page.locator("#filter-novel").is_checked()
    fragment = page.evaluate("location.hash")
    sent = open_page(report, fragment)
    opened(sent, "study 60")
    expect(sent.locator("#filter-region")).to_have_value("heart")
    expect(listed(sent)).to_have_text(ids(range(0, COUNT, 2)))
    sent.click("#to-overview")
    expect(sent.locator("#overview-section")).to_be_visible()
    expect(sent.locator("#studies-section")).to_be_hidden()
    sent.go_back()
    opened(sent, "study 60")


def test_the_address_of_no_study_says_so(page_at):
    page = page_at("#study=study%20999")
    expect(page.locator("#study-note")).to_contain_text("There is no study “study 999”")
    expect(page.locator("#list a")).to_have_count(LISTED)
    problem = page.locator("#filter-problem")
    expect(problem).to_be_hidden()


def test_what_is_not_understood_is_said_and_counts_as_not_asked(page_at, expected):
    page = page_at("#approach=gone&show=lost&show=careful&sort=size&min=low&max=0.1")
    problem = page.locator("#filter-problem")
    expect(problem).to_have_text(
        "This report has no approach “gone”. This report has no order “size”. "
        "This report has no approach “lost”. Score from: low is not a number from 0 to 1."
    )
    expect(page.locator("#filter-count")).to_have_text(", 1 in use")
    expect(listed(page)).to_have_text(expected.found(["careful"], high=0.1)[:LISTED])
    page.click("#clear")
    expect(problem).to_be_hidden()
    set_filter(page, "disagree", "5")
    expect(problem).to_have_text("Disagreement: 5 is not a number from 0 to 1.")
    expect(page.locator("#matches")).to_have_text(f"{COUNT} studies")
    set_filter(page, "disagree", "")
    expect(problem).to_be_hidden()
    page.evaluate("location.hash = '#show=short&sort=disagreement'")
    expect(problem).to_have_text("One approach alone does not disagree: show another.")
    page.evaluate("location.hash = '#min=0.9&max=0.1'")
    expect(page.locator("#study-note")).to_have_text(
        "No score is from 0.9 to 0.1: the first has to be the lower one."
    )


def test_keys_go_through_the_studies_and_search_but_not_while_typing(page_at):
    page = page_at("#studies")
    opened(page, "study 0")
    page.keyboard.press("j")
    page.keyboard.press("j")
    opened(page, "study 2")
    page.keyboard.press("k")
    opened(page, "study 1")
    expect(page.locator("#list [aria-current]")).to_have_attribute("data-id", "study 1")
    page.keyboard.press("Control+j")
    page.keyboard.press("/")
    expect(page.locator("#filter-text")).to_be_focused()
    page.keyboard.type("jk?/")
    expect(page.locator("#matches")).to_have_text(f"0 of {COUNT} studies")
    assert page.locator("#keys").is_hidden()
    expect(page.locator("#filter-text")).to_have_value("jk?/")
    page.keyboard.press("Escape")
    expect(page.locator("#matches")).to_have_text(f"{COUNT} studies")
    opened(page, "study 1")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("j")
    opened(page, "study 2")
    page.click("#to-overview")
    expect(page.locator("#overview-section")).to_be_visible()
    page.keyboard.press("j")
    opened(page, "study 0")
    page.click("#to-overview")
    expect(page.locator("#overview-section")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#filter-text")).to_be_focused()


def test_keys_go_from_one_part_of_the_list_to_the_next(page_at):
    page = page_at(f"#study=study%20{LISTED - 1}")
    opened(page, f"study {LISTED - 1}")
    page.keyboard.press("j")
    opened(page, f"study {LISTED}")
    expect(listed(page)).to_have_text(ids(range(LISTED, COUNT)))
    page.keyboard.press("k")
    opened(page, f"study {LISTED - 1}")


def test_keys_bring_the_answer_asked_for_into_sight(open_page, report):
    """However wide the window and however many approaches are shown; its column is the first."""
    shown = "&".join(f"show={name}" for name in EVERYONE)
    page = open_page(report, f"#approach=inventive&region=mediastinal&study=study 0&{shown}")
    opened(page, "study 0")
    heads = page.locator("#answers thead th")
    assert heads.all_text_contents() == ["Region", "Reference", "inventive", *EVERYONE[:-1]]
    sizes = [(1400, 900), (900, 800), (400, 800)]
    for number, (width, height) in enumerate(sizes, 1):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        page.keyboard.press("j")
        opened(page, f"study {number}")
        answer = cell(page, "mediastinal", "inventive").locator(".answer")
        reference = page.locator("tr[data-region=mediastinal] .reference p")
        assert answer.evaluate(IS_IN_SIGHT) and reference.evaluate(IS_IN_SIGHT), width
    expect(cell(page, "lung", "inventive")).to_be_hidden()
    page.get_by_role("button", name="Show the other 4 regions").click()
    page.keyboard.press("k")
    opened(page, "study 2")
    expect(cell(page, "lung", "inventive")).to_be_visible()


# Inside the window, and not under what stays in sight while the page scrolls.
IS_IN_SIGHT = """one => {
  const { left, top, right, bottom } = one.getBoundingClientRect();
  const corners = [[left + 4, top + 4], [right - 4, bottom - 4]];
  return corners.every(([x, y]) => one.contains(document.elementFromPoint(x, y)));
}"""
