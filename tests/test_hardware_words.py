"""Words of devices and of surgery that are also said of anatomy, of disease or of the patient."""

import pytest

from xraygen.judges.proxy.clinical import abnormal


def named(text: str) -> list[str]:
    return sorted(finding.name for finding in abnormal(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The right main bronchus is patent.", []),
        ("Left main bronchus is clear.", []),
        ("Narrowing of the left mainstem bronchus.", ["abnormal trachea"]),
        ("Suboptimal position of the patient.", []),
        ("ET tube has been repositioned and is now in good position.", ["endotracheal tube"]),
        ("Plate-like atelectasis at the left base.", ["atelectasis"]),
        ("End plate spurs.", ["degenerative change"]),
        ("Mitral valve calcification.", ["calcification"]),
        ("Findings may lead to infection.", ["pneumonia"]),
        ("Fracture of the tip of the scapula.", ["fracture"]),
        ("Congenital fusion of ribs.", []),
        ("Upward retraction of the left hilum.", ["volume loss"]),
    ],
)
def test_what_is_said_of_anatomy_or_of_the_patient_is_no_hardware(text, expected):
    assert named(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NG tube in the left main bronchus.", ["enteric tube", "malpositioned device"]),
        ("Tip in the right mainstem bronchus.", ["device", "malpositioned device"]),
        ("The ETT is malpositioned.", ["endotracheal tube", "malpositioned device"]),
        ("Suboptimal position of the PICC.", ["PICC", "malpositioned device"]),
        ("Retract 2 cm.", ["malpositioned device"]),
        ("The ETT should be repositioned.", ["endotracheal tube", "malpositioned device"]),
        ("Plate and screws in the clavicle.", ["orthopedic hardware"]),
        ("Fusion of the lumbar spine.", ["orthopedic hardware"]),
        ("The aortic valve has been replaced.", ["prosthetic heart valve"]),
        ("Leads in the right atrium and ventricle.", ["device"]),
        ("The tip is in the SVC.", ["device"]),
    ],
)
def test_the_same_words_of_hardware_are_hardware(text, expected):
    assert named(text) == expected
