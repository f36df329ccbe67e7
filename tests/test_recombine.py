"""Recombined studies: every sentence keeps what the curators made of it, whatever its neighbours
are.
"""

from conftest import REGIONS, annotation

from xraygen.core.study import Study
from xraygen.language.text import sentences, tokens
from xraygen.sources.phantom import phantom
from xraygen.training.recombine import agreed, pieces, recombined

REPORT = (
    "The cardiomediastinal silhouette is normal. Lungs are clear. There is a rib\n"
    "fracture. Comparison is made."
)
REFERENCE = annotation(
    heart="Cardiac silhouette is normal.",
    mediastinal="Mediastinal silhouette is normal.",
    lung="Lungs are clear.",
    bone="Rib fracture.",
)


def one(report: str, reference: dict) -> Study:
    return Study(id="a", uid="1", split="train", report=report, images=[], reference=reference)


def test_a_curated_sentence_is_traced_to_the_one_that_it_is_made_of():
    ((first, second, third, fourth),) = pieces([one(REPORT, REFERENCE)])
    assert first.curated == {
        "heart": "Cardiac silhouette is normal.",
        "mediastinal": "Mediastinal silhouette is normal.",
    }
    assert second == ("Lungs are clear.", {"lung": "Lungs are clear."})
    assert third == ("There is a rib fracture.", {"bone": "Rib fracture."}) and fourth.curated == {}
    assert pieces([one("", REFERENCE), one("", annotation())]) == [[], []] and pieces([]) == []


def test_words_that_no_sentence_holds_are_traced_by_what_they_stand_for():
    said, curated = (
        "The cardiomediastinal silhouette is normal in size.",
        annotation(heart="Cardiac contours within limits."),
    )
    *_, last = pieces(
        [one(f"{said} Lungs are clear.", curated)] * 5 + [one(f"Lungs are clear. {said}", curated)]
    )
    assert [piece.curated for piece in last] == [{}, {"heart": "Cardiac contours within limits."}]


def test_of_a_sentence_that_many_have_the_words_are_those_nearest_to_all_that_was_written():
    said = "Heart size and vascularity are normal."
    written = (
        [{}] * 3
        + [{"lung": "Vascularity is normal."}] * 3
        + [{"lung": "The vascularity is normal."}] * 2
    )
    reports = pieces(
        [
            one(f"{said} {end}", annotation(**curated))
            for curated, end in zip(written, ["", "No effusion."] * 4, strict=True)
        ]
    )
    reports += pieces(
        [one("heart size, and vascularity, are normal", annotation())]
    )  # the same words
    (own,) = pieces([one("A rib fracture.", annotation(bone="Rib fracture."))])
    *found, last = agreed([*reports, own])
    assert last == own and [report[0].sentence for report in found] == [
        report[0].sentence for report in reports
    ]
    assert all(
        report[0].curated == {"lung": "Vascularity is normal."} for report in found
    )  # written of 5 in two ways, not of 4
    silent = pieces([one(said, annotation())]) * 3
    assert all(report[0].curated == {} for report in agreed([*reports, *silent]))
    assert all(report[1].curated == {} for report in found if len(report) > 1)


def test_what_is_made_of_pieces_says_what_they_say(root):
    ones = [phantom(0, k) for k in range(60)]
    studies = [
        Study(
            id=one.id,
            uid=one.uid,
            split="train",
            report=one.report,
            images=[],
            reference=one.reference,
        )
        for one in ones
    ]
    known = [piece for report in agreed(pieces(studies)) for piece in report]
    curated = {}
    for piece in known:
        curated.setdefault(piece.sentence, []).append(piece.curated)
    made = recombined(studies, 80, seed=0)
    assert len({study.id for study in made}) == 80 and not any(study.images for study in made)
    for study in made:
        parts = sentences(study.report)
        for region in REGIONS:
            possible = {
                word for part in parts for c in curated[part] for word in tokens(c.get(region, ""))
            }
            assert set(tokens(study.reference[region])) <= possible
            if not study.reference[region]:
                assert all(any(region not in c for c in curated[part]) for part in parts)
    assert (
        len({study.report for study in made} - {" ".join(one.report.split()) for one in ones}) > 60
    )


def test_the_same_seed_gives_the_same_studies_and_none_come_of_none():
    study = one(REPORT, REFERENCE)
    assert (
        recombined([study], 3, seed=1)
        == recombined([study], 3, seed=1)
        != recombined([study], 3, seed=2)
    )
    assert (
        recombined([], 3, seed=1)
        == recombined([study.model_copy(update={"reference": None})], 3, seed=1)
        == []
    )
