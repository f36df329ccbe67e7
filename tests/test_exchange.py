"""The annotator llm: its two ways of asking stand on one exchange, and what outlives an upgrade."""

import ast
import json
from pathlib import Path

import pytest
from conftest import project_of

from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.annotators.llm.batch import Batches
from xraygen.annotators.llm.batch_lines import parsed
from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.load import load
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case

ROOT = Path(__file__).parents[1]
CASES = [Case(id=f"s{k}", report=f"Report {k}.") for k in range(4)]


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it, for types alone too."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_the_ways_of_asking_import_the_exchange_and_not_the_annotator_or_each_other():
    package = "xraygen.annotators.llm"
    folder = ROOT / "xraygen/annotators/llm"
    imports = {path.stem: imported(path) for path in folder.glob("*.py")}
    assert [name for name in imports if f"{package}.llm" in imports[name]] == []
    for way, other in (("batch", "direct"), ("direct", "batch")):
        assert f"{package}.exchange" in imports[way] and f"{package}.{other}" not in imports[way]


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def test_a_batch_that_an_earlier_version_sent_is_waited_for(
    chat_server, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xraygen.annotators.llm.batch._PATIENCE", (0.01, 0.02))
    server = chat_server()
    settings = LlmSettings(annotator="llm", reads="models/tiny", user="Report: {report}")
    changes = {"provider": "openai", "mode": "batch", "base_url": server.url, "model": "m"}
    llm = project_of(ROOT).llm.model_copy(update=changes)
    project = project_of(tmp_path, llm=llm)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Batches, "_wait", kill)
        list(Llm(settings, project)(CASES))
    (path,) = (tmp_path / ".cache/batches").glob("*.json")
    state = json.loads(path.read_text())
    # As version 0.1.0 wrote it, field by field.
    old = {key: state[key] for key in ("id", "asked", "questions")}
    path.write_text(json.dumps(old | {"manner": [0, "max_completion_tokens", False]}))

    annotate = Llm(settings, project)
    records = list(annotate(CASES))
    assert [record.annotation["lung"] for record in records] == [case.report for case in CASES]
    assert len(server.batches) == 1 and annotate.usage()["requests"] == 0
    accepted = annotate.exchange.dialect.request_format
    assert (accepted.limit, accepted.temperature) == ("max_completion_tokens", False)


@pytest.mark.parametrize("text", ["", "[]", '"x"', "{", "[" * 200_000, '{"a": ' * 200_000])
def test_a_line_of_a_batch_that_is_no_object_is_no_answer_and_no_traceback(text):
    assert parsed(text) == {}


class Failing(Annotator):
    """No case gets an annotation."""

    def __call__(self, cases):
        for case in cases:
            yield AnnotationRecord(id=case.id, annotation=None, error="no idea")


class FailingAloud(Failing):
    def counts_as_failed(self, record: AnnotationRecord) -> bool:
        return record.error == "no idea"


def loaded(kind: type[Annotator], max_failed: float) -> Annotator:
    named = Settings(annotator=f"{kind.__module__}:{kind.__qualname__}", reads="plugins")
    llm = project_of(ROOT).llm.model_copy(update={"max_failed": max_failed})
    project: Project = project_of(ROOT, llm=llm)
    return load({"mine": named}, "mine", project)


def test_failed_cases_end_the_run_only_where_the_annotator_counts_them():
    assert len(list(loaded(Failing, 0.0)(CASES))) == 4
    assert len(list(loaded(FailingAloud, 1.0)(CASES))) == 4
    with pytest.raises(UserError, match="4 of 4 cases have no annotation.* 4 no idea"):
        list(loaded(FailingAloud, 0.5)(CASES))
