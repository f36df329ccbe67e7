"""What a language model is asked: the prompts of params.yaml, worked examples, the most similar
training studies; never a reference.
"""

import json
import math
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import REGIONS, annotation

from xraygen import params
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import write_jsonl
from xraygen.core.study import Case, Study
from xraygen.prompting.conversation import completion
from xraygen.prompting.prompts import Nearest, Prompts

BASE = {"annotator": "llm", "reads": "models/tiny", "user": "Go.\nReport: {report}"}


def approach(**changes) -> LlmSettings:
    return LlmSettings.model_validate(BASE | changes)


def study(id: str, report: str, split: str = "train", reference: str | None = "Clear.") -> Study:
    return Study(
        id=id,
        uid=id,
        split=split,
        report=report,
        reference=reference and annotation(lung=reference),
    )


def found(reports: dict[str, str], asked: str, k: int, similarity: str) -> list[str]:
    """Ids of the nearest, the most similar first."""
    nearest = Nearest([study(id, report) for id, report in reports.items()], similarity)
    return [study.id for study in nearest.find(Case(id="asked", report=asked), k)][::-1]


# The turns


def test_turns_are_the_system_the_examples_and_then_the_question():
    examples = [
        {"report": "Large  heart.", "annotation": {"heart": "Large."}},
        {"report": "Normal.", "annotation": {}},
    ]
    turns = Prompts(approach(system="Do it.", examples=examples), Path(), REGIONS).turns(
        Case(id="x", report=" Clear \n lungs. ")
    )
    assert [turn["role"] for turn in turns] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    said = [turn["content"] for turn in turns]
    assert (
        said[0] == "Do it."
        and said[1] == "Go.\nReport: Large heart."
        and said[5] == "Go.\nReport: Clear lungs."
    )
    assert json.loads(said[2]) == annotation(heart="Large.") and list(json.loads(said[2])) == list(
        REGIONS
    )
    (alone,) = Prompts(approach(), Path(), REGIONS).turns(Case(id="x", report="Clear."))
    assert alone == {"role": "user", "content": "Go.\nReport: Clear."}


@pytest.mark.parametrize(
    "report", ["A {report} in {braces}.", "{0} {} {{x}} 100 %s", r"\1 \g<0> $x"]
)
def test_a_report_stands_in_the_prompt_as_it_is(report):
    user = 'As {"bone": ""}. {report} Once more: {report}'
    (turn,) = Prompts(approach(user=user), Path(), REGIONS).turns(Case(id="x", report=report))
    assert turn["content"] == f'As {{"bone": ""}}. {report} Once more: {report}'


def test_a_prompt_without_a_place_for_the_report_is_refused():
    with pytest.raises(ValueError, match="no {report}"):
        approach(user="Go.")


# The nearest


def test_jaccard_is_the_share_of_common_words_those_that_no_training_study_has_among_them():
    reports = {"one": "Heart", "four": "heart large today seen"}
    assert found(reports, "The heart is large.", 2, "jaccard") == [
        "four",
        "one",
    ]  # 2 / (4 + 4 - 2) against 1 / (1 + 4 - 1)
    assert found(reports, "Heart: large", 2, "jaccard") == ["four", "one"]  # 2/4 = 1/2: by id
    assert found(reports, "HEART size", 1, "jaccard") == ["one"]  # 1/2 against 1/5
    reports = {"short": "effusion", "long": "effusion left small seen today again"}
    assert found(reports, "left effusion", 1, "jaccard") == ["short"]  # 1/2 against 2/6
    unknown = " ".join(f"word{n}" for n in range(10))
    assert found(reports, f"left effusion {unknown}", 1, "jaccard") == ["long"]  # 1/12 against 2/16
    reports = {"a": "no no no no mass here", "b": "no effusion seen today"}
    assert found(reports, "no effusion", 1, "jaccard") == ["b"], "a word counts once"


def by_hand(reports: dict[str, str], asked: str) -> list[str]:
    """Ids by the cosine of tf-idf: (1 + ln tf)(1 + ln((1 + n) / (1 + df)))."""
    counts = {id: Counter(re.findall(r"\w+", report.lower())) for id, report in reports.items()}
    known = Counter(word for count in counts.values() for word in count)

    def vector(count: Counter) -> dict[str, float]:
        weights = {
            word: (1 + math.log(tf)) * (1 + math.log((1 + len(reports)) / (1 + known[word])))
            for word, tf in count.items()
            if word in known
        }
        norm = math.sqrt(sum(weight**2 for weight in weights.values())) or 1
        return {word: weight / norm for word, weight in weights.items()}

    question = vector(Counter(re.findall(r"\w+", asked.lower())))
    vectors = {id: vector(count) for id, count in counts.items()}
    likeness = {
        id: sum(weight * question.get(word, 0) for word, weight in v.items())
        for id, v in vectors.items()
    }
    return sorted(likeness, key=lambda id: (-likeness[id], id))


