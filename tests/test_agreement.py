"""How far curators agree, and how the approaches do on the same studies."""

import numpy as np
import pytest
from conftest import REGIONS, ROOT, annotation

from xraygen.core.study import Agreement, Study
from xraygen.evaluation.compare import attainable, on_repeated_reports, report_of
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.report import comparison_markdown
from xraygen.evaluation.scores import StudyScores, summarise
from xraygen.language.text import token_f1
from xraygen.params import load
from xraygen.sources.phantom import Phantoms, PhantomSettings, phantom, redrawn
from xraygen.sources.prepare import agreement

PARAMS = CompareParams(resamples=300, alpha=0.05, power=0.8, seed=0)


PHANTOMS = Phantoms(PhantomSettings(), load(ROOT / "params.yaml").regions)


def study(id: str, report: str, split: str = "test", **reference: str) -> Study:
    return Study(id=id, uid=id, split=split, report=report, reference=annotation(**reference))


def scores(ids: str, token_f1: list[float]) -> StudyScores:
    values = np.repeat(np.array(token_f1)[:, None], 4, axis=1)
    return StudyScores(tuple(ids), *[values] * 5, REGIONS.scored)


def test_a_study_is_held_against_the_other_curators_of_its_report_in_any_split():
    test = [study("a", "same  words", lung="clear lungs"), study("b", "alone", lung="clear")]
    train = [
        study("c", " same words\n", "train", lung="clear lungs"),
        study("d", "same words", "train", lung="lungs clear now"),
    ]
    found = {member.id: member for member in agreement(test, [*test, *train], None, REGIONS.scored)}
    assert found.keys() == {"a", "b"} and found["b"].curators is None
    assert found["a"].curators == {"bone": None, "heart": None, "lung": 1.0, "mediastinal": None}
    assert found["a"].attainable is None  # nobody can ask real curators again


def test_a_study_is_never_held_against_itself():
    pair = [study("a", "same", lung="x"), study("b", "same", lung="y")]
    assert [member.curators["lung"] for member in agreement(pair, pair, None, REGIONS.scored)] == [
        0,
        0,
    ]


def test_the_curators_answer_is_the_text_most_like_the_others_not_the_most_frequent():
    others = ["p q", "p q", "a b c d", "a b c e", "a b c f"]
    members = [study(str(number), "same", "train", lung=text) for number, text in enumerate(others)]
    asked = study("t", "same", lung="a b c g")
    (found,) = agreement([asked], [asked, *members], None, REGIONS.scored)
    assert found.curators["lung"] == 0.75


def test_silence_where_the_others_speak_counts_as_nothing_in_common():
    test = [study("a", "same", lung="")]
    (found,) = agreement(
        test, [*test, study("b", "same", "train", lung="clear")], None, REGIONS.scored
    )
    assert found.curators["lung"] == 0


def test_approaches_are_scored_on_the_studies_of_repeated_reports_alone():
    test = [
        study("a", "r", bone="x", heart="x", lung="x", mediastinal="x"),
        study("b", "once", lung="x"),
    ]
    test += [
        study("c", "r", bone="x", heart="x", lung="x", mediastinal="y"),
        study("d", "s", **dict.fromkeys(REGIONS.scored, "z")),
    ]
    train = [study("e", "s", "train", **dict.fromkeys(REGIONS.scored, "z"))]
    members = agreement(test, [*test, *train], None, REGIONS.scored)
    found = on_repeated_reports({"n": scores("abcd", [0.5, 0.0, 0.5, 0.9])}, members, PARAMS)
    assert (found["studies"], found["reports"]) == (3, 2)
    assert found["approaches"]["n"]["macro"]["token_f1"] == pytest.approx(1.9 / 3, abs=1e-6)
    assert found["curators"]["lung"]["token_f1"] == 1 and found["curators"]["mediastinal"][
        "token_f1"
    ] == pytest.approx(1 / 3, abs=1e-6)


def test_the_interval_is_over_reports_because_studies_of_one_report_are_alike():
    ids = [chr(ord("A") + number) for number in range(40)]
    test = [
        study(id, f"report {number // 10}", **dict.fromkeys(REGIONS.scored, "x"))
        for number, id in enumerate(ids)
    ]
    by_report = scores("".join(ids), [0.2, 0.4, 0.6, 0.8] * 10)
    by_report = StudyScores(by_report.ids, *[np.sort(by_report.score, axis=0)] * 5, REGIONS.scored)
    found = on_repeated_reports(
        {"n": by_report}, agreement(test, test, None, REGIONS.scored), PARAMS
    )["approaches"]["n"]["macro"]
    # Four reports: the standard error is .11, where forty independent studies would have .035.
    assert found["ci_high"] - found["ci_low"] > 0.3


def test_the_difference_from_the_curators_is_paired():
    """Reports that are hard for both vary both, and their difference not at all."""
    by_curators = [0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8]
    members = [
        Agreement(
            id=str(number),
            report=number // 2,
            curators=dict.fromkeys(REGIONS.scored, f1),
            attainable=None,
        )
        for number, f1 in enumerate(by_curators)
    ]
    approach = scores("01234567", [f1 - 0.05 for f1 in by_curators])
    found = on_repeated_reports({"n": approach}, members, PARAMS)
    cell = found["approaches"]["n"]["macro"]
    assert cell["ci_high"] - cell["ci_low"] > 0.3
    difference = [cell[name] for name in ("difference", "difference_low", "difference_high")]
    assert difference == pytest.approx([-0.05] * 3, abs=1e-6)
    alone = on_repeated_reports({"n": approach}, members[:2], PARAMS)
    assert alone["approaches"]["n"]["macro"]["difference_low"] is None


