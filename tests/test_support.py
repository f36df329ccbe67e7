"""How a report supports what is said of it: which texts it supports, where, and how much an
approach invents.
"""

import random
from collections.abc import Iterator

import pytest
from conftest import REGIONS, annotation, project_of
from hypothesis import given
from hypothesis import strategies as st

from xraygen.annotators.base import Annotator, Settings
from xraygen.annotators.load import Checked
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, Evidence, Study
from xraygen.evaluation.evaluate import metrics
from xraygen.evaluation.support import added, section, shares
from xraygen.language.support import Report
from xraygen.language.text import tokens
from xraygen.sources.phantom import phantom

REPORT = (
    "The cardiomediastinal silhouette is within normal limits. There is a small left pleural "
    "effusion and a large right pneumothorax.\nNo focal consolidation or pulmonary edema is seen. "
    "Mild degenerative changes of the thoracic spine. The XXXX are intact."
)


def words_of(report: str, text: str) -> list[str]:
    """The parts of the report that a text came from."""
    return [report[start:end] for start, end in Report(report).support(text).spans]


def support_of(report: str, text: str) -> str | None:
    return Report(report).support(text).support


@pytest.mark.parametrize(
    "text, where",
    [
        ("Mild degenerative changes of the thoracic spine.", None),
        ("MILD  degenerative\nchanges, of the thoracic spine", None),
        ("Small left pleural effusion.", "small left pleural effusion"),
        ("No focal consolidation or pulmonary edema is seen", None),
    ],
)
def test_words_that_stand_in_the_report_in_that_order_are_verbatim(text, where):
    assert support_of(REPORT, text) == "verbatim"
    (there,) = words_of(REPORT, text)
    assert tokens(there) == tokens(where or text)


@pytest.mark.parametrize(
    "text",
    [
        "The cardiac silhouette is within normal limits.",
        "Mediastinal contours are normal.",
        "Heart size is normal.",
        "There are mild degenerative changes in the spine.",
        "Degenerative change of the thoracic spine, mild.",
        "Left-sided pleural effusion, small in size.",
        "There is no consolidation.",
        "No pulmonary edema.",
        "Lungs without edema or consolidation.",
        "Large pneumothorax on the right.",
        "The bones are intact.",  # where the report has a removed word
    ],
)
def test_the_same_in_other_words_is_reworded(text):
    report = f"{REPORT} The lungs are expanded."
    assert support_of(report, text) == "reworded"
    assert words_of(report, text)


@pytest.mark.parametrize(
    "text",
    [
        "Healed fracture of the left sixth rib.",  # a finding
        "Small right pleural effusion.",  # a side: right is that of the pneumothorax
        "Large left pleural effusion.",  # a severity: likewise
        "Severe degenerative changes of the thoracic spine.",
        "No pleural effusion.",  # a negation, either way
        "Pulmonary edema.",
        "Focal consolidation or pulmonary edema is seen.",  # verbatim but for the word before
        "The heart is enlarged.",
        "Cardiomegaly.",
        "No pericardial effusion.",
        "Small left pleural effusion measuring 3 cm.",
        "Mild degenerative changes of the left shoulder.",
    ],
)
def test_what_the_report_does_not_state_is_unsupported_and_has_no_span(text):
    assert support_of(REPORT, text) == "unsupported"
    assert not words_of(REPORT, text)


@pytest.mark.parametrize(
    "report, text, support",
    [
        ("The heart is not enlarged.", "Heart size is normal.", "reworded"),
        ("Heart size is normal.", "No cardiomegaly.", "reworded"),
        ("Effusion is not seen.", "No effusion.", "reworded"),
        ("Effusion is not seen.", "Effusion is seen.", "unsupported"),
        ("Bilateral effusions.", "Right effusion.", "reworded"),
        ("Right effusion.", "Bilateral effusions.", "unsupported"),
        ("Left and right effusions.", "Left effusion.", "reworded"),
        ("No effusion, but there is edema.", "There is edema.", "verbatim"),
        ("No effusion, but there is edema.", "No edema.", "unsupported"),
        ("No change in the effusion.", "Effusion.", "verbatim"),
        ("A nodule of 1.9 cm.", "A 1.9 cm nodule.", "reworded"),
        ("A nodule of 1.9 cm.", "A 2.9 cm nodule.", "unsupported"),
        ("XXXX left effusion.", "Right left effusion.", "unsupported"),
        ("XXXX opacity.", "No opacity.", "unsupported"),
    ],
)
def test_negation_side_number_and_removed_words(report, text, support):
    assert support_of(report, text) == support


def test_a_text_is_what_its_worst_sentence_is_and_spans_are_of_the_supported_ones():
    text = "Small left pleural effusion. No edema. Rib fracture."
    assert support_of(REPORT, "Small left pleural effusion.") == "verbatim"
    assert support_of(REPORT, "Small left pleural effusion. No edema.") == "reworded"
    assert support_of(REPORT, text) == "unsupported"
    assert words_of(REPORT, text) == ["small left pleural effusion", "edema"]
    assert support_of(REPORT, "Rib fracture. No edema.") == "unsupported"


