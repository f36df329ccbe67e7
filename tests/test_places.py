"""Where a finding is, for the clinical score: bones, vertebrae, ribs, compartments, sides, the tips
of tubes and lines; and the other words that `rewording.py` puts into those of the reader.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraygen.judges.proxy.clinical import abnormal, assess
from xraygen.judges.proxy.findings import read, read_sentence
from xraygen.judges.proxy.places import apart, parts, place_of
from xraygen.judges.proxy.rewording import reworded
from xraygen.judges.proxy.vocabulary import vocabulary


def score(reference: str, candidate: str) -> float:
    return assess(reference, candidate).score


def places(text: str) -> frozenset:
    """Those of the first finding."""
    return read_sentence(text).findings[0].places


def numbers(text: str, kind: str) -> list[int]:
    return sorted(int(part) for part in parts(places(text), kind))


# Vertebrae count from the first cervical one: T1 is 8, L1 is 20.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Compression fracture of T12.", [19]),
        ("Fractures of T4 and L1.", [11, 20]),
        ("Fractures of T8-T10.", [15, 16, 17]),
        ("Fractures of T8-10.", [15, 16, 17]),
        ("Fractures of T12 to L2.", [19, 20, 21]),
        ("Fracture of the ninth thoracic vertebra.", [16]),
        ("Fracture of the lumbar spine.", [20, 21, 22, 23, 24]),
        ("Fracture of T12 in the thoracic spine.", [19]),
        ("Compression of T4 by 10 percent.", [11]),
        ("Fracture of C9.", []),  # there is none
        ("Fracture of T8, 2000000000.", [15]),
        ("Fracture at the thoracic inlet.", []),
    ],
)
def test_vertebrae_by_number(text, expected):
    assert numbers(text, "vertebra") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fracture of the left sixth rib.", [6]),
        ("Fractures of the 3rd and 5th ribs.", [3, 5]),
        ("Fractures of the right 4th-6th ribs.", [4, 5, 6]),
        ("Fractures of ribs 4 through 7.", [4, 5, 6, 7]),
        ("Third to fifth posterior rib fractures.", [3, 4, 5]),
        ("Fracture of the upper ribs.", [1, 2, 3, 4, 5, 6]),
        ("Fracture of the mid and lower ribs.", [4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ("Rib fracture, 5 mm.", []),
        ("Rib fracture.", []),
    ],
)
def test_ribs_by_number(text, expected):
    assert numbers(text, "rib") == expected


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        ("Right scapular fracture.", "Fracture of the right scapula.", "Right clavicle fracture."),
        ("Right humeral fracture.", "Fracture of the right shoulder.", "Right rib fracture."),
        ("Left fourth rib fracture.", "Left rib fracture.", "Left eleventh rib fracture."),
        ("Compression of L2.", "Compression of the lumbar spine.", "Compression of T5."),
        ("Fluid in the minor fissure.", "Fluid in the fissure.", "Fluid in the oblique fissure."),
        ("Middle mediastinal mass.", "Mediastinal mass.", "Mass of the posterior mediastinum."),
        ("Mass in the right lung.", "Right upper lobe mass.", "Mediastinal mass."),
        ("Right lung mass.", "Right hilar mass.", "Mass of the right breast."),
        ("Bony metastases.", "Skeletal metastases.", "Pulmonary metastases."),
        ("Hilar adenopathy.", "Adenopathy of the right hilum.", "Axillary adenopathy."),
        ("Opacity at the right costophrenic angle.", "Opacity in the right costophrenic angle.",
         "Right apical opacity."),
        ("Perihilar opacities.", "Central opacities.", "Peripheral opacities."),
        ("Lingular opacity.", "Left upper lobe opacity.", "Left lower lobe opacity."),
        ("Pneumonia in the anterior segment.", "Pneumonia.", "Pneumonia of the apical segment."),
        ("Bilateral effusions.", "Left effusion. Right effusion.", "Right effusion."),
        ("Right effusion.", "Right effusion.", "Bilateral effusions."),
        ("Left effusion. Right effusion.", "Bilateral effusions.", "Left effusion."),
        ("Effusions, left larger than right.", "Effusions on both sides.", "Left effusion."),
        ("Nodules in both lungs.", "Nodules, more on the right than on the left.", "Left nodule."),
        ("Dextroscoliosis.", "Scoliosis convex to the right.", "Levoscoliosis."),
        ("Mediastinal shift to the left.", "Leftward mediastinal shift.", "Rightward shift."),
    ],
)  # fmt: skip
def test_a_wrong_place_costs_and_a_less_precise_one_does_not(reference, right, wrong):
    assert score(reference, right) == 1
    assert -1 < score(reference, wrong) < 1


def test_a_place_that_only_one_side_names_is_neutral():
    assert score("Fracture.", "Fracture of the left clavicle.") == 1
    assert score("Fracture of T12.", "Fracture.") == 1


def test_what_a_nodule_projects_over_is_not_where_it_is():
    assert score("Nodule over the right fifth rib.", "Nodule over the right clavicle.") == 1


def test_each_finding_of_a_sentence_has_its_own_place():
    text = "Fracture of the left clavicle and dislocation of the right humerus."
    assert score(text, "Fractured left clavicle. Dislocated right humerus.") == 1
    assert score(text, "Fractured left humerus. Dislocated right clavicle.") < 1


def test_two_bones_are_two_findings():
    assert len(abnormal("Fracture of the left clavicle. Fracture of the left sixth rib.")) == 2
    assert len(abnormal("Fracture of the left sixth rib. Left rib fracture.")) == 1


@given(st.lists(st.sampled_from([*vocabulary(), "t", "rib", "4", "12", "900", ","]), max_size=9))
def test_places_do_not_change_what_the_trees_see(words):
    """Findings are equal, and hash alike, whatever their places."""
    for statement in read(" ".join(words)):
        assert all(
            finding == type(finding)(**{**_fields(finding), "places": frozenset()})
            for finding in statement.findings
        )


def _fields(finding) -> dict:
    return {name: getattr(finding, name) for name in type(finding).__dataclass_fields__}


def test_apart_only_by_a_kind_that_both_name():
    clavicle, rib = (frozenset([place_of("bone", [name])]) for name in ("clavicle", "rib"))
    fissure = frozenset([place_of("fissure", ["major"])])
    assert apart(clavicle, rib, "fracture")
    assert not apart(clavicle, rib, "nodule")
    assert not apart(clavicle, clavicle | rib, "fracture")
    assert not apart(clavicle, fissure, "fracture")


# Tubes and lines


@pytest.mark.parametrize(
    "text",
    [
        "Central line, its tip in the azygos vein.",
        "Left PICC terminates in the right jugular vein.",
        "Endotracheal tube tip 1 cm above the carina.",
        "Endotracheal tube tip 3 cm below the carina.",
        "Endotracheal tube in the esophagus.",
        "Endotracheal tube tip at the level of the carina.",
        "Nasogastric tube coiled in the pharynx.",
        "Feeding tube ends in the left lower lobe.",
        "Feeding tube tip above the diaphragm.",
        "Malpositioned PICC. Its tip is in the azygos vein.",
        "PICC is in place. The tip is in the right ventricle.",
        "The tip of the port catheter is in the subclavian vein.",
        "Chest tube, its tip in the soft tissues of the chest wall.",
        "Chest tube, its tip outside the thoracic cavity.",
        "Chest tube in the subcutaneous tissues.",
        "Chest tube, its side hole in the chest wall.",
        "Chest drain kinked in the right chest wall.",
        "Low-lying endotracheal tube.",
    ],
)
def test_a_tip_in_the_wrong_place(text):
    assert "malpositioned device" in {finding.name for finding in abnormal(text)}


@pytest.mark.parametrize(
    "text",
    [
        "Central line via the right jugular vein, tip in the superior vena cava.",
        "Right subclavian catheter, tip at the cavoatrial junction.",
        "Catheter in the right subclavian vein.",  # it enters there
        "Central line tip at the level of the aortic arch.",  # a landmark
        "Endotracheal tube tip 4 cm above the carina.",
        "Endotracheal tube above the carina.",
        "Feeding tube tip beyond the gastroesophageal junction, below the diaphragm.",
        "Feeding tube passes the esophagus with its tip in the stomach.",
        "Endotracheal tube in the trachea, feeding tube tip in the stomach.",
        "Pacemaker lead tip in the right ventricle.",
        "No tube in the esophagus.",
        "Chest tube through the left chest wall.",
        "Port in the right chest wall, catheter tip in the superior vena cava.",
        "Chest tube, its tip outside the field of view.",
        "Chest tube in the right pleural space.",
    ],
)
def test_a_tip_that_is_well_or_not_described(text):
    assert "malpositioned device" not in {finding.name for finding in abnormal(text)}


# Other words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gas in the left pleural cavity.", ["pneumothorax"]),
        ("Free air in the mediastinum.", ["pneumomediastinum"]),
        ("Air in the soft tissues.", ["subcutaneous emphysema"]),
        ("Air is present beneath both hemidiaphragms.", ["free air"]),
        ("Blood in the right pleural space.", ["pleural effusion"]),
        ("Fluid within the pericardial sac.", ["pericardial effusion"]),
        ("Effusion in the pleural cavity.", ["pleural effusion"]),  # no cavity of the lung
        ("Collapsed lumbar vertebra.", ["vertebral compression fracture"]),
        ("The T8 vertebral body is flattened.", ["vertebral compression fracture"]),
        ("Enlarged right axillary lymph nodes.", ["adenopathy"]),
        ("Lymph nodes are not enlarged.", []),
        ("Prominent hilar vessels.", ["abnormal pulmonary vessels"]),
        ("Heart size exceeds normal limits.", ["cardiomegaly"]),
        ("The heart is not above normal limits.", []),
        ("The heart is not particularly large.", []),
        ("The heart is small.", []),
        ("The right hemidiaphragm lies high.", ["elevated diaphragm"]),
        ("The right hemidiaphragm is higher than the left.", []),
        ("The lungs are not entirely clear.", ["abnormal lung"]),
        ("It is not clear whether there was a fall.", []),
        ("The chest radiograph is abnormal.", ["abnormal chest"]),
        ("Abnormal study. Right pneumonia.", ["pneumonia"]),
        ("Abscess of the right lung.", ["abscess"]),
        ("Dissection of the aorta.", ["aortic dissection"]),
        ("Clips after axillary dissection.", ["surgical clips"]),
        ("Ileus.", ["bowel distension"]),
        ("No pulmonary embolism.", []),
        ("Cavitating lesion.", ["cavity"]),
        ("Thickened bronchial walls.", ["airway thickening"]),
        ("Small amount of air at the left apex in the pleural space.", ["pneumothorax"]),
        ("Air-fluid level in the pleural space.", ["pleural effusion", "pneumothorax"]),
        ("Tension pneumothorax.", ["pneumothorax"]),
        ("The lungs are consolidated.", ["consolidation"]),
        ("Rupture of the left collarbone? Broken collarbone.", ["fracture"]),
        ("Ruptured left hemidiaphragm.", ["diaphragmatic injury"]),
        ("Bone metastases.", ["bone lesion"]),
        ("Left costophrenic angle not sharp.", ["blunted costophrenic angle"]),
        ("The trachea is displaced.", ["tracheal deviation"]),
        ("The trachea is not displaced.", []),
        ("Nothing abnormal is seen.", []),
    ],
)
def test_other_words(text, expected):
    assert sorted(finding.name for finding in abnormal(text)) == expected


def test_an_abnormal_study_is_not_false_where_there_is_disease():
    assert score("No disease.", "Abnormal chest radiograph.") < 1
    assert score("Pneumonia.", "Abnormal chest radiograph.") == 0


def test_sides_that_are_compared_are_not_both_abnormal():
    assert reworded("The right lung is larger than the left") == (
        "The right lung is larger than the left"
    )


def test_the_trees_read_the_text_as_it_is():
    text = "Collapsed vertebra."
    assert read(text) != read(text, clinical=True)
    assert reworded("Mild CARDIOMEGALY.") == "Mild CARDIOMEGALY."
