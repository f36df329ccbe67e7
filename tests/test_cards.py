"""The cards of a model and of a release: headers that the Hugging Face hub understands, and what
may not be passed on is named first in both.
"""

from pathlib import Path

import pytest
import yaml
from conftest import REGIONS

from stages import finetune as finetune_stage
from stages import prepare as prepare_stage
from xraygen import params
from xraygen.annotators.release_card import release_card
from xraygen.core import cards
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json
from xraygen.core.origin import Origin, Prepared
from xraygen.sources import Source, prepare
from xraygen.sources.iu_xray.read import IuXray
from xraygen.sources.phantom import Phantoms
from xraygen.sources.table.table import Table, TableSettings
from xraygen.training.model_card import model_card

hub = pytest.importorskip("huggingface_hub")

TABLE = {"file": "reports.csv", "reference": "reference"}
# Text that would end the header or start markup, were it not escaped.
HOSTILE = "mine: 'x'\n---\n# no\tlicence: {"


class Undeclared(Source):
    """A class of the user that says nothing of its studies."""

    def read(self, raw, images, root):
        raise NotImplementedError


def table(**changes) -> Table:
    return Table(TableSettings(**(TABLE | changes)), REGIONS)


SOURCES = {
    "phantom": Phantoms(Phantoms.Settings(), REGIONS),
    "iu-xray": IuXray(None, REGIONS),
    "table": table(),
    "open table": table(license="CC BY 4.0", redistributable=True),
    "closed table": table(license="PhysioNet Credentialed Health Data License 1.5.0"),
    "hostile table": table(license=HOSTILE),
    "named table": table(license="Terms of the hospital", redistributable=True),
    "plug-in": Undeclared(None, REGIONS),
}
FORBIDDEN = ("iu-xray", "table", "closed table", "hostile table", "plug-in")


def prepared(name: str) -> Prepared:
    declared = SOURCES[name].origin.model_dump()
    return Prepared(**declared, source="a-source", seeds={"data.seed": 41})


METRICS = {
    "train_loss": 0.25,
    "dev_loss": 0.4375,
    "best_step": 61,
    "steps": 70,
    "planned_steps": 80,
    "trained_parameters": 12_345_678,
    "train": {
        "examples": 1899,
        "excluded": {"too_long": 1},
        "prompt_tokens": 7001,
        "completion_tokens": 7002,
    },
    "dev": {"examples": 210, "excluded": {}, "prompt_tokens": 71, "completion_tokens": 72},
}
STUDIES = {"train": 1900, "dev": 210}


def made_from(base: str, **changes) -> dict:
    settings = params.load(Path(__file__).parents[1] / "params.yaml").finetune
    settings = settings.model_copy(update={"base": base} | changes)
    on_hub = not base.startswith("models/")
    return {
        "base": base,
        "revision": "c0ffee" if on_hub else None,
        "base_content": base if on_hub else "sha256:00",
        "data": {"train": 1900, "dev": 210, "sha256": "abc", "images_sha256": "def"},
        "params": settings.model_dump(mode="json"),
        "xraygen": "0.1.0",
    }


def card_of_model(source: str = "phantom", base: str = "models/tiny-qwen2-vl", **changes) -> str:
    regions = tuple(REGIONS)
    return model_card(made_from(base, **changes), METRICS, prepared(source), STUDIES, regions)


def card_of_release(source: str = "phantom", studies: int = 90) -> str:
    facts = {
        "approach": "router",
        "judge": "proxy",
        "candidates": 1,
        "measure": "score",
        "score": 0.75,
        "ci_low": 0.5,
        "ci_high": 0.8125,
        "dev_used_for": ["the final choice of the approach"],
        "studies": studies,
        "failed": 0,
    }
    return release_card(facts, prepared(source), tuple(REGIONS))


# As huggingface.co/docs/hub describes the headers of models and data sets.
LICENSES = {"apache-2.0", "cc-by-4.0", "other"}
MODEL_KEYS = {
    "base_model": str,
    "base_model_relation": ("adapter", "finetune"),
    "library_name": ("peft", "transformers"),
    "pipeline_tag": ("image-text-to-text", "text-generation"),
    "license": tuple(LICENSES),
    "license_name": str,
    "license_link": str,
    "language": list,
    "tags": list,
}
DATASET_KEYS = {
    "pretty_name": str,
    "license": tuple(LICENSES),
    "license_name": str,
    "license_link": str,
    "language": list,
    "task_categories": list,
    "size_categories": list,
    "annotations_creators": list,
    "tags": list,
    "configs": list,
}


def header(card: str, kind, keys: dict) -> dict:
    """The header as the hub's own library reads it, each key checked."""
    found = kind(card).data.to_dict()
    for key, value in found.items():
        allowed = keys[key]
        assert value in allowed if isinstance(allowed, tuple) else isinstance(value, allowed), key
    if found["license"] == "other":
        assert found["license_name"] and found["license_name"] == found["license_name"].lower()
    else:
        assert "license_name" not in found and "license_link" not in found
    return found