def test_tfidf_is_the_cosine_in_which_rare_words_weigh_more():
    reports = {
        "a": "No opacity.",
        "b": "No nodule.",
        "c": "Effusion is seen.",
        "d": "No mass. No effusion. No pneumothorax.",
        "e": "The heart is large and the heart is seen, the heart.",
        "f": "A heart.",
        "g": "Is no no no effusion?",
    }
    assert (
        found(reports, "No effusion.", 7, "tfidf")[0] == "g"
        and by_hand(reports, "No effusion.")[0] == "g"
    )
    assert found(
        {id: reports[id] for id in "abc"} | {"h": "No mass."}, "No effusion.", 1, "tfidf"
    ) == ["c"], "'no' tells little"
    for asked in (
        "No effusion.",
        "The heart.",
        "Is the effusion seen?",
        "opacity nodule mass",
        "a heart is large",
        "no no heart",
    ):
        assert found(reports, asked, 7, "tfidf") == by_hand(reports, asked), asked
    draw, words = random.Random(0), ["heart", "lungs", "clear", "no", "mass", "seen"]
    made = {
        f"{k:02}": " ".join(draw.choices(words, [9, 7, 5, 3, 2, 1], k=draw.randint(2, 9)))
        for k in range(30)
    }
    for asked in made.values():
        assert found(made, asked, 3, "tfidf")[0] == by_hand(made, asked)[0], asked


@pytest.mark.parametrize("similarity", ["tfidf", "jaccard"])
def test_only_curated_training_studies_are_shown_and_never_the_case_itself(similarity):
    told = "Heart is large."
    studies = [
        study("same", told),
        study("twin", told),
        study("dev", told, split="dev"),
        study("test", told, split="test"),
        study("val", told, split="val"),
        study("uncurated", told, reference=None),
        study("empty", " "),
        study("other", "Clear lungs."),
    ]
    nearest = Nearest(studies, similarity)
    assert [one.id for one in nearest.find(Case(id="same", report=told), 10)] == ["other", "twin"]
    assert [one.id for one in nearest.find(Case(id="new", report=told), 1)] == ["same"]
    assert [one.id for one in nearest.find(Case(id="new", report=told), 3)] == [
        "other",
        "twin",
        "same",
    ], "the most similar stands last"
    assert len(nearest.find(Case(id="new", report="words that nobody knows"), 2)) == 2
    assert len(nearest.find(Case(id="new", report=""), 2)) == 2
    with pytest.raises(UserError, match="no curated study"):
        Nearest([study("dev", told, split="dev")], similarity)


@pytest.mark.parametrize("similarity", ["tfidf", "jaccard"])
def test_the_nearest_come_as_turns_behind_the_examples(tmp_path, similarity):
    write_jsonl(
        tmp_path / "data/prepared/train.jsonl",
        [study(f"t{k}", f"Finding number {k}.", reference=f"Curated {k}.") for k in range(9)],
    )
    examples = [{"report": "First.", "annotation": {"bone": "Fixed."}}]
    made = approach(nearest={"k": 2, "similarity": similarity}, examples=examples)
    turns = Prompts(made, tmp_path, REGIONS).turns(
        Case(id="t3", report="Finding number 3. Finding number 5.")
    )
    assert len(turns) == 2 + 2 * 2 + 1 and "Fixed." in turns[1]["content"]
    assert turns[4]["content"] == "Go.\nReport: Finding number 5." and turns[5][
        "content"
    ] == completion(annotation(lung="Curated 5."))
    assert "Curated 3." not in json.dumps(turns), "its own reference"


def test_without_training_studies_nearest_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"train.jsonl: .*dvc repro"):
        Prompts(approach(nearest={"k": 2, "similarity": "tfidf"}), tmp_path, REGIONS)


# Leakage


@pytest.mark.parametrize("name", ["brief", "examples", "rules", "nearest"])
def test_no_prompt_of_the_pipeline_holds_a_reference_of_the_case_or_of_dev_and_test(
    tmp_path, root, name
):
    splits = {
        split: [
            study(f"{split}{k}", f"Report {k} says so.", split, f"Mark-{split}-{k}.")
            for k in range(12)
        ]
        for split in ("train", "dev", "test")
    }
    for split, studies in splits.items():
        write_jsonl(tmp_path / f"data/prepared/{split}.jsonl", studies)
    made = params.load(root / "params.yaml").approaches[name]
    prompts = Prompts(made, tmp_path, REGIONS)
    for split, studies in splits.items():
        for one in studies:
            turns = prompts.turns(one.case())
            shown = re.findall(r"Mark-(\w+)-(\d+)\.", json.dumps(turns))
            assert len(shown) == len(set(shown)) == (made.nearest.k if made.nearest else 0)
            assert (
                all(of == "train" for of, _ in shown)
                and (split, one.id.removeprefix(split)) not in shown
            )
            assert turns[-1]["content"].endswith(f"Report: {one.report}") and all(
                "{report}" not in turn["content"] for turn in turns
            )
