"""The page of `xraygen review` in a real browser: decisions are kept, exported and imported."""

import json
from pathlib import Path

import pytest
from browser import accessibility_violations, overflow
from conftest import REGIONS, annotation

from xraygen.core.study import AnnotationRecord, Evidence, Study
from xraygen.readers import review_page
from xraygen.readers.exports import read_reviews

HOSTILE = (
    "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
)
REPORT = f"\N{LUNGS} Heart of usual size. {HOSTILE} Lungs open."
TEXTS = {"bone": "Ribs whole.", "heart": f"Heart large. {HOSTILE}", "lung": "Lungs open."}
START = REPORT.index("Lungs")
SPANS = {"heart": ((2, 22),), "lung": ((START + 3, START + 11), (START, START + 5))}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def shown(id: str, *regions: str, pictures=()) -> review_page.Shown:
    evidence = {region: Evidence(spans=SPANS[region]) for region in SPANS}
    record = AnnotationRecord(id=id, annotation=annotation(**TEXTS), evidence=evidence)
    study = Study(id=id, uid=id, split="test", report=REPORT)
    return review_page.Shown(study, record, list(pictures), regions)


VIEWS = [
    {"projection": "frontal", "width": 1, "height": 1, "src": PIXEL},
    {"projection": "unknown"},
]
STUDIES = [
    shown(f"A {HOSTILE}", "bone", "heart", pictures=VIEWS),
    shown("B", "lung", "mediastinal"),
]


def write(folder: Path, studies=STUDIES, approach: str | None = "router") -> Path:
    path = folder / "review.html"
    path.write_text(review_page.page(studies, approach), encoding="utf-8")
    return path


def begin(page, reader: str = "Ada Kay") -> None:
    page.fill("#reader", reader)
    page.keyboard.press("Enter")


def count(page) -> str:
    return page.inner_text("#count")


def cards(page):
    return page.locator(".region")


def pressed(page) -> list[str]:
    return page.locator("[aria-pressed=true]").all_inner_texts()


def export(page, to: Path) -> list[dict]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    download.value.save_as(to)
    return [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]


def bring_in(page, path: Path) -> str:
    """Import a file; what the page says then. The page's policy forbids to wait for a script."""
    page.evaluate("say('')")
    page.set_input_files("#file", path)
    page.locator("#status", has_text="import").wait_for()
    return page.inner_text("#status")


def decide_all(page) -> None:
    """By keys alone: accept, edit, reject with a comment, accept."""
    page.keyboard.press("a")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("Heart of usual\nsize, e and r. ")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.keyboard.press("c")
    page.keyboard.type("not so")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("a")


def test_decisions_by_key_are_kept_over_a_reload_and_exported(open_page, tmp_path):
    page = open_page(write(tmp_path))
    assert page.locator("#studies").is_hidden()
    begin(page)
    decide_all(page)
    assert page.inner_text("#status") == "All 4 done: press Export and send the file."
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]  # something is not exported
    assert count(page) == "4 of 4 done"
    assert pressed(page) == ["Accept", "Edit", "Reject", "Accept"]
    header, *records = export(page, tmp_path / "out.jsonl")
    assert list(header) == ["format", "reader", "created", "items", "sample"]
    studies = json.loads(page.inner_text("#data"))["studies"]
    assert header | {"created": ""} == {
        "format": "xraygen review 1",
        "reader": "Ada Kay",
        "created": "",
        "items": 4,
        "sample": review_page.sample(studies),
    }
    first, second = STUDIES[0].study.id, "B"
    texts = STUDIES[0].record.annotation
    expected = [
        (first, "bone", "accepted", texts["bone"], ""),
        (first, "heart", "edited", "Heart of usual size, e and r.", ""),
        (second, "lung", "rejected", None, "not so"),
        (second, "mediastinal", "accepted", "", ""),
    ]
    assert records == [
        {
            "id": id,
            "region": region,
            "approach": "router",
            "reader": "Ada Kay",
            "shown": texts[region],
            "decision": decision,
            "text": text,
            "comment": comment,
        }
        for id, region, decision, text, comment in expected
    ]
    (review,) = read_reviews([tmp_path / "out.jsonl"], list(REGIONS))  # `xraygen adjudicate`
    assert review.reader == "Ada Kay" and len(review.decisions) == 4
    page.reload()
    assert asked == ["beforeunload"]
    assert list(records[0]) == "id region approach reader shown decision text comment".split()