def model_header(card: str) -> dict:
    return header(card, hub.ModelCard, MODEL_KEYS)


def dataset_header(card: str) -> dict:
    return header(card, hub.DatasetCard, DATASET_KEYS)


@pytest.mark.parametrize("source", SOURCES)
def test_what_may_not_be_passed_on_is_named_first_in_both_cards(source):
    texts = {card_of_model(source): model_header, card_of_release(source): dataset_header}
    for text, read in texts.items():
        license = read(text)["license"]
        start = text.split("\n## ")[0]
        assert ("Not to be redistributed" in start) == (source in FORBIDDEN)
        assert text.count("\n# ") == 1 and "not for clinical use" in start
        if source in FORBIDDEN:
            assert license == "other"


def test_the_licence_of_a_source_is_stated_as_its_makers_do():
    names = {source: dataset_header(card_of_release(source)) for source in SOURCES}
    assert names["phantom"]["license"] == "apache-2.0"
    assert names["open table"]["license"] == "cc-by-4.0"
    assert names["iu-xray"]["license_name"] == "cc-by-nc-nd-4.0"
    assert names["iu-xray"]["license_link"].startswith("https://creativecommons.org/licenses/by-nc")
    assert names["named table"]["license_name"] == "terms-of-the-hospital"
    closed = "physionet-credentialed-health-data-license-1.5.0"
    assert names["closed table"]["license_name"] == closed
    assert {names[source]["license_name"] for source in ("table", "plug-in")} == {"not-stated"}
    for text in (card_of_model("iu-xray"), card_of_release("iu-xray")):
        assert "CC BY-NC-ND 4.0. It allows no derivatives." in text
        assert "No licence is known for the curated annotations" in text


def test_the_language_is_stated_only_where_it_is_known():
    found = {source: dataset_header(card_of_release(source)).get("language") for source in SOURCES}
    assert found["phantom"] == found["iu-xray"] == ["en"]
    assert {source for source, language in found.items() if language} == {"phantom", "iu-xray"}


def test_only_generated_studies_say_nothing_about_patients():
    for card in (card_of_model, card_of_release):
        assert "about real patients" in card("phantom")
        assert "about real patients" not in card("iu-xray")
    assert "synthetic" in dataset_header(card_of_release())["tags"]
    assert "synthetic" not in dataset_header(card_of_release("iu-xray"))["tags"]


def test_a_base_of_the_hub_is_linked_and_a_folder_is_not():
    shown = model_header(card_of_model(base="Qwen/Qwen2-VL-2B-Instruct"))
    assert shown["base_model"] == "Qwen/Qwen2-VL-2B-Instruct"
    assert shown["base_model_relation"] == "adapter"
    assert shown["license_link"] == "https://huggingface.co/Qwen/Qwen2-VL-2B-Instruct"
    assert "c0ffee" in card_of_model(base="Qwen/Qwen2-VL-2B-Instruct")
    folder = model_header(card_of_model())
    assert not {"base_model", "base_model_relation", "license_link"} & folder.keys()
    assert folder["license_name"] == "license-of-the-base-model"


def test_the_data_bind_more_than_the_base():
    shown = model_header(card_of_model("closed table", base="Qwen/Qwen2-VL-2B-Instruct"))
    assert shown["license_name"].startswith("physionet") and "license_link" not in shown


@pytest.mark.parametrize(
    "method, library, relation, said",
    [
        ("lora", "peft", "adapter", "LoRA (low-rank"),
        ("qlora", "peft", "adapter", "in 4 bits"),
        ("full", "transformers", "finetune", "All weights"),
    ],
)
def test_the_method_decides_library_relation_and_tags(method, library, relation, said):
    text = card_of_model(base="Qwen/Qwen2-VL-2B-Instruct", method=method)
    shown = model_header(text)
    assert (shown["library_name"], shown["base_model_relation"]) == (library, relation)
    assert (method in shown["tags"]) == (method != "full")
    assert said in text


def test_a_model_of_reports_alone_generates_text():
    shown = {inputs: model_header(card_of_model(inputs=inputs)) for inputs in ("image", "report")}
    assert shown["image"]["pipeline_tag"] == "image-text-to-text"
    assert shown["report"]["pipeline_tag"] == "text-generation"


def test_the_model_card_has_the_numbers_and_settings_of_its_training():
    text = card_of_model(prompt="Say:\n```\n---\n# it", lora_r=19)
    for number in (
        "Studies: train 1,900, dev 210. Seeds",
        "`data.seed` 41",
        "Used of train: 1,899, with 7,001 tokens of prompts and 7,002 of answers; "
        "skipped: 1 too_long.",
        "12,345,678 parameters were trained, in 70 of 80 planned steps",
        "Kept: step 61",
        "Loss on dev: 0.4375.",
        "as last logged: 0.2500.",
        "reports/comparison.md",
    ):
        assert number in text
    procedure = text.split("## Training procedure")[1].split("\n## ")[0]
    settings = "\n".join(line[4:] for line in procedure.splitlines() if line.startswith("    "))
    assert yaml.safe_load(settings)["lora_r"] == 19
    assert yaml.safe_load(settings)["prompt"] == "Say:\n```\n---\n# it"


