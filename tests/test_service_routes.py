"""The routes of the service, what OpenAPI says of them, and the options of `xraygen serve`."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")

from click.testing import CliRunner
from conftest import REGIONS, ROOT
from service import REPORT, Answer, Service, made_project, started

from xraygen.cli import main
from xraygen.service.loaded import Results
from xraygen.service.options import Options
from xraygen.service.problems import CODES, MEDIA_TYPE

OPTIONS = ("--max-cases", "3", "--max-text", "1000", "--max-body", "1")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    recorded = {"annotator": "recorded", "reads": "data/answers.csv", "answer": "said"}
    return made_project(tmp_path_factory.mktemp("project"), elsewhere=recorded)


@pytest.fixture(scope="module")
def service(project):
    with started(project, *OPTIONS) as service:
        yield service


@pytest.fixture(scope="module")
def openapi(service) -> dict:
    return service.request("GET", "/openapi.json").json()


def case(id: object = "a", report: object = REPORT, **more: object) -> dict:
    return {"id": id, "report": report, **more}


def code(answer: Answer) -> str:
    """Of the problem that the answer is."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    content = answer.json()
    assert content.keys() == {"type", "title", "status", "detail"}
    assert content["status"] == answer.status
    return content["type"].removeprefix("urn:xraygen:problem:")


def annotate(service: Service, *cases: object) -> list[dict]:
    answer = service.request("POST", "/v1/annotations", {"cases": cases})
    assert answer.status == 200
    return answer.json()["annotations"]


def test_an_annotation_has_every_region_its_spans_and_a_review_flag(service):
    [annotated] = annotate(service, case())
    assert (annotated["id"], annotated["approach"]) == ("a", "router")
    assert list(annotated["regions"]) == list(REGIONS)
    lung = annotated["regions"]["lung"]
    assert lung["support"] == "verbatim"
    quoted = " ".join(REPORT[start:end] for start, end in lung["spans"])
    assert quoted == "no effusion. The left lung is clear"
    for region, finding in annotated["regions"].items():
        below = finding["confidence"] < 0.8  # the threshold in reports/comparison.json
        assert finding["review"] is (below if region in REGIONS.scored else None)


def test_a_bad_case_gets_an_error_in_its_place_and_its_neighbours_do_not(service):
    first, bad, last = annotate(service, case("1"), case("2", secret="planted"), case("3"))
    assert (first["id"], bad["id"], last["id"]) == ("1", "2", "3")
    assert bad["error"]["status"] == 422
    assert "planted" not in json.dumps(bad) and "secret" not in json.dumps(bad)
    assert "regions" in first and "regions" in last


@pytest.mark.parametrize("bad", [7, None, [], {}, {"id": ""}, {"id": 3, "report": "x"}])
def test_a_case_without_a_usable_id_has_none_in_its_error(service, bad):
    good, failed = annotate(service, case(), bad)
    assert failed["id"] is None and failed["error"]["status"] == 422
    assert good["id"] == "a"


def test_the_case_alone_fails_whose_text_is_too_long(service):
    long, longest = annotate(service, case(report="x" * 1001), case(report="x" * 1000))
    assert "error" in long and "regions" in longest


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", "not-json"),
        (b"\xff", "not-json"),
        (b"", "not-json"),
        ([case()], "invalid-request"),
        ({}, "invalid-request"),
        ({"cases": []}, "invalid-request"),
        ({"cases": [case()], "planted": 1}, "invalid-request"),
        ({"cases": [case()], "approach": "planted"}, "invalid-request"),
        ({"cases": [case()] * 4}, "too-many-cases"),
        (b'{"cases": ' + b"[" * 50 + b"]" * 50 + b"}", "too-deep"),
        (b'{"cases": ["' + b"x" * 2**20 + b'"]}', "body-too-large"),
    ],
)
def test_a_request_that_cannot_be_read_is_one_problem(service, body, expected):
    answer = service.request("POST", "/v1/annotations", body)
    assert (code(answer), answer.status) == (expected, CODES[expected][0])
    assert b"planted" not in answer.body


