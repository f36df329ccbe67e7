"""The page at `/` in a browser, asking a service with a router."""

import hashlib
import json
import re
from functools import partial

import pytest
import service as services
from browser import accessibility_violations, expect, overflow
from test_browser_hostile import HOSTILE, VECTORS

from xraygen.service.page import page as service_page

# In front and in between, characters that JavaScript counts twice.
REPORT = (
    "🫁 𝒳-ray. The cardiomediastinal outline is smooth. 🦴 The left ribs are intact. "
    "There is no effusion."
)
KEY = "made-up-key"
REFUSED = "Failed to load resource: the server responded with a status of"
NARROW = {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    second = {"annotator": "router", "reads": "models/router", "wording": "verbatim"}
    folder = services.made_project(tmp_path_factory.mktemp("project"), verbatim=second)
    variables = {"XRAYGEN_API_KEYS": f"tests:{hashlib.sha256(KEY.encode()).hexdigest()}"}
    approaches = ("--approach", "router", "--approach", "verbatim")
    with services.started(folder, *approaches, key=KEY, variables=variables) as service:
        yield service


@pytest.fixture
def opened(open_page, service):
    """opened(**options): the page, once it has a key and knows what is loaded."""

    def opened(allowed: str = "never", **options):
        allowed = f"{REFUSED} 401|{allowed}"  # that there is no key shows when the page asks
        page = open_page("/", origin=service.url, allowed=allowed, **options)
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#about")).to_contain_text("router reads the report alone")
        return page

    return opened


def annotate(page, report: str = REPORT) -> None:
    page.fill("#report", report)
    page.click("#annotate")
    expect(page.locator("#status")).to_have_text("Done.")


def answer_of(service, report: str = REPORT) -> dict:
    cases = {"cases": [{"id": "1", "report": report}]}
    return service.request("POST", "/v1/annotations", cases).json()["annotations"][0]


def texts(locator) -> list[str]:
    return locator.evaluate_all("all => all.map((one) => one.textContent)")


def test_a_pasted_report_is_annotated_by_region(opened, service):
    """In the order of params.yaml, with support, confidence and review mark."""
    page = opened()
    about = "scores 0.90 (0.80 to 0.95) on 30 test studies (proxy); below confidence 0.80 is for"
    expect(page.locator("#about")).to_contain_text(about)
    page.locator("#report").focus()
    page.keyboard.insert_text(REPORT)  # as a paste does
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("Done.")
    expected = answer_of(service)
    findings = page.locator(".finding")
    assert texts(findings.locator("h3")) == list(expected["regions"])
    assert {one["support"] for one in expected["regions"].values()} >= {None, "verbatim"}
    for number, one in enumerate(expected["regions"].values()):
        finding = findings.nth(number)
        expect(finding.locator("> p")).to_have_text(one["text"] or "nothing said")
        facts = ["⚑ review"] if one["review"] else []
        facts += [one["support"]] if one["support"] else []
        facts += [f"confidence {one['confidence']:.2f}"]
        assert texts(finding.locator("h3 + .row > *")) == facts
        width = finding.locator(".bar span").evaluate("one => one.style.width")
        assert float(width.rstrip("%")) == pytest.approx(100 * one["confidence"], abs=0.1)
    assert json.loads(page.locator("#json").text_content()) == expected


def test_another_approach_can_be_chosen(opened, service):
    """And findings that are no longer those of what is chosen are marked."""
    page = opened()
    annotate(page)
    changed = page.locator("#changed")
    page.fill("#report", "Something else.")
    expect(changed).to_be_visible()
    page.fill("#report", REPORT)
    expect(changed).to_be_hidden()
    page.select_option("#approach", "verbatim")
    expect(changed).to_be_visible()
    about = page.locator("#about")
    expect(about).to_contain_text("verbatim reads the report alone; no review threshold")
    page.click("#annotate")
    expect(changed).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("check every region. By verbatim")
    heart = page.locator(".finding[data-region=heart] > p")
    expect(heart).to_have_text("The cardiomediastinal outline is smooth.")
    assert answer_of(service)["regions"]["heart"]["text"] == "Heart outline smooth."


def test_a_finding_and_its_source_point_at_each_other(opened, service):
    """Also after characters that JavaScript counts twice."""
    page = opened()
    annotate(page)
    assert page.locator("#source-text").text_content() == REPORT
    marked = page.locator(".source.active")
    active = page.locator(".finding.active")
    regions = answer_of(service)["regions"]
    spans = {
        name: [REPORT[start:end] for start, end in one["spans"]] for name, one in regions.items()
    }
    assert spans["bone"] == ["The left ribs are intact"]
    assert spans["lung"] == ["no effusion"] and spans["heart"] == spans["mediastinal"] != []
    for region, expected in spans.items():
        finding = page.locator(f".finding[data-region={region}]")
        finding.hover()
        assert texts(marked) == expected
        if expected:
            assert texts(active.locator("h3")) == [region]
            page.mouse.move(0, 0)
            finding.focus()
            assert texts(marked) == expected
            finding.blur()
            assert texts(marked) == []
    page.locator(".source", has_text="no effusion").hover()
    assert texts(active.locator("h3")) == ["lung"]
    page.locator(".source", has_text="cardiomediastinal").hover()
    assert texts(active.locator("h3")) == ["heart", "mediastinal"]
    page.locator(".source", has_text="ribs").click()
    page.mouse.move(0, 0)
    assert page.evaluate("document.activeElement.dataset.region") == "bone"
    assert texts(marked) == spans["bone"]


def test_a_key_is_asked_for_and_kept_in_the_page_alone(open_page, service):
    page = open_page("/", origin=service.url, allowed=f"{REFUSED} 401")
    key = page.locator("#key")
    expect(key).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()  # nobody has done anything wrong yet
    assert key.get_attribute("type") == "password"
    page.fill("#report", REPORT)
    for wrong, problem in [
        ("", "An API key is needed. Enter one"),
        ("another", "does not know this key"),
        ("clé", "This is no API key"),
    ]:
        key.fill(wrong)
        page.click("#annotate")
        expect(page.locator("#problem")).to_contain_text(problem)
        expect(key).to_be_focused()
        expect(key).to_have_attribute("aria-invalid", "true")
    key.fill(KEY)
    page.click("#annotate")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#about")).to_contain_text("router")
    storage = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert page.evaluate(storage) == [0, 0, ""]
    page.reload()
    expect(key).to_have_value("")


def test_the_page_can_be_used_by_keyboard_alone(opened):
    page = opened()
    page.evaluate("document.activeElement.blur()")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "report"
    page.keyboard.insert_text("The left ribs are intact.")
    order = tab_to(page, "#annotate")
    assert order == ["choose", "key", "use-key", "annotate"]
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text("Done.")
    assert tab_to(page, ".source")[:4] == ["approach", "example", "clear", ""]
    assert texts(page.locator(".source.active")) == ["The left ribs are intact"]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.region") == "bone"
    assert tab_to(page, "summary")
    page.keyboard.press("Enter")
    tab_to(page, "#copy")
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("Copied.")


def tab_to(page, selector: str) -> list[str]:
    """The ids of what has the focus on the way."""
    passed = []
    for _ in range(20):
        page.keyboard.press("Tab")
        passed.append(page.evaluate("document.activeElement.id"))
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return passed
    raise AssertionError(f"{selector} is not reached: {passed}")


def test_the_example_is_annotated_copied_and_cleared(opened):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    page.click("#example")
    example = page.input_value("#report")
    page.click("#annotate")
    expect(page.locator("#status")).to_have_text("Done.")
    page.click("#json-box summary")
    page.click("#copy")
    expect(page.locator("#copied")).to_have_text("Copied.")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied == json.loads(page.locator("#json").text_content())
    page.click("#clear")
    expect(page.locator("#result")).to_be_hidden()
    assert example not in page.evaluate("document.documentElement.innerText")
    assert page.input_value("#report") == ""


def test_what_the_service_would_refuse_is_not_sent(opened):
    page = opened()
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    problem = page.locator("#problem")
    page.click("#annotate")
    expect(problem).to_contain_text("Enter a report or choose images.")
    assert page.evaluate("document.activeElement.id") == "report"
    page.evaluate("loaded.limits = { max_text: 8, max_images: 1, max_body: 3000 }")
    page.fill("#report", "𝒳" * 9)
    page.click("#annotate")
    expect(problem).to_contain_text("It has 9 characters; at most 8")
    page.fill("#report", "𝒳" * 8)
    page.set_input_files("#files", [image("a"), image("b")])
    page.click("#annotate")
    expect(problem).to_contain_text("At most 1 are taken; remove 1.")
    page.click("[aria-label='Remove a.png']")
    page.click("[aria-label='Remove b.png']")
    assert page.evaluate("document.activeElement.id") == "choose"
    page.set_input_files("#files", [image("c") | {"buffer": bytes(3000)}])
    page.click("#annotate")
    expect(problem).to_contain_text("The images are too large")
    assert [url for url in sent if not url.startswith("blob:")] == []


PNG = bytes.fromhex(  # one grey pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636801000082008177cd72b60000000049454e44ae426082"
)


def image(name: str) -> dict:
    return {"name": f"{name}.png", "mimeType": "image/png", "buffer": PNG}


DROP = """content => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(content);
  data.items.add(new File([bytes], "frontal.png", { type: "image/png" }));
  data.items.add(new File([bytes], "IM0001"));
  const target = document.querySelector("h1");  // next to the place for drops
  for (const kind of ["dragover", "drop"]) {
    const options = { dataTransfer: data, bubbles: true, cancelable: true };
    if (target.dispatchEvent(new DragEvent(kind, options))) throw Error("the browser would leave");
  }
}"""


KEEP_BODIES = """() => {  // playwright does not tell what a request with files has
  const send = fetch;
  window.fetch = (address, options) =>
    send(address, { ...options, body: window.sent = options.body });
}"""


def test_dropped_images_are_shown_and_sent_without_their_names(opened):
    page = opened()
    page.evaluate(DROP, list(PNG))
    items = page.locator("#chosen li")
    expect(items).to_have_count(2)
    expect(items.nth(0).locator("img")).to_have_js_property("naturalWidth", 1)
    expect(items.nth(1).locator(".preview")).to_have_text("FILE")
    expect(page.locator("#images-unread")).to_have_text("router does not look at images.")
    items.nth(0).locator("select").select_option("frontal")
    page.fill("#report", REPORT)
    page.evaluate(KEEP_BODIES)
    page.click("#annotate")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".finding").first).to_be_visible()
    parts = page.evaluate("Array.from(window.sent, ([key, value]) => [key, value.name ?? value])")
    (_, request), *files = parts
    assert files == [["image-0", "image-0"], ["image-1", "image-1"]]
    assert json.loads(request)["cases"][0]["images"] == [
        {"file": "image-0", "projection": "frontal"},
        {"file": "image-1", "projection": "unknown"},
    ]


