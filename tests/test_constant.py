"""The floor: one text for each region, chosen on train under the judge, whatever the report."""

import json
from pathlib import Path

import pytest
from conftest import REGIONS, annotation, project_of

from xraygen import judges
from xraygen.annotators.constant import Constant, ConstantSettings, load, save
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.evaluation.evaluate import judge_annotations
from xraygen.judges import Judge, Opinion
from xraygen.judges import constant as fit_constant
from xraygen.judges.constant import fit
from xraygen.sources.phantom import phantom

PROXY = judges.load("proxy")


def study(number: int, **reference: str) -> Study:
    return Study(
        id=str(number),
        uid=str(number),
        split="train",
        report="a report",
        reference=annotation(**reference),
    )


def generated(split: str, first: int, count: int) -> list[Study]:
    made = [phantom(0, first + number) for number in range(count)]
    return [
        Study(id=one.id, uid=one.uid, split=split, report=one.report, reference=one.reference)
        for one in made
    ]


class Longest(Judge):
    """Likes candidates that are longer than the reference, and remembers what it was asked."""

    name = "longest"

    def __init__(self):
        self.asked = []

    def judge(self, pairs):
        self.asked += pairs
        return [
            Opinion(0.9 if len(candidate) > len(reference) else 0.1)
            for reference, candidate in pairs
        ]


def test_silence_is_chosen_where_most_are_silent():
    studies = [study(number, lung="Lungs are clear.") for number in range(3)]
    studies += [study(number) for number in range(3, 10)]
    assert fit(studies, PROXY, REGIONS)["lung"] == ""


def test_the_judge_has_the_last_word_not_the_frequency():
    texts = [
        "Clear.",
        "Clear.",
        "Clear.",
        "Lungs clear.",
        "The lungs are clear.",
        "Both of the lungs are clear.",
    ]
    studies = [study(number, lung=text) for number, text in enumerate(texts)]
    assert fit(studies, Longest(), REGIONS)["lung"] == texts[-1]


def test_the_region_that_is_not_scored_gets_its_most_frequent_text():
    studies = [study(number, others=text, lung="x") for number, text in enumerate(["b", "a", "b"])]
    assert fit(studies, PROXY, REGIONS)["others"] == "b"


def test_a_slow_judge_is_asked_a_bounded_number_of_pairs_each_once(monkeypatch):
    monkeypatch.setattr(fit_constant, "_JUDGED", 40)
    judge = Longest()
    fit(generated("train", 0, 120), judge, REGIONS)
    assert (
        0
        < len(judge.asked)
        == len(set(judge.asked))
        <= 40 * fit_constant._LISTED * len(REGIONS.scored)
    )


def test_it_beats_silence_and_the_most_frequent_texts_on_studies_that_it_has_not_seen():
    train, test = generated("train", 0, 150), generated("test", 10**9, 100)

    def mean(said: dict) -> float:
        records = [AnnotationRecord(id=one.id, annotation=said) for one in test]
        judged = judge_annotations(test, records, PROXY, REGIONS)
        return sum(judgement.score for judgement in judged) / len(judged)

    def frequent(region: str) -> str:
        texts = [one.reference[region] for one in train]
        return max(sorted(set(texts)), key=texts.count)

    chosen = mean(fit(train, PROXY, REGIONS))
    assert chosen > mean(annotation()) + 0.2
    assert chosen > mean(annotation(**{region: frequent(region) for region in REGIONS})) + 0.02


def test_a_second_fit_is_the_same():
    studies = generated("train", 0, 40)
    assert fit(studies, PROXY, REGIONS) == fit(list(studies), PROXY, REGIONS)


def test_it_says_the_same_of_every_case_and_is_kept(tmp_path: Path):
    save(annotation(lung="Lungs are clear."), tmp_path / "models/constant")
    settings = ConstantSettings(annotator="constant", reads="models/constant")
    again = Constant(settings, project_of(tmp_path))
    records = list(again([Case(id="a", report="pneumothorax"), Case(id="b", report="")]))
    assert [(one.id, one.annotation["lung"], one.error) for one in records] == [
        (id, "Lungs are clear.", None) for id in "ab"
    ]


def test_without_a_reference_there_is_nothing_to_choose_from():
    bare = Study(id="a", uid="a", split="train", report="r")
    with pytest.raises(UserError, match="no study has a reference"):
        fit([bare], PROXY, REGIONS)


def test_a_damaged_file_is_one_line_that_says_what_to_do(tmp_path: Path):
    (tmp_path / "constant.json").write_text(json.dumps({"Lungs": "clear"}))
    with pytest.raises(
        UserError,
        match="constant.json: not an annotation of the declared regions;"
        " run `dvc repro fit_constant`",
    ):
        load(tmp_path, REGIONS)
    with pytest.raises(UserError, match="`dvc repro` makes it"):
        load(tmp_path / "nowhere", REGIONS)
