"""Regions are what params.yaml declares: everything follows a declaration, and what does not fit
one is named in one line.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REGIONS, ROOT, project_of
from pydantic import ValidationError

from xraygen import params
from xraygen.annotators import release
from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.annotators.llm.dialect import forms_of
from xraygen.annotators.load import Checked
from xraygen.annotators.reader import Reader
from xraygen.annotators.router.annotator import RouterAnnotator, RouterSettings
from xraygen.annotators.router.router import RouterParams, fit
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.evaluation import evaluate
from xraygen.evaluation.scores import scores_of
from xraygen.judges.constant import fit as fit_constant
from xraygen.judges.proxy.proxy import Proxy
from xraygen.prompting.conversation import completion
from xraygen.prompting.json_answer import is_whole, parse
from xraygen.prompting.prompts import Prompts, PromptSettings
from xraygen.prompting.region_names import RegionNames
from xraygen.prompting.training_record import taught_regions

THREE = Regions.model_validate(
    {
        "airways": {"about": "lungs and airways", "also": ["lung", "pulmonary"]},
        "lines": {"about": "tubes and devices.", "scored": False},
        "pleura": {"about": "effusion, pneumothorax", "also": ["pleural"]},
    }
)
NAMES = RegionNames(THREE)


def study(id: str, report: str, **texts: str) -> Study:
    reference = THREE.annotation(texts)
    return Study(id=id, uid=id, split="test", report=report, reference=reference)


STUDIES = [
    study("a", "Clear lungs. No effusion.", airways="Clear lungs.", pleura="No effusion."),
    study("b", "Clear lungs. Feeding tube.", airways="Clear lungs.", lines="Feeding tube."),
    study("c", "Small effusion. Clear lungs.", airways="Clear lungs.", pleura="Small effusion."),
]

# The declaration


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({}, "at least 1 item"),
        ({"pleura": {"about": "x", "scored": False}}, "no region is scored"),
        ({"pleura": {"about": ""}}, "at least 1 character"),
        ({"macro": {"about": "x"}}, "another meaning"),
        ({"Error": {"about": "x"}}, "another meaning"),
        ({"hila lung": {"about": "x"}, "Hila_Lungs": {"about": "y"}}, "differ too little"),
        ({"a|b": {"about": "x"}}, "match pattern"),
        ({"../b": {"about": "x"}}, "match pattern"),
    ],
)
def test_a_declaration_that_cannot_be_followed_is_refused(declared, reason):
    with pytest.raises(ValidationError, match=reason):
        Regions.model_validate(declared)


def test_an_annotation_has_every_declared_region_in_the_declared_order():
    assert list(THREE.annotation({"pleura": "No effusion."}).items()) == [
        ("airways", ""),
        ("lines", ""),
        ("pleura", "No effusion."),
    ]
    with pytest.raises(ValueError, match="heart: no such region; .* declares airways, lines, pl"):
        THREE.annotation({"heart": "Large."})


def test_a_file_of_another_declaration_is_named_with_its_line(tmp_path):
    path = tmp_path / "test.jsonl"
    whole, other = (one.model_dump(mode="json") for one in STUDIES[:2])
    whole["reference"] = {"pleura": "No effusion."}
    other["reference"] = {"heart": "Large."}
    path.write_text(json.dumps(whole) + "\n" + json.dumps(other) + "\n")
    records = read_jsonl(path, Study, THREE)
    assert next(records).reference == THREE.annotation({"pleura": "No effusion."})
    with pytest.raises(
        UserError, match=r"test\.jsonl:2: .*reference: annotation.heart: no such"
    ) as error:
        next(records)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        (
            "examples",
            {
                "annotator": "llm",
                "reads": "models/tiny-qwen2-vl",
                "user": "{report}",
                "examples": [{"report": "Clear.", "annotation": {"lungs": "Clear."}}],
            },
            "examples.0.annotation.lungs",
        ),
        (
            "elsewhere",
            {"annotator": "recorded", "reads": "said.csv", "columns": {"lungs": "said"}},
            "columns.lungs",
        ),
    ],
)
def test_settings_with_a_region_that_is_not_declared_name_their_key(tmp_path, name, settings, key):
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["approaches"] = {name: settings}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UserError) as error:
        params.load(path)
    said = str(error.value)
    assert f"approaches.{name}.{key}: no such region; params.yaml declares bone, heart" in said
    assert "\n" not in said


# What follows it


def test_the_schema_that_a_server_is_bound_to_has_the_declared_regions():
    schema = forms_of(THREE)["json_schema"]["json_schema"]["schema"]
    assert list(schema["properties"]) == schema["required"] == ["airways", "lines", "pleura"]
    assert schema["additionalProperties"] is False


def test_prompts_describe_the_regions_and_answer_in_their_order():
    example = {"report": "Tube. Clear.", "annotation": {"lines": "Tube.", "airways": "Clear."}}
    settings = PromptSettings(
        system="By region:\n{regions}", user="{regions}\n{report}", examples=(example,)
    )
    system, _, answer, question = Prompts(settings, Path(), THREE).turns(
        Case(id="x", report="No effusion.")
    )
    described = (
        "- airways: lungs and airways.\n- lines: tubes and devices.\n"
        "- pleura: effusion, pneumothorax."
    )
    assert system["content"] == f"By region:\n{described}"
    assert question["content"] == f"{described}\nNo effusion."
    assert answer["content"] == '{"airways": "Clear.", "lines": "Tube.", "pleura": ""}'
    assert answer["content"] == completion(THREE.annotation(example["annotation"]))


@pytest.mark.parametrize(
    ("key", "region"),
    [
        ("airways", "airways"),
        ("Airway findings", "airways"),
        ("**Lungs and airways**", "airways"),
        ("pulmonaryFindings", "airways"),
        ("Pleural space", "pleura"),
        ("LINES", "lines"),
        ("lungs and pleura", None),
        ("heart", None),
        ("findings", None),
    ],
)
def test_a_models_name_for_a_region_is_understood_by_its_declaration(key, region):
    assert NAMES.region_of(key) == region


@pytest.mark.parametrize(
    ("key", "region"),
    [
        ("Left lung", "left lung"),
        ("rightLungs", "right lung"),
        ("findings of the left lung", "left lung"),
        ("lung", None),
        ("zone 2", "zone 2"),
        ("Zone_1", "zone 1"),
        ("zone", None),
        ("Chest wall", "chest wall"),
    ],
)
def test_names_that_share_words_are_told_apart(key, region):
    declared = ("left lung", "right lung", "zone 1", "zone 2", "chest wall")
    regions = Regions.model_validate({name: {"about": name} for name in declared})
    assert RegionNames(regions).region_of(key) == region


def test_answers_are_read_by_the_declaration():
    said = {"Lungs": "Clear.", "pleura": "No pleural findings mentioned.", "lines": "Tube."}
    assert parse(json.dumps(said), NAMES) == (
        {"airways": "Clear.", "lines": "Tube.", "pleura": ""},
        True,
    )
    assert parse("{'lines': 'Tube.', 'airways': 'Clear.'}", NAMES)[0]["lines"] == "Tube."


def test_text_under_a_name_that_is_not_declared_makes_an_answer_unreadable():
    other = json.dumps({"heart": "Large.", "lung": "Clear."})
    with pytest.raises(ValueError, match="under a key that is no region: 'heart'"):
        parse(other, NAMES)
    knows_these = Reader(THREE, ["pleura", "airways", "lines"], "mine")
    record = knows_these.record(Case(id="x", report="r"), [other], {}, [""])
    assert record.annotation is None and "no region: 'heart'" in record.error


def test_a_model_that_knows_other_regions_fills_those_that_it_names(capsys):
    reader = Reader(THREE, ["lung", "heart", "pleural space"], "mine")
    assert capsys.readouterr().err.startswith("mine: the model was taught the regions lung, heart")
    case = Case(id="x", report="r")
    answer = json.dumps({"lung": "Clear.", "heart": "Large.", "pleural space": "No effusion."})
    record = reader.record(case, [answer], {}, [""])
    assert record.annotation == THREE.annotation({"airways": "Clear.", "pleura": "No effusion."})
    assert record.usage == {"repaired": False} and is_whole(answer, reader.spoken)
    silent = reader.record(case, ['{"heart": "Large."}'], {}, [""])
    assert silent.annotation == THREE.annotation({}) and silent.error is None
    garbled = reader.record(case, ['{"lung": "Clear.", "hart": "Large."}'], {}, [""])
    assert garbled.annotation is None and "no region: 'hart'" in garbled.error
    cut = reader.record(case, [answer[:-9]], {}, ["the answer had not ended"])
    assert cut.annotation is None and cut.error == "the answer had not ended"
    Reader(THREE, ["pleura", "airways"], "mine")
    assert capsys.readouterr().err == ""


def test_the_small_model_says_which_regions_it_was_taught(tmp_path):
    assert taught_regions(ROOT / "models" / "tiny-qwen2-vl") == REGIONS.names
    assert taught_regions(tmp_path) is None
    (tmp_path / "regions.json").write_text('{"heart": 1}')
    with pytest.raises(UserError, match="regions.json: not a list of names"):
        taught_regions(tmp_path)


class Says(Annotator):
    def __call__(self, cases):
        for case in cases:
            yield AnnotationRecord(id=case.id, annotation={case.report: "Something."})


def test_an_annotators_answer_is_completed_or_refused_in_one_line():
    project = Project(Path(), Path(), THREE, project_of(ROOT).llm, "params.yaml: approaches.mine")
    mine = Checked(Says(Settings(annotator="plugins.mine:Says", reads="x"), project), 1.0)
    (record,) = mine([Case(id="s1", report="pleura")])
    assert list(record.annotation.items()) == list(
        THREE.annotation({"pleura": "Something."}).items()
    )
    with pytest.raises(UserError) as error:
        list(mine([Case(id="s2", report="spleen")]))
    assert str(error.value).startswith("params.yaml: approaches.mine: study s2: ")
    assert "spleen: no such region" in str(error.value) and "\n" not in str(error.value)


def test_router_and_constant_follow_and_a_router_of_other_regions_is_refused(tmp_path):
    router = fit(STUDIES * 4, RouterParams(epochs=2), THREE)
    router.save(tmp_path / "models" / "router")
    settings = RouterSettings(annotator="router", reads="models/router", wording="learned")
    project = Project(tmp_path, tmp_path, THREE, project_of(ROOT).llm)
    (record,) = RouterAnnotator(settings, project)([STUDIES[2].case()])
    assert record.annotation == STUDIES[2].reference
    with pytest.raises(UserError, match="fitted on the regions airways, lines, pleura.*fit_router"):
        RouterAnnotator(settings, project._replace(regions=REGIONS))
    assert fit_constant(STUDIES, Proxy(), THREE) == THREE.annotation({"airways": "Clear lungs."})


def test_scores_tables_and_release_have_the_declared_regions():
    records = [AnnotationRecord(id=one.id, annotation=one.reference) for one in STUDIES]
    records[1] = AnnotationRecord(id="b", annotation=None, error="no answer")
    judged = evaluate.judge_annotations(STUDIES, records, Proxy(), THREE)
    assert [mark.region for mark in judged] == ["airways", "pleura"] * 3
    summary = evaluate.details({"test": judged}, {"test": STUDIES}, Proxy(), THREE, 20, 0)
    shown = evaluate.metrics(summary)["test"]
    assert list(shown)[:3] == ["macro", "airways", "pleura"] and "lines" not in shown
    assert shown["airways"]["score"] == pytest.approx(2 / 3)
    assert shown["pleura"]["score"] == 1 and shown["macro"]["score"] == pytest.approx(5 / 6)
    foreign = [mark.model_copy(update={"region": "heart"}) for mark in judged]
    with pytest.raises(UserError, match="heart.*dvc repro evaluate"):
        scores_of({"test": foreign}, {"test": STUDIES}, THREE.scored)

    members = [release.released(one, {"approach": "a", "judge": "j"}) for one in records]
    assert release.columns(THREE) == (
        "id",
        "airways",
        "lines",
        "pleura",
        "review",
        "error",
        "approach",
        "judge",
        "evidence",
    )
    assert release.rows(members, THREE)[1] == {
        "id": "b",
        "airways": "",
        "lines": "",
        "pleura": "",
        "review": "",
        "error": "no answer",
        "approach": "a",
        "judge": "j",
        "evidence": "",
    }


def test_the_report_is_of_the_declared_regions(tmp_path):
    """The stages prepare, fit_constant, annotate, evaluate and compare, on seven regions."""
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__*"))
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["regions"] = blocks()[-1]
    content["data"]["settings"]["phantom"] |= {"train": 12, "test": 4, "val": 1, "size": 112}
    content["approaches"] = {"floor": content["approaches"]["constant"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for stage in ("prepare data/raw/phantom", "fit_constant", "annotate floor", "evaluate floor"):
        done = subprocess.run(
            [sys.executable, "-m", *f"stages.{stage}".split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "metrics" / "data.json").read_text())
    assert facts["source"] == "phantom"
    assert list(facts["splits"]["test"]["empty"]) == list(content["regions"])
    scores = json.loads((tmp_path / "metrics" / "scores" / "floor.json").read_text())
    assert list(scores["test"])[:8] == ["macro", *content["regions"]]
    done = subprocess.run(
        [sys.executable, "-m", "stages.compare"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "reports" / "comparison.md").read_text(encoding="utf-8")
    plain = " ".join(text.split())
    assert f"| {' | '.join(content['regions'])} |" in plain
    assert "is the mean of lungs_airways, pleura, " in plain
    assert "musculoskeletal, devices and abdomen." in plain
    assert "heart" not in text


# No region is named in the code


SOURCES = ("sources/phantom/", "sources/iu_xray/")
# Words by which findings, claims and silence are recognised in texts, whatever the regions.
VOCABULARY = (
    "judges/proxy/",
    "prompting/silence.py",
    "language/claims.py",
    "evaluation/examination/perturbations.py",  # how English reports word things
)
NAMED = re.compile(r"\b(bone|heart|lung|mediastinal)\b")


def literals(path: Path) -> list[str]:
    """The string constants of a module, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [
        node.value
        for node in constants
        if isinstance(node.value, str) and id(node) not in docstrings
    ]