@pytest.mark.parametrize("report, text", [("", "Clear lungs."), (" .", "Clear."), (REPORT, "")])
def test_without_a_text_or_a_report_there_is_no_support(report, text):
    assert Report(report).support(text) == (None, ())


@pytest.mark.parametrize(
    "before", ["", "İstanbul İİİ. ", "ẞ Straße. ", "胸部X線。\n", "1. First. 2) ", "Am 5\u00a0mm. "]
)
def test_offsets_are_those_of_the_report_as_given(before):
    """The lower case of İ is longer than it."""
    report = f"{before}Lungs İn \t clear state. Heart normal."
    assert words_of(report, "Heart normal.") == ["Heart normal"]
    assert words_of(report, "clear state") == ["clear state"]
    assert words_of(report, "Heart is normal. Lungs İn.") == ["Lungs İn", "Heart normal"]
    assert words_of(report, "Heart is normal. State is clear.") == ["clear state. Heart normal"]


def test_a_report_in_lines_of_one_width_is_read_as_sentences():
    report = (
        "There has been interval development of a small pleural\n"
        "effusion on the left side of the chest. There is no focal\n"
        "consolidation.\nBones: intact\nheart: normal"
    )
    assert support_of(report, "A small pleural effusion.") == "verbatim"
    assert support_of(report, "Consolidation.") == "unsupported"
    assert words_of(report, "Small effusion.") == ["small pleural\neffusion"]
    assert support_of(report, "Heart normal.") == "verbatim"


def test_a_sentence_that_a_list_marker_interrupts_is_found_whole():
    report = "Nodule of approx.\n- five mm. Heart normal."
    assert words_of(report, "Heart normal") == ["Heart normal"]
    (there,) = words_of(report, "Nodule of approx. five mm.")
    assert there == "Nodule of approx.\n- five mm."


@given(st.text(max_size=80), st.text(max_size=80))
def test_spans_are_parts_of_any_report(report, text):
    for said in (text, report, report.upper()):
        support, spans = Report(report).support(said)
        assert list(spans) == sorted(set(spans))
        assert all(0 <= start < end <= len(report) for start, end in spans)
        assert all(left[1] < right[0] for left, right in zip(spans, spans[1:], strict=False))
        assert (support is None) == (not tokens(report) or not tokens(said)) or not spans


class Given(Annotator):
    """Yields the records that it was given."""

    def __init__(self, records: list[AnnotationRecord], root) -> None:
        super().__init__(Settings(annotator="x", reads="models/x"), project_of(root))
        self.records = records

    def __call__(self, cases) -> Iterator[AnnotationRecord]:
        for _, record in zip(cases, self.records, strict=True):
            yield record


def checked(records: list[AnnotationRecord], reports: list[str], root) -> list[AnnotationRecord]:
    cases = [Case(id=r.id, report=report) for r, report in zip(records, reports, strict=True)]
    return list(Checked(Given(records, root), share=1)(cases))


def test_every_record_has_evidence_for_every_region_and_keeps_confidences(tmp_path):
    texts = {"lung": "No pulmonary edema.", "heart": "Cardiomegaly."}
    confidences = {"lung": Evidence(confidence=0.8), "bone": Evidence(confidence=0.25)}
    records = [
        AnnotationRecord(id="a", annotation=texts, evidence=confidences),
        AnnotationRecord(id="b", annotation=None, error="none"),
        AnnotationRecord(id="c", annotation=texts),
    ]
    one, failed, unreported = checked(records, [REPORT, REPORT, ""], tmp_path)
    assert list(one.evidence) == list(REGIONS)
    assert one.evidence["bone"] == Evidence(confidence=0.25)
    assert one.evidence["heart"] == Evidence(support="unsupported")
    lung = one.evidence["lung"]
    assert (lung.support, lung.confidence) == ("reworded", 0.8)
    assert [REPORT[start:end] for start, end in lung.spans] == ["pulmonary edema"]
    assert failed.evidence == {}
    assert unreported.evidence == dict.fromkeys(REGIONS, Evidence())
    again = AnnotationRecord.model_validate_json(one.model_dump_json())
    assert again == one


def test_evidence_for_a_region_that_is_not_declared_is_an_error(tmp_path):
    record = AnnotationRecord(id="a", annotation={}, evidence={"spleen": Evidence()})
    with pytest.raises(UserError, match=r"study a: evidence\.spleen: no such region"):
        checked([record], [REPORT], tmp_path)


def studies(count: int) -> list[Study]:
    made = [phantom(3, k) for k in range(count)]
    return [
        Study(id=m.id, uid=m.uid, split="test", report=m.report, reference=m.reference, novel=True)
        for m in made
    ]


def records_of(members: list[Study], texts: list[dict], root) -> list[AnnotationRecord]:
    records = [
        AnnotationRecord(id=study.id, annotation=said)
        for study, said in zip(members, texts, strict=True)
    ]
    return checked(records, [study.report for study in members], root)


