"""What the reader of findings takes from a sentence, what it calls that, and how it does on reports
whose findings were coded by hand.
"""

from itertools import product
from pathlib import Path

import pytest

from bench.open_i import CODED, Report, measured, reports
from xraygen.judges.proxy.comparison import compare, counts
from xraygen.judges.proxy.findings import Finding, read
from xraygen.judges.proxy.names import name_of, names
from xraygen.judges.proxy.vocabulary import OBSERVATION, STRUCTURE

SHARED = Path(__file__).resolve().parents[2] / "shared"
ARCHIVE = SHARED / "open-i" / "NLMCXR_reports.tgz"
needs_recorded = pytest.mark.skipif(
    not (SHARED / "recorded").is_dir(), reason="no recorded GREEN answers at ../shared/recorded"
)
needs_open_i = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no {ARCHIVE}")


def found(text: str) -> list[Finding]:
    return [finding for statement in read(text) for finding in statement.findings]


def present(text: str) -> set[str]:
    return {finding.key for finding in found(text) if finding.positive}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Two calcified granulomas on the right.", {"granuloma"}),
        ("A calcified left hilar granuloma.", {"granuloma"}),
        ("A calcified nodule.", {"calcification", "nodule"}),
        ("Mild interstitial edema.", {"edema"}),
        ("Streaky atelectasis at the bases.", {"atelectasis"}),
        ("An old granulomatous infection.", {"granuloma"}),
        ("A nodular opacity in the lingula.", {"nodular opacity"}),
        ("Calcified lymph nodes.", {"calcification"}),
        ("A lytic lesion of the humerus.", {"destruction"}),
        ("Interstitial disease with edema.", {"interstitial", "edema"}),
        ("Interstitial and airspace disease.", {"interstitial", "consolidation"}),
        ("Interstitial and patchy nodular opacities.", {"nodular opacity"}),
        ("Calcified hilar and mediastinal granulomas.", {"granuloma"}),
    ],
)
def test_a_noun_phrase_is_one_finding(text, keys):
    assert present(text) == keys


@pytest.mark.parametrize(
    "text",
    [
        "Resolution of the left effusion.",
        "The left effusion has resolved.",
        "The chest tube has been removed.",
        "If a fracture is suspected, take views of the ribs.",
        "CT is recommended to exclude a mass.",
        "Ribs.",
        "The heart and both lungs.",
        "Frontal and lateral views of the chest were obtained.",
        "The vascular markings are normal.",
        "Negative acute bony abnormality.",
        "The disc spaces are maintained.",
    ],
)
def test_what_is_gone_looked_for_or_only_named_is_not_present(text):
    assert not present(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Resolution of the effusion with residual atelectasis.", "atelectasis"),
        ("A partially resolved effusion.", "effusion"),
        ("No change in the large hiatal hernia.", "hernia"),
        ("The leads of the pacemaker are intact.", "device"),
        ("The markings of the lungs are increased.", "interstitial"),
        ("A bulky hilum.", "hilum"),
        ("There is a mass, and CT is recommended.", "mass"),
        ("Normal heart, but the lungs have a nodule.", "nodule"),
    ],
)
def test_what_is_still_there_is_present(text, key):
    assert key in present(text)


