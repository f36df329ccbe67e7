"""Drawing a share of the studies by patient."""

import pytest

from xraygen.core.study import Study
from xraygen.sources.groups import draw_share


def draw(among: list[Study], share: float, seed: int = 0) -> set[str]:
    return draw_share(among, share, seed, "test", least=1)


def studies(*sizes: int) -> list[Study]:
    """A patient with each of these numbers of studies."""
    return [
        Study(id=f"P{patient}-{number}", uid="u", split="train", report="", patient=f"P{patient}")
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]


def patients(drawn: set[str]) -> set[str]:
    return {id.partition("-")[0] for id in drawn}


@pytest.mark.parametrize("seed", range(8))
def test_one_large_patient_does_not_become_the_share(seed):
    drawn = draw(studies(200, *[1] * 100), 0.2, seed)
    assert len(drawn) == 60 and "P0" not in patients(drawn)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sizes", [(3,) * 40, (1, 2, 3, 4) * 10, (7, 1, 1, 5) * 9])
def test_the_share_is_missed_by_less_than_half_a_patient(sizes, seed):
    drawn = draw(studies(*sizes), 0.25, seed)
    assert abs(len(drawn) - sum(sizes) * 0.25) <= max(sizes) / 2 + 1
    for patient in patients(drawn):
        assert sum(id.startswith(f"{patient}-") for id in drawn) == sizes[int(patient[1:])]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.01, 0.2, 0.99])
@pytest.mark.parametrize("sizes", [(1, 1), (150, 150), (150, 3), (2, 3, 90)])
def test_at_least_one_patient_is_drawn_and_one_is_left(sizes, share, seed):
    drawn = patients(draw(studies(*sizes), share, seed))
    assert 0 < len(drawn) < len(sizes)


def test_a_small_share_of_large_patients_is_the_smallest_of_them():
    assert all(patients(draw(studies(150, 40, 150), 0.01, seed)) == {"P1"} for seed in range(8))


def test_nothing_is_drawn_of_one_patient():
    assert draw(studies(5), 0.5) == set()


def test_a_share_that_rounds_to_nothing_is_nothing_unless_more_is_asked_for():
    assert draw_share(studies(1, 1), 0.2, 0, "dev") == set()
    assert len(draw(studies(1, 1), 0.2)) == 1


def test_a_study_that_is_added_leaves_the_others_where_they_are():
    before = studies(*[1, 2] * 50)
    added = [*before, Study(id="new", uid="u", split="train", report="", patient="P3")]
    drawn = patients(draw(before, 0.2))
    assert len(drawn ^ patients(draw(added, 0.2))) <= 1
