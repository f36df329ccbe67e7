"""A fine-tuned model is shown what it was trained on, wherever it is used; an approach that states
otherwise is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import annotator_of, project_of

from xraygen import params
from xraygen.annotators.as_trained import as_prompted, as_trained
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.vlm import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, write_json, write_jsonl
from xraygen.core.study import Case, Study

TRAINED = {
    "prompt": "Name what is seen, by region.",
    "inputs": "report",
    "max_views": 2,
    "max_pixels": 3136,
}
OTHER = {
    "prompt": "Name what is seen.",
    "inputs": "image+report",
    "max_views": 1,
    "max_pixels": 12544,
}


def approach(**stated) -> VlmSettings:
    return VlmSettings(
        annotator="vlm", reads="models/tuned", max_batch_tokens=2000, max_new_tokens=4, **stated
    )


def folder_of(path: Path, **trained) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    write_json(
        path / "training.json",
        {"base": "models/base", "params": TRAINED | trained | {"rate": 0.004}},
    )
    return path


def test_what_is_not_stated_comes_from_training(tmp_path):
    made = as_trained(approach(), str(folder_of(tmp_path)))
    assert {key: getattr(made, key) for key in TRAINED} == TRAINED
    assert as_trained(approach(**TRAINED), str(tmp_path)) == as_trained(made, str(tmp_path)) == made


@pytest.mark.parametrize("key", TRAINED)
def test_another_value_is_an_error_that_names_both(tmp_path, key):
    folder = str(folder_of(tmp_path))
    with pytest.raises(UserError) as error:
        as_trained(approach(**TRAINED | {key: OTHER[key]}), folder, "params.yaml: approaches.mine")
    said = str(error.value)
    assert said.startswith(
        f"params.yaml: approaches.mine.{key} is {OTHER[key]!r},"
        f" but {folder} was trained with {TRAINED[key]!r}"
    )
    assert "training.json" in said and "\n" not in said


def test_a_base_model_is_shown_what_is_stated_and_the_default_prompt(tmp_path):
    stated = {key: value for key, value in TRAINED.items() if key != "prompt"}
    assert as_trained(approach(**stated), str(tmp_path)) == approach(
        **stated, prompt="Annotate the study by region, in JSON."
    )
    with pytest.raises(
        UserError, match="approaches.x: inputs and max_pixels missing: .* is a base model"
    ):
        as_trained(approach(max_views=1), "someone/on-the-hub", "approaches.x")


@pytest.mark.parametrize("key", TRAINED)
def test_a_record_that_does_not_say_is_an_error_that_names_file_and_key(tmp_path, key):
    folder = folder_of(tmp_path)
    content = read_json(folder / "training.json")
    del content["params"][key]
    write_json(folder / "training.json", content)
    with pytest.raises(UserError, match=rf"training.json: params.{key}: .*dvc repro -f finetune"):
        as_trained(approach(**TRAINED), str(folder))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"params": null}', '{"params": {"inputs": "pictures"}}', "\udcff"],
)
def test_a_damaged_record_is_one_line(tmp_path, content):
    (tmp_path / "training.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="training.json: .*dvc repro -f finetune"):
        as_trained(approach(**TRAINED), str(tmp_path))


def test_an_adapter_that_says_nothing_of_its_training_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="training.json: missing.*dvc repro finetune"):
        as_trained(approach(**TRAINED), str(tmp_path))


@pytest.mark.parametrize(
    "change, at_fault",
    [
        ({}, None),
        ({"inputs": "image+report"}, "approaches.mine.inputs is 'image"),
        ({"user": "Name what is seen.\nReport: {report}"}, "approaches.mine.user is"),
        ({"system": "You annotate."}, "approaches.mine.system is"),
        (
            {"examples": [{"report": "Clear.", "annotation": {"lung": "Clear."}}]},
            "approaches.mine.examples is 1",
        ),
        ({"nearest": {"k": 2, "similarity": "jaccard"}}, "approaches.mine.nearest is 2"),
    ],
)
def test_a_prompt_may_not_show_a_fine_tuned_model_anything_else(root, tmp_path, change, at_fault):
    llm = params.load(root / "params.yaml").llm
    fits = {
        "annotator": "llm",
        "reads": "models/tuned",
        "user": TRAINED["prompt"] + "\nReport: {report}",
    }
    asked = LlmSettings.model_validate(fits | change)
    as_prompted(asked, llm, str(tmp_path))  # a base model may be asked anything
    folder_of(tmp_path)
    if at_fault is None:
        as_prompted(asked, llm, str(tmp_path))
        return
    with pytest.raises(UserError, match=at_fault):
        as_prompted(asked, llm, str(tmp_path), "approaches.mine")


@pytest.mark.parametrize("key", ["max_views", "max_pixels"])
def test_the_views_of_all_prompts_are_bound_as_in_training_where_views_were_shown(
    root, tmp_path, key
):
    llm = params.load(root / "params.yaml").llm.model_copy(update=TRAINED | {key: OTHER[key]})
    user = TRAINED["prompt"] + "\nReport: {report}"
    asked = LlmSettings(annotator="llm", reads="models/tuned", user=user, inputs="image+report")
    with pytest.raises(UserError, match=f"llm.{key} is {OTHER[key]}"):
        as_prompted(asked, llm, str(folder_of(tmp_path, inputs="image+report")))
    as_prompted(asked.model_copy(update={"inputs": "report"}), llm, str(folder_of(tmp_path)))


# The model itself


@pytest.fixture(scope="module")
def project(root, tmp_path_factory) -> Path:
    """A project with the small model fine-tuned in two ways: as a whole, and as an adapter; two
    studies for each split."""
    pytest.importorskip("peft")
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLForConditionalGeneration

    folder = tmp_path_factory.mktemp("project")
    base = shutil.copytree(root / "models/tiny-qwen2-vl", folder / "models/base")
    shutil.copytree(base, folder_of(folder / "models/whole"), dirs_exist_ok=True)
    lora = LoraConfig(r=2, target_modules=["q_proj"], base_model_name_or_path=str(base))
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapted = get_peft_model(Qwen2VLForConditionalGeneration.from_pretrained(base), lora)
    adapted.save_pretrained(folder / "models/tuned")
    config = read_json(folder / "models/tuned/adapter_config.json")
    write_json(
        folder / "models/tuned/adapter_config.json", config | {"base_model_name_or_path": str(base)}
    )
    folder_of(folder / "models/tuned")
    for split in ("dev", "test", "val"):
        write_jsonl(
            folder / f"data/prepared/{split}.jsonl",
            [Study(id=split, uid="1", split=split, report="Lungs are clear.")],
        )
    (folder / "cases.jsonl").write_text(json.dumps({"id": "a", "report": "Heart is large."}) + "\n")
    shutil.copytree(
        root / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


def stating(root: Path, project: Path, model: str = "models/tuned", **stated) -> None:
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["approaches"] = {
        "mine": approach().model_dump(exclude_none=True) | {"reads": model} | stated
    }
    (project / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["models/tuned", "models/whole"])
def test_a_model_cannot_be_evaluated_with_other_inputs_than_it_was_trained_on(root, project, model):
    stating(root, project, model, inputs="image+report")
    for command in (
        ["stages.annotate", "mine"],
        ["xraygen", "annotate", "cases.jsonl", "--approach", "mine", "--out", "out.jsonl"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True
        )
        expected = (
            "error: params.yaml: approaches.mine.inputs is 'image+report',"
            f" but {project / model} was trained with 'report'"
        )
        assert (
            done.returncode == 2
            and done.stderr.startswith(expected)
            and done.stderr.count("\n") == 1
        ), done.stderr
    assert not (project / "data/annotations").exists() and not (project / "out.jsonl").exists()


@pytest.mark.slow
def test_it_is_shown_what_it_was_trained_on_merged_too(root, project, monkeypatch):
    from xraygen.training.merge import merge

    monkeypatch.chdir(project)
    merge(Path("models/tuned"), Path("models/merged"))
    for model in ("models/tuned", "models/merged"):
        stating(root, project, model)
        annotate = annotator_of(params.load("params.yaml"), "mine", project).annotate
        assert {key: getattr(annotate.settings, key) for key in TRAINED} == TRAINED
        text = annotate.processor.tokenizer.decode(
            annotate.row(Case(id="a", report="Heart is large."))["input_ids"]
        )
        assert TRAINED["prompt"] + "\nReport: Heart is large." in text
        stating(root, project, model, max_views=1)
        with pytest.raises(
            UserError, match="approaches.mine.max_views is 1, but .* was trained with 2"
        ):
            _ = annotator_of(params.load("params.yaml"), "mine", project).annotate


@pytest.mark.slow
def test_a_prompt_that_is_the_one_of_training_is_put_to_it(root, project):
    pytest.importorskip("peft")
    from xraygen.annotators.local import Local

    user = TRAINED["prompt"] + "\nReport: {report}"
    asked = LlmSettings(annotator="llm", reads="models/tuned", user=user)
    llm = params.load(root / "params.yaml").llm
    annotate = Local(asked, project_of(project, project, llm))
    row = annotate.row(Case(id="a", report="Heart is large."))["input_ids"]
    tuned = load_tuned(root, project).row(Case(id="a", report="Heart is large."))["input_ids"]
    assert row.tolist() == tuned.tolist(), "as the annotator vlm shows it"
    with pytest.raises(UserError, match="the approach.inputs is 'image"):
        Local(
            asked.model_copy(update={"inputs": "image+report"}), project_of(project, project, llm)
        )


def load_tuned(root: Path, project: Path):
    stating(root, project)
    return annotator_of(params.load(project / "params.yaml"), "mine", project).annotate


@pytest.mark.slow
def test_an_adapter_that_says_nothing_of_its_training_is_not_merged(project, tmp_path):
    pytest.importorskip("peft")
    from xraygen.training.merge import merge

    adapter = shutil.copytree(project / "models/tuned", tmp_path / "adapter")
    (adapter / "training.json").unlink()
    with pytest.raises(UserError, match="training.json: missing"):
        merge(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_shipped_settings_leave_it_to_the_model(root):
    made = params.load(root / "params.yaml").approaches["vlm-finetuned"]
    assert [getattr(made, key) for key in TRAINED] == [None] * 4
