"""What models answer in practice, as people report it: every answer is an annotation as it was
meant, or a failure with its reason.
"""

import json
from pathlib import Path

import pytest
from conftest import NAMES, REGIONS, annotation, is_whole, parse

from xraygen.prompting.conversation import completion
from xraygen.prompting.region_names import is_metadata
from xraygen.prompting.silence import says_nothing

pytest.importorskip("json_repair")
SAID = annotation(heart="Normal in size.", lung="Both lungs clear.")
FULL = completion(SAID)
DRAFT = completion(annotation(bone="Broken?", heart="Large?", lung="?"))
CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
CUT = "the JSON of the answer ends too early"


def read(answer: str, ended: bool = True) -> tuple[dict[str, str], bool]:
    """Texts of the regions that have one, and whether the answer was repaired."""
    annotation, repaired = parse(answer, ended)
    return {region: text for region, text in annotation.items() if text}, repaired


def reason(answer: str, ended: bool = True) -> str:
    with pytest.raises(ValueError) as error:
        parse(answer, ended)
    return str(error.value)


# Cut answers


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        *(FULL[:end] for end in range(2, len(FULL), 7)),
        FULL[:-1],
        FULL.replace('"', "'")[:-1],
        FULL[:-20].replace('"', "'"),
        '{"bone":' + "\n" * 60,
        '{"bone": ["None", "No frac',
        '{"heart": {"finding": "Normal in si',
        f'{{"annotation": {FULL[:-2]}',
        '{"annotation": {"heart": "Normal in size."}',
        '[{"heart": "Normal in size."}, {"lung": "Both',
        '[{"heart": "Normal in size."}, {"lung": "Both lungs clear."}',
        '{"heart": "Normal in size."}\n{"lung": "Both',
        f"```json\n{FULL[:50]}",
        f"A draft: {DRAFT}\nThe final answer: {FULL[:60]}",
        f"A draft: {DRAFT}\nThe final answer: {FULL[:60]}".replace('"', "'"),
    ],
)
def test_json_that_has_no_end_is_a_failure_whatever_the_finish_reason(answer, ended):
    assert reason(answer, ended).startswith(
        ("the JSON of the answer", "damaged JSON")
    ) and not is_whole(answer)


@pytest.mark.parametrize(
    "answer",
    [
        FULL,
        f"```json\n{FULL}\n``",
        f"{FULL}\nIn other words, the hea",
        f"{FULL}\n{FULL[:60]}",
        f'{{"annotation": {FULL}',
        f"[{FULL}, {{",
    ],
)
def test_a_whole_annotation_before_the_cut_is_one(answer):
    assert parse(answer, ended=False)[0] == parse(answer)[0] == SAID


def test_of_pieces_before_the_cut_all_regions_have_to_be_there():
    pieces = [json.dumps({region: SAID[region]}) for region in REGIONS]
    assert parse("\n".join(pieces), ended=False)[0] == SAID
    assert (
        reason("\n".join(pieces[:3]), ended=False) == CUT
        and parse("\n".join(pieces[:3]))[0] == SAID
    )
    assert read('{"heart": "Normal in size."} It was said that', ended=False) == (
        {"heart": "Normal in size."},
        False,
    )


# Names of regions


@pytest.mark.parametrize(
    ("region", "keys"),
    [
        (
            "bone",
            "Bones|BONE|**bone**|bony structures|osseous_structures|boneFindings|Skeleton|"
            "Thoracic spine|Ribs|musculoskeletal|bone:",
        ),
        (
            "heart",
            "Heart|cardiac|**Heart:**|heart_size|Cardiac silhouette|Cardiovascular|1. Heart|"
            "`heart`|heartRegion",
        ),
        (
            "lung",
            "Lungs|LUNGS|Lungs and pleura|Lungs/Pleura|lung_fields|pulmonary|Pleura|Pleural spaces|"
            "lungs & pleura|Left lung|Airways",
        ),
        (
            "mediastinal",
            "Mediastinum|mediastinum_and_hila|Mediastinal contours|Hila|Aorta|Mediastinum/Hilum|"
            "great vessels",
        ),
        (
            "others",
            "Other|Other findings|other_findings|otherFindings|Others (devices)|Miscellaneous|"
            "Lines and tubes|Soft tissues|OTHERS",
        ),
    ],
)
def test_usual_names_of_a_region_are_understood(region, keys):
    for key in keys.split("|"):
        assert NAMES.region_of(key) == region, key
        assert read(json.dumps({key: "Some words."})) == ({region: "Some words."}, True), key


