"""Judging annotations: nothing is dropped, nothing passes unnoticed, and what an annotator says
does not depend on the reference.
"""

import numpy as np
import pytest
from conftest import REGIONS, annotator_of

from xraygen import judges, params
from xraygen.annotators.router import router
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Study
from xraygen.evaluation import evaluate
from xraygen.evaluation.report import _comparisons, comparison_markdown
from xraygen.evaluation.scores import StudyScores, scores_of, summarise
from xraygen.sources.phantom import phantom

PROXY = judges.load("proxy")


def studies(split: str, first: int, count: int, curated: bool = True) -> list[Study]:
    made = [phantom(0, first + k) for k in range(count)]
    references = [m.reference if curated else None for m in made]
    return [
        Study(id=m.id, uid=m.uid, split=split, report=m.report, reference=r, novel=k % 2 == 0)
        for k, (m, r) in enumerate(zip(made, references, strict=True))
    ]


def said(
    members: list[Study], annotation: dict | None = None, error: str | None = None
) -> list[AnnotationRecord]:
    return [
        AnnotationRecord(
            id=s.id,
            annotation=s.reference if error is None and annotation is None else annotation,
            error=error,
        )
        for s in members
    ]


def test_every_study_and_scored_region_is_judged_once_in_order():
    members = studies("test", 0, 5)
    judged = evaluate.judge_annotations(members, said(members)[::-1], PROXY, REGIONS)
    assert [(j.id, j.region) for j in judged] == [
        (s.id, region) for s in members for region in REGIONS.scored
    ]
    assert {j.score for j in judged} == {1.0} and {j.verdict for j in judged} <= {
        "identical",
        "both_empty",
    }


def test_a_failed_annotation_is_judged_as_empty_and_counted():
    members = studies("test", 0, 5)
    judged = evaluate.judge_annotations(members, said(members, error="no answer"), PROXY, REGIONS)
    for judgement in judged:
        expected = ("candidate_empty", 0.0) if judgement.reference else ("both_empty", 1.0)
        assert (
            judgement.verdict,
            judgement.score,
            judgement.candidate,
            judgement.annotation_error,
        ) == (
            *expected,
            "",
            "no answer",
        )
    summary = evaluate.details({"test": judged}, {"test": members}, PROXY, REGIONS, 20, 0)
    metrics = evaluate.metrics(summary)
    assert (
        summary["test"]["failed_annotations"] == metrics["test"]["failed_annotations"] == 5
        and metrics["test_novel"]["failed_annotations"] == 3
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r[1:],
        lambda r: [*r, r[0]],
        lambda r: [*r, r[0].model_copy(update={"id": "stranger"})],
    ],
)
def test_annotations_that_do_not_fit_the_studies_are_refused(change):
    members = studies("test", 0, 4)
    with pytest.raises(UserError, match="dvc repro annotate"):
        evaluate.judge_annotations(members, change(said(members)), PROXY, REGIONS)


def test_judgements_that_do_not_fit_the_studies_are_refused():
    members = studies("test", 0, 4)
    judged = evaluate.judge_annotations(members, said(members), PROXY, REGIONS)
    for damaged in (judged[1:], judged + judged[:1], []):
        with pytest.raises(UserError, match="dvc repro evaluate"):
            scores_of({"test": damaged}, {"test": members}, REGIONS.scored)


def test_novel_studies_are_reported_beside_test():
    members = studies("test", 0, 6)
    judged = evaluate.judge_annotations(members, said(members), PROXY, REGIONS)
    scores = scores_of({"test": judged}, {"test": members}, REGIONS.scored)
    assert len(scores["test"].ids) == 6 and set(scores["test_novel"].ids) == {
        s.id for s in members if s.novel
    }


def test_what_an_annotator_says_does_not_hang_on_references(root, tmp_path):
    router.fit(studies("train", 1000, 150), router.RouterParams(), REGIONS).save(
        tmp_path / "models/router"
    )
    with_references, without = studies("test", 0, 40), studies("test", 0, 40, curated=False)
    for name in ("router", "router-verbatim"):
        annotate = annotator_of(params.load(root / "params.yaml"), name, tmp_path)
        assert list(annotate(s.case() for s in with_references)) == list(
            annotate(s.case() for s in without)
        )


def test_an_empty_report_is_a_failed_annotation(root, tmp_path):
    router.fit(studies("train", 1000, 50), router.RouterParams(), REGIONS).save(
        tmp_path / "models/router"
    )
    annotate = annotator_of(params.load(root / "params.yaml"), "router", tmp_path)
    (record,) = annotate([studies("test", 0, 1)[0].case().model_copy(update={"report": " \n"})])
    assert record.annotation is None and record.error


def test_one_study_one_approach_and_no_novel_study_still_make_a_report():
    from xraygen.evaluation.compare import report_of
    from xraygen.evaluation.params import CompareParams

    params = CompareParams(resamples=50, alpha=0.05, power=0.8, seed=0)
    members = {
        split: [s.model_copy(update={"novel": False}) for s in studies(split, 10 * n, 1)]
        for n, split in enumerate(("dev", "test"))
    }
    judged = {
        split: evaluate.judge_annotations(group, said(group), PROXY, REGIONS)
        for split, group in members.items()
    }
    for names in (["a"], ["a", "b"]):
        summaries = {
            name: evaluate.details(judged, members, PROXY, REGIONS, 20, 0) for name in names
        }
        comparison = report_of(
            {name: scores_of(judged, members, REGIONS.scored) for name in names},
            summaries,
            [],
            params,
        )
        text = comparison_markdown(comparison, "", "phantom", params, complete=True)
        assert ("nothing to compare" in text) == (len(names) == 1) and "(0 studies)" in text
        assert "test_novel" not in comparison_markdown(comparison, "", "phantom", params)


def test_the_best_is_held_against_each_and_each_against_the_next():
    from xraygen.evaluation.compare import compare_all
    from xraygen.evaluation.params import CompareParams

    rng = np.random.default_rng(0)
    base, by_name = rng.random((60, 4)) * 0.2, {}
    for name, gain in {"poor": 0.0, "best": 0.5, "good": 0.3, "alike": 0.299}.items():
        values = base + gain + rng.normal(0, 0.01, base.shape)
        by_name[name] = {
            "test": StudyScores(tuple(map(str, range(60))), *[values] * 5, REGIONS.scored)
        }
    params = CompareParams(resamples=2000, alpha=0.05, power=0.8, seed=0)
    pairs = compare_all(by_name, params)["test"]
    scores = {name: {"test": summarise(sets["test"], 50, 0)} for name, sets in by_name.items()}
    table = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in _comparisons(scores, pairs, "test").splitlines()[2:]
    ]
    second, third = sorted(
        ("good", "alike"), key=lambda name: -scores[name]["test"]["macro"]["score"]
    )
    assert [row[:2] for row in table] == [
        ["best", second],
        ["best", third],
        ["best", "poor"],
        [second, third],
        [third, "poor"],
    ]
    gaps = {tuple(row[:2]): row[2:] for row in table}
    difference = pairs["poor vs best"]["score"]["macro"]["difference"]
    assert difference < -0.4 and gaps["best", "poor"][0].startswith(f"**{-difference:+.3f}** [+0.4")
    assert all(cell.startswith("**+") for cell in gaps["best", "poor"]) and "n.s." not in str(
        gaps["best", "poor"]
    )
    assert gaps[second, third][0].endswith("] n.s.") and "**" not in str(gaps[second, third])