@pytest.mark.parametrize("path", ["/v1/annotations", "/v1/annotations:stream", "/v1/judgements"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", ""])
def test_other_content_types_are_refused(service, path, content_type):
    answer = service.request("POST", path, b"{}", {"Content-Type": content_type})
    assert (code(answer), answer.status) == ("media-type", 415)


def test_pairs_are_judged_in_order_and_a_bad_one_has_an_error_in_its_place(service):
    same = {"reference": REPORT, "candidate": REPORT}
    answer = service.request(
        "POST", "/v1/judgements", {"pairs": [same, {"reference": 1}, same | {"candidate": ""}]}
    )
    judged, failed, empty = answer.json()["judgements"]
    assert answer.json()["judge"] == "proxy"
    assert (judged["verdict"], judged["score"]) == ("identical", 1)
    assert failed["error"]["status"] == 422
    assert empty["verdict"] == "candidate_empty"


def test_unknown_paths_and_methods_are_problems(service):
    assert code(service.request("GET", "/planted")) == "no-such-path"
    assert code(service.request("GET", "/healthz/")) == "no-such-path"
    answer = service.request("GET", "/v1/annotations")
    assert (code(answer), answer.headers["allow"]) == ("wrong-method", "POST")
    answer = service.request("PUT", "/healthz")
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]


def test_head_has_the_headers_of_get_and_no_body(service):
    for path in ("/", "/healthz", "/readyz", "/metrics", "/v1/approaches", "/openapi.json"):
        get = service.request("GET", path)
        head = service.request("HEAD", path)
        assert (get.status, head.status, head.body) == (200, 200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_approaches_tell_what_is_loaded_and_how_it_did(service, project):
    about = service.request("GET", "/v1/approaches").json()
    [router] = about["approaches"]
    assert (router["name"], router["annotator"], router["inputs"]) == ("router", "router", "report")
    assert router["released"] and router["ready"]
    assert router["test"]["macro"] == {"score": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 30}
    assert list(router["test"]["regions"]) == list(REGIONS.scored)
    assert router["review"] == {"threshold": 0.8, "risk": 0.05, "delta": 0.05}
    assert (about["judge"], about["limits"]["max_cases"]) == ("proxy", 3)
    # The folder is in no git repository, and its data were never prepared.
    assert (about["commit"], about["data"]) == (None, None)
    assert router["model"] == annotate(service, case())[0]["model"]
    assert str(project) not in json.dumps(about)


def test_an_approach_without_a_review_threshold_can_be_served(project):
    results = Results(project)
    assert results.threshold("router") == 0.8
    assert results.threshold("elsewhere") is None


def test_failed_cases_are_counted_by_their_problem(service):
    [failed] = annotate(service, case(report=" "))
    assert failed["error"]["detail"] == "The report has no text."
    counted = service.request("GET", "/metrics").body.decode()
    assert 'xraygen_cases_total{model="router",outcome="not-annotated"} 1.0' in counted


def test_the_log_tells_when_the_service_is_ready(service):
    events = [json.loads(line).get("event") for line in service.log().splitlines()]
    assert events.index("listening") < events.index("ready")


def test_openapi_declares_every_route_and_its_problems(openapi):
    assert openapi["info"]["version"] == "1"
    assert "not for clinical use" in openapi["info"]["description"]
    declared = set()
    for path in openapi["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            declared |= {int(status) for status in operation["responses"]}
    # The others have no route, or need keys or a rate limit.
    elsewhere = {401, 404, 405}
    assert {status for status, _ in CODES.values()} <= declared | elsewhere


def test_openapi_has_the_limits_of_this_service(openapi):
    schemas = openapi["components"]["schemas"]
    assert schemas["AnnotationRequest"]["properties"]["cases"]["maxItems"] == 3
    assert schemas["CaseIn"]["properties"]["report"]["maxLength"] == 1000
    assert schemas["Pair"]["properties"]["candidate"]["maxLength"] == 1000
    assert schemas["AnnotationRequest"]["properties"]["approach"]["enum"] == [None, "router"]


def test_the_examples_in_openapi_are_answered(service, openapi):
    for path, item in openapi["paths"].items():
        for operation in item.values():
            content = operation.get("requestBody", {}).get("content", {})
            for example in content.get("application/json", {}).get("examples", {}).values():
                answer = service.request("POST", path, example["value"])
                assert answer.status == 200 and b'"error"' not in answer.body


def test_every_field_of_the_options_is_an_option():
    shown = CliRunner().invoke(main, ["serve", "--help"]).output
    for name, field in Options.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown or name == "origins"
        assert field.description.split()[0] in shown
    assert "--cors-origin" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--approach", "other"], "no approach 'other'"),
        (["--approach", "elsewhere"], "cannot annotate new cases"),
        (["--judge", "other"], "other"),
        (["--max-body", "0"], "max-body"),
        (["--batch-window", "-1"], "batch-window"),
        (["--host", "0.0.0.0"], "xraygen api-key"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(monkeypatch, project, options, said):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(main, ["serve", "--port", "0", *options])
    assert result.exit_code == 2
    assert said in result.output.splitlines()[-1]


def test_without_a_release_an_approach_has_to_be_named(tmp_path, monkeypatch, project):
    (tmp_path / "params.yaml").write_text((project / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["serve", "--port", "0"])
    assert result.exit_code == 2 and "--approach" in result.output


def test_a_model_that_cannot_be_loaded_ends_the_service_in_one_line(tmp_path):
    folder = made_project(tmp_path)
    (folder / "models/router/router.npz").write_bytes(b"damaged")
    ended = subprocess.run(
        [sys.executable, "-m", "xraygen", "serve", "--port", "0"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    (error,) = (one for one in ended.stderr.splitlines() if not one.startswith("{"))
    assert "models/router: the router's model is damaged" in error
    assert error.startswith("error: ")
    assert ended.returncode == 2
