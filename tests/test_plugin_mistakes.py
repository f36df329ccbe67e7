"""Mistakes in a class of the user are one line that names it; bugs keep their traceback."""

import pytest
import yaml
from conftest import REGIONS, project_of

from xraygen import judges, params
from xraygen.annotators.base import Annotator, Settings
from xraygen.annotators.load import BUILT_IN, Checked, settings_of
from xraygen.core.errors import UserError
from xraygen.core.plugins import resolve
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.sources.prepare import check

CASES = [Case(id=id, report="Clear.") for id in "abc"]
PAIRS = [("one", "two"), ("three", "four")]


class Scripted(Annotator):
    def __init__(self, answers, tmp_path) -> None:
        super().__init__(Settings(annotator="scripted", reads="plugins"), project_of(tmp_path))
        self.answers = answers

    def __call__(self, cases):
        list(cases)
        yield from self.answers


def record(id: str, **said: str) -> AnnotationRecord:
    return AnnotationRecord(id=id, annotation=said)


@pytest.mark.parametrize(
    "answers, said",
    [
        ([record("a"), record("c")], "a record of c where that of b was due"),
        ([record("a"), record("b")], "no record where that of c was due"),
        ([record(id) for id in "abcd"], "a record of d where that of no case was due"),
        ([record(id) for id in "bac"], "a record of b where that of a was due"),
        ([{"id": "a"}], "yields dict, not an AnnotationRecord"),
        ([record("a", kidney="x")], "study a: annotation.kidney: no such region"),
    ],
)
def test_records_have_to_be_those_of_the_cases(tmp_path, answers, said):
    with pytest.raises(UserError, match=said):
        list(Checked(Scripted(answers, tmp_path), 1.0)(CASES))


def test_an_annotator_that_stops_early_has_lost_cases(tmp_path):
    class Lazy(Scripted):
        def __call__(self, cases):
            yield record(next(iter(cases)).id)

    with pytest.raises(UserError, match="no record where that of b was due"):
        list(Checked(Lazy([], tmp_path), 1.0)(CASES))


def test_one_that_reads_ahead_may_do_so(tmp_path):
    answers = [record(id, lung="Clear.") for id in "abc"]
    found = list(Checked(Scripted(answers, tmp_path), 1.0)(CASES))
    assert [one.id for one in found] == ["a", "b", "c"]
    assert list(found[0].annotation) == list(REGIONS) and found[0].annotation["lung"] == "Clear."


@pytest.mark.parametrize(
    "given, said",
    [
        ([judges.Opinion(1.0)], "1 opinions of 2 pairs"),
        ([0.5, 0.5], "returned float, not an Opinion"),
        ([judges.Opinion(85.0)] * 2, "score 85.0 is not between 0 and 1"),
        ([judges.Opinion(-0.1)] * 2, "score -0.1 is not"),
        ([judges.Opinion(float("nan"))] * 2, "score nan is not"),
        ([judges.Opinion("0.5")] * 2, "score '0.5' is not"),
    ],
)
def test_opinions_are_checked(given, said):
    class Given(judges.Judge):
        name = "mine"

        def judge(self, pairs):
            return given

    with pytest.raises(UserError, match=f"judge mine: .*{said}"):
        judges.opinions(PAIRS, Given())


def study(id: str, split: str, patient: str | None = None, **reference: str) -> Study:
    said = REGIONS.annotation(reference)
    return Study(id=id, uid=id, split=split, report="r", patient=patient, reference=said)


def test_a_source_may_not_leak_a_patient_or_repeat_an_id():
    check(
        [study("a", "train", "p"), study("b", "train", "p"), study("c", "val", "p")], REGIONS, "s"
    )
    with pytest.raises(UserError, match="source s: the patient of study b is in test and in train"):
        check([study("a", "train", "p"), study("b", "test", "p")], REGIONS, "s")
    with pytest.raises(UserError, match="two studies have the id a"):
        check([study("a", "train"), study("a", "test")], REGIONS, "s")
    short = study("a", "train").model_copy(update={"reference": {"lung": "Clear."}})
    with pytest.raises(UserError, match="study a: the reference has not the declared regions"):
        check([short], REGIONS, "s")


@pytest.mark.parametrize(
    "code, kind",
    [
        ("import json\njson.loads('')", ValueError),
        ("import os\nos.nope", AttributeError),
        ("from os import nope", ImportError),
        ("import no_such_package", ModuleNotFoundError),
    ],
)
def test_a_bug_in_a_module_is_no_mistake_in_params(tmp_path, monkeypatch, code, kind):
    (tmp_path / f"module_{kind.__name__}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(kind):
        resolve(f"module_{kind.__name__}:Judge", judges.BUILT_IN, judges.Judge, "evaluate.judge")


def test_a_built_in_name_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    resolve("router", BUILT_IN, Annotator, "x")
    assert str(tmp_path) not in sys.path


def test_what_an_annotator_reads_is_where_the_release_sees_it(tmp_path, monkeypatch):
    (tmp_path / "reading.py").write_text(
        "from xraygen.annotators.base import Annotator\nclass Mine(Annotator):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = {"annotator": "reading:Mine", "reads": "lexicon.txt"}
    with pytest.raises(UserError, match="approaches.mine.reads: lexicon.txt is not in models/"):
        settings_of(asked, "approaches.mine")
    assert settings_of(asked | {"reads": "plugins"}, "approaches.mine").reads == "plugins"


@pytest.mark.parametrize("section", ["data", "evaluate"])
def test_a_name_that_is_no_text_is_one_line(root, tmp_path, section):
    content = yaml.safe_load((root / "params.yaml").read_text())
    content[section]["settings"][1] = 2
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"{section}.settings: no 1"):
        params.load(tmp_path / "params.yaml")