@pytest.mark.parametrize(
    ("text", "doubtful"),
    [
        ("An opacity that may represent pneumonia.", {"opacity": False, "pneumonia": True}),
        ("A nodule or a mass cannot be excluded.", {"nodule": True, "mass": True}),
        (
            "An effusion, and infiltrate is not ruled out.",
            {"effusion": False, "consolidation": True},
        ),
        ("Possible rib fracture.", {"fracture": True}),
        ("The heart is at the upper limits of normal.", {"heart": True}),
        ("The heart is borderline enlarged.", {"heart": False}),
        ("No pneumonia. Fibrosis is probable.", {"fibrosis": False}),
    ],
)
def test_what_is_only_possible_is_doubtful(text, doubtful):
    read_as = {finding.key: finding.doubtful for finding in found(text) if finding.positive}
    assert read_as.items() >= doubtful.items()
    assert not any(finding.doubtful for finding in found(text) if not finding.positive)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Pneumonia is unlikely.", set()),
        ("Pneumonia is considered highly unlikely.", set()),
        ("Pneumonia is felt to be unlikely given the clear lungs.", set()),
        ("A mass or nodule is less likely.", set()),
        ("Doubt pneumonia.", set()),
        ("A fracture is doubtful.", set()),
        ("Low suspicion for acute pneumonia.", set()),
        ("Unlikely to represent a mass.", set()),
        ("A pneumonia is possible but unlikely.", set()),
        ("Opacity is unlikely to reflect pneumonia.", {"opacity"}),
        ("Opacity, with pneumonia or edema unlikely.", {"opacity"}),
        ("Atelectasis is seen and pneumonia is unlikely.", {"atelectasis"}),
        ("Atelectasis or, less likely, pneumonia.", {"atelectasis"}),
        ("Atelectasis, less likely pneumonia, with an effusion.", {"atelectasis", "effusion"}),
        ("Opacity favors atelectasis over pneumonia.", {"opacity", "atelectasis"}),
        ("Atelectasis is favored over a pneumonia.", {"atelectasis"}),
        ("More likely scarring than a nodule.", {"scarring"}),
        ("Pneumonia unlikely and atelectasis present.", {"atelectasis"}),
        ("There is more effusion than opacity.", {"effusion", "opacity"}),
        ("Edema rather than pneumonia, with an effusion.", {"edema", "effusion"}),
        ("Pneumonia is less likely than atelectasis.", {"atelectasis"}),
        # What is likely, and what is unlikely only of an attribute
        ("Likely pneumonia.", {"pneumonia"}),
        ("Pneumonia is probable.", {"pneumonia"}),
        ("A fracture, unlikely to be acute.", {"fracture"}),
        ("An opacity over the left lung.", {"opacity"}),
        ("No doubt a mass.", {"mass"}),
        ("Pneumonia is not unlikely.", {"pneumonia"}),
    ],
)
def test_what_is_unlikely_is_absent(text, keys):
    assert present(text) == keys


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("Left tension pneumothorax.", 3),
        ("A small pneumothorax with tension.", 1),
        ("A pneumothorax without tension.", 0),
    ],
)
def test_tension_makes_a_pneumothorax_severe(text, severity):
    assert [finding.severity for finding in found(text) if finding.positive] == [severity]


def test_air_and_fluid_in_the_pleural_space_are_two_findings():
    both = found("Large left hydropneumothorax.")
    assert [(one.key, one.side, one.severity) for one in both] == [
        ("effusion", 1, 3),
        ("pneumothorax", 1, 3),
    ]
    assert not present("No hydropneumothorax.")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The heart is enlarged.", "cardiomegaly"),
        ("Severe cardiomegaly.", "cardiomegaly"),
        ("Levoscoliosis.", "scoliosis"),
        ("COPD.", "emphysema"),
        ("Hyperexpanded lungs.", "hyperinflation"),
        ("Calcification of the aorta.", "aortic atherosclerosis"),
        ("Calcified mediastinal lymph nodes.", "calcified lymph node"),
        ("A fluid collection in the left pleural space.", "pleural effusion"),
        ("Free air below the diaphragm.", "free air"),
        ("Subcutaneous emphysema.", "subcutaneous emphysema"),
        ("A lesion of the left rib.", "bone lesion"),
    ],
)
def test_diseases_have_their_clinical_names(text, name):
    assert name in {finding.name for finding in found(text) if finding.positive}


def test_every_name_that_a_finding_can_have_is_listed():
    keys = {*OBSERVATION.values(), *STRUCTURE.values()}
    places = {*STRUCTURE.values(), "lymph node", ""}
    assert {name_of(key, frozenset((place,))) for key, place in product(keys, places)} <= set(
        names()
    )
    words = [*OBSERVATION, *STRUCTURE]
    assert {finding.name for word in words for finding in found(f"Large {word}.")} <= set(names())
    assert names() == sorted(set(names()))