def test_a_broken_image_is_a_problem_that_takes_the_focus(opened):
    """The case's own error, in an answer with status 200."""
    page = opened()
    annotate(page)
    page.set_input_files("#files", [image("broken") | {"buffer": PNG[:40]}])
    expect(page.locator("#chosen .preview")).to_have_text("PNG")  # it has no preview
    page.click("#annotate")
    problem = page.locator("#problem")
    expect(problem).to_contain_text("image", ignore_case=True)
    assert page.evaluate("document.activeElement.id") == "problem"
    assert problem.get_attribute("role") == "alert"
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("")


def test_errors_of_the_service_and_the_network_are_shown(opened):
    page = opened(allowed=f"{REFUSED}|net::ERR_FAILED")
    problem = page.locator("#problem")
    refused = {"title": "Too many", "status": 429, "detail": "Wait."}
    busy = {"status": 429, "headers": {"Retry-After": "7"}, "json": refused}
    gateway = {"status": 502, "body": "<h1>Bad gateway</h1>"}
    wrong = {"status": 200, "body": "<h1>Welcome</h1>"}
    page.fill("#report", REPORT)
    for answer, words in [
        (busy, "Too many. Wait. Try again in 7 seconds."),
        (gateway, "The service answered with status 502"),
        (wrong, "The service’s answer is not JSON"),
        (None, "The service cannot be reached"),
    ]:
        page.unroute_all()
        page.route("**/v1/annotations", partial(respond, answer))
        page.click("#annotate")
        expect(problem).to_contain_text(words)
        expect(page.locator("#cancel")).to_be_hidden()
    page.unroute_all()
    annotate(page)
    expect(problem).to_be_hidden()