@pytest.mark.parametrize(
    "key",
    [
        "Heart and mediastinum",
        "cardiomediastinal silhouette",
        "bones and soft tissues",
        "Diaphragm",
        "Herz",
        "findings",
        "",
    ],
)
def test_what_is_no_region_or_two_of_them_is_not_understood(key):
    assert NAMES.region_of(key) is None


def test_text_under_a_key_that_is_no_region_makes_the_answer_unreadable_and_the_key_is_named():
    for answer in (
        {"heart": "Large.", "Diaphragm": "Flat."},
        {"heart": "Large.", "Diaphragm": ["Flat."]},
        {"heart": "Large.", "Diaphragm": {"left": "Flat."}},
        {"findings": {"heart": "Large."}, "Diaphragm": "Flat."},
        SAID | {"Diaphragm": "Flat."},
        [{"heart": "Large."}, {"Diaphragm": "Flat."}],
        [{"region": "heart", "finding": "Large."}, {"region": "Diaphragm", "finding": "Flat."}],
    ):
        assert reason(json.dumps(answer)).startswith(
            "the JSON of the answer has text under a key that is no region: '"
        ), answer
    assert "'Diaphragm'" in reason('{"heart": "Large.", "Diaphragm": "Flat."}')
    assert reason('{"Herz": "Normal."}') == "the JSON of the answer names no region: 'Herz'"


def test_a_sentence_that_has_become_a_key_is_not_shown():
    assert "effusion" not in reason(
        '{"heart": "Large.", "There is a large left effusion today": "yes"}'
    )


def test_what_is_usual_beside_an_annotation_is_left_out_and_counts_as_repaired_where_it_is_text():
    assert parse(
        json.dumps(SAID | {"reasoning": "I read it.", "study_id": "x", "confidence": 0.9})
    ) == (SAID, True)
    assert parse(json.dumps(SAID | {"confidence": 0.9, "flags": []})) == (SAID, False)
    assert parse(json.dumps(SAID | {"Diaphragm": "", "Chest wall": "N/A"})) == (
        SAID,
        True,
    )
    assert is_metadata("Thought process") and not is_metadata("Diaphragm")


def test_several_names_of_one_region_are_put_together():
    said = {"lung": "Both lungs clear. No effusion.", "heart": "Normal in size."}
    assert read(
        '{"Lungs": "Both lungs clear.", "Heart": "Normal in size.", "Pleura": "No effusion."}'
    ) == (said, True)
    assert read('{"bone": "", "bones": "Old fracture."}') == ({"bone": "Old fracture."}, True)
    assert read('{"lung": "Both lungs clear.", "lung": "No effusion."}') == (
        {"lung": "Both lungs clear. No effusion."},
        True,
    )


# Forms


