"""What the names of columns say."""

import re

ID_NAMES = """
    id study_id studyid study uid report_id reportid exam_id examid exam
    accession accession_number accessionnumber case_id caseid case series_id
""".split()
_PATIENT = (
    r"(?:patient(?:s|en)?|pacientes?|paziente|pazienti|subjects?|sujets?|sujetos?|persons?|mrn|pid|"
    r"pat)"
)
_ID = r"(?:ids?|identifiers?|no|nr|num|numbers?|nummer|numero|key|uid|code|hash)"
# An id of a patient: not an age, a class or a birth date.
PATIENT_NAMES = re.compile(rf"(?:.*[_ -])?{_PATIENT}(?:[_ .-]?{_ID})*[_ .-]*")
# Whatever is about a patient is the last choice for the id of a study.
OF_PATIENT = re.compile(rf"(?:.*[_ -])?{_PATIENT}(?:[_ -]?.*)?")
PROJECTION_NAMES = re.compile(r"(?:.*[_ -])?(?:projection|view|view_?position)s?")
REPORT_NAMES = (
    "report report_text radiology_report full_report reporttext findings text narrative".split()
)
# Words for a part of a report, or for the report, that a table may have in a separate column.
_SECTION_WORDS = frozenset(
    "report reports reporttext text texts finding findings impression impressions conclusion "
    "conclusions indication indications history technique comparison comparisons examination "
    "examinations exam problem problems mesh diagnosis diagnoses comment comments".split()
)
_QUALIFIERS = frozenset(
    "clinical clean final free full original patient preliminary radiology raw reason for "
    "of the study".split()
)
SPLIT_PARTS = frozenset("split splits fold folds set partition subset phase".split())
REFERENCE_NAMES = frozenset(
    "ref reference references annotation annotations annotated curated curator gold label labels "
    "region regions target manual".split()
)


def key(name: str) -> str:
    return name.strip().casefold()


def parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", key(name)) if part]


def is_section(name: str) -> bool:
    """Whether a column is named for a part of a report, and not for a region in it too."""
    words = set(parts(name))
    return bool(words & _SECTION_WORDS) and words <= _SECTION_WORDS | _QUALIFIERS


def region_of(column: str) -> str:
    """A column's name without the words that only say what it is: `lung` of `ref_lung_findings`."""
    words = [part for part in re.split(r"[\W_]+", column.strip()) if part]
    without = REFERENCE_NAMES | _SECTION_WORDS
    return "_".join([word for word in words if word.casefold() not in without] or words)