def respond(answer: dict | None, route) -> None:
    if answer is None:
        route.abort()
    else:
        route.fulfill(**answer)


def test_a_request_can_be_cancelled_and_an_old_answer_does_not_replace_a_newer_one(opened):
    page = opened()
    held = []
    page.route("**/v1/annotations", lambda route: held.append(route), times=2)
    page.fill("#report", "The left ribs are intact.")
    page.click("#annotate")
    expect(page.locator("#cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Cancelled.")
    expect(page.locator("#cancel")).to_be_hidden()
    # Whatever becomes of the connection: an answer that comes nevertheless is an old one.
    page.evaluate("AbortController.prototype.abort = () => {}")
    page.click("#annotate")
    expect(page.locator("#cancel")).to_be_visible()
    annotate(page, REPORT)
    assert len(held) == 2
    with page.expect_response("**/v1/annotations"):
        held[1].continue_()
    page.wait_for_function("performance.getEntriesByName(`${location}v1/annotations`).length > 1")
    assert page.locator("#source-text").text_content() == REPORT
    expect(page.locator("#problem")).to_be_hidden()


def test_hostile_text_is_shown_and_does_not_run(opened):
    page = opened(allowed=REFUSED)
    hostile = HOSTILE.replace("\u0000", "")
    annotate(page, f"The left ribs are intact. {hostile}")
    assert page.locator("#source-text").text_content() == f"The left ribs are intact. {hostile}"
    name = f"{VECTORS[0].replace('/', '')}.png"
    page.set_input_files("#files", [image("a") | {"name": name}])
    expect(page.locator(".file-name")).to_have_text(name)
    finding = {"text": HOSTILE, "support": "verbatim", "spans": [[0, 3]], "confidence": 0.5}
    answer = {"id": "1", "approach": HOSTILE, "model": HOSTILE}
    answer["regions"] = {vector: finding | {"review": True} for vector in VECTORS}
    page.route("**/v1/annotations", lambda route: route.fulfill(json={"annotations": [answer]}))
    annotate(page)
    assert texts(page.locator(".finding h3")) == VECTORS
    assert texts(page.locator(".finding > p")) == [HOSTILE] * len(VECTORS)
    page.unroute_all()
    problem = {"title": HOSTILE, "detail": HOSTILE}
    page.route("**/v1/annotations", lambda route: route.fulfill(status=422, json=problem))
    page.click("#annotate")
    expect(page.locator("#problem")).to_be_visible()
    assert page.locator("#problem").text_content() == f"{HOSTILE}. {HOSTILE}"
    ran = page.evaluate("'hit' in window || document.scripts.length > 1")
    added = page.locator("img[src=missing], [onerror], [onload], [onfocus], [autofocus], [href^=j]")
    assert not ran and added.count() == 0


def test_the_policy_allows_the_page_itself_and_its_service_alone(service):
    answer = service.request("GET", "/")
    html, policy = service_page()
    assert answer.headers["content-security-policy"] == policy
    assert answer.body.decode() == html
    allowed = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert allowed.pop("img-src") == "blob: data:"
    assert allowed.pop("connect-src") == "'self'"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]+'", allowed.pop(name))
    assert "default-src" in allowed and set(allowed.values()) == {"'none'"}


def test_the_page_fits_its_window_and_axe_finds_nothing_serious(opened):
    """In both themes, with everything that it can show."""
    page = opened(viewport=NARROW, reduced_motion="reduce")
    page.set_input_files("#files", [image("a" * 60)])
    annotate(page, f"{REPORT} {'x' * 200}")
    page.click("#json-box summary")
    page.evaluate("showProblem(new Problem('Title', 'Detail', { status: 401, field: 'key' }))")
    page.locator(".finding[tabindex]").first.focus()
    found = {}
    for size in (NARROW, {"width": 1280, "height": 900}):
        page.set_viewport_size(size)
        if (pixels := overflow(page)) > 0:
            found[size["width"]] = pixels
    for scheme, rules in (("light", []), ("dark", ["color-contrast"])):  # all that it changes
        page.emulate_media(color_scheme=scheme)
        if violations := accessibility_violations(page, rules):
            found[scheme] = violations
    assert found == {}
    page.emulate_media(media="print")
    expect(page.locator("#research")).to_be_visible()
    expect(page.locator("#ask")).to_be_hidden()
