"""The router's confidence, and what a release marks for review by it."""

import csv
import itertools

import numpy as np
import pytest
from conftest import REGIONS, annotation, annotator_of
from test_release import LEARNED, VERBATIM, judged_project, run, scores
from test_router import BONE, CHATTER, JOINT, LUNG, practice, study

from xraygen import params
from xraygen.annotators import release
from xraygen.annotators.router import router as module
from xraygen.annotators.router.confidence import Confidence, fit_confidence, unlearned
from xraygen.annotators.router.router import Router, RouterParams, fit
from xraygen.core.json_lines import read_json, read_jsonl, write_json
from xraygen.core.study import AnnotationRecord, Evidence, Study
from xraygen.language.text import is_right


def wavering_practice() -> list[Study]:
    """The invented practice of test_router, except that of the lungs curators say half of the time
    something else, by no rule.
    """
    rng = np.random.default_rng(0)
    combinations = itertools.islice(itertools.product(JOINT, LUNG, BONE, CHATTER), 0, None, 3)
    studies = []
    for k, parts in enumerate(combinations):
        made = study(k, list(parts))
        if rng.random() < 0.5:
            texts = made.reference | {"lung": "Airways without remark today."}
            made = made.model_copy(update={"reference": texts})
        studies.append(made)
    return studies


@pytest.fixture(scope="module")
def wavering() -> Router:
    return fit(wavering_practice(), RouterParams(), REGIONS)


def test_the_router_is_sure_where_curators_agree_and_not_where_they_waver(wavering):
    answers = list(wavering.answers(one.report for one in wavering_practice()))
    means = {
        region: np.mean([answer.confidence[region] for answer in answers]) for region in REGIONS
    }
    assert means["lung"] < 0.75
    assert min(means["bone"], means["heart"], means["mediastinal"], means["others"]) > 0.95
    right = [
        is_right(one.reference["lung"], answer.annotation["lung"])
        for one, answer in zip(wavering_practice(), answers, strict=True)
    ]
    assert means["lung"] == pytest.approx(np.mean(right), abs=0.15)


def test_every_region_has_a_confidence_silent_ones_too(wavering):
    answer = next(wavering.answers(["Two views were taken."]))
    assert answer.annotation == annotation()
    assert list(answer.confidence) == list(REGIONS)
    assert all(0 <= value <= 1 for value in answer.confidence.values())
    empty = next(wavering.answers([""]))
    assert all(0 <= value <= 1 for value in empty.confidence.values())


def test_confidence_depends_on_the_report_alone_and_survives_a_file(
    wavering, tmp_path, monkeypatch
):
    reports = [one.report for one in wavering_practice()[:12]] + ["", "Nothing known, nor there."]
    expected = [answer.confidence for answer in wavering.answers(reports)]
    wavering.save(tmp_path)
    loaded = Router.load(tmp_path)
    monkeypatch.setattr(module, "_CHUNK", 3)
    found = [answer.confidence for answer in loaded.answers(reversed(reports))]
    assert found[::-1] == expected


def test_quoting_is_less_likely_to_be_right_where_curators_reword(wavering):
    report = "The cardiomediastinal outline is smooth. There is no cavity."
    learned = next(wavering.answers([report])).confidence
    quoted = next(wavering.answers([report], "verbatim")).confidence
    assert quoted["heart"] < learned["heart"]
    assert quoted["bone"] == learned["bone"]  # silent either way


def test_the_regression_finds_the_weights_that_were_planted():
    rng = np.random.default_rng(0)
    planted = Confidence([[0.5, 1.0, 0.0], [0.0, 0.0, 2.0]], [1.0, -1.0])
    features = rng.normal(0, 1.5, (4000, 2, 2))
    silent = rng.random((4000, 2)) < 0.5
    right = rng.random((4000, 2)) < planted(features, silent)
    found = fit_confidence(features, silent, right)
    assert found.weights[:, 1:] == pytest.approx(planted.weights[:, 1:], abs=0.15)
    assert np.abs(found(features, silent) - planted(features, silent)).mean() < 0.02


def test_of_too_few_mistakes_nothing_is_learned():
    features, silent = np.zeros((100, 2, 2)), np.zeros((100, 2), dtype=bool)
    right = np.ones((100, 2), dtype=bool)
    right[:5] = False
    found = fit_confidence(features, silent, right)
    assert found.weights.tolist() == unlearned(2).weights.tolist()
    assert fit(practice()[:1], RouterParams(), REGIONS).confidence.offsets.tolist() == [0] * 5


