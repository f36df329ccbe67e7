"""Reviewed references in the graph: `prepare` uses data/references/references.jsonl."""

from pathlib import Path

import pytest
import yaml
from conftest import REGIONS, annotation

from stages import prepare as prepare_stage
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, read_jsonl, write_jsonl
from xraygen.core.study import Study
from xraygen.sources.prepare import agreement
from xraygen.sources.reviewed import (
    REFERENCES,
    ReviewedReference,
    as_curated,
    describe_reviewed,
    merge,
    read_reviewed,
)

SCORED = dict.fromkeys(REGIONS.scored, "as reviewed")


def study(id: str, split: str = "test", report: str = "report", **reference: str) -> Study:
    texts = annotation(**reference) if reference else None
    return Study(id=id, uid=id, split=split, report=report, reference=texts)


def reviewed(*rows: tuple[str, dict], **more) -> dict[str, ReviewedReference]:
    return {
        id: ReviewedReference(id=id, reference=texts, readers=("Ann",), **more)
        for id, texts in rows
    }


def test_reviewed_regions_replace_those_of_the_reference_and_nothing_else():
    studies = [study("S1", lung="clear", heart="big", others="tube"), study("S2", lung="fluid")]
    merged = merge(studies, reviewed(("S1", {"heart": "", "lung": "not clear"})), REGIONS)
    first, second = merged.studies
    assert first.reference == annotation(lung="not clear", others="tube")
    assert first.model_copy(update={"reference": None}) == studies[0].model_copy(
        update={"reference": None}
    )
    assert second == studies[1]
    assert merged.used.keys() == {"S1"} and merged.incidents == []


def test_a_study_without_a_reference_needs_all_scored_regions():
    few = {"lung": "clear"}
    merged = merge([study("S1"), study("S2")], reviewed(("S1", SCORED), ("S2", few)), REGIONS)
    assert [one.reference for one in merged.studies] == [annotation(**SCORED), None]
    assert merged.used.keys() == {"S1"}
    (incident,) = merged.incidents
    assert (incident.action, incident.kind, incident.id) == (
        "excluded",
        "reviewed_incomplete",
        "S2",
    )
    assert "bone, heart, mediastinal" in incident.detail


def test_an_id_that_no_study_has_is_an_incident_and_ids_of_another_form_are_a_mistake():
    studies = [study("S1", lung="clear")]
    merged = merge(studies, reviewed(("S1", SCORED), ("S77", SCORED)), REGIONS)
    assert [(one.kind, one.id) for one in merged.incidents] == [("reviewed_unknown", "S77")]
    with pytest.raises(UserError, match="study ids do not fit: .* like S1, .* like CXR-7;"):
        merge(studies, reviewed(("CXR-7", SCORED)), REGIONS)


def test_curators_agreement_is_about_what_curators_wrote():
    """The reviewed study is not held against the curators, and to others it is what its curator
    wrote.
    """
    texts = dict.fromkeys(("S1", "S2", "S4"), "lungs are clear") | {"S3": "clear"}
    studies = [study(id, report="same", lung=text) for id, text in texts.items()]
    merged = merge(studies, reviewed(("S2", {"lung": "small effusion"})), REGIONS)
    curated = as_curated(merged.studies, studies)
    assert curated == studies
    unreviewed = [one for one in merged.studies if one.id not in merged.used]
    found = agreement(unreviewed, curated, None, REGIONS.scored)
    assert found == [
        one for one in agreement(studies, studies, None, REGIONS.scored) if one.id != "S2"
    ]
    assert found[0].curators["lung"] == 1.0


def test_metrics_count_what_the_splits_have():
    used = reviewed(
        ("S1", SCORED), ("S2", {"lung": "x"}), settled=("lung",), approaches=("router",)
    )
    splits = {"test": [study("S1"), study("S3")], "val": [study("S4")]}
    facts = {"studies": 1, "test": 1, "regions": 4, "settled": 1, "approaches": "router"}
    assert describe_reviewed(splits, used) == {"reviewed": facts}
    blind = reviewed(("S4", {"lung": "x"}))
    facts |= {"studies": 2, "regions": 5, "unknown": 1}
    assert describe_reviewed(splits, used | blind) == {"reviewed": facts}
    assert describe_reviewed(splits, {}) == {}, "metrics/data.json is as it was"


def test_prepare_counts_the_reviewed_studies_that_the_sample_leaves(
    root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((root / "params.yaml").read_text())
    sizes = {"train": 2, "test": 4, "val": 1, "size": 112}
    content["data"] |= {"source": "phantom", "settings": {"phantom": sizes}}
    for sample in (None, 1):
        content["data"]["sample"] = {"test": sample}
        Path("params.yaml").write_text(yaml.safe_dump(content))
        prepare_stage.main("data/raw/phantom")
        ids = [one.id for one in read_jsonl("data/prepared/test.jsonl", Study)]
        write_jsonl(REFERENCES, reviewed(*((id, {"lung": "as reviewed"}) for id in ids)).values())
        said = capsys.readouterr().err
    assert len(ids) == 1 and f"{REFERENCES}: used for 1 studies" in said
    assert read_json("metrics/data.json")["reviewed"]["test"] == 1


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"id": "a", "reference": {"lung": "x"}, "readers": []}\n' * 2, "study a is there twice"),
        (
            '{"id": "a", "reference": {"spleen": "x"}, "readers": []}\n',
            "a: reference.spleen: no such",
        ),
        ('{"id": "a", "reference": {}, "readers": []}\n', ":1: not a ReviewedReference record"),
        ('\n{"id": "a", "refe', ":2: not a ReviewedReference record: Invalid JSON"),
    ],
)
def test_a_file_that_was_damaged_is_refused(tmp_path, text, said):
    path = tmp_path / "references.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_reviewed(path, REGIONS)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_that_dvc_tracks_must_be_there(tmp_path):
    path = tmp_path / "references.jsonl"
    assert read_reviewed(path, REGIONS) == {}
    (tmp_path / "references.jsonl.dvc").touch()
    with pytest.raises(UserError, match="missing, but DVC tracks it; .*`dvc pull`"):
        read_reviewed(path, REGIONS)