def test_without_repeated_reports_there_is_nothing_to_show():
    test = [study("a", "one", lung="x"), study("b", "two", lung="x")]
    assert (
        on_repeated_reports(
            {"n": scores("ab", [1.0, 1.0])}, agreement(test, test, None, REGIONS.scored), PARAMS
        )
        is None
    )


def generated(count: int) -> list[Study]:
    made = [phantom(0, 10**9 + number) for number in range(count)]
    return [
        Study(id=one.id, uid=one.uid, split="test", report=one.report, reference=one.reference)
        for one in made
    ]


def test_redrawn_references_are_other_curators_words_for_the_same_report():
    studies = generated(60)
    pairs = [
        token_f1(study.reference[region], other[region])
        for study in studies
        for other in redrawn(0, int(study.uid), 3)
        for region in REGIONS.scored
    ]
    known = [pair for pair in pairs if pair is not None]
    assert 0.9 < np.mean(known) < 0.99 and sum(pair == 1 for pair in known) < 0.95 * len(known)


def test_redrawn_references_do_not_depend_on_how_many_are_drawn():
    assert redrawn(0, 7, 5)[:3] == redrawn(0, 7, 3)


def test_what_is_attainable_is_known_of_generated_studies():
    """It is what the best answer gets on average, and so about what it gets on the references that
    were drawn."""
    studies = generated(150)
    found = attainable(
        (member.attainable for member in agreement(studies, studies, PHANTOMS, REGIONS.scored)),
        REGIONS.scored,
    )
    assert 0.93 < found["macro"] < 0.98
    again = agreement(studies, studies, PHANTOMS, REGIONS.scored)
    assert attainable((member.attainable for member in again), REGIONS.scored) == found
    assert (
        attainable(
            (member.attainable for member in agreement(studies, studies, None, REGIONS.scored)),
            REGIONS.scored,
        )
        is None
    )


def test_the_comparison_shows_the_agreement_and_the_approaches_side_by_side():
    test = [study(id, "same", **dict.fromkeys(REGIONS.scored, "x")) for id in "ab"] + [
        study("c", "r", lung="x")
    ]
    by_set = {
        name: scores("abc", values)
        for name, values in {"n": [0.5, 0.5, 0.1], "m": [0.4, 0.7, 0.2]}.items()
    }
    every = {
        name: dict.fromkeys(("dev", "test", "test_novel"), one) for name, one in by_set.items()
    }
    summaries = {
        name: {"judge": "proxy", "about": "about the judge"}
        | {key: summarise(one, 20, 0) | {"failed_annotations": 0} for key, one in sets.items()}
        for name, sets in every.items()
    }
    comparison = report_of(every, summaries, agreement(test, test, None, REGIONS.scored), PARAMS)
    text = comparison_markdown(comparison, "", "mine", PARAMS)
    assert (
        "agreement on repeated reports" in text
        and "2 test studies" in text
        and "(1 reports" in text
    )
    assert "| *curators* | 1.000 [–, –]" in text and "ttainable" not in text
    assert "would tell" not in text and "ceiling" not in text
    # Three studies admit no p below 2 / 2^3, whatever the difference.
    assert (
        "3 studies are too few for a difference to be significant" in text
        and "0.25, before Holm's correction (1 pairs)" in text
        and "detected" not in text
    )


def test_the_comparison_says_which_difference_could_be_detected():
    rng = np.random.default_rng(0)
    ids = tuple(f"{number:02d}" for number in range(50))
    every, summaries = {}, {}
    for name in "nm":
        values = rng.random((50, 4))
        one = StudyScores(ids, *[values] * 5, REGIONS.scored)
        every[name] = dict.fromkeys(("dev", "test", "test_novel"), one)
        sets = {key: summarise(one, 20, 0) | {"failed_annotations": 0} for key in every[name]}
        summaries[name] = {"judge": "proxy", "about": "about the judge"} | sets
    comparison = report_of(every, summaries, [], PARAMS)
    text = " ".join(comparison_markdown(comparison, "", "mine", PARAMS).split())
    found = comparison["detectable"]["test"]["score"]["median"]
    pair = comparison["pairs"]["test"]["n vs m"]["score"]["macro"]
    assert found == pytest.approx(2.8016 * pair["sd"] / 50**0.5, abs=1e-4)
    assert (
        f"With 50 studies, a difference of {found:.3f} in macro score" in text
        and "with power 0.8" in text
    )


def test_a_region_in_which_silence_is_best_counts_by_the_redraws_that_are_not_silent():
    """An approach that is silent there is charged for those alone."""
    mostly_silent = {**dict.fromkeys(REGIONS.scored, (32.0, 32)), "bone": (0.0, 2)}
    said = dict.fromkeys(REGIONS.scored, (32.0, 32))
    assert attainable([mostly_silent, said], REGIONS.scored)["bone"] == pytest.approx(
        32 / 34, abs=1e-4
    )