def test_studies_composed_of_several_are_counted_apart():
    made = made_from("models/a", recombined=1.0)
    made["data"]["train"] = 3800
    text = model_card(made, METRICS, prepared("phantom"), STUDIES, tuple(REGIONS))
    assert "1,900 studies were composed of sentences of several reports" in text
    assert "composed" not in card_of_model()


def test_a_model_without_a_loss_on_dev_claims_none():
    facts = METRICS | {"dev_loss": None}
    text = model_card(made_from("models/a"), facts, prepared("phantom"), STUDIES, tuple(REGIONS))
    assert "Loss on dev: not measured" in text and "optimistic" not in text


@pytest.mark.parametrize(
    "studies, size", [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (227_835, "100K<n<1M")]
)
def test_the_size_of_a_release_is_a_category_of_the_hub(studies, size):
    assert dataset_header(card_of_release(studies=studies))["size_categories"] == [size]


def test_a_release_keeps_what_was_said_of_the_choice():
    text = card_of_release()
    assert "- Approach: **router**, the best of 1 by macro score on dev." in text
    assert "0.750 [0.500, 0.812]" in text


# Where it comes from


def test_a_table_is_closed_until_a_licence_is_named(root):
    assert not table().origin.redistributable and table().origin.license is None
    given = yaml.safe_load((root / "params.yaml").read_text())
    given["data"] |= {"source": "table", "settings": {"table": TABLE | {"redistributable": True}}}
    with pytest.raises(UserError) as caught:
        params.parse(yaml.safe_dump(given))
    assert "data.settings.table." in str(caught.value) and "`license`" in str(caught.value)
    given["data"]["settings"]["table"]["license"] = "CC0-1.0"
    parsed = params.parse(yaml.safe_dump(given))
    assert parsed.data.settings["table"].redistributable


def test_an_origin_that_cannot_be_used_is_one_line(root):
    class Loose(Undeclared):
        origin = {"license": "MIT"}

    class Nameless(Undeclared):
        origin = Origin(redistributable=True)

    data = params.load(root / "params.yaml").data.model_copy(update={"source": "mine:Loose"})
    with pytest.raises(UserError, match="source mine:Loose: its `origin` is dict"):
        prepare.origin(Loose(None, REGIONS), data)
    with pytest.raises(UserError, match="mine:Loose: its `origin` .* has no license"):
        prepare.origin(Nameless(None, REGIONS), data)


def test_what_prepare_did_not_write_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"data/prepared/source.json: .*`dvc repro` makes it"):
        cards.read_source()
    path = tmp_path / "data/prepared/source.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"source": "phantom"}')
    with pytest.raises(UserError, match="seeds: Field required; run `dvc repro -f prepare`"):
        cards.read_source()


def test_prepare_and_finetune_write_the_card_next_to_the_adapter(root, tmp_path, monkeypatch):
    for package in ("torch", "peft", "dvclive"):
        pytest.importorskip(package)
    content = yaml.safe_load((root / "params.yaml").read_text())
    sizes = {"train": 8, "test": 2, "val": 1, "size": 112, "seed": 5}
    content["data"] |= {"settings": {"phantom": sizes}, "dev_share": 0.25, "seed": 3}
    content["finetune"] |= {"max_steps": 1, "inputs": "report", "lora_r": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tiny-qwen2-vl").symlink_to(root / "models/tiny-qwen2-vl")
    monkeypatch.chdir(tmp_path)
    prepare_stage.main("data/raw/phantom")
    facts = Prepared.model_validate(read_json("data/prepared/source.json"))
    assert facts.seeds == {"data.seed": 3, "data.settings.phantom.seed": 5}
    assert Origin.model_validate(facts.model_dump(include=set(Origin.model_fields))) == (
        Phantoms.origin
    )
    read = ("source.json", "train.jsonl", "dev.jsonl")
    before = [(Path("data/prepared") / name).read_bytes() for name in read]
    content["data"]["sample"] |= {"test": 1}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    prepare_stage.main("data/raw/phantom")
    assert read_json("metrics/data.json")["splits"]["test"]["studies"] == 1
    # What finetune reads does not change with test and val.
    assert [(Path("data/prepared") / name).read_bytes() for name in read] == before
    finetune_stage.main()
    text = Path("models/adapter/README.md").read_text()
    metrics = read_json("metrics/finetune.json")
    assert f"Loss on dev: {metrics['dev_loss']:.4f}" in text
    assert "Studies: train 6, dev 2." in text
    assert model_header(text)["pipeline_tag"] == "text-generation"
    Path("models/adapter/README.md").unlink()
    finetune_stage.main()
    assert Path("models/adapter/README.md").read_text() == text
    assert read_json("metrics/finetune.json") == metrics
