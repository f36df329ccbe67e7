"""A split of which only some studies have a reference is evaluated on those."""

import pytest
from conftest import REGIONS, annotation

from xraygen import judges
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Study
from xraygen.evaluation import evaluate

PROXY = judges.load("proxy")
SAID = annotation(lung="Lungs are clear.", heart="Heart size is normal.")


def study(id: str, reference: dict | None, split: str = "test") -> Study:
    return Study(id=id, uid=id, split=split, report="Clear lungs.", reference=reference, novel=True)


MEMBERS = [study("a", SAID), study("b", None), study("c", SAID), study("d", None)]


def answers(*ids: str) -> list[AnnotationRecord]:
    return [AnnotationRecord(id=id, annotation=SAID) for id in ids]


def test_what_has_a_reference_is_judged_and_the_rest_passed_over():
    judged = evaluate.judge_annotations(MEMBERS, answers("d", "c", "b", "a"), PROXY, REGIONS)
    assert [(mark.id, mark.region) for mark in judged] == [
        (id, region) for id in "ac" for region in REGIONS.scored
    ]
    assert evaluate.judge_annotations(MEMBERS, answers("a", "c"), PROXY, REGIONS) == judged, (
        "no answer is missed that cannot be judged"
    )
    assert (
        evaluate.judge_annotations(iter(MEMBERS), iter(answers("a", "b", "c", "d")), PROXY, REGIONS)
        == judged
    )


@pytest.mark.parametrize(
    "given, said",
    [
        (answers("a", "b", "d"), r"1 missing \['c'\], 0 of no study"),
        (answers("a", "b", "c", "d", "e"), r"0 missing \[\], 1 of no study \['e'\]"),
        (answers("a", "c", "e"), r"0 missing \[\], 1 of no study \['e'\]"),
        (answers("a", "b", "b", "c", "d"), "study b is annotated twice"),
        (answers("a", "c", "c"), "study c is annotated twice"),
        ([], r"2 missing \['a', 'c'\]"),
    ],
)
def test_annotations_that_do_not_fit_are_refused_as_before(given, said):
    with pytest.raises(UserError, match=said):
        evaluate.judge_annotations(MEMBERS, given, PROXY, REGIONS)


def test_a_split_without_references_is_left_out_and_two_of_them_end_in_one_line():
    dev = [study("e", None, "dev")]
    judged = evaluate.judge_splits(
        {"dev": dev, "test": MEMBERS},
        {"dev": answers("e"), "test": answers(*"abcd")},
        PROXY,
        REGIONS,
    )
    assert judged["dev"] == [] and len(judged["test"]) == 2 * len(REGIONS.scored)
    with pytest.raises(UserError, match="none of the 2 studies has a reference"):
        evaluate.judge_splits(
            {"dev": dev, "test": MEMBERS[1:2]},
            {"dev": answers("e"), "test": answers("b")},
            PROXY,
            REGIONS,
        )
