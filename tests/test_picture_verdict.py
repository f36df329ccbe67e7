"""What the picture audit concludes from the intervals of its conditions."""

import pytest

from xraygen.evaluation.picture_audit_table import in_short, verdict


def cell(low: float | None, high: float | None, changed: float = 0.4) -> dict:
    """A condition. The point is the same each time; only the interval differs."""
    loss = {"value": 0.03, "ci_low": low, "ci_high": high}
    return {"cases": 40, "answered": 40, "changed": changed, "score": {"lost": loss}}


def audit_of(swapped: dict, blank: dict, none: dict, **texts: dict) -> dict:
    followed = {"texts": {"follows": None, "stays": None} | texts}
    shown = {"own": {"answered": 40}, "swapped": swapped, "blank": blank, "none": none}
    return {"studies": 40, "followed": followed} | shown


def said_of(swapped: dict, blank: dict, none: dict) -> str:
    return verdict(audit_of(swapped, blank, none))


FAILED = {"cases": 40, "answered": 0}
LOST = cell(0.08, 0.2)
LITTLE_LOST = cell(0.01, 0.04)
NOTHING_LOST = cell(-0.01, 0.04)
UNKNOWN = cell(-0.01, 0.06)
UNCHANGED = cell(0.0, 0.0, changed=0.0)


@pytest.mark.parametrize(
    "swapped, blank, none, said",
    [
        (LOST, LOST, LOST, "**the picture is used**: with another study's pictures 40 %"),
        (LOST, LITTLE_LOST, FAILED, "**the picture is used**: "),
        (
            LOST,
            NOTHING_LOST,
            UNKNOWN,
            "**the picture is used**, but the answers are as good with b",
        ),
        (
            NOTHING_LOST,
            LOST,
            FAILED,
            "**the picture is used**, but the answers are as good with an",
        ),
        (UNKNOWN, UNKNOWN, LOST, "**the picture is used**: with none 40 % "),
        (
            LITTLE_LOST,
            UNKNOWN,
            FAILED,
            "**the picture is hardly used**, as far as 40 studies tell:",
        ),
        (
            NOTHING_LOST,
            LITTLE_LOST,
            UNKNOWN,
            "**the picture is hardly used**, as far as 40 studies tell, and the answers are as "
            "good with another study's pictures: with blank ones 40 % of the answers change, and "
            "the score falls by 0.030 [0.010, 0.040].",
        ),
        (
            NOTHING_LOST,
            NOTHING_LOST,
            FAILED,
            "**the picture gains nothing**, as far as 40 studies tell: it changes answers but does "
            "not make them better; with another study's pictures 40 % of the answers change",
        ),
        (
            NOTHING_LOST,
            UNKNOWN,
            FAILED,
            "**the picture changes answers**, but 40 studies do not tell whether it makes them "
            "better: with another study's",
        ),
        (UNCHANGED, UNCHANGED, NOTHING_LOST, "**the picture gains nothing**, as far as"),
        (
            UNCHANGED,
            UNCHANGED,
            FAILED,
            "**the picture is not used**, as far as 40 studies tell: none of 80 answers changed.",
        ),
        (cell(None, None), FAILED, FAILED, "too few studies"),
    ],
)
def test_the_sentence_depends_on_the_intervals_of_all_conditions(swapped, blank, none, said):
    assert said_of(swapped, blank, none).startswith(said)


def test_answers_that_fail_are_told_with_those_that_change():
    said = said_of(LOST | {"answered": 31}, NOTHING_LOST, NOTHING_LOST)
    assert "40 % of the answers change (9 of 40 fail), and the score falls" in said


@pytest.mark.parametrize(
    "conditions, said",
    [
        (
            (LOST, NOTHING_LOST, UNKNOWN),
            "**mine uses the picture.** Its answers are worse with another study's pictures, and "
            "as good with blank ones.",
        ),
        (
            (UNKNOWN, LITTLE_LOST, FAILED),
            "**mine hardly uses the picture**, as far as 40 studies tell. Its answers are slightly "
            "worse with blank ones.",
        ),
        (
            (NOTHING_LOST, NOTHING_LOST, FAILED),
            "**mine gains nothing by the picture**, as far as 40 studies tell. Its answers change "
            "with other pictures, but are as good.",
        ),
        (
            (NOTHING_LOST, UNKNOWN, FAILED),
            "**mine answers differently with other pictures.** Whether these answers are worse, 40 "
            "studies do not tell.",
        ),
        (
            (UNCHANGED, UNCHANGED, FAILED),
            "**mine does not use the picture**, as far as 40 studies tell. No answer changes with "
            "others.",
        ),
        ((cell(None, None), FAILED, FAILED), ""),
    ],
)
def test_in_short_it_is_the_same_verdict(conditions, said):
    assert in_short("mine", audit_of(*conditions)) == said


def test_in_short_answers_follow_what_they_follow():
    low, high = {"value": 0.1, "ci_low": 0, "ci_high": 0.2}, {"value": 1, "ci_low": 1, "ci_high": 1}
    given = (LOST, LOST, LOST)
    stays = in_short("mine", audit_of(*given, follows=low, stays=high))
    assert stays.endswith(
        "With another study's pictures, its answers stay with the rest of the "
        "case, such as the report."
    )
    assert in_short("mine", audit_of(*given, follows=high, stays=low)).endswith(
        "its answers follow the picture shown, not the rest of the case."
    )