def named_in(folders: tuple[str, ...], but: tuple[str, ...] = ()) -> dict[str, list[str]]:
    package = ROOT / "xraygen"
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith(folders) and not (but and name.startswith(but)):
            found[name] = [text for text in literals(path) if NAMED.search(text)]
    return {name: texts for name, texts in found.items() if texts}


def test_nothing_but_the_sources_and_the_vocabulary_names_a_region():
    assert named_in(("",), but=SOURCES + VOCABULARY) == {}
    assert all(named_in((folder,)) for folder in SOURCES + VOCABULARY)  # it would be noticed


# The page


def blocks() -> list[dict]:
    text = (ROOT / "docs" / "regions.md").read_text(encoding="utf-8")
    return [
        yaml.safe_load(block)["regions"] for block in re.findall(r"```yaml\n(.*?)```", text, re.S)
    ]


def test_the_blocks_of_the_page_can_be_pasted():
    first, five, seven = map(Regions.model_validate, blocks())
    assert five == REGIONS
    assert first.scored == ("airways", "pleura")
    assert RegionNames(seven).region_of("Hila and mediastinum") == "hila_mediastinum"
    for key, region in {"bone": "musculoskeletal", "heart": "cardiovascular"}.items():
        assert RegionNames(seven).region_of(key) == region  # as the small model answers