INVENTED = {
    "pneumothorax": "Moderate right-sided pneumothorax.",
    "clavicle": "Healing fracture of the left clavicle.",
    "emphysema": "Severe emphysema.",
    "hernia": "Large hiatal hernia.",
    "mass": "A 4.1 cm mass in the left upper lobe.",
}


def test_one_finding_added_to_one_region_in_ten_is_measured_as_ten_percent(tmp_path):
    members = studies(250)
    texts = [dict(study.reference) for study in members]
    assert shares(records_of(members, texts, tmp_path), 100, 0)["unsupported"] <= 0.001
    said = [(row, region) for row, one in enumerate(texts) for region in one if one[region]]
    draw = random.Random(0)
    for row, region in draw.sample(said, len(said) // 10):
        stated = set(tokens(members[row].report))
        absent = sorted(INVENTED.keys() - stated)
        texts[row][region] += f" {INVENTED[draw.choice(absent)]}"
    found = shares(records_of(members, texts, tmp_path), 500, 0)
    assert 0.09 <= found["unsupported"] <= 0.11
    assert found["ci_low"] < 0.1 < found["ci_high"] and found["texts"] == len(said)


def record(id: str, **support: str) -> AnnotationRecord:
    evidence = {region: Evidence(support=support.get(region)) for region in REGIONS}
    return AnnotationRecord(id=id, annotation=annotation(), evidence=evidence)


def test_shares_are_of_all_texts_and_by_region():
    records = [
        record("a", heart="verbatim", lung="unsupported"),
        record("b", heart="reworded", lung="unsupported", bone="unsupported"),
        record("c", heart="verbatim"),
        AnnotationRecord(id="d", annotation=None, error="none"),
    ]
    found = shares(records, 200, 0)
    assert (found["texts"], found["unsupported"], found["reworded"]) == (6, 0.5, 0.166667)
    assert {region: cell["texts"] for region, cell in found["regions"].items()} == {
        **dict.fromkeys(REGIONS, 0),
        "heart": 3,
        "lung": 2,
        "bone": 1,
    }
    assert found["regions"]["heart"]["unsupported"] == 0
    assert found["regions"]["lung"]["unsupported"] == 1
    assert found["regions"]["others"] == {
        "texts": 0,
        "unsupported": None,
        "ci_low": None,
        "ci_high": None,
    }
    for silent in ([], [AnnotationRecord(id=id, annotation=annotation()) for id in "ab"]):
        empty = shares(silent, 200, 0)  # the warning of an empty mean would be an error
        assert (empty["texts"], empty["unsupported"], empty["ci_low"]) == (0, None, None)


def test_nothing_found_in_few_studies_does_not_make_the_interval_a_point():
    records = [record(str(k), heart="verbatim", lung="verbatim") for k in range(30)]
    found = shares(records, 200, 0)
    # The rule of three, two-sided: 1 - 0.025 ** (1 / 30), for studies and not for texts.
    assert (found["ci_low"], found["ci_high"]) == (0, pytest.approx(0.1157, abs=1e-4))


def test_the_interval_is_over_studies_whose_texts_go_together():
    """Studies that are wrong in all regions tell less than the same number of texts of different
    studies.
    """
    kinds = ("verbatim", "unsupported")
    together = [record(str(k), **dict.fromkeys(REGIONS, kinds[k % 2])) for k in range(40)]
    apart = [
        record(str(k), **{region: kinds[(k + i) % 2] for i, region in enumerate(REGIONS)})
        for k in range(40)
    ]
    widths = []
    for records in (together, apart):
        found = shares(records, 500, 0)
        assert found["unsupported"] == pytest.approx(0.5, abs=0.01)
        widths.append(found["ci_high"] - found["ci_low"])
    assert widths[0] > 2 * widths[1]


def test_a_comparison_shows_it_and_metrics_have_one_number_of_it(tmp_path):
    members = studies(12)
    members[0] = members[0].model_copy(update={"novel": False})
    texts = [dict(study.reference) for study in members]
    texts[0]["lung"] = "Severe emphysema."
    records = records_of(members, texts, tmp_path)
    cells = {"macro": {"score": 0.5, "token_f1": 0.5, "unscored": 0}, "failed_annotations": 0}
    blank = {"judge": "proxy", "about": "…", "test": cells, "test_novel": cells}
    summary = added(blank, {"test": members}, {"test": records}, 100, 0)
    texts_said = sum(bool(text) for one in texts for text in one.values())
    assert summary["test"]["support"]["texts"] == texts_said
    assert metrics(summary)["test"]["unsupported"] == pytest.approx(1 / texts_said, abs=1e-6)
    assert metrics(summary)["test_novel"]["unsupported"] == 0
    title, table, about = section({"one": summary, "old": blank})
    (row,) = table.splitlines()[2:]
    share = f"{100 / texts_said:.1f} % ["
    assert title == "## Support by the report" and share in row and row.startswith("| one ")
    regional = dict(zip(REGIONS, [cell.strip() for cell in row.split("|")[5:-1]], strict=True))
    assert regional["lung"] == "8.3 %" and regional["heart"] == "0.0 %"  # 1 of 12
    assert "other words" in " ".join(about.split())
    assert section({"old": blank}) == []
