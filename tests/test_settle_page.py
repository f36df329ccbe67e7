"""The settling page in a real browser, from what two readers export to the references."""

import json
from pathlib import Path

import pytest
from browser import accessibility_violations, overflow
from click.testing import CliRunner
from conftest import annotation
from exports import export, item, settled, settlement
from PIL import Image as Pictures

from xraygen.commands.adjudicate import adjudicate
from xraygen.core.json_lines import write_jsonl
from xraygen.core.study import AnnotationRecord, Image, Study
from xraygen.readers import review_page

HOSTILE = (
    "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
)
TEXTS = {"bone": "Ribs whole.", "heart": "Heart is large.", "lung": f"Lungs open. {HOSTILE}"}
STUDIES = [
    Study(id=f"A {HOSTILE}", uid="1", split="test", report=f"Ribs whole. {HOSTILE}"),
    Study(id="B", uid="2", split="test", report="Lungs open.", images=(Image(path="film.png"),)),
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project's folder with two prepared studies."""
    monkeypatch.chdir(tmp_path)
    Pictures.new("L", (8, 8), 90).save("film.png")
    write_jsonl("data/prepared/test.jsonl", STUDIES)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(adjudicate, arguments, catch_exceptions=False)
    return done.stdout + done.stderr


def begin(page, reader: str) -> None:
    page.fill("#reader", reader)
    page.keyboard.press("Enter")


def exported(page, to: str) -> list[dict]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    download.value.save_as(to)
    return [json.loads(line) for line in Path(to).read_text(encoding="utf-8").splitlines()]


def references() -> dict[str, dict]:
    lines = Path("references.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_from_two_readers_pages_to_references(folder, open_page):
    shown = [
        review_page.Shown(
            study, AnnotationRecord(id=study.id, annotation=annotation(**TEXTS)), [], regions
        )
        for study, regions in zip(STUDIES, (["bone", "heart"], ["lung"]), strict=True)
    ]
    Path("review.html").write_text(review_page.page(shown, "router"), encoding="utf-8")
    for reader, keys in {"Ann": "aar", "Ben": "ae"}.items():
        page = open_page("review.html")
        begin(page, reader)
        page.keyboard.type(keys)
        if reader == "Ben":
            page.keyboard.press("Control+a")
            page.keyboard.type("Heart is small.")
            page.keyboard.press("Escape")
            page.keyboard.type("ja")
        exported(page, f"{reader}.jsonl")

    said = run("Ann.jsonl", "Ben.jsonl", "--page", "settle.html")
    assert "1 agreed, 2 differ" in said and "without report" not in said
    page = open_page("settle.html")
    begin(page, "Chris")
    cards = page.locator(".region")
    assert page.locator("h2").all_inner_texts()[:2] == [
        f"Study 1 of 2: {STUDIES[0].id}",
        "Study 2 of 2: B",
    ]
    assert page.locator("ins.added").all_inner_texts() == ["large", "small"]
    assert page.locator("figure img").count() == 1
    assert "1 reader rejected what was shown" in cards.nth(1).inner_text()
    page.keyboard.type("2w")  # the second text, and another one for the rejected region
    page.keyboard.press("Control+a")
    page.keyboard.type("Lungs open; w 1 x.\n")
    page.keyboard.press("Escape")
    assert page.inner_text("#count") == "2 of 2 settled"
    page.keyboard.type("n")
    assert page.inner_text("#status") == "All 2 settled: press Export."
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    begin(page, "Chris")
    assert asked == ["beforeunload"] and page.inner_text("#count") == "2 of 2 settled"
    header, *records = exported(page, "settled.jsonl")
    assert header["reader"] == "Chris" and header["format"] == "xraygen settled 1"
    assert [record["decision"] for record in records] == ["chosen", "written"]

    run("Ann.jsonl", "Ben.jsonl", "--settled", "settled.jsonl", "--out", "references.jsonl")
    first, second = references().values()
    assert first["id"] == STUDIES[0].id and first["settled"] == ["heart"]
    assert first["reference"] == {"bone": "Ribs whole.", "heart": "Heart is small."}
    assert second["reference"] == {"lung": "Lungs open; w 1 x."}
    assert second["readers"] == ["Ann", "Ben", "Chris"] and second["approaches"] == ["router"]


def test_the_page_starts_with_what_was_settled_and_can_undo_it(folder, open_page):
    key = STUDIES[0].id, "heart"
    export(folder / "a.jsonl", "a", [item(*key, "x y", "x z"), item("B", "lung", HOSTILE)])
    export(folder / "b.jsonl", "b", [item(*key, "x y"), item("B", "lung", HOSTILE, "")])
    settled(folder / "settled.jsonl", [settlement(*key, "x z", comment="so")], reader="Chris")
    run("a.jsonl", "b.jsonl", "--settled", "settled.jsonl", "--page", "settle.html")
    page = open_page("settle.html", viewport={"width": 400, "height": 800}, color_scheme="dark")
    assert page.input_value("#reader") == "Chris"
    page.get_by_role("button", name="Start").click()
    assert page.inner_text("#count") == "1 of 2 settled"
    assert page.locator(".region").nth(1).evaluate("node => node === document.activeElement")
    assert page.locator(".region").nth(0).locator(":checked").get_attribute("value") == "1"
    assert page.title() == "Settle differences" and HOSTILE in page.inner_text(".report")
    page.keyboard.type("x")
    assert page.inner_text("#count") == "2 of 2 settled"
    page.keyboard.type("ku")
    assert page.locator(".region").nth(0).locator(":checked").count() == 0
    page.keyboard.type("w")
    assert page.input_value("textarea >> nth=0") == "x y" and page.locator(":focus").count() == 1
    assert page.inner_text("#count") == "1 of 2 settled", "only shown so far"
    assert [record["decision"] for record in exported(page, "out.jsonl")[1:]] == ["excluded"]
    page.get_by_role("button", name="Use this text").click()
    records = exported(page, "out.jsonl")
    assert records[1]["decision"] == "written"
    page.locator(".region").nth(0).focus()
    page.keyboard.type("w")
    page.keyboard.press("Control+a")
    page.keyboard.type("my own")
    page.keyboard.press("Escape")
    page.keyboard.type("2kw")
    assert page.input_value("textarea >> nth=0") == "my own"
    page.keyboard.press("Escape")
    page.keyboard.type("u")
    wrong = [records[0], records[1] | {"text": None}]
    Path("wrong.jsonl").write_text("\n".join(map(json.dumps, wrong)), encoding="utf-8")
    for file, said in (("wrong.jsonl", "Line 2 is damaged."), ("out.jsonl", "Imported; 2 of 2")):
        page.set_input_files("#file", file)
        page.locator("#status", has_text=said).wait_for()
    assert exported(page, "again.jsonl") == records
    assert accessibility_violations(page) == [] and overflow(page) == 0


def test_with_nothing_to_settle_the_page_says_so(folder, open_page):
    export(folder / "a.jsonl", "a", [item("B", "lung", "x")])
    run("a.jsonl", "--page", "settle.html")
    page = open_page("settle.html")
    assert "nothing to settle" in page.inner_text("main")
    assert accessibility_violations(page) == []
