"""The records: what they refuse, what survives a round trip, and that a case cannot carry a
reference.
"""

import pytest
from conftest import REGIONS, annotation
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl, write_jsonl
from xraygen.core.study import SPLITS, AnnotationRecord, Case, ErrorCounts, Image, Judgement, Study

text = st.text(max_size=40)
annotations = st.builds(annotation, **{region: text for region in REGIONS})
images = st.builds(
    Image, path=text.filter(bool), projection=st.sampled_from(["frontal", "lateral", "unknown"])
)
studies = st.builds(
    Study,
    id=text.filter(bool),
    uid=text,
    split=st.sampled_from(SPLITS),
    report=text,
    images=st.lists(images, max_size=3).map(tuple),
    reference=st.none() | annotations,
    novel=st.none() | st.booleans(),
)


@given(records=st.lists(studies, max_size=5))
def test_any_study_survives_the_file(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("studies") / "studies.jsonl"
    assert write_jsonl(path, records) == len(records)
    assert list(read_jsonl(path, Study)) == records


@given(study=studies)
def test_a_case_carries_nothing_of_the_reference(study):
    marked = study.model_copy(update={"reference": annotation(lung="PLANTED")})
    assert "PLANTED" not in marked.case().model_dump_json().replace(study.report, "")
    assert set(Case.model_fields) == {"id", "report", "images"}


def test_unknown_fields_regions_and_verdicts_are_refused():
    with pytest.raises(ValidationError):
        Case(id="a", report="r", reference="x")
    with pytest.raises(ValueError, match="lungs: no such region"):
        annotation(lungs="x")
    with pytest.raises(ValidationError):
        Judgement(
            id="a",
            region="lung",
            reference="",
            candidate="",
            score=1,
            verdict="fine",
            judge="proxy",
        )


def test_records_cannot_be_changed():
    with pytest.raises(ValidationError):
        ErrorCounts().a = 1


@pytest.mark.parametrize(
    "line", ['{"id": ""}', "[]", "{", '{"id": "b", "annotation": {"lungs": ""}}']
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "annotations.jsonl"
    path.write_text('{"id": "a", "annotation": null, "error": "none"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"annotations\.jsonl:2: not a AnnotationRecord record"):
        list(read_jsonl(path, AnnotationRecord, REGIONS))
