"""What a report leaves open, what resolved and in which unit it measures is no support for a text
that says it plainly.
"""

import pytest

from xraygen.language.support import Report


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("There is a 3 cm nodule in the right upper lobe.", "3 mm nodule in the right upper lobe."),
        ("Nodule of 12mm.", "Nodule of 12 cm."),
        ("A 2 x 3 cm mass.", "A 2 mm mass."),
        ("Pneumonia cannot be excluded.", "Pneumonia."),
        ("Pneumonia can not be entirely excluded.", "There is pneumonia."),
        ("Underlying pneumonia is not excluded.", "Pneumonia."),
        ("Cannot exclude a small effusion.", "Small effusion."),
        ("Rule out pneumonia.", "Pneumonia."),
        ("Left opacity, cannot rule out pneumonia.", "Left pneumonia."),
        ("Pneumonia cannot be excluded.", "No pneumonia."),
        ("Resolved right effusion.", "Right effusion."),
        ("The right effusion has resolved.", "Right effusion."),
        ("Interval resolution of the pneumothorax.", "Pneumothorax."),
    ],
)
def test_a_text_that_is_surer_than_the_report_or_has_another_unit_is_unsupported(report, text):
    assert Report(report).support(text).support == "unsupported"


@pytest.mark.parametrize(
    ("report", "text", "support"),
    [
        ("There is a 3 cm nodule.", "Nodule of 3 centimeters.", "reworded"),
        ("Nodule of 12mm.", "A 12 mm nodule.", "reworded"),
        ("A 2 x 3 cm mass.", "Mass of 2 cm.", "reworded"),
        ("Pneumonia cannot be excluded.", "Pneumonia cannot be excluded.", "verbatim"),
        ("Pneumonia cannot be excluded.", "Pneumonia is not excluded.", "reworded"),
        ("Left opacity, cannot rule out pneumonia.", "Left opacity.", "verbatim"),
        ("Left opacity and pneumonia cannot be excluded.", "Left opacity.", "verbatim"),
        ("Resolved right effusion.", "Right effusion has resolved.", "reworded"),
        ("Resolved effusion but mild edema.", "Mild edema.", "verbatim"),
        ("The effusion has partially resolved.", "Effusion.", "verbatim"),
        ("Possible pneumonia.", "Pneumonia.", "verbatim"),  # a limit: see docs/evidence.md
    ],
)
def test_what_the_report_says_as_surely_is_supported(report, text, support):
    assert Report(report).support(text).support == support