THRESHOLD = {"risk": 0.05, "delta": 0.05, "threshold": 0.8, "bound": 0.04}
CERTIFIED = {
    "regions": 1200,
    "dev_regions": 400,
    "review": THRESHOLD | {"coverage": 0.75, "wrong_kept": 0.0125},
}
NOT_CERTIFIED = {
    "regions": 1200,
    "dev_regions": 400,
    "review": THRESHOLD | dict.fromkeys(("threshold", "bound", "coverage", "wrong_kept")),
}


def record(**confidences: float | None) -> AnnotationRecord:
    evidence = {region: Evidence(confidence=value) for region, value in confidences.items()}
    return AnnotationRecord(id="a", annotation=annotation(), evidence=evidence)


def test_regions_below_the_threshold_are_marked():
    found = release.to_review(
        record(bone=0.8, heart=0.7999, lung=None, others=0.1), CERTIFIED, REGIONS
    )
    assert found == ("heart", "lung", "mediastinal")  # others is not scored


def test_a_failed_study_is_marked_as_a_whole():
    failed = AnnotationRecord(id="a", annotation=None, error="the report has no text")
    assert release.to_review(failed, CERTIFIED, REGIONS) == REGIONS.scored


def test_without_a_certified_threshold_all_is_marked_and_without_confidence_nothing():
    sure = record(**dict.fromkeys(REGIONS, 1.0))
    assert release.to_review(sure, NOT_CERTIFIED, REGIONS) == REGIONS.scored
    assert release.to_review(sure, None, REGIONS) == ()


def readme(confidence: dict | None) -> str:
    facts = release.choose({"a": LEARNED}, {"a": scores(0.8)}, {})
    facts |= {"studies": 2, "failed": 0, "confidence": confidence, "to_review": 1234}
    facts["scored"] = 5000
    assert not {"confidence", "scored"} & release.metrics(facts).keys()
    assert release.metrics(facts)["to_review"] == 1234
    (line,) = [line for line in release.readme(facts).splitlines() if "Review: " in line]
    return line


def test_the_readme_says_threshold_risk_and_what_was_achieved():
    line = readme(CERTIFIED)
    for said in (
        "1,234 of 5,000 scored regions are marked",
        "below 0.8. ",
        "with 95 % confidence, at most 5 % of the others are wrong",
        "On test it kept 75 % of the regions, of which 1.2 % were wrong.",
    ):
        assert said in line


def test_the_readme_names_the_token_f1_from_which_on_a_text_is_right():
    assert f"token F1 with the reference is below {release.RIGHT}," in readme(CERTIFIED)


def test_the_readme_says_why_all_or_nothing_is_marked():
    assert "all 5,000 scored regions are marked" in readme(NOT_CERTIFIED)
    assert "because no threshold on dev" in readme(NOT_CERTIFIED)
    assert "dev has 400 regions" in readme(NOT_CERTIFIED)
    assert "no region is marked, because a gives no confidence" in readme(None)


def test_the_stage_marks_by_the_threshold_of_the_chosen_approach(root, tmp_path):
    judged_project(tmp_path, root / "params.yaml", {"learned": LEARNED, "verbatim": VERBATIM})
    comparison = read_json(tmp_path / "reports/comparison.json")
    comparison["confidence"] = {"learned": CERTIFIED, "verbatim": NOT_CERTIFIED}
    write_json(tmp_path / "reports/comparison.json", comparison)
    done = run(root, tmp_path)
    assert done.returncode == 0, done.stderr
    members = list(read_jsonl(tmp_path / "data/release/val.jsonl", release.Released))
    studies = read_jsonl(tmp_path / "data/prepared/val.jsonl", Study)
    annotate = annotator_of(params.load(tmp_path / "params.yaml"), "learned", tmp_path)
    expected = []
    for said in annotate(one.case() for one in studies):
        unsure = [
            region
            for region in REGIONS.scored
            if said.annotation is None or said.evidence[region].confidence < 0.8
        ]
        expected.append(tuple(unsure))
    assert [member.review for member in members] == expected
    assert any(expected) and () in expected
    with (tmp_path / "data/release/val.csv").open(encoding="utf-8", newline="") as file:
        assert [row["review"] for row in csv.DictReader(file)] == [", ".join(x) for x in expected]
    marked = read_json(tmp_path / "metrics/release.json")["to_review"]
    assert marked == sum(map(len, expected))
    scored = len(members) * len(REGIONS.scored)
    said = (tmp_path / "data/release/README.md").read_text()
    assert f"{marked} of {scored} scored regions" in said
    assert "character offsets into `report` of data/prepared/val.jsonl" in said
