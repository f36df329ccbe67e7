"""Recombined studies: every sentence keeps what the curators made of it, whatever stands beside it."""

from xraygen.sources.phantom import phantom
from xraygen.study import REGIONS, Annotation, Study
from xraygen.text import sentences, tokens
from xraygen.vlm.recombine import pieces, recombined

REPORT = "The cardiomediastinal silhouette is normal. Lungs are clear. There is a rib\nfracture. Comparison is made."
REFERENCE = Annotation(heart="Cardiac silhouette is normal.", mediastinal="Mediastinal silhouette is normal.", lung="Lungs are clear.",
                       bone="Rib fracture.")  # fmt: skip


def test_a_curated_sentence_is_traced_to_the_one_that_it_is_made_of():
    first, second, third, fourth = pieces(REPORT, REFERENCE)
    assert first.curated == {"heart": "Cardiac silhouette is normal.", "mediastinal": "Mediastinal silhouette is normal."}
    assert second == ("Lungs are clear.", {"lung": "Lungs are clear."})
    assert third == ("There is a rib fracture.", {"bone": "Rib fracture."}) and fourth.curated == {}
    assert pieces(REPORT, REFERENCE.model_copy(update={"others": "Pacemaker in place."})) is None  # of no sentence of the report
    assert pieces("", REFERENCE) is None and pieces("", Annotation()) == []


def test_what_is_made_of_pieces_says_what_they_say(root):
    ones = [phantom(0, k) for k in range(60)]
    studies = [Study(id=one.id, uid=one.uid, split="train", report=one.report, images=[], reference=one.reference) for one in ones]
    known = [piece for study in studies for piece in pieces(study.report, study.reference) or ()]
    curated = {}
    for piece in known:
        curated.setdefault(piece.said, []).append(piece.curated)
    made = recombined(studies, 80, seed=0)
    assert len({study.id for study in made}) == 80 and not any(study.images for study in made)
    for study in made:
        parts = sentences(study.report)
        for region in REGIONS:
            possible = {word for part in parts for c in curated[part] for word in tokens(c.get(region, ""))}
            assert set(tokens(study.reference[region])) <= possible
            if not study.reference[region]:
                assert all(any(region not in c for c in curated[part]) for part in parts)
    assert len({study.report for study in made} - {" ".join(one.report.split()) for one in ones}) > 60


def test_the_same_seed_gives_the_same_studies_and_none_come_of_none():
    one = Study(id="a", uid="1", split="train", report=REPORT, images=[], reference=REFERENCE)
    assert recombined([one], 3, seed=1) == recombined([one], 3, seed=1) != recombined([one], 3, seed=2)
    assert recombined([], 3, seed=1) == recombined([one.model_copy(update={"reference": None})], 3, seed=1) == []
