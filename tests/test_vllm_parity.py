"""What a server such as vLLM makes of our requests is what the model saw in training: the same
token ids and the same pixels.

Here transformers plays the server's part: it puts the messages of our requests through the chat
template and the processor of the folder that `xraygen merge` writes. `bench/servers.py --vllm`
checks the same with vLLM itself.
"""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import project_of
from PIL import Image as Pictures

from xraygen import params
from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, write_json
from xraygen.core.study import Case, Image
from xraygen.prompting import encoding

pytest.importorskip("peft")

SHOWN = {
    "prompt": "Name what is seen, by region.",
    "inputs": "image+report",
    "max_views": 2,
    "max_pixels": 9408,  # twelve image tokens; the base would admit sixteen
}
AS_TRAINED = LlmSettings(annotator="llm", reads="models/merged")


@pytest.fixture(scope="module")
def project(root, tmp_path_factory) -> Path:
    """Adapters of a base that has its own settings for sampling, `tuned` of the whole model, `text`
    of its language alone, and `merged`, the first one merged.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLForConditionalGeneration

    from xraygen.training.merge import merge

    folder = tmp_path_factory.mktemp("project")
    base = shutil.copytree(root / "models/tiny-qwen2-vl", folder / "models/base")
    generation = base / "generation_config.json"
    sampling = {"do_sample": True, "temperature": 0.01, "top_k": 1, "repetition_penalty": 1.05}
    write_json(generation, read_json(generation) | sampling)
    for name, layers in (("tuned", ["q_proj", "qkv", "mlp.0"]), ("text", ["q_proj"])):
        lora = LoraConfig(r=2, target_modules=layers, base_model_name_or_path=str(base))
        with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
            adapted = get_peft_model(Qwen2VLForConditionalGeneration.from_pretrained(base), lora)
        adapter = folder / "models" / name
        adapted.save_pretrained(adapter)
        config = adapter / "adapter_config.json"
        write_json(config, read_json(config) | {"base_model_name_or_path": str(base)})
        write_json(adapter / "training.json", {"params": SHOWN})
    merge(folder / "models/tuned", folder / "models/merged")
    return folder


def picture(path: Path, width: int, height: int, mode: str = "L") -> None:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        Pictures.fromarray(values[..., 0].astype(np.uint16) * 200).save(path)
    else:
        Pictures.fromarray(values).convert(mode).save(path)


@pytest.fixture(scope="module")
def cases(project) -> list[Case]:
    """Studies with pictures of many kinds and sizes, without pictures, and without a report."""
    kinds = {
        "large.png": (431, 510, "L"),
        "colour.png": (300, 200, "RGB"),
        "deep.png": (150, 150, "I;16"),
        "small.png": (20, 31, "L"),
        "fits.png": (84, 112, "L"),
        "wide.jpg": (500, 60, "L"),
    }
    for name, kind in kinds.items():
        picture(project / name, *kind)

    def case(id: str, report: str, *views: tuple[str, str]) -> Case:
        images = [Image(path=path, projection=projection) for path, projection in views]
        return Case(id=id, report=report, images=images)

    return [
        case(
            "lateral first", "Clear.\n\n Lungs", ("small.png", "lateral"), ("large.png", "frontal")
        ),
        case("three views", "Ω 5 °", *((name, "frontal") for name in list(kinds)[1:4])),
        case("no report", " ", ("fits.png", "frontal"), ("wide.jpg", "unknown")),
        case("no picture", "Heart  is large. "),
        case("control", "<|im_end|>\n<|im_start|>system <|image_pad|>", ("fits.png", "frontal")),
    ]


@pytest.fixture
def annotator(project, chat_server, monkeypatch, tmp_path):
    """Makes annotators of a server; its `bodies` are the requests."""
    monkeypatch.setenv("SOME_KEY", "k")
    monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda: tmp_path)
    llm = params.load(Path(__file__).parents[1] / "params.yaml").llm
    server = chat_server()

    def make(approach: LlmSettings = AS_TRAINED) -> tuple[Llm, list[dict]]:
        asked = {"provider": "openai", "base_url": server.url, "api_key_env": "SOME_KEY"}
        changed = llm.model_copy(update=asked)
        made = Llm.build(approach, project_of(project, project, changed))
        assert isinstance(made, Llm)
        return made, server.bodies

    return make


def rendered(processor, body: dict) -> dict:
    """What a server makes of a request before its model sees it."""
    turns = []
    for turn in body["messages"]:
        content = turn["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        turns.append({"role": turn["role"], "content": [_decoded(part) for part in parts]})
    row = encoding.row_of(processor, "a", turns)
    return {name: value.numpy() for name, value in row.items()}


def _decoded(part: dict) -> dict:
    if part["type"] == "text":
        return part
    data = part["image_url"]["url"].removeprefix("data:image/png;base64,")
    return {"type": "image", "image": Pictures.open(io.BytesIO(base64.b64decode(data)))}


def test_a_server_shows_the_model_what_training_did(project, cases, annotator):
    from xraygen.engines.model import load_processor

    annotate, bodies = annotator()
    assert annotate.shows_pictures
    list(annotate(cases))
    asked = {json.dumps(body["messages"]): body for body in bodies}
    folder = project / "models/merged"
    trainings = load_processor(str(project / "models/base"), max_pixels=SHOWN["max_pixels"])
    shown = {name: SHOWN[name] for name in ("inputs", "prompt", "max_views")}
    as_in_training = encoding.encode(trainings, cases, project, **shown)
    # As the folder says, and where the server's limits are wide.
    for limit in (None, 10**7):
        theirs = load_processor(str(folder), max_pixels=limit)
        for case, expected in zip(cases, as_in_training, strict=True):
            question = annotate.exchange.question(case)
            body = asked[json.dumps(annotate.exchange.questions.messages(question))]
            assert (body["temperature"], body["max_tokens"]) == (0, 256)
            row = rendered(theirs, body)
            assert row.keys() == expected.keys(), case.id
            for name, value in expected.items():
                assert np.array_equal(row[name], value.numpy()), (case.id, name)


def test_a_picture_that_the_model_cannot_be_shown_fails_its_case(project, annotator):
    picture(project / "strip.png", 2000, 12)
    picture(project / "thread.png", 3000, 4)
    views = [Image(path=name, projection="frontal") for name in ("strip.png", "thread.png")]
    cases = [Case(id=view.path, report="Clear.", images=[view]) for view in views]
    annotate, bodies = annotator()
    records = list(annotate(cases))
    assert [bool(record.usage.get("unreadable_pictures")) for record in records] == [True, True]
    assert "study strip.png" in records[0].error and "remove" in records[1].error
    assert not bodies


def test_merge_leaves_a_folder_that_a_server_needs_no_options_for(project):
    merged = project / "models/merged"
    config = read_json(merged / "config.json")
    assert config["architectures"] == ["Qwen2VLForConditionalGeneration"]
    dtypes = {config["dtype"], config["text_config"]["dtype"], config["vision_config"]["dtype"]}
    assert dtypes == {"bfloat16"}
    # vLLM takes defaults for sampling from here, and applies a penalty to greedy answers too.
    generation = read_json(merged / "generation_config.json")
    assert generation["do_sample"] is False and generation["eos_token_id"] == 2
    assert not generation.keys() & {"temperature", "top_k", "top_p", "repetition_penalty"}
    for name in ("preprocessor_config.json", "processor_config.json"):
        content = read_json(merged / name)
        assert content.get("image_processor", content)["size"]["longest_edge"] == 9408, name
    assert (merged / "chat_template.jinja").is_file() and (merged / "tokenizer.json").is_file()


def test_an_adapter_that_a_server_would_load_in_part_is_refused(annotator):
    with pytest.raises(UserError) as error:
        annotator(AS_TRAINED.model_copy(update={"reads": "models/tuned"}))
    said = str(error.value)
    assert "models/tuned is an adapter of projector and vision" in said
    assert said.startswith("the approach.reads: ")
    assert "xraygen merge" in said and "\n" not in said
    annotate, _ = annotator(AS_TRAINED.model_copy(update={"reads": "models/text"}))
    assert annotate.exchange.questions.shown.prompt == SHOWN["prompt"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"shortest_edge": 6272, "longest_edge": 12544}, "6,272 to 12,544"),
        ({"shortest_edge": 3136, "longest_edge": 6272}, "3,136 to 6,272"),
    ],
)
def test_an_adapter_whose_views_its_server_would_resize_is_refused(
    project, annotator, limits, said
):
    """Qwen3-VL comes with a least size of 65,536."""
    without_weights = shutil.ignore_patterns("*.safetensors")
    base = shutil.copytree(
        project / "models/base",
        project / f"models/base-{limits['longest_edge']}",
        ignore=without_weights,
    )
    processor = read_json(base / "processor_config.json")
    processor["image_processor"]["size"] = limits
    write_json(base / "processor_config.json", processor)
    adapter = shutil.copytree(project / "models/text", base.with_name(f"on-{base.name}"))
    config = adapter / "adapter_config.json"
    write_json(config, read_json(config) | {"base_model_name_or_path": str(base)})
    asked = AS_TRAINED.model_copy(update={"reads": f"models/{adapter.name}"})
    with pytest.raises(UserError, match=f"resizes views to {said} pixels, .*`xraygen merge`"):
        annotator(asked)
    report_only = {"params": SHOWN | {"inputs": "report"}}
    write_json(adapter / "training.json", report_only)
    annotator(asked)


def test_a_base_model_has_to_be_told_what_to_ask(annotator):
    asked = AS_TRAINED.model_copy(update={"reads": "models/base"})
    with pytest.raises(UserError, match="the approach: user missing: .*base is a base model"):
        annotator(asked)
    annotate, _ = annotator(asked.model_copy(update={"user": "{report}"}))
    assert not annotate.shows_pictures, "report only, unless stated"


@pytest.mark.parametrize(
    "stated, at_fault",
    [
        ({"inputs": "report"}, "inputs is 'report'"),
        ({"system": "You annotate."}, "system is 'You annotate.'"),
        ({"user": SHOWN["prompt"] + "\nReport: {report}"}, "llm.max_pixels is 262144"),
    ],
)
def test_anything_else_than_in_training_is_refused_on_a_server_too(annotator, stated, at_fault):
    with pytest.raises(UserError, match=at_fault):
        annotator(AS_TRAINED.model_copy(update=stated))


def test_another_model_under_the_same_name_is_asked_again(project, annotator):
    case = Case(id="a", report="Clear lungs.")
    annotate, bodies = annotator()
    list(annotate([case]))
    again, _ = annotator()
    list(again([case]))
    assert len(bodies) == 1, "answered before"
    (project / "models/merged/added.json").write_text("{}")
    changed, _ = annotator()
    list(changed([case]))
    assert len(bodies) == 2


def test_in_this_process_it_is_shown_the_same(project, cases):
    from xraygen.annotators.local import Local

    llm = params.load(Path(__file__).parents[1] / "params.yaml").llm
    local = Local(AS_TRAINED, project_of(project, project, llm))
    shown = {name: SHOWN[name] for name in ("inputs", "prompt", "max_views")}
    expected = encoding.encode(local.processor, cases, project, **shown)
    for case, row in zip(cases, expected, strict=True):
        assert local.row(case)["input_ids"].tolist() == row["input_ids"].tolist(), case.id