def test_hostile_text_is_text_and_the_sources_of_a_text_are_marked(open_page, tmp_path):
    page = open_page(write(tmp_path), viewport={"width": 400, "height": 800})
    begin(page)
    assert page.title() == "Review of router" and page.locator("img").count() == 1
    assert HOSTILE in page.inner_text("h2 >> nth=0")
    assert HOSTILE in cards(page).nth(1).inner_text()
    report = page.locator(".report")
    assert report.nth(1).inner_text() == REPORT
    cards(page).nth(1).hover()
    assert page.locator("mark").all_inner_texts() == ["Heart of usual size."]
    page.keyboard.press("n")
    assert report.nth(1).locator("mark").all_inner_texts() == ["Lungs", " open."]
    assert report.nth(1).inner_text() == REPORT
    assert "cannot be read" in page.locator(".pictures").nth(0).inner_text()
    assert overflow(page) == 0
    page.keyboard.press("e")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert not accessibility_violations(page)
    page.emulate_media(media="print")
    assert cards(page).nth(2).get_by_text("Decision: not decided").is_visible()
    assert page.locator("#bar").is_hidden() and page.locator("button:visible").count() == 0


@pytest.mark.parametrize("size", [(700, 450), (1280, 640)])
def test_the_text_to_decide_on_and_its_report_are_in_sight(open_page, tmp_path, size):
    picture = {"projection": "frontal", "width": 256, "height": 512, "src": PIXEL}
    studies = [shown(id, *REGIONS.scored, pictures=[picture] * 2) for id in ("A", "B")]
    width, height = size
    view = {"width": width, "height": height}
    page = open_page(write(tmp_path, studies), viewport=view, reduced_motion="reduce")
    begin(page)
    for number in range(8):
        card = cards(page).nth(number).bounding_box()
        report = page.locator(".report").nth(number // 4).bounding_box()
        for box in (card, report):
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, number
        page.keyboard.press("a")
    page.keyboard.press("e")
    box = page.locator("textarea:visible").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= height
    assert not accessibility_violations(page)


def test_what_is_left_to_do_undoing_and_an_edit_that_changes_nothing(open_page, tmp_path):
    page = open_page(write(tmp_path))
    begin(page)
    page.check("#todo")
    page.locator("h1").click()
    cards(page).nth(0).focus()
    page.keyboard.press("a")
    assert cards(page).nth(0).is_hidden() and cards(page).nth(1).is_visible()
    page.keyboard.press("r")
    page.keyboard.press("j")
    assert page.locator(".study:visible").count() == 1
    page.keyboard.press("k")  # nothing before it is left
    assert page.inner_text("#status") == "This is the first text."
    page.uncheck("#todo")
    cards(page).nth(0).focus()
    page.keyboard.press("u")
    assert count(page) == "1 of 4 done" and pressed(page) == ["Reject"]
    page.keyboard.press("e")
    page.keyboard.type("X")
    assert count(page) == "2 of 4 done"
    page.keyboard.press("Backspace")
    assert count(page) == "1 of 4 done"
    page.keyboard.type("Y")
    page.keyboard.press("Escape")
    edited = page.input_value("textarea >> nth=0")
    page.keyboard.type("a")  # keeps the edit, and goes on
    assert pressed(page) == ["Edit", "Reject"]
    page.keyboard.type("kr")
    assert pressed(page) == ["Reject", "Reject"]
    page.keyboard.type("e")
    assert page.input_value("textarea >> nth=0") == edited and pressed(page)[0] == "Edit"
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    assert export(page, tmp_path / "out.jsonl")[1]["text"] == ""
    page.get_by_role("button", name="Keys").click()
    page.uncheck("#shortcuts")
    page.keyboard.press("Escape")
    cards(page).nth(3).focus()
    page.keyboard.press("a")
    assert count(page) == "2 of 4 done"


def test_an_export_goes_on_elsewhere_and_only_with_the_same_texts_and_reader(open_page, tmp_path):
    page = open_page(write(tmp_path))
    begin(page)
    decide_all(page)
    records = export(page, tmp_path / "out.jsonl")
    blind = open_page(write(tmp_path, STUDIES[::-1], approach=None))  # in another order
    assert blind.title() == "Review" and "router" not in blind.content()
    begin(blind)
    blind.keyboard.press("a")  # the lungs, which the file rejects
    asked = []
    blind.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    assert bring_in(blind, tmp_path / "out.jsonl") == "Nothing is imported."
    assert asked == ["Decisions here that differ from those in the file: 1. Replace them?"]
    assert count(blind) == "1 of 4 done"
    blind.once("dialog", lambda dialog: dialog.accept())
    assert bring_in(blind, tmp_path / "out.jsonl") == "Imported; 4 of 4 done."
    assert count(blind) == "4 of 4 done"
    again = export(blind, tmp_path / "again.jsonl")
    by_item = {(one["id"], one["region"]): one for one in again[1:]}
    for one in records[1:]:
        assert by_item[one["id"], one["region"]] == one | {"approach": None}

    header, first, *others = records
    text = "\n".join(map(json.dumps, [header, *others]))  # all but the first text
    (tmp_path / "part.jsonl").write_text(text, encoding="utf-8")
    third = open_page(write(tmp_path))
    begin(third)
    third.keyboard.press("j")
    assert bring_in(third, tmp_path / "part.jsonl") == "Imported; 3 of 4 done."
    assert cards(third).nth(0).evaluate("node => node === document.activeElement")
    lines = {
        "It is of other texts": [header | {"sample": "0"}, first],
        "It is of the reader Bo.": [header | {"reader": "Bo"}, first],
        "It was not exported by": [first],
        "Line 3 is damaged.": [header, first, others[0] | {"decision": "maybe"}],
        "Line 2 is damaged.": [header, first | {"shown": "Ribs broken."}],
    }
    for said, content in lines.items():
        text = "\n".join(map(json.dumps, content))
        (tmp_path / "wrong.jsonl").write_text(text, encoding="utf-8")
        assert said in bring_in(blind, tmp_path / "wrong.jsonl")
    assert export(blind, tmp_path / "again.jsonl") == again


def test_two_windows_do_not_undo_each_other_and_two_readers_do_not_see_each_other(
    open_page, tmp_path
):
    page = open_page(write(tmp_path))
    begin(page)
    other = page.context.new_page()
    other.goto(page.url)
    assert other.input_value("#reader") == "Ada Kay"
    begin(other)
    page.keyboard.press("a")
    other.get_by_text("1 of 4 done", exact=True).wait_for()
    cards(other).nth(2).focus()
    other.keyboard.press("r")
    page.get_by_text("2 of 4 done", exact=True).wait_for()
    assert pressed(page) == pressed(other) == ["Accept", "Reject"]
    third = page.context.new_page()
    third.goto(page.url)
    begin(third, "Bo")
    assert count(third) == "0 of 4 done"


def test_a_browser_that_keeps_nothing_is_said_and_decisions_can_be_exported(open_page, tmp_path):
    page = open_page(write(tmp_path))
    assert page.locator("#warning").is_hidden()
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name,"
        "{ get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    page.reload()
    assert "send the file that is saved to whoever gave you" in page.inner_text("body")
    assert "Export your decisions before you close" in page.inner_text("#warning")
    begin(page)
    page.keyboard.press("a")
    assert len(export(page, tmp_path / "out.jsonl")) == 2