@pytest.mark.parametrize(
    ("reference", "candidate", "matched", "errors", "credit"),
    [
        # The silhouette is that of the heart and of the mediastinum.
        ("Normal cardiomediastinal silhouette.", "The heart is normal.", 1, {"b": 1}, 1),
        ("The heart is normal.", "Normal cardiomediastinal silhouette.", 1, {}, 1),
        # At the limit of normal is neither normal nor enlarged.
        ("Heart at the upper limits of normal.", "Normal heart.", 1, {"b": 1}, 1),
        ("Normal heart.", "Heart at the upper limits of normal.", 1, {"a": 1}, 1),
        ("Enlarged heart.", "Normal heart.", 0, {"b": 1}, 0),
        # Said otherwise: half.
        ("The heart is normal.", "The heart is unchanged.", 1, {}, 0.5),
        ("Emphysema.", "Hyperinflated lungs.", 1, {}, 0.5),
        ("No nodule.", "Clear lungs.", 1, {}, 0.5),
        ("Clear lungs.", "No nodule.", 1, {}, 1),
        ("The heart is normal.", "Normal.", 1, {}, 0.75),
    ],
)
def test_what_is_said_otherwise_gets_part_of_the_credit(
    reference, candidate, matched, errors, credit
):
    comparison = compare(read(reference), read(candidate))
    of_found, counted = counts(comparison)
    assert of_found == matched and comparison.credit == credit
    assert {name: count for name, count in counted.model_dump().items() if count} == errors


@pytest.mark.parametrize(
    ("candidate", "vague"),
    [
        ("Mild scoliosis.", 0),
        ("Scoliosis.", 1),
        ("Mild lumbar scoliosis.", 1),
        ("Mild scoliosis. The heart is normal.", 0.25),
        ("Mild scoliosis. Ribs.", 1),
    ],
)
def test_what_the_counts_leave_out_is_vague(candidate, vague):
    assert compare(read("Mild scoliosis."), read(candidate)).vague == vague


def test_the_measure_on_coded_reports_counts_reports():
    rows = [
        Report(1, "A nodule. A second nodule.", ("Nodule/lung",)),
        Report(2, "No nodule.", ("Nodule/lung",)),
        Report(3, "A nodule.", ("normal",)),
        Report(4, "A nodule is possible, or a possible mass.", ("normal",)),
    ]
    assert measured(rows)["nodule"] == {"coded": 2, "found": 3, "recall": 0.5, "precision": 0.3333}
    rows[3] = rows[3]._replace(text="There may be a nodule.")
    assert measured(rows)["nodule"]["found"] == 2
    assert measured(rows, doubtful=True)["abnormal report"]["found"] == 3


@needs_open_i
def test_findings_of_coded_reports_are_read():
    """The bars hold on reports that no rule was written for."""
    odd = [report for report in sorted(reports(ARCHIVE)) if report.uid % 2]
    agreement = measured(odd)
    abnormal = agreement.pop("abnormal report")
    assert abnormal["recall"] >= 0.99 and abnormal["precision"] >= 0.93
    most_frequent = sorted(CODED, key=lambda name: -agreement[name]["coded"])[:12]
    assert {"cardiomegaly", "atelectasis", "granuloma", "opacity"} <= set(most_frequent)
    for name in most_frequent:
        assert agreement[name]["recall"] >= 0.9 and agreement[name]["precision"] >= 0.85, name


@needs_recorded
def test_region_means_carry_over_to_approaches_left_out_of_the_fit():
    from recipes.fit_proxy import across, recorded

    left_out = across(recorded(SHARED / "recorded"), "source")
    assert len(left_out) == 2
    for source in left_out.values():
        assert max(map(abs, source["region_gap"].values())) <= 0.02
        assert len(source["region_gap"]) == 4
