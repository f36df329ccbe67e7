"""Splitting, sampling and counting."""

from conftest import annotation
from hypothesis import given
from hypothesis import strategies as st

from xraygen.core.study import Image, Study
from xraygen.sources import Incident
from xraygen.sources.prepare import describe, draw, split


def study(number: int, split: str = "train", report: str | None = None, **reference) -> Study:
    return Study(
        id=f"S{number:04d}",
        uid=str(number),
        split=split,
        report=f"report {number}" if report is None else report,
        reference=annotation(**reference) if split != "val" else None,
    )


numbers = st.lists(st.integers(0, 9999), unique=True, min_size=1, max_size=60)


@given(numbers, st.integers(0, 5), st.integers(1, 80), st.integers(0, 80))
def test_a_draw_is_without_replacement_nested_and_blind_to_order(ids, seed, count, more):
    studies = [study(i) for i in ids]
    drawn = draw(studies, count, seed, "sample")
    assert len({s.id for s in drawn}) == len(drawn) == min(count, len(studies))
    assert drawn == draw(studies[::-1], count, seed, "sample") == sorted(drawn, key=lambda s: s.id)
    assert {s.id for s in drawn} <= {s.id for s in draw(studies, count + more, seed, "sample")}


def test_seed_and_purpose_change_a_draw():
    studies = [study(i) for i in range(200)]
    draws = [
        {s.id for s in draw(studies, 50, seed, purpose)}
        for seed, purpose in [(0, "dev"), (1, "dev"), (0, "sample")]
    ]
    assert all(a != b for a in draws for b in draws if a is not b)


def test_none_draws_everything():
    assert len(draw([study(i) for i in range(7)], None, 0, "sample")) == 7


@given(numbers, st.integers(0, 3), st.floats(0.05, 0.5))
def test_dev_comes_out_of_train_and_nothing_is_lost_or_doubled(ids, seed, share):
    studies = [study(i, ("train", "train", "test", "val")[i % 4]) for i in ids]
    splits = split(studies, seed, share)
    train = [s for s in studies if s.split == "train"]
    assert sorted(s.id for group in splits.values() for s in group) == sorted(s.id for s in studies)
    assert len(splits["dev"]) == round(share * len(train))
    assert {s.id for s in splits["dev"]} <= {s.id for s in train}
    for name, group in splits.items():
        assert all(s.split == name for s in group)
    assert {s.id for s in splits["test"]} == {s.id for s in studies if s.split == "test"}


def test_novel_means_the_report_stands_in_no_study_that_could_be_learned_from():
    studies = [study(i, report=f"r{i}") for i in range(20)]
    for number in range(
        20
    ):  # each training report, the one that went to dev included, makes its twin in test seen
        twin = study(100, "test", report=f" r{number}\n")
        assert split([*studies, twin], 0, 0.1)["test"][0].novel is False
    assert split([*studies, study(100, "test", report="R1")], 0, 0.1)["test"][0].novel is True


def test_novel_in_dev_is_against_train_alone():
    studies = [study(i, report=f"r{i // 2}") for i in range(40)]
    splits = split(studies, 0, 0.5)
    seen = {s.report for s in splits["train"]}
    assert all(s.novel == (s.report not in seen) for s in splits["dev"])
    assert {s.novel for s in splits["dev"]} == {True, False}
    assert all(s.novel is None for s in splits["train"])


def test_data_metrics_count_what_is_there():
    splits = split(
        [study(i, report="r", lung="x" * (i % 2)) for i in range(10)]
        + [study(50, "test"), study(60, "val")],
        0,
        0.2,
    )
    first = splits["train"][0].model_copy(
        update={"images": (Image(path="a.png", projection="frontal"), Image(path="b.png"))}
    )
    splits["train"][0] = first
    facts = describe(
        "phantom", splits, [Incident(action="excluded", kind="k", id=i, detail="") for i in "ab"]
    )
    assert facts["splits"]["train"]["studies"] == 8
    assert (
        facts["splits"]["train"]["images"] == 2 and facts["splits"]["train"]["without_images"] == 7
    )
    assert facts["splits"]["train"]["views"] == {"frontal": 1, "unknown": 1}
    assert facts["splits"]["train"]["distinct_reports"] == 1
    assert facts["splits"]["dev"]["reports_seen_in_training"] == 2
    assert facts["splits"]["test"]["reports_seen_in_training"] == 0
    assert facts["splits"]["test"]["empty"]["lung"] == 1 and "empty" not in facts["splits"]["val"]
    assert facts["excluded"] == {"k": 2} and facts["repaired"] == {}