@pytest.mark.parametrize(
    "answer",
    [
        '{"findings": FULL}',
        '{"annotation": FULL, "impression": "Normal chest."}',
        '{"result": {"annotations": [FULL]}}',
        '[{"region": "heart", "finding": "Normal in size."},'
        ' {"region": "Lungs", "finding": "Both lungs clear."}]',
        '{"annotations": [{"organ": "Heart", "description": "Normal in size."},'
        ' {"organ": "lung", "description": "Both lungs clear."}]}',
        '{"heart": {"finding": "Normal in size."}, "lung": {"findings": ["Both lungs clear."],'
        ' "confidence": 0.8}}',
        '{"heart": [{"text": "Normal in size."}], "lung": ["Both", "lungs clear."],'
        ' "bone": null, "others": [], "mediastinal": {}}',
        '{"heart": "Normal in size.", "lung": "Both lungs clear.", "bone": NaN}',
        '{"name": "annotate", "arguments": {"heart": "Normal in size.",'
        ' "lung": "Both lungs clear."}}',
        '{"name": "annotate", "arguments": "{\\"heart\\": \\"Normal in size.\\",'
        ' \\"lung\\": \\"Both lungs clear.\\"}"}',
        '{**Heart:** "Normal in size.", **Lungs:** "Both lungs clear."}',
        "{'Cardiac': 'Normal in size.', 'Pulmonary': 'Both lungs clear.',}",
    ],
)
def test_nested_objects_records_and_lists_are_read(answer):
    assert parse(answer.replace("FULL", FULL))[0] == SAID


@pytest.mark.parametrize(
    "value",
    [
        3,
        0.5,
        True,
        {"size": "large"},
        ["large", 3],
        {"finding": "x", "text": "y"},
        {"finding": "x", "site": "apex"},
        [[{"a": "b"}]],
    ],
)
def test_a_value_that_is_no_text_is_a_failure(value):
    assert reason(json.dumps({"heart": value, "lung": "Clear."})) == "heart: not a text"


# Several objects


