"""What the names of columns say."""

import re

ID_NAMES = """
    id study_id studyid study uid report_id reportid exam_id examid exam
    accession accession_number accessionnumber case_id caseid case series_id
""".split()
_PATIENT = r"(?:patients?|pacientes?|pazienti?|subjects?|sujets?|sujetos?|persons?|mrn|pid|pat)"
_ID = r"(?:ids?|identifiers?|no|nr|num|numbers?|key|uid|code|hash)"
# An id of a patient: not an age, a class or a birth date.
PATIENT_NAMES = re.compile(rf"(?:.*[_ -])?{_PATIENT}(?:[_ -]?{_ID})*")
# Whatever is about a patient is the last choice for the id of a study.
OF_PATIENT = re.compile(rf"(?:.*[_ -])?{_PATIENT}(?:[_ -]?.*)?")
PROJECTION_NAMES = re.compile(r"(?:.*[_ -])?(?:projection|view|view_?position)s?")
REPORT_NAMES = (
    "report report_text radiology_report full_report reporttext findings text narrative".split()
)
# Parts of a report that a table may also have in columns of their own.
SECTION_NAMES = re.compile(
    r"(?:.*[_ -])?(?:report|text|findings?|impressions?|conclusions?|indications?|history|"
    r"technique|comparisons?|examinations?|exam|problems?|mesh|diagnos[ei]s|comments?)"
)
REFERENCE_NAMES = frozenset(
    "ref reference references annotation annotations annotated curated curator gold label labels "
    "region regions target manual".split()
)


def key(name: str) -> str:
    return name.strip().casefold()


def parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", key(name)) if part]
