"""Which names of findings reach the reports, which are committed: those that a language model chose
for one or two studies could be words of a patient's report.
"""

from conftest import REGIONS

from xraygen.core.study import Clinical, Judgement
from xraygen.evaluation import abnormal, abnormal_table

BONE, HEART, *_ = REGIONS.scored


def judged(id: str, region: str = BONE, **names: tuple[str, ...]) -> Judgement:
    return Judgement(
        id=id,
        region=region,
        reference="a",
        candidate="b",
        score=0.5,
        verdict="judged",
        clinical=Clinical(score=0.0, **names),
        judge="crimson",
    )


def told(judgements: list[Judgement]) -> dict:
    return abnormal.findings(judgements, REGIONS.scored)


def test_a_name_of_the_models_own_is_told_from_three_studies_on():
    private = "opacity seen by dr smith"
    names = {"missed": ("sail sign", private), "invented": ("nodule",)}
    found = told([judged("s1", **names), judged("s2", **names)])
    assert (found["misses"], found["inventions"]) == ({"other": 4}, {"nodule": 2})
    found = told(
        [judged("s1", **names), judged("s2", **names), judged("s3", missed=("sail sign",))]
    )
    assert found["misses"] == {"sail sign": 3, "other": 2} and found["missed"] == 5
    assert private not in str(found)


def test_regions_of_one_study_are_one_study_and_each_region_tells_what_all_tell():
    many = [judged("s1", region, missed=("sail sign", "sail sign")) for region in REGIONS.scored]
    assert told(many)["misses"] == {"other": 2 * len(many)}
    several = [*many, judged("s2", matched=("sail sign",)), judged("s3", invented=("sail sign",))]
    assert told(several)["regions"][HEART]["misses"] == {"sail sign": 2}


def test_a_table_ends_with_the_other_names_even_if_they_are_many_or_a_judge_says_other():
    known = ("nodule", "mass", "fracture", "hernia")
    found = told([judged(f"s{n}", missed=(*known, f"word {n}", "other")) for n in range(5)])
    assert abnormal_table._finding_cells(found)[2] == "fracture 5, hernia 5, mass 5, other 10"