@pytest.mark.parametrize("between", ["\n", "", ",\n", "\n\n", " and ", "\n```\n```json\n"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_objects_that_complement_each_other_are_put_together(between, quote):
    pieces = [json.dumps({region: SAID[region]}) for region in REGIONS]
    assert parse(between.join(pieces).replace('"', quote)) == (SAID, True)
    assert parse(between.join(pieces[1:3]).replace('"', quote)) == (SAID, True)


def test_one_damaged_line_among_others_is_not_lost():
    assert parse(
        '{"bone": ""}\n{"heart": "Normal in size.",}\n{\'lung\': \'Both lungs clear.\'}\n'
        '{"others": ""}'
    ) == (SAID, True)


def test_a_list_of_objects_is_one_annotation():
    pieces = [{region: SAID[region]} for region in REGIONS]
    assert parse(json.dumps(pieces)) == (SAID, True)
    alone = [dict.fromkeys(REGIONS, "") | piece for piece in pieces]
    assert parse(json.dumps(alone)) == (SAID, True), "each with all keys and its own text"
    records = [
        {"region": "lung", "finding": "Clear."},
        {"region": "heart", "finding": "Large."},
        {"region": "lung", "finding": "No effusion."},
    ]
    assert read(json.dumps(records)) == ({"lung": "Clear. No effusion.", "heart": "Large."}, True)


# Drafts


@pytest.mark.parametrize(
    "answer",
    [
        *(
            f"<{mark}>Perhaps DRAFT</{mark}>FULL"
            for mark in (
                "think",
                "thinking",
                "reasoning",
                "Thought",
                "analysis",
                "seed:think",
                "reflection",
            )
        ),
        "DRAFT, then</think>\n\nFULL",
        "[THINK]DRAFT[/THINK]FULL",
        "◁think▷DRAFT◁/think▷FULL",
        "<|begin_of_thought|>DRAFT<|end_of_thought|><|begin_of_solution|>FULL<|end_of_solution|>",
        "<|START_THINKING|>DRAFT<|END_THINKING|>FULL",
        "<unused94>thought DRAFT<unused95>FULL",
        "<|channel|>analysis<|message|>DRAFT<|end|><|start|>assistant"
        "<|channel|>final<|message|>FULL<|return|>",
        "<|channel|>analysis<|message|>DRAFT<|end|><|channel|>commentary<|message|>DRAFT<|end|>"
        "<|start|>assistant<|channel|>final <|constrain|>json<|message|>FULL",
        "analysisWe need JSON, say DRAFT.assistantfinalFULL",
        "DRAFT\n\nFinal answer: FULL",
        "Draft:\n```json\nDRAFT\n```\nCorrected:\n```json\nFULL\n```\nI hope this helps!",
        "<answer>FULL</answer>",
        "\\boxed{FULL}",
        'First {"heart": "Large?"}, but no. FULL',
        "{'heart': 'Large?',} FULL",
        "DRAFT\nFULL\nFULL",
    ],
)
def test_the_answer_proper_is_read_and_not_the_draft(answer):
    assert parse(answer.replace("DRAFT", DRAFT).replace("FULL", FULL)) == (SAID, False)


@pytest.mark.parametrize(
    "answer",
    [
        "<think>DRAFT",
        "<think>x</think><thinking>DRAFT",
        "[THINK]DRAFT",
        "◁think▷DRAFT",
        "<|channel|>analysis<|message|>DRAFT",
        "analysisSo, DRAFT",
    ],
)
def test_thinking_that_has_not_ended_is_no_answer(answer):
    assert (
        reason(answer.replace("DRAFT", DRAFT))
        == "the answer ended while still thinking; raise max_tokens"
    )
    assert not is_whole(answer.replace("DRAFT", DRAFT))


def test_a_correction_of_a_part_is_ambiguous_and_no_answer():
    assert reason(f'{FULL} No, wait: {{"heart": "Large."}}') == "the answer contradicts itself"
    assert read('{"heart": "Large."} No, wait: {"heart": "Normal."}') == (
        {"heart": "Normal."},
        False,
    )


@pytest.mark.parametrize(
    "form",
    [
        "...",
        "…",
        "<text>",
        "<what the report says>",
        "string",
        "text",
        "[text]",
        "your text here",
        "[findings]",
    ],
)
def test_a_form_to_be_filled_in_is_no_annotation(form):
    template = json.dumps(dict.fromkeys(REGIONS, form), ensure_ascii=False)
    for answer in (
        f"The form is {template}.\n{FULL}",
        f"{template}\n{FULL}",
        f"{FULL}\n(Form: {template})",
        f"[{template}, {FULL}]",
    ):
        assert parse(answer)[0] == SAID, answer
    assert reason(
        template
    ) == "the answer only repeats the form that was asked for" and not is_whole(template)
    assert read(json.dumps({"heart": form, "lung": "Clear."})) == ({"lung": "Clear."}, True)


def test_a_repeated_schema_is_no_annotation():
    schema = json.dumps(
        {
            "type": "object",
            "properties": {region: {"type": "string"} for region in REGIONS},
            "required": [*REGIONS],
        }
    )
    assert parse(f"{schema}\n{FULL}")[0] == parse(f"By the schema {schema}: {FULL}")[0] == SAID
    assert reason(schema) == "the answer only repeats the form that was asked for"


def test_an_answer_is_whole_when_all_regions_are_there():
    assert (
        is_whole(FULL)
        and is_whole(f"<think>{DRAFT}</think>{FULL}")
        and is_whole("\n".join(json.dumps({r: ""}) for r in REGIONS))
    )
    assert (
        not is_whole('{"bone": ""}')
        and not is_whole('{"bone": ""}\n{"heart": ""}')
        and not is_whole("")
    )


# Silence

SILENT = (
    "N/A|n/a.|NA|N.A.|(n/a)|None|none.|NONE|(none)|[None]|<NA>|nil|Null|nan|NaN|-|--|.|?|nothing|"
    "Nothing.|unknown|empty|Not mentioned.|"
    "Not mentioned in the report.|not described|Not reported|Not specified.|Not applicable|"
    "Not available|Not addressed|Not explicitly mentioned|"
    "No mention.|No mention of the bones.|There is no mention of the heart in the report.|"
    "Nothing mentioned|None mentioned.|None reported|"
    "No findings mentioned.|No bone findings mentioned.|"
    "No specific findings were described for this region.|No information.|"
    "No information provided|No data|No comment.|The heart is not mentioned.|Bones not mentioned|"
    "N/A - not mentioned|None (not mentioned)|"
    "The report does not mention the mediastinum.|Nothing is said about the bones.|“None”"
).split("|")
SPOKEN = (
    "Unremarkable.|Normal|No findings|No fracture.|None seen.|No abnormality.|No acute findings.|"
    "Clear|unchanged|Nothing acute.|"
    "No mention was made of pain, lungs are clear.|Not enlarged.|Bones not well evaluated.|"
    "No abnormal findings reported.|Not mentioned. "
    "Heart is large.|Pneumothorax not described before is seen.|nan lung|Stable|正常"
).split("|")


@pytest.mark.parametrize("text", SILENT)
def test_words_for_silence_are_silence_and_count_as_repaired(text):
    assert says_nothing(text)
    assert read(
        json.dumps({"bone": text, "heart": "Large.", "lung": [text]}, ensure_ascii=False)
    ) == ({"heart": "Large."}, True)


@pytest.mark.parametrize("text", SPOKEN)
def test_what_is_said_of_the_picture_is_no_silence(text):
    assert not says_nothing(text) and read(json.dumps({"bone": text})) == ({"bone": text}, False)


# ../shared/cases


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases at ../shared/cases")
@pytest.mark.parametrize(
    "case",
    [
        "4-cut-answers",
        "5-region-names",
        "6-several-objects",
        "7-drafts-before-the-answer",
        "8-words-for-silence",
    ],
)
def test_the_shared_cases(case):
    for line in (CASES / case / "answers.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        ended = told.get("finish_reason", "stop") == "stop"
        if case == "4-cut-answers":
            assert reason(told["content"], ended) == CUT
        elif isinstance(told["should"], dict):
            assert parse(told["content"], ended)[0] == told["should"]
        else:
            assert read(told["content"])[0].keys() == {"heart", "lung"}


@pytest.mark.parametrize(
    "aside",
    [
        {"confidence": {"lung": "high"}},
        {"confidence": {"lung": 0.9}},
        {"reasoning": {"lung": "It is said so."}},
    ],
)
def test_an_object_beside_the_annotation_adds_nothing_to_it(aside):
    expected = {"lung": "Clear.", "heart": "Large."}
    assert read(json.dumps(expected | aside)) == (expected, True)
    assert read(json.dumps(aside | expected)) == (expected, True)
    assert read(json.dumps({"report": expected}))[0] == expected


@pytest.mark.parametrize(
    "answer",
    [
        '{"region": "lung", "finding": "Clear."}\n{"region": "hea',
        '{"lung": "Clear."}\n{"hea',
        '- {"region": "lung", "finding": "Clear."}\n- {"region": "heart", "finding": "Lar',
    ],
)
def test_an_object_that_breaks_off_after_another_is_a_cut_answer(answer):
    assert reason(answer) == CUT


def test_one_record_of_an_answer_that_was_stopped_is_not_all_of_it():
    assert reason('{"region": "lung", "finding": "Clear."}\n', ended=False) == CUT


@pytest.mark.parametrize(
    "marks", [("1. ", "2. ", "3. "), ("- ", "- ", "- "), ("1) ", "2) ", "3) "), ("", "", "")]
)
def test_items_of_a_list_are_put_together(marks):
    items = [("lung", "Left effusion."), ("lung", "Nodule."), ("heart", "Large.")]
    lines = [json.dumps({"region": region, "text": text}) for region, text in items]
    answer = "\n".join(mark + line for mark, line in zip(marks, lines, strict=True))
    assert read(answer)[0] == {"lung": "Left effusion. Nodule.", "heart": "Large."}


@pytest.mark.parametrize("tag", ["reasoning", "think", "analysis"])
def test_thinking_after_the_answer_takes_nothing_from_it(tag):
    assert parse(f"{FULL}\n<{tag}>Because it is said.</{tag}>")[0] == SAID
    with pytest.raises(ValueError):
        parse(f"<{tag}>{FULL}</{tag}>")


def test_a_key_for_the_status_of_a_region_is_not_its_text():
    assert "lung status" in reason('{"lung": "Clear.", "lung status": "normal"}')
